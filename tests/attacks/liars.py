"""Peers that keep to the protocol and say something untrue at one moment: receivers and holders."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ddtp.agent.context import TRANSFER_PROTOCOL
from ddtp.agent.exchange import HolderSide, Material, leaf_path
from ddtp.agent.facade import Agent
from ddtp.agent.opening import TransferContent, open_package, transfer_content, transfer_context
from ddtp.agent.receiving import Receiver
from ddtp.identity.document import Card
from ddtp.protocol import envelope
from ddtp.protocol.chunks import ChunkCipher, SealedRun, sealed_leaves
from ddtp.protocol.envelope import Signed
from ddtp.protocol.messages import Accept, Decline, Finish, Hello, KeyOffer, KeyRelease, Offer, ReceiptMessage
from ddtp.protocol.openings import Disclosure
from ddtp.store.leaf_log import delete_leaf_log
from ddtp.store.records import TransferRow
from ddtp.transfer.ports import Arrival, Deadlines, Run
from ddtp.transfer.sender import send_transfer
from ddtp.verify import Receipt
from tests.attacks.imposter import ignore
from tests.attacks.quiet import serve_port
from tests.town import House

Lies = Mapping[str, Callable[[Any], Any]]
"""Method of a port -> what it says instead of the truth; it may also just do something at that moment."""


@dataclass
class Heard:
    """What came to an institution that lies.

    Attributes:
        offers: The offers, which say who the holder is.
        chunks: Number of pieces of content that came.
        keys: The released keys.
    """

    offers: list[Offer] = field(default_factory=list)
    chunks: int = 0
    keys: list[KeyRelease] = field(default_factory=list)


class LyingReceiver:
    """The real receiver of an institution, but for what it says (a `ReceiverPort`)."""

    def __init__(self, port: Receiver, lies: Lies, heard: Heard) -> None:
        self._port = port
        self._lies = lies
        self._heard = heard

    async def greet(self, hello: Hello, remote_peer_id: str) -> Hello:
        return self._say("greet", await self._port.greet(hello, remote_peer_id))

    async def admit(self, offer: Offer, remote_peer_id: str) -> Accept | Decline | ReceiptMessage:
        self._heard.offers.append(offer)
        return self._say("admit", await self._port.admit(offer, remote_peer_id))

    async def store(self, arrivals: Sequence[Arrival]) -> None:
        self._heard.chunks += len(arrivals)
        self._say("store", await self._port.store(arrivals))

    async def sync(self) -> int:
        return self._say("sync", await self._port.sync())

    async def complete(self, finish: Finish) -> ReceiptMessage:
        return self._say("complete", await self._port.complete(finish))

    async def conclude(self, release: KeyRelease) -> ReceiptMessage:
        self._heard.keys.append(release)
        return self._say("conclude", await self._port.conclude(release))

    def _say(self, moment: str, truth: Any) -> Any:
        return self._lies[moment](truth) if moment in self._lies else truth


def make_receiver_lie(house: House, lies: Lies) -> Heard:
    """Make an institution lie in every exchange, until its service is registered again."""
    heard = Heard()
    serve_port(house, lambda receiver, _stream: LyingReceiver(receiver, lies, heard))
    return heard


def other_receipt(house: House, message: ReceiptMessage, **changes: Any) -> ReceiptMessage:
    """A receipt message whose receipt says something else, signed by the institution."""
    body = replace(envelope.verify(Receipt, message.receipt).body, **changes)
    return replace(message, receipt=envelope.sign(body, house.agent.context.institution_key).envelope)


def other_key_offer(house: House, accept: Accept, **changes: Any) -> Accept:
    """An accept whose key offer says something else, signed by the institution."""
    body = replace(envelope.verify(KeyOffer, accept.key_offer).body, **changes)
    return replace(accept, key_offer=envelope.sign(body, house.agent.context.institution_key).envelope)


class LyingHolder:
    """The real side of a holder, but for what it says (a `SenderPort`)."""

    def __init__(self, port: HolderSide, lies: Lies) -> None:
        self._port = port
        self._lies = lies

    def hello(self) -> Hello:
        return self._port.hello()

    async def offer(self, hello: Hello, remote_peer_id: str) -> Offer:
        return await self._port.offer(hello, remote_peer_id)

    def runs(self, accept: Accept, *, most_chunks: int) -> AsyncGenerator[Run, None]:
        return self._port.runs(accept, most_chunks=most_chunks)

    async def finish(self) -> Finish:
        return self._say("finish", await self._port.finish())

    async def release_key(self, receipt: ReceiptMessage) -> KeyRelease:
        return self._say("release_key", await self._port.release_key(receipt))

    def _say(self, moment: str, truth: Any) -> Any:
        return self._lies[moment](truth) if moment in self._lies else truth


class Forgery:
    """The content of a transfer with some chunks replaced."""

    def __init__(self, content: TransferContent, chunks: dict[int, bytes]) -> None:
        self.header = content.header
        self.chunk_count = content.chunk_count
        self._content = content
        self._chunks = chunks

    def sealed(self, first: int, count: int) -> SealedRun:
        chunks = [
            self._chunks.get(index) or sealed_chunk(self._content, index) for index in range(first, first + count)
        ]
        sealed = b"".join(chunks)
        return SealedRun(sealed, sealed_leaves(first, sealed, count=count, chunk_size=self.header.chunk_size))


def sealed_chunk(content: TransferContent, index: int) -> bytes:
    """One sealed chunk of a transfer."""
    return content.sealed(index, 1).sealed


def flip(data: bytes, position: int) -> bytes:
    """Change one bit."""
    return data[:position] + bytes((data[position] ^ 1,)) + data[position + 1 :]


def forge(content: TransferContent, cipher: ChunkCipher, how: str) -> Forgery:
    """Replace something in one of the forbidden ways."""
    first = sealed_chunk(content, 0)
    opened = content.header.openings_offset
    index, place = divmod(opened + 5, content.header.chunk_size)
    with_openings = sealed_chunk(content, index)
    chunks = {
        "content": {0: cipher.seal(0, flip(cipher.open(0, first), 0))},
        "ciphertext": {0: flip(first, 0)},
        "tag": {0: flip(first, len(first) - 1)},
        "order": {0: sealed_chunk(content, 1), 1: first},
        "openings": {index: cipher.seal(index, flip(cipher.open(index, with_openings), place))},
    }
    return Forgery(content, chunks[how])


async def go_on(
    person: Agent,
    row: TransferRow,
    card: Signed[Card],
    *,
    forgery: str | None = None,
    key: bytes | None = None,
    lies: Lies | None = None,
) -> ReceiptMessage:
    """Go on with a transfer as its holder: with forged content, another key than that of the chunks, or other lies."""
    package = await person.records.find_package(row.package_id)
    assert package is not None
    assert row.secret is not None
    offer = Offer.parse(row.offer)
    opened = open_package(package.path, person.context.seed)
    content: Any = transfer_content(
        opened,
        Disclosure.parse(offer.disclosure),
        transfer_id=row.transfer_id,
        receiver=row.peer,
        content_key=row.secret,
    )
    if forgery is not None:
        size = offer.seal.chunk_size
        context = transfer_context(row.transfer_id, sender=opened.holder.did, receiver=row.peer, chunk_size=size)
        content = forge(content, ChunkCipher(row.secret, salt=offer.seal.salt, context=context), forgery)
    material = Material(replace(row, secret=key or row.secret), opened, content, card, card.body.logs[0])
    port = HolderSide(person.context, material, cipher=None)
    remembered = leaf_path(person.context, row.transfer_id)
    if forgery is not None:
        delete_leaf_log(remembered)  # an honest one would refuse to seal other chunks than it remembers
    try:
        stream = await person.context.dial(card.body.addresses, TRANSFER_PROTOCOL)
        return await send_transfer(stream, LyingHolder(port, lies or {}), progress=ignore, deadlines=Deadlines())
    finally:
        opened.reader.close()
        if forgery is not None:
            delete_leaf_log(remembered)
