"""What a session accepts in which state, from the peer and from its own side."""

import dataclasses
import itertools

import pytest

from ddtp.errors import DecodeError, InternalError, PeerVanished, ProtocolViolation
from ddtp.protocol.framing import HEADER, FrameReader
from ddtp.protocol.messages import (
    RECORD_OF,
    Accept,
    Ack,
    ChunkFrame,
    Hello,
    Message,
    MessageType,
    Offer,
)
from ddtp.protocol.session import Session
from ddtp.protocol.states import TRANSITIONS, Role, State
from tests.sessions import (
    ABORT,
    CHUNK_SIZE,
    CIPHER,
    DECLINE,
    HOLDER_HELLO,
    KEY,
    PATHS,
    RECEIVER_HELLO,
    REJECTED,
    SMALL_CHUNK,
    SMALL_FINISH,
    SMALL_OFFER,
    VERIFIED,
    deliver,
    encode,
    make_accept,
    make_finish,
    make_offer,
    raw_frame,
    sealed_chunks,
    session_pair,
)
from tests.vectors import Case, check, load

SAMPLES: dict[tuple[Role, MessageType], list[Message | ChunkFrame]] = {
    (Role.HOLDER, MessageType.HELLO): [HOLDER_HELLO],
    (Role.RECEIVER, MessageType.HELLO): [RECEIVER_HELLO],
    **{(role, MessageType.OFFER): [SMALL_OFFER] for role in Role},
    **{(role, MessageType.ACCEPT): [make_accept()] for role in Role},
    **{(role, MessageType.DECLINE): [DECLINE] for role in Role},
    **{(role, MessageType.CHUNK): [SMALL_CHUNK] for role in Role},
    **{(role, MessageType.ACK): [Ack(durable_chunks=1)] for role in Role},
    **{(role, MessageType.FINISH): [SMALL_FINISH] for role in Role},
    **{(role, MessageType.RECEIPT): [CIPHER, VERIFIED, REJECTED] for role in Role},
    **{(role, MessageType.KEY): [KEY] for role in Role},
    **{(role, MessageType.ABORT): [ABORT] for role in Role},
}
ALLOWED = {
    (State.OFFERED, CIPHER): False,
    (State.FINISHED, VERIFIED): False,
    (State.FINISHED, REJECTED): False,
    (State.KEYED, CIPHER): False,
    # before any chunk there is nothing to acknowledge and nothing to finish
    (State.SENDING, Ack(durable_chunks=1)): False,
    (State.SENDING, SMALL_FINISH): False,
}
CASES = [
    pytest.param(state, sender, kind, message, id=f"{state.value}-{sender.value}-{kind.name.lower()}-{number}")
    for state, (sender, kind) in itertools.product(State, SAMPLES)
    for number, message in enumerate(SAMPLES[sender, kind])
]
"""Every message from every side in every state."""


def is_allowed(state: State, sender: Role, kind: MessageType, *, message: Message | ChunkFrame) -> bool:
    """What the table says, and which receipts and counts fit."""
    return (state, sender, kind) in TRANSITIONS and ALLOWED.get((state, message), True)


@pytest.mark.parametrize(("state", "sender", "kind", "message"), CASES)
def test_the_peer_may_send_exactly_what_the_table_allows(
    state: State, sender: Role, kind: MessageType, message: Message | ChunkFrame
) -> None:
    """A message out of order is a violation; an allowed one arrives and moves the session along the table."""
    session = session_pair(state)[sender.other]
    if is_allowed(state, sender, kind, message=message):
        assert deliver(session, raw_frame(kind, message)) == [message]
        assert session.state is TRANSITIONS[state, sender, kind]
    else:
        with pytest.raises(ProtocolViolation):
            deliver(session, raw_frame(kind, message))
        assert session.state is state


@pytest.mark.parametrize(("state", "sender", "kind", "message"), CASES)
def test_our_side_may_send_exactly_what_the_table_allows(
    state: State, sender: Role, kind: MessageType, message: Message | ChunkFrame
) -> None:
    """A message of our own out of order is a defect of ours and never reaches the wire."""
    session = session_pair(state)[sender]
    if is_allowed(state, sender, kind, message=message):
        assert encode(session, message) == raw_frame(kind, message)
        assert session.state is TRANSITIONS[state, sender, kind]
    else:
        with pytest.raises(InternalError):
            encode(session, message)
        assert session.state is state


