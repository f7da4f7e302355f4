"""Moves runs of chunks over bulk connections (spec/14-transport s.8).

A bulk connection is made and authenticated as every other one and then carries sealed chunks and nothing else, so that
they pass neither Yamux nor Noise: they are sealed for the receiver already, and each frame has a tag that only the two
ends of the session can make. Runs take turns on the connections of a session; whoever receives reads them in the same
turn, so several connections fill a long path and the order stays.
"""

import itertools
import math
import socket as sockets
import struct
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar, final

import trio

from ddtp.errors import PeerStalled, PeerVanished, ProtocolViolation
from ddtp.protocol.bulk import FRAME_HEADER, FRAME_TAG_SIZE, Ticket, check_frame_tag, frame_tag
from ddtp.protocol.chunks import SealHeader, run_chunks, sealed_leaves, sealed_offset, sealed_range
from ddtp.protocol.codec import Buffer
from ddtp.protocol.session import Session
from ddtp.transfer.beside import together
from ddtp.transfer.pacing import Pace, is_small
from ddtp.transfer.ports import Arrival, BulkLink, Run
from ddtp.transfer.pump import SLOWEST_BYTES_PER_SECOND

PIECE_BYTES: Final = 256 << 10
"""Collected by the system before it wakes the receiver: a quarter of a frame, so that neither side waits for the other,
and a slow link shows that it moves."""

BUFFERS: Final = 8
"""Frames in memory per receiving session: half of them arrive while the other half is examined and stored."""

QUEUED_RUNS: Final = 4
"""Per connection, sealed and not yet being sent: as many as are sent in one call, at most."""

FRAME_BYTES: Final = 1 << 20
"""What has moved wins a side no more time than this much: a peer at the slowest rate may take a frame at once."""

LONG_PATH_SECONDS: Final = 0.02
"""Round trip from which one connection with the usual largest window (6 MiB) no longer fills 2.5 Gbit/s."""

LONG_PATH_CHANNELS: Final = 4
"""They fill 1.2 Gbit/s at a round trip of 160 ms; a lost packet holds up all, as frames come in turn (spec/14 s.8)."""

Item = TypeVar("Item")
Received = TypeVar("Received")

_ROUND_TRIP: Final = struct.Struct("=148xI")
"""Shortest round trip so far in microseconds, in Linux's `struct tcp_info` (linux/tcp.h); load does not lengthen it."""


def channels_for(socket: trio.SocketStream) -> int:
    """Return how many connections the path of a socket is worth; one where the system does not tell."""
    if sys.platform != "linux":
        return 1
    told = socket.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_INFO, _ROUND_TRIP.size)
    (microseconds,) = _ROUND_TRIP.unpack(told)
    return LONG_PATH_CHANNELS if microseconds / 1e6 >= LONG_PATH_SECONDS else 1


