"""Both sides of an exchange in memory: streams that carry a peer id, and ports that decide without evidence."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import trio

from ddtp.errors import DdtpError
from ddtp.protocol.bulk import Ticket
from ddtp.protocol.chunks import sealed_size
from ddtp.protocol.codec import Buffer
from ddtp.protocol.messages import (
    Accept,
    ChunkFrame,
    Decline,
    Finish,
    Hello,
    KeyRelease,
    Message,
    Offer,
    ReceiptMessage,
)
from ddtp.protocol.session import Session
from ddtp.protocol.states import Role
from ddtp.transfer.channel import Desk
from ddtp.transfer.ports import Arrival, BulkDesk, BulkDialer, Deadlines, Progress, Run
from tests.sessions import (
    CIPHER,
    HOLDER_HELLO,
    KEY,
    RECEIVER_HELLO,
    VERIFIED,
    encode,
    leaf_of,
    make_accept,
    make_finish,
    make_offer,
    sealed_chunks,
)

DEADLINES = Deadlines()
LONGEST_SECONDS = 10 * DEADLINES.verdict_seconds
"""A test that takes longer on the mock clock hangs."""


BUFFER_BYTES = 65536
"""What lies between two ends unread, as in the buffers of a network."""


class _Pipe:
    """One direction: bytes that were sent and not yet read, within a bound."""

    def __init__(self, buffer_bytes: int) -> None:
        self._buffer_bytes = buffer_bytes
        self._data = bytearray()
        self._changed = trio.lowlevel.ParkingLot()
        self._closed = False

    async def put(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        rest = memoryview(data)
        while rest:
            if self._closed:
                raise trio.BrokenResourceError
            room = self._buffer_bytes - len(self._data)
            self._data += rest[:room]
            rest = rest[room:]
            self._changed.unpark_all()
            if rest:
                await self._changed.park()

    async def get(self, max_bytes: int) -> bytes:
        await trio.lowlevel.checkpoint()
        while not self._data and not self._closed:
            await self._changed.park()
        taken = bytes(self._data[:max_bytes])
        del self._data[:max_bytes]
        self._changed.unpark_all()
        return taken

    async def begins(self) -> bool:
        while not self._data and not self._closed:
            await self._changed.park()
        return bool(self._data)

    def close(self) -> None:
        self._closed = True
        self._changed.unpark_all()


class MemoryLink:
    """One end of a bulk connection in memory (a `BulkLink`)."""

    def __init__(self, pipe: _Pipe) -> None:
        self.pipe = pipe
        self.begins = pipe.begins
        self.close = pipe.close

    async def send(self, *parts: Buffer, moved: Callable[[int], None]) -> None:
        for part in map(memoryview, parts):
            for start in range(0, len(part), BUFFER_BYTES):
                piece = part[start : start + BUFFER_BYTES]
                await self.pipe.put(piece)
                moved(len(piece))

    async def receive_into(self, view: memoryview, *, least: int, moved: Callable[[int], None]) -> int:
        total = 0
        while total < least:
            data = await self.pipe.get(len(view) - total)
            if not data:
                raise trio.BrokenResourceError
            view[total : total + len(data)] = data
            total += len(data)
            moved(len(data))
        return total


@dataclass
class MemoryDialer:
    """Opens bulk connections to a desk (a `BulkDialer`)."""

    desk: Desk
    channels: int

    async def connect(self, token: bytes) -> tuple[MemoryLink, ...]:
        pipes = [_Pipe(BUFFER_BYTES) for _ in range(self.channels)]
        for number, pipe in enumerate(pipes):
            self.desk.find(token).add(Ticket(token, number, self.channels), MemoryLink(pipe), "holder")
        return tuple(MemoryLink(pipe) for pipe in pipes)


class MemoryStream:
    """One end of a pair in memory; bytes sent before a close still arrive."""

    def __init__(self, inward: _Pipe, outward: _Pipe, *, remote_peer_id: str) -> None:
        self._inward = inward
        self._outward = outward
        self.remote_peer_id = remote_peer_id
        self.bulk_dialer: BulkDialer | None = None
        self.bulk_desk: BulkDesk | None = None
        self.closed = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._inward.get(BUFFER_BYTES if max_bytes is None else max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._outward.put(data)

    async def aclose(self) -> None:
        self.closed = True
        self._inward.close()
        self._outward.close()
        await trio.lowlevel.checkpoint()


def stream_pair(*, buffer_bytes: int = BUFFER_BYTES) -> tuple[MemoryStream, MemoryStream]:
    """The holder's end and the receiver's end."""
    forth, back = _Pipe(buffer_bytes), _Pipe(buffer_bytes)
    return (
        MemoryStream(back, forth, remote_peer_id="receiver"),
        MemoryStream(forth, back, remote_peer_id="holder"),
    )


def bulk_pair(channels: int) -> tuple[MemoryStream, MemoryStream]:
    """The two ends of a stream between peers that have so many bulk connections for large content."""
    near, far = stream_pair()
    far.bulk_desk = desk = Desk()
    near.bulk_dialer = MemoryDialer(desk, channels)
    return near, far


@dataclass
class HolderSide:
    """A sender port with made-up chunks; `fail_in` names the method that raises `failure`."""

    offered: Offer = field(default_factory=lambda: make_offer(3 * 65536 + 100))
    fail_in: str = ""
    failure: DdtpError | None = None
    yielded: int = 0
    progress: list[Progress] = field(default_factory=list)
    block_in: str = ""
    longest_run: int = 3

    async def _enter(self, name: str) -> None:
        await trio.lowlevel.checkpoint()
        if name == self.block_in:
            await trio.sleep_forever()
        if name == self.fail_in and self.failure is not None:
            raise self.failure

    def hello(self) -> Hello:
        return HOLDER_HELLO

    async def offer(self, hello: Hello, remote_peer_id: str) -> Offer:
        await self._enter("offer")
        assert (hello, remote_peer_id) == (RECEIVER_HELLO, "receiver")
        return self.offered

    async def runs(self, accept: Accept, *, most_chunks: int) -> AsyncGenerator[Run, None]:
        held = {index for part in accept.have for index in range(part.start, part.stop)}
        assert most_chunks >= 1
        chunks = sealed_chunks(self.offered)
        first = 0
        while first < len(chunks):
            await self._enter("runs")
            stop = first + 1
            longest = min(self.longest_run, most_chunks)
            # none across a chunk that the receiver holds
            while first not in held and stop < min(len(chunks), first + longest) and stop not in held:
                stop += 1
            self.yielded += stop - first
            if first not in held:
                run = chunks[first:stop]
                leaves = b"".join(leaf_of(index, sealed) for index, sealed in enumerate(run, first))
                yield Run(first, stop - first, b"".join(run), leaves)
            first = stop

    async def finish(self) -> Finish:
        await self._enter("finish")
        return make_finish(self.offered)

    async def release_key(self, receipt: ReceiptMessage) -> KeyRelease:
        await self._enter("release_key")
        assert receipt == CIPHER
        return KEY


class HeldSide(HolderSide):
    """A holder whose receiver has all chunks already, so that nobody has to make them."""

    async def runs(self, accept: Accept, *, most_chunks: int) -> AsyncGenerator[Run, None]:
        assert accept.have
        for run in [Run(0, most_chunks, b"", b"")][1:]:
            yield run

    async def finish(self) -> Finish:
        seal = self.offered.seal
        # the last one is short, or empty
        return Finish(self.offered.transfer_id, seal.content_bytes // seal.chunk_size + 1, bytes(32))


@dataclass
class ReceiverSide:
    """A receiver port that keeps chunks in a dictionary; `fail_in` names the method that raises `failure`."""

    decision: Accept | Decline | ReceiptMessage = field(default_factory=make_accept)
    verdict: ReceiptMessage = VERIFIED
    stored: dict[int, bytes] = field(default_factory=dict)
    held: int = 0
    store_seconds: float = 0
    fail_in: str = ""
    failure: DdtpError | None = None
    block_in: str = ""
    offer: Offer | None = None
    finish: Finish | None = None

    async def _enter(self, name: str) -> None:
        await trio.lowlevel.checkpoint()
        if name == self.block_in:
            await trio.sleep_forever()
        if name == self.fail_in and self.failure is not None:
            raise self.failure

    async def greet(self, hello: Hello, remote_peer_id: str) -> Hello:
        await self._enter("greet")
        assert (hello, remote_peer_id) == (HOLDER_HELLO, "holder")
        return RECEIVER_HELLO

    async def admit(self, offer: Offer, remote_peer_id: str) -> Accept | Decline | ReceiptMessage:
        await self._enter("admit")
        assert remote_peer_id == "holder"
        self.offer = offer
        return self.decision

    async def store(self, arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            await self._store(arrival)

    async def _store(self, arrival: Arrival) -> None:
        await self._enter("store")
        assert self.offer is not None, "chunks follow an offer"
        size, sealed = sealed_size(0, self.offer.seal), arrival.sealed
        pieces = [bytes(sealed[start : start + size]) for start in range(0, len(sealed), size)]
        await trio.sleep(self.store_seconds * len(pieces))
        leaves = arrival.examine()
        assert leaves == b"".join(leaf_of(index, piece) for index, piece in enumerate(pieces, arrival.first))
        self.stored |= dict(enumerate(pieces, arrival.first))

    async def sync(self) -> int:
        await self._enter("sync")
        return len(self.stored) + self.held

    async def complete(self, finish: Finish) -> ReceiptMessage:
        await self._enter("complete")
        self.finish = finish
        return CIPHER

    async def conclude(self, release: KeyRelease) -> ReceiptMessage:
        await self._enter("conclude")
        assert release == KEY
        return self.verdict


class Puppet:
    """A peer that says exactly what a test tells it to."""

    def __init__(self, stream: MemoryStream, role: Role) -> None:
        self.stream = stream
        self.session = Session(role)

    async def say(self, *messages: Message | ChunkFrame) -> None:
        """Send messages that the session allows."""
        for message in messages:
            await self.stream.send_all(encode(self.session, message))

    async def hear(self) -> Message | ChunkFrame:
        """Return the next message of the other side."""
        while (event := self.session.next_event()) is None:
            data = await self.stream.receive_some(self.session.wanted_bytes)
            if not data:
                raise EOFError(f"the other side closed in state {self.session.state}")
            self.session.receive_data(data)
        return event

    async def blurt(self, data: bytes) -> None:
        """Send bytes that no session has looked at; the other side may close in the middle of them."""
        with suppress(trio.BrokenResourceError):
            await self.stream.send_all(data)

    async def drain(self) -> None:
        """Read until the other side closes."""
        while await self.stream.receive_some(65536):
            pass