@pytest.mark.parametrize("state", State)
def test_an_end_of_the_stream_is_an_end_only_where_the_session_is_over(state: State) -> None:
    """A peer that goes away in a live state has vanished."""
    for session in session_pair(state).values():
        if state.live:
            with pytest.raises(PeerVanished):
                session.receive_eof()
        else:
            session.receive_eof()


@pytest.mark.parametrize("kind", RECORD_OF)
def test_an_oversized_message_is_refused_at_its_header(kind: MessageType) -> None:
    """One byte more than the bound of its type is refused before any payload is taken."""
    origin, sender = next((state, sender) for state, sender, allowed in TRANSITIONS if allowed is kind)
    session = session_pair(origin)[sender.other]
    session.receive_data(HEADER.pack(RECORD_OF[kind].MAX_BYTES + 1, kind))
    with pytest.raises(ProtocolViolation, match="expected at most"):
        session.next_event()


def test_a_chunk_longer_than_the_offer_says_is_refused_at_its_header() -> None:
    """The chunk size of the offer bounds chunk frames, so a small offer takes little memory."""
    session = session_pair(State.SENDING)[Role.RECEIVER]
    session.receive_data(HEADER.pack(8 + len(SMALL_CHUNK.sealed) + 1, MessageType.CHUNK))
    with pytest.raises(ProtocolViolation, match="expected at most 34 bytes in chunk, found 35"):
        session.next_event()


@pytest.mark.parametrize("kind", RECORD_OF)
def test_a_malformed_message_is_refused(kind: MessageType) -> None:
    """Bytes that are not the record of the frame's type are malformed."""
    origin, sender = next((state, sender) for state, sender, allowed in TRANSITIONS if allowed is kind)
    session = session_pair(origin)[sender.other]
    with pytest.raises(DecodeError):
        deliver(session, HEADER.pack(1, kind) + b"\xa0")


def test_a_refusal_is_final() -> None:
    """After a violation no later bytes can make the session go on."""
    session = session_pair(State.READY)[Role.RECEIVER]
    with pytest.raises(ProtocolViolation) as first:
        deliver(session, raw_frame(MessageType.KEY, KEY))
    session.receive_data(raw_frame(MessageType.OFFER, SMALL_OFFER)[: session.wanted_bytes])
    with pytest.raises(ProtocolViolation) as second:
        session.next_event()
    assert second.value is first.value


def test_a_message_larger_than_its_frame_may_be_is_not_sent() -> None:
    """Fields within their bounds may together exceed the frame; the session stays where it was."""
    session = session_pair(State.READY)[Role.HOLDER]
    large = bytes(1 << 20)
    with pytest.raises(DecodeError):
        session.send(dataclasses.replace(SMALL_OFFER, disclosure=bytes(4 << 20), manifest=large, request=large))
    assert session.state is State.READY


def test_a_chunk_that_ends_after_our_abort_is_refused() -> None:
    """The state counts when a chunk is complete, not when its header came."""
    session = session_pair(State.SENDING)[Role.RECEIVER]
    data = raw_frame(MessageType.CHUNK, SMALL_CHUNK)
    assert deliver(session, data[:-1]) == []
    session.send(ABORT)
    with pytest.raises(ProtocolViolation):
        deliver(session, data[-1:])


def test_closing_forgets_half_a_message_and_aborts() -> None:
    """A session closed in the middle sends nothing more."""
    session = session_pair(State.SENDING)[Role.RECEIVER]
    session.receive_data(HEADER.pack(30, MessageType.CHUNK))
    session.close()
    assert session.state is State.ABORTED
    with pytest.raises(InternalError):
        session.send(ABORT)


def test_closing_a_finished_session_keeps_its_state() -> None:
    """Done stays done."""
    session = session_pair(State.DONE)[Role.HOLDER]
    session.close()
    assert session.state is State.DONE


# --- hello ---


