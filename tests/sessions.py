"""Messages of a small transfer, and sessions in every state."""

from ddtp.protocol.chunks import SealHeader, chunk_count, sealed_size
from ddtp.protocol.merkle import LeafType, RootBuilder, leaf_hash
from ddtp.protocol.messages import (
    Abort,
    Accept,
    ChunkFrame,
    ChunkRange,
    Decline,
    Finish,
    Hello,
    KeyRelease,
    Message,
    MessageType,
    Offer,
    ReceiptMessage,
    Stage,
)
from ddtp.protocol.session import Session
from ddtp.protocol.states import Role, State

CHUNK_SIZE = 65536
TRANSFER_ID = b"\x11" * 16

HOLDER_HELLO = Hello(suites=("DDTP-SM-1",), nonce=b"\x21" * 32, heads=(b"head",))
RECEIVER_HELLO = Hello(suites=("DDTP-SM-1",), nonce=b"\x22" * 32, binding=b"receiver binding")
DECLINE = Decline(transfer_id=TRANSFER_ID, code="consent-invalid", reason="expected a grant for us")
KEY = KeyRelease(transfer_id=TRANSFER_ID, wrapped_key=b"\x33" * 81)
ABORT = Abort(code="disk-full", reason="")
CIPHER = ReceiptMessage(stage=Stage.CIPHER, receipt=b"cipher receipt")
VERIFIED = ReceiptMessage(stage=Stage.VERIFIED, receipt=b"verified receipt")
REJECTED = ReceiptMessage(stage=Stage.REJECTED, receipt=b"rejected receipt")


def make_offer(content_bytes: int, *, chunk_size: int = CHUNK_SIZE) -> Offer:
    """An offer of so much content; what is signed in it is nonsense."""
    seal = SealHeader(
        chunk_size=chunk_size,
        content_bytes=content_bytes,
        openings_offset=0,
        openings_bytes=0,
        salt=b"\x44" * 24,
        commitment=b"\x55" * 32,
    )
    return Offer(
        transfer_id=TRANSFER_ID,
        binding=b"holder binding",
        manifest=b"manifest",
        request=b"request",
        grant=b"grant",
        disclosure=b"disclosure",
        anchors=b"anchors",
        seal=seal,
    )


def make_accept(*have: tuple[int, int]) -> Accept:
    """An accept of a receiver that holds some ranges of chunks."""
    ranges = tuple(ChunkRange(start=start, stop=stop) for start, stop in have)
    return Accept(transfer_id=TRANSFER_ID, have=ranges, key_offer=b"key offer")


def sealed_chunks(offer: Offer) -> list[bytes]:
    """Bytes in place of the sealed chunks of an offer, each of the right size."""
    count = chunk_count(offer.seal.content_bytes, offer.seal.chunk_size)
    return [bytes([index % 251 + 1]) * sealed_size(index, offer.seal) for index in range(count)]


def leaf_of(index: int, sealed: bytes) -> bytes:
    """The leaf of one sealed chunk in the ciphertext tree (spec/07 s.4)."""
    return leaf_hash(LeafType.SEALED_CHUNK, sealed, index=index)


def ciphertext_root(chunks: list[bytes]) -> bytes:
    """The root that a finish names."""
    tree = RootBuilder()
    for index, sealed in enumerate(chunks):
        tree.add(leaf_of(index, sealed))
    return tree.root()


def make_finish(offer: Offer) -> Finish:
    """The finish after all chunks of an offer."""
    chunks = sealed_chunks(offer)
    return Finish(transfer_id=TRANSFER_ID, chunk_count=len(chunks), ciphertext_root=ciphertext_root(chunks))


SMALL_OFFER = make_offer(10)
SMALL_CHUNK = ChunkFrame(index=0, sealed=sealed_chunks(SMALL_OFFER)[0])
SMALL_FINISH = make_finish(SMALL_OFFER)

Step = tuple[Role, Message | ChunkFrame]

PATHS: dict[State, list[Step]] = {State.START: []}
"""What is said until a session with one small chunk is in a state."""


def _lead(start: State, end: State, *steps: Step) -> None:
    PATHS[end] = [*PATHS[start], *steps]


_lead(State.START, State.GREETED, (Role.HOLDER, HOLDER_HELLO))
_lead(State.GREETED, State.READY, (Role.RECEIVER, RECEIVER_HELLO))
_lead(State.READY, State.OFFERED, (Role.HOLDER, SMALL_OFFER))
_lead(State.OFFERED, State.DECLINED, (Role.RECEIVER, DECLINE))
_lead(State.OFFERED, State.SENDING, (Role.RECEIVER, make_accept()))
_lead(State.SENDING, State.FINISHED, (Role.HOLDER, SMALL_CHUNK), (Role.HOLDER, SMALL_FINISH))
_lead(State.FINISHED, State.RECEIPTED, (Role.RECEIVER, CIPHER))
_lead(State.RECEIPTED, State.KEYED, (Role.HOLDER, KEY))
_lead(State.KEYED, State.DONE, (Role.RECEIVER, VERIFIED))
_lead(State.READY, State.ABORTED, (Role.RECEIVER, ABORT))


def encode(session: Session, message: Message | ChunkFrame) -> bytes:
    """Send a message through a session."""
    if isinstance(message, ChunkFrame):
        return b"".join(session.send_chunk(message.index, message.sealed))
    return session.send(message)


def deliver(session: Session, data: bytes) -> list[Message | ChunkFrame]:
    """Give a session bytes as fast as it takes them; return all events."""
    events: list[Message | ChunkFrame] = []
    while True:
        event = session.next_event()
        if event is not None:
            events.append(event)
        elif data:
            part, data = data[: session.wanted_bytes], data[session.wanted_bytes :]
            session.receive_data(part)
        else:
            return events


def session_pair(state: State) -> dict[Role, Session]:
    """Both sides of a session that has come to a state."""
    pair = {role: Session(role) for role in Role}
    for sender, message in PATHS[state]:
        data = encode(pair[sender], message)
        assert deliver(pair[sender.other], data) == [message]
    assert {session.state for session in pair.values()} == {state}
    return pair


def raw_frame(kind: MessageType, message: Message | ChunkFrame) -> bytes:
    """A frame that no session has looked at."""
    chunk = isinstance(message, ChunkFrame)
    payload = message.index.to_bytes(8, "big") + message.sealed if chunk else message.encode()
    return len(payload).to_bytes(4, "big") + bytes([kind]) + payload