@final
class SocketLink:
    """A `BulkLink` over a TCP connection that has been taken over.

    Trio's own sockets let other tasks run after every call. This one does so only when it waits: at this rate of calls
    that spares a tenth of the processor time of each side.

    Args:
        socket: Its descriptor is taken; the object is closed from then on.
    """

    def __init__(self, socket: trio.SocketStream) -> None:
        self._socket = sockets.socket(fileno=socket.socket.detach())
        self._socket.setblocking(False)
        self._low_water = 0

    async def send(self, *parts: Buffer, moved: Callable[[int], None]) -> None:
        """See `BulkLink`."""
        rest, whole = [memoryview(part) for part in parts], False
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            while rest:
                try:
                    sent = self._socket.sendmsg(rest)
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._socket.fileno())
                else:
                    moved(sent)
                    rest = _after(rest, sent)
            whole = True
        except (OSError, trio.ClosedResourceError) as err:
            raise trio.BrokenResourceError("the connection broke") from err
        finally:
            if not whole:
                self.close()

    async def receive_into(self, view: memoryview, *, least: int, moved: Callable[[int], None]) -> int:
        """See `BulkLink`."""
        total = 0
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            while total < least:
                # else Linux wakes us for every few packets; never more than what is surely still to come
                self._wake_at(min(least - total, PIECE_BYTES))
                received = await self._when_readable(partial(self._socket.recv_into, view[total:]))
                if not received:
                    raise trio.BrokenResourceError("the connection ended")
                moved(received)
                total += received
            return total
        except (OSError, trio.ClosedResourceError) as err:
            raise trio.BrokenResourceError("the connection broke") from err

    async def _when_readable(self, receive: Callable[[], Received]) -> Received:
        while True:
            try:
                return receive()
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._socket.fileno())

    def _wake_at(self, size: int) -> None:
        if size != self._low_water:
            self._socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVLOWAT, size)
            self._low_water = size

    async def begins(self) -> bool:
        """See `BulkLink`."""
        try:
            return bool(await self._when_readable(partial(self._socket.recv, 1, sockets.MSG_PEEK)))
        except (OSError, trio.ClosedResourceError):
            return False

    def close(self) -> None:
        """See `BulkLink`."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket.fileno())
            self._socket.close()


def _after(parts: Sequence[memoryview], sent_bytes: int) -> list[memoryview]:
    """Return what is left of some parts."""
    rest = []
    for part in parts:
        if sent_bytes < len(part):
            rest.append(part[sent_bytes:])
        sent_bytes = max(0, sent_bytes - len(part))
    return rest


@final
class Expected:
    """The bulk connections of one expected session (a `BulkLinks`)."""

    def __init__(self, remote_peer_id: str) -> None:
        self._remote_peer_id = remote_peer_id
        self._links: dict[int, BulkLink] = {}
        self._channels = 0
        self._complete = trio.Event()
        self.released = trio.Event()

    async def wait(self) -> tuple[BulkLink, ...]:
        """See `BulkLinks`."""
        await self._complete.wait()
        return tuple(self._links[number] for number in range(self._channels))

    def check(self, ticket: Ticket, remote_peer_id: str) -> None:
        """Check that a connection is one of those that are expected.

        Raises:
            ProtocolViolation: It is somebody else's, or does not fit those that came before.
        """
        if remote_peer_id != self._remote_peer_id:
            raise ProtocolViolation(f"expected a bulk connection of {self._remote_peer_id}, found {remote_peer_id}")
        if self.released.is_set():
            raise ProtocolViolation(
                "expected a session that waits for bulk connections, found one that goes on without"
            )
        if (self._links and ticket.channels != self._channels) or ticket.number in self._links:
            raise ProtocolViolation("expected a bulk connection that fits the others, found one that does not")

    def add(self, ticket: Ticket, link: BulkLink, remote_peer_id: str) -> None:
        """Take a connection.

        Raises:
            ProtocolViolation: As `check` does; the connection is closed.
        """
        try:
            self.check(ticket, remote_peer_id)
        except ProtocolViolation:
            link.close()
            raise
        self._channels = ticket.channels
        self._links[ticket.number] = link
        if len(self._links) == self._channels:
            self._complete.set()

    def release(self) -> None:
        """See `BulkLinks`; whoever brought a connection is let go."""
        for link in self._links.values():
            link.close()
        self.released.set()


@final
class Desk:
    """Where bulk connections are brought together with the sessions that expect them (a `BulkDesk`)."""

    def __init__(self) -> None:
        self._expected: dict[bytes, Expected] = {}

    @asynccontextmanager
    async def expect(self, token: bytes, remote_peer_id: str) -> AsyncIterator[Expected]:
        """See `BulkDesk`."""
        expected = self._expected[token] = Expected(remote_peer_id)
        try:
            yield expected
        finally:
            del self._expected[token]
            expected.release()

    def find(self, token: bytes) -> Expected:
        """Return the session that expects a token.

        Raises:
            ProtocolViolation: There is none.
        """
        expected = self._expected.get(token)
        if expected is None:
            raise ProtocolViolation("expected the token of a running session, found another one")
        return expected


@dataclass(frozen=True, slots=True)
class BulkSession:
    """What both ends know about the chunks on bulk connections.

    Attributes:
        session: Keeps account of the chunks.
        seal: Sizes of the content.
        links: The connections, in the order of their numbers.
        stall_seconds: How long the peer may move nothing, before what several connections add (`_Patience`).
    """

    session: Session
    seal: SealHeader
    links: Sequence[BulkLink]
    stall_seconds: float

    @property
    def most_chunks(self) -> int:
        """Chunks in one frame."""
        return run_chunks(self.seal.chunk_size)

    @property
    def is_small(self) -> bool:
        """True if the content does not wait for that of large packages."""
        return is_small(self.seal.content_bytes)


async def send_runs(bulk: BulkSession, runs: AsyncGenerator[Run, None], *, pace: Pace) -> None:
    """Send runs, each on the next connection; several connections are written to at the same time.

    Args:
        bulk: What is known of the session.
        runs: Closed on every way out.
        pace: Asked for each run right before it is written; those that need not wait are written together.

    Raises:
        PeerStalled: The peer took nothing in time.
        PeerVanished: A connection broke.
        DdtpError: Whatever making the runs raises.
    """
    frame_key, patience = bulk.session.bulk_keys().frame_key, _Patience(bulk, seen_links=len(bulk.links))
    queues = [trio.open_memory_channel[Run](QUEUED_RUNS) for _ in bulk.links]

    async def make() -> None:
        turn = itertools.cycle(into for into, _ in queues)
        async with aclosing(runs):
            async for run in runs:
                bulk.session.carry_chunks(run.first, run.count)
                await next(turn).send(run)
        for into, _ in queues:
            into.close()

    async def write(link: BulkLink, source: trio.MemoryReceiveChannel[Run]) -> None:
        async for run in source:
            parts: list[Buffer] = []
            for each in itertools.chain((run,), ready_of(source, QUEUED_RUNS - 1)):
                if parts and not pace.is_open(small=bulk.is_small):
                    # what may pass goes before the next one waits, which would look like silence
                    await send(link, parts)
                    parts = []
                await pace.take(len(each.sealed), small=bulk.is_small)
                header = FRAME_HEADER.pack(each.first, each.count)
                parts += header, each.sealed, frame_tag(frame_key, header, each.leaves)
            await send(link, parts)

    async def send(link: BulkLink, parts: Sequence[Buffer]) -> None:
        with patience.frame() as moved:
            await link.send(*parts, moved=moved)

    writers = [partial(write, link, source) for link, (_, source) in zip(bulk.links, queues, strict=True)]
    await together(make, *writers)


async def receive_chunks(
    bulk: BulkSession, store: Callable[[Sequence[Arrival]], Awaitable[None]], *, pace: Pace
) -> None:
    """Receive all missing chunks and have them stored, some frames at a time; the next ones are received meanwhile.

    Args:
        bulk: What is known of the session.
        store: Examines and keeps the chunks of some frames; their buffers are used again when it returns.
        pace: Asked before each frame is handed on to be stored; while it waits nothing is read.

    Raises:
        PeerStalled: Nothing came in time.
        PeerVanished: A connection ended or broke before the last chunk.
        ProtocolViolation: The peer sent what the session does not allow, or somebody changed it on the way.
        DdtpError: Whatever storing raises.
    """
    await _Receiving(bulk, store, pace).run()


@final
class _Receiving:
    """One run of `receive_chunks`: two tasks, of which the first fills buffers and the second gives them back."""

    def __init__(self, bulk: BulkSession, store: Callable[[Sequence[Arrival]], Awaitable[None]], pace: Pace) -> None:
        self._bulk = bulk
        self._store = store
        self._pace = pace
        self._give_back, self._free = trio.open_memory_channel[bytearray](BUFFERS)
        self._to_store, self._arrived = trio.open_memory_channel[tuple[Arrival, bytearray]](BUFFERS)
        self._ended: PeerVanished | PeerStalled | None = None

    async def run(self) -> None:
        largest = sealed_offset(self._bulk.most_chunks, self._bulk.seal.chunk_size)
        for _ in range(BUFFERS):
            self._give_back.send_nowait(bytearray(largest + FRAME_TAG_SIZE + FRAME_HEADER.size))
        await together(self._receive, self._keep)
        if self._ended is not None:
            raise self._ended

    async def _receive(self) -> None:
        patience = _Patience(self._bulk, seen_links=1)
        for inlet in itertools.cycle([_Inlet(self._bulk, link, patience) for link in self._bulk.links]):
            if self._bulk.session.all_chunks_carried:
                break
            buffer = await self._free.receive()
            try:
                arrival = await inlet.receive(buffer)
            except (PeerVanished, PeerStalled) as err:
                # what has arrived whole is examined and stored first, so that it is not sent again
                self._ended = err
                break
            await self._pace.take(len(arrival.sealed), small=self._bulk.is_small)
            self._to_store.send_nowait((arrival, buffer))
        self._to_store.close()

    async def _keep(self) -> None:
        async for first in self._arrived:
            ready = [first, *ready_of(self._arrived, BUFFERS // 2 - 1)]
            await self._store([arrival for arrival, _buffer in ready])
            for _arrival, buffer in ready:
                self._give_back.send_nowait(buffer)


@final
class _Inlet:
    """Cuts what comes on one connection into frames."""

    def __init__(self, bulk: BulkSession, link: BulkLink, patience: "_Patience") -> None:
        self._bulk = bulk
        self._link = link
        self._patience = patience
        self._frame_key = bulk.session.bulk_keys().frame_key
        self._ahead = b""

    async def receive(self, buffer: bytearray) -> Arrival:
        """Receive one frame into a buffer; of the next one at most its header is taken."""
        with self._patience.frame() as moved:
            header = await self._header(moved)
            first, count = FRAME_HEADER.unpack(header)
            if not 0 < count <= self._bulk.most_chunks:
                raise ProtocolViolation(f"expected 1 to {self._bulk.most_chunks} chunks in a frame, found {count}")
            self._bulk.session.carry_chunks(first, count)
            _start, size = sealed_range(first, count, self._bulk.seal)
            end = size + FRAME_TAG_SIZE
            view = memoryview(buffer)
            received = await self._link.receive_into(view[: end + FRAME_HEADER.size], least=end, moved=moved)
        self._ahead = bytes(view[end:received])
        sealed, tag = view[:size], bytes(view[size:end])
        return Arrival(first, sealed, partial(self._examine, header, sealed, tag))

    async def _header(self, moved: Callable[[int], None]) -> bytes:
        header = bytearray(FRAME_HEADER.size)
        header[: len(self._ahead)] = self._ahead
        missing = len(header) - len(self._ahead)
        if missing:
            await self._link.receive_into(memoryview(header)[-missing:], least=missing, moved=moved)
        return bytes(header)

    def _examine(self, header: bytes, sealed: memoryview, tag: bytes) -> bytes:
        first, count = FRAME_HEADER.unpack(header)
        leaves = sealed_leaves(first, sealed, count=count, chunk_size=self._bulk.seal.chunk_size)
        check_frame_tag(self._frame_key, header, leaves, tag)
        return leaves


def ready_of(source: trio.MemoryReceiveChannel[Item], most: int) -> Iterator[Item]:
    """Yield at most `most` items that can be had without waiting."""
    with suppress(trio.WouldBlock, trio.EndOfChannel):
        for _ in range(most):
            yield source.receive_nowait()


@final
class _Patience:
    """How long one side waits on the bulk connections of a session (spec/14 s.8): one deadline for all of them.

    Args:
        bulk: What is known of the session.
        seen_links: On how many connections this side sees what moves; a byte there stands for one on each other, as
            all share the path.
    """

    def __init__(self, bulk: BulkSession, *, seen_links: int) -> None:
        unseen = len(bulk.links) / seen_links
        self._bytes_per_second = SLOWEST_BYTES_PER_SECOND / unseen
        # less than a piece does not show
        self._least_seconds = bulk.stall_seconds + len(bulk.links) * PIECE_BYTES / SLOWEST_BYTES_PER_SECOND
        self._most_seconds = self._least_seconds + FRAME_BYTES / self._bytes_per_second
        self._deadline = self._moved_at = -math.inf
        self._scopes: set[trio.CancelScope] = set()

    @contextmanager
    def frame(self) -> Iterator[Callable[[int], None]]:
        """Wait for frames to move on one connection; yields what is told of every byte that does.

        Raises:
            PeerStalled: The deadline passed.
            PeerVanished: The connection broke.
        """
        begun_at, scope = trio.current_time(), trio.CancelScope()
        self._deadline = max(self._deadline, begun_at + self._least_seconds)
        self._scopes.add(scope)
        self._limit()
        try:
            with scope:
                yield self._move
        except trio.BrokenResourceError as err:
            raise PeerVanished("expected the bulk connection to last, found it broken") from err
        finally:
            self._scopes.remove(scope)
        if scope.cancelled_caught:
            silent_seconds = trio.current_time() - max(begun_at, self._moved_at)
            least = f"{SLOWEST_BYTES_PER_SECOND >> 10} KiB per second"
            raise PeerStalled(f"expected chunks at {least} at least, found silence for {silent_seconds:.0f} s")

    def _move(self, size_bytes: int) -> None:
        self._moved_at = trio.current_time()
        self._deadline += size_bytes / self._bytes_per_second
        self._limit()

    def _limit(self) -> None:
        """Let all that is waited for end with the deadline, which is never too far away."""
        self._deadline = min(self._deadline, trio.current_time() + self._most_seconds)
        for scope in self._scopes:
            scope.deadline = self._deadline