@pytest.mark.parametrize(
    ("sender", "hello"),
    [
        (Role.HOLDER, dataclasses.replace(HOLDER_HELLO, binding=b"binding")),
        (Role.HOLDER, dataclasses.replace(HOLDER_HELLO, suites=("DDTP-SM-9",))),
        (Role.RECEIVER, dataclasses.replace(RECEIVER_HELLO, binding=None)),
        (Role.RECEIVER, dataclasses.replace(RECEIVER_HELLO, suites=("DDTP-SM-9",))),
        (Role.RECEIVER, dataclasses.replace(RECEIVER_HELLO, suites=("DDTP-SM-1", "DDTP-SM-9"))),
    ],
    ids=["holder-binding", "unknown-suite", "no-binding", "other-suite", "two-suites"],
)
def test_a_hello_that_does_not_fit_its_sender_is_refused(sender: Role, hello: Hello) -> None:
    """The holder offers suites; the receiver chooses one and proves itself."""
    session = session_pair(State.START if sender is Role.HOLDER else State.GREETED)[sender.other]
    with pytest.raises(ProtocolViolation):
        deliver(session, raw_frame(MessageType.HELLO, hello))


def test_a_holder_may_offer_suites_that_we_do_not_know() -> None:
    """A later version of the holder still talks to us."""
    session = Session(Role.RECEIVER)
    hello = dataclasses.replace(HOLDER_HELLO, suites=("DDTP-SM-2", "DDTP-SM-1"))
    assert deliver(session, raw_frame(MessageType.HELLO, hello)) == [hello]


# --- the transfer ---

OTHER_ID = b"\x99" * 16


@pytest.mark.parametrize(
    ("state", "sender", "kind", "message"),
    [
        (State.OFFERED, Role.RECEIVER, MessageType.ACCEPT, dataclasses.replace(make_accept(), transfer_id=OTHER_ID)),
        (State.OFFERED, Role.RECEIVER, MessageType.DECLINE, dataclasses.replace(DECLINE, transfer_id=OTHER_ID)),
        (State.RECEIPTED, Role.HOLDER, MessageType.KEY, dataclasses.replace(KEY, transfer_id=OTHER_ID)),
    ],
    ids=["accept", "decline", "key"],
)
def test_another_transfer_is_refused(state: State, sender: Role, kind: MessageType, message: Message) -> None:
    """A session carries one transfer."""
    with pytest.raises(ProtocolViolation, match="transfer id"):
        deliver(session_pair(state)[sender.other], raw_frame(kind, message))


def sending_pair(offer: Offer, accept: Accept) -> dict[Role, Session]:
    """Both sides of a session that is about to send."""
    pair = session_pair(State.READY)
    for sender, message in ((Role.HOLDER, offer), (Role.RECEIVER, accept)):
        assert deliver(pair[sender.other], encode(pair[sender], message)) == [message]
    return pair


FOUR = make_offer(3 * CHUNK_SIZE + 5)
FOUR_CHUNKS = [ChunkFrame(index, sealed) for index, sealed in enumerate(sealed_chunks(FOUR))]


@pytest.mark.parametrize(
    ("have", "missing"),
    [
        ([], [0, 1, 2, 3]),
        ([(0, 2)], [2, 3]),
        ([(1, 2)], [0, 2, 3]),
        ([(0, 1), (2, 3)], [1, 3]),
        ([(1, 4)], [0]),
        ([(0, 4)], []),
    ],
)
def test_exactly_the_missing_chunks_are_sent(have: list[tuple[int, int]], missing: list[int]) -> None:
    """Held chunks are skipped on both sides, and the finish is allowed when none is missing."""
    pair = sending_pair(FOUR, make_accept(*have))
    for index in missing:
        with pytest.raises(InternalError):
            encode(pair[Role.HOLDER], make_finish(FOUR))
        chunk = FOUR_CHUNKS[index]
        assert deliver(pair[Role.RECEIVER], encode(pair[Role.HOLDER], chunk)) == [chunk]
    deliver(pair[Role.RECEIVER], encode(pair[Role.HOLDER], make_finish(FOUR)))
    assert pair[Role.RECEIVER].state is State.FINISHED


@pytest.mark.parametrize(
    ("have", "chunk"),
    [
        ([], FOUR_CHUNKS[1]),
        ([(0, 1)], FOUR_CHUNKS[0]),
        ([(0, 1)], FOUR_CHUNKS[2]),
        ([(0, 4)], FOUR_CHUNKS[3]),
        ([(0, 4)], ChunkFrame(4, b"x" * 16)),
        ([], ChunkFrame(0, FOUR_CHUNKS[0].sealed[:-1])),
        ([(0, 3)], ChunkFrame(3, FOUR_CHUNKS[3].sealed + b"x")),
        ([], ChunkFrame((1 << 64) - 1, FOUR_CHUNKS[0].sealed)),
    ],
    ids=["gap", "held", "after-held", "all-held", "beyond", "short", "last-too-long", "huge-index"],
)
def test_other_chunks_are_refused(have: list[tuple[int, int]], chunk: ChunkFrame) -> None:
    """A chunk that is not the next missing one, or has not its size, is refused on both sides."""
    pair = sending_pair(FOUR, make_accept(*have))
    with pytest.raises(InternalError):
        pair[Role.HOLDER].send_chunk(chunk.index, chunk.sealed)
    with pytest.raises(ProtocolViolation):
        deliver(pair[Role.RECEIVER], raw_frame(MessageType.CHUNK, chunk))


def test_a_chunk_without_an_index_is_refused() -> None:
    """A chunk frame of less than 8 bytes has no index."""
    session = sending_pair(FOUR, make_accept())[Role.RECEIVER]
    with pytest.raises(ProtocolViolation):
        deliver(session, HEADER.pack(7, MessageType.CHUNK) + bytes(7))


def test_ranges_beyond_the_content_are_refused() -> None:
    """A receiver cannot hold chunks that do not exist."""
    pair = session_pair(State.READY)
    deliver(pair[Role.RECEIVER], encode(pair[Role.HOLDER], FOUR))
    with pytest.raises(ProtocolViolation):
        deliver(pair[Role.HOLDER], raw_frame(MessageType.ACCEPT, make_accept((0, 5))))


@pytest.mark.parametrize("durable", [1, 2, 5], ids=["fewer-than-held", "no-progress", "more-than-sent"])
def test_an_ack_counts_forward_and_never_beyond_what_was_sent(durable: int) -> None:
    """A receiver that held two chunks and was sent two more may say three or four."""
    pair = sending_pair(FOUR, make_accept((0, 2)))
    for chunk in FOUR_CHUNKS[2:]:
        encode(pair[Role.HOLDER], chunk)
    with pytest.raises(ProtocolViolation):
        deliver(pair[Role.HOLDER], raw_frame(MessageType.ACK, Ack(durable_chunks=durable)))


def test_acks_may_come_until_the_receipt() -> None:
    """An ack that was on its way when the finish was sent is no violation."""
    pair = sending_pair(FOUR, make_accept((0, 3)))
    encode(pair[Role.HOLDER], FOUR_CHUNKS[3])
    encode(pair[Role.HOLDER], make_finish(FOUR))
    assert deliver(pair[Role.HOLDER], raw_frame(MessageType.ACK, Ack(durable_chunks=4))) == [Ack(durable_chunks=4)]


@pytest.mark.parametrize("count", [3, 5])
def test_a_finish_with_another_count_is_refused(count: int) -> None:
    """The finish repeats the number of chunks of the offer."""
    pair = sending_pair(FOUR, make_accept((0, 4)))
    finish = dataclasses.replace(make_finish(FOUR), chunk_count=count)
    with pytest.raises(ProtocolViolation):
        deliver(pair[Role.RECEIVER], raw_frame(MessageType.FINISH, finish))


# --- vectors ---


def _converse(case: Case) -> str:
    """Play the frames of a vector: those of its role are sent, the others received."""
    role = Role(case.input["role"])
    session = Session(role)
    for turn in case.input["frames"]:
        data = bytes.fromhex(turn["bytes"])
        if Role(turn["from"]) is role:
            assert encode(session, _parse(data)) == data
        else:
            deliver(session, data)
    return session.state.value


def _parse(data: bytes) -> Message | ChunkFrame:
    reader = FrameReader(lambda _kind: len(data))
    reader.feed(data[: HEADER.size])
    assert reader.next_frame() is None
    reader.feed(data[HEADER.size :])
    frame = reader.next_frame()
    assert frame is not None
    if frame.type is MessageType.CHUNK:
        return ChunkFrame(int.from_bytes(frame.payload[:8], "big"), frame.payload[8:])
    message: Message = RECORD_OF[frame.type].parse(frame.payload)
    return message


@pytest.mark.parametrize("case", load("08-session"), ids=str)
def test_vector(case: Case) -> None:
    """A conversation of the spec leads to the state, or fails with the code, that the vector names."""
    check(case, {"": _converse})


def test_paths_lead_to_every_state() -> None:
    """The tests above have looked at every state."""
    assert PATHS.keys() == set(State)
