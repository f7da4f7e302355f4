"""Moves runs of chunks over bulk connections (spec/14-transport s.6).

A bulk connection is made and authenticated as every other one and then carries sealed chunks and nothing else, so that
they pass neither Yamux nor Noise: they are sealed for the receiver already, and each frame has a tag that only the two
ends of the session can make. Runs take turns on the connections of a session; whoever receives reads them in the same
turn, so several connections fill a long path and the order stays.
"""

import itertools
import os
import socket as sockets
import struct
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, final

import trio

from ddtp.errors import PeerStalled, PeerVanished, ProtocolViolation
from ddtp.protocol.bulk import FRAME_HEADER, FRAME_TAG_SIZE, Ticket, check_frame_tag, frame_chunks, frame_tag
from ddtp.protocol.chunks import SealHeader, sealed_leaves, sealed_offset, sealed_range
from ddtp.protocol.codec import Buffer
from ddtp.protocol.session import Session
from ddtp.transfer.beside import together
from ddtp.transfer.ports import BulkLink, Run
from ddtp.transfer.pump import SLOWEST_BYTES_PER_SECOND

WAKE_BYTES: Final = 256 << 10
"""Bytes that the system collects before it wakes the receiver: a quarter of a frame, so that the sender never waits."""

BUFFERS: Final = 4
"""Frames in memory per receiving session: one arrives, one is hashed, one is written, one lies in between."""

HASHING: Final = min(4, os.cpu_count() or 1)
"""Frames of all sessions that are hashed at a time: more would not be hashed sooner."""

QUEUED_RUNS: Final = 1
"""Per connection, sealed and not yet being sent: the next one is ready when a write ends."""


LONG_PATH_SECONDS: Final = 0.02
"""Round trip from which one connection with the usual largest window (6 MiB) no longer fills 2.5 Gbit/s."""

LONG_PATH_CHANNELS: Final = 4
"""They fill 1.2 Gbit/s at a round trip of 160 ms, and a lost packet slows a quarter of the transfer."""

SHORT_PATH_SECONDS: Final = 0.0002
"""Round trip up to which `SHORT_PATH_BUFFER_BYTES` fill 10 Gbit/s: one machine, or one rack."""

SHORT_PATH_BUFFER_BYTES: Final = 256 << 10
"""What the system may hold at each end of a short path. Left alone it holds several MiB there, all of which a receiver
that is killed takes with it."""

_ROUND_TRIP: Final = struct.Struct("=148xI")
"""Shortest round trip so far in microseconds, in Linux's `struct tcp_info` (linux/tcp.h); load does not lengthen it."""


def channels_for(socket: trio.SocketStream) -> int:
    """Return how many connections the path of a socket is worth; one where the system does not tell."""
    seconds = _round_trip_seconds(socket)
    return LONG_PATH_CHANNELS if seconds is not None and seconds >= LONG_PATH_SECONDS else 1


def _round_trip_seconds(socket: trio.SocketStream) -> float | None:
    if sys.platform != "linux":
        return None
    told = socket.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_INFO, _ROUND_TRIP.size)
    (microseconds,) = _ROUND_TRIP.unpack(told)
    return float(microseconds / 1e6)


@final
class SocketLink:
    """A `BulkLink` over a TCP connection that has been taken over."""

    def __init__(self, socket: trio.SocketStream) -> None:
        self._socket = socket
        self._wake_bytes = WAKE_BYTES
        seconds = _round_trip_seconds(socket)
        if seconds is not None and seconds < SHORT_PATH_SECONDS:
            self._wake_bytes = SHORT_PATH_BUFFER_BYTES // 2
            for buffer in (sockets.SO_SNDBUF, sockets.SO_RCVBUF):
                socket.setsockopt(sockets.SOL_SOCKET, buffer, SHORT_PATH_BUFFER_BYTES)

    async def send(self, *parts: Buffer) -> None:
        """See `BulkLink`."""
        whole = False
        try:
            for part in parts:
                await self._socket.send_all(memoryview(part))
            whole = True
        finally:
            if not whole:
                self.close()

    async def receive_into(self, view: memoryview) -> None:
        """See `BulkLink`."""
        raw = self._socket.socket
        try:
            while view:
                # else Linux wakes us for every few packets; never more than what is surely still to come
                raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVLOWAT, min(len(view), self._wake_bytes))
                received = await raw.recv_into(view)
                if not received:
                    raise trio.BrokenResourceError("the connection ended")
                view = view[received:]
        except OSError as err:
            raise trio.BrokenResourceError("the connection broke") from err

    def close(self) -> None:
        """See `BulkLink`."""
        self._socket.socket.close()


@final
class Arrival:
    """The bulk connections of one expected session (a `BulkArrival`)."""

    def __init__(self, remote_peer_id: str) -> None:
        self._remote_peer_id = remote_peer_id
        self._links: dict[int, BulkLink] = {}
        self._channels = 0
        self._complete = trio.Event()
        self.released = trio.Event()

    async def wait(self) -> tuple[BulkLink, ...]:
        """See `BulkArrival`."""
        await self._complete.wait()
        return tuple(self._links[number] for number in range(self._channels))

    def add(self, ticket: Ticket, link: BulkLink, remote_peer_id: str) -> None:
        """Take a connection.

        Raises:
            ProtocolViolation: It is somebody else's, or does not fit those that came before.
        """
        if remote_peer_id != self._remote_peer_id:
            raise ProtocolViolation(f"expected a bulk connection of {self._remote_peer_id}, found {remote_peer_id}")
        if (self._links and ticket.channels != self._channels) or ticket.number in self._links:
            raise ProtocolViolation("expected a bulk connection that fits the others, found one that does not")
        self._channels = ticket.channels
        self._links[ticket.number] = link
        if len(self._links) == self._channels:
            self._complete.set()

    def release(self) -> None:
        """Close all connections, and let go whoever brought them."""
        for link in self._links.values():
            link.close()
        self.released.set()


@final
class Desk:
    """Where bulk connections are brought together with the sessions that expect them (a `BulkDesk`).

    Attributes:
        hashing: As in `BulkDesk`: with one thread per session, all others of the process would wait for a processor.
    """

    def __init__(self) -> None:
        self.hashing = trio.CapacityLimiter(HASHING)
        self._expected: dict[bytes, Arrival] = {}

    @asynccontextmanager
    async def expect(self, token: bytes, remote_peer_id: str) -> AsyncIterator[Arrival]:
        """See `BulkDesk`."""
        arrival = self._expected[token] = Arrival(remote_peer_id)
        try:
            yield arrival
        finally:
            del self._expected[token]
            arrival.release()

    def find(self, token: bytes) -> Arrival:
        """Return the session that expects a token.

        Raises:
            ProtocolViolation: There is none.
        """
        arrival = self._expected.get(token)
        if arrival is None:
            raise ProtocolViolation("expected the token of a running session, found another one")
        return arrival


@dataclass(frozen=True, slots=True)
class BulkSession:
    """What both ends know about the chunks on bulk connections.

    Attributes:
        session: Keeps account of the chunks.
        seal: Sizes of the content.
        links: The connections, in the order of their numbers.
        stall_seconds: How long the peer may move nothing.
        hashing: Held while a received frame is hashed.
    """

    session: Session
    seal: SealHeader
    links: Sequence[BulkLink]
    stall_seconds: float
    hashing: trio.CapacityLimiter | None = None

    @property
    def most_chunks(self) -> int:
        """Chunks in one frame."""
        return frame_chunks(self.seal.chunk_size)


async def send_runs(bulk: BulkSession, runs: AsyncGenerator[Run, None]) -> None:
    """Send runs, each on the next connection; several connections are written to at the same time.

    Raises:
        PeerStalled: The peer took nothing in time.
        PeerVanished: A connection broke.
        DdtpError: Whatever making the runs raises.
    """
    frame_key = bulk.session.bulk_keys().frame_key
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
            header = FRAME_HEADER.pack(run.first, run.count)
            tag = frame_tag(frame_key, header, run.leaves)
            with _moving(bulk, len(run.sealed)):
                await link.send(header, run.sealed, tag)

    writers = [partial(write, link, source) for link, (_, source) in zip(bulk.links, queues, strict=True)]
    await together(make, *writers)


async def receive_runs(bulk: BulkSession, store: Callable[[Run], Awaitable[None]]) -> None:
    """Receive all missing chunks and store each run once its tag was checked; receiving, hashing and storing overlap.

    Args:
        bulk: What is known of the session.
        store: Keeps a run; its buffers are used again when it returns.

    Raises:
        PeerStalled: Nothing came in time.
        PeerVanished: A connection ended or broke before the last chunk.
        ProtocolViolation: The peer sent what the session does not allow, or somebody changed it on the way.
        DdtpError: Whatever storing raises.
    """
    await _Receiving(bulk, store).run()


@dataclass(frozen=True, slots=True)
class _Frame:
    """A frame as it arrived in one of the buffers."""

    buffer: bytearray
    header: bytes
    first: int
    count: int
    sealed: memoryview
    tag: memoryview


@final
class _Receiving:
    """One run of `receive_runs`: three tasks, which hand buffers on to each other and back to the first."""

    def __init__(self, bulk: BulkSession, store: Callable[[Run], Awaitable[None]]) -> None:
        self._bulk = bulk
        self._store = store
        self._frame_key = bulk.session.bulk_keys().frame_key
        self._give_back, self._free = trio.open_memory_channel[bytearray](BUFFERS)
        self._to_examine, self._arrived = trio.open_memory_channel[_Frame](1)
        self._to_store, self._examined = trio.open_memory_channel[tuple[Run, bytearray]](1)
        self._ended: PeerVanished | PeerStalled | None = None

    async def run(self) -> None:
        size = sealed_offset(self._bulk.most_chunks, self._bulk.seal.chunk_size) + FRAME_TAG_SIZE
        for _ in range(BUFFERS):
            self._give_back.send_nowait(bytearray(size))
        await together(self._receive, self._examine, self._keep)
        if self._ended is not None:
            raise self._ended

    async def _receive(self) -> None:
        for link in itertools.cycle(self._bulk.links):
            if self._bulk.session.all_chunks_carried:
                break
            try:
                frame = await _receive_frame(self._bulk, link, await self._free.receive())
            except (PeerVanished, PeerStalled) as err:
                # what has arrived whole is examined and stored first, so that it is not sent again
                self._ended = err
                break
            await self._to_examine.send(frame)
        self._to_examine.close()

    async def _examine(self) -> None:
        chunk_size = self._bulk.seal.chunk_size
        async for frame in self._arrived:
            hashing = partial(sealed_leaves, frame.first, frame.sealed, count=frame.count, chunk_size=chunk_size)
            leaves = await trio.to_thread.run_sync(hashing, limiter=self._bulk.hashing)
            check_frame_tag(self._frame_key, frame.header, leaves, frame.tag)
            await self._to_store.send((Run(frame.first, frame.count, frame.sealed, leaves), frame.buffer))
        self._to_store.close()

    async def _keep(self) -> None:
        async for run, buffer in self._examined:
            await self._store(run)
            self._give_back.send_nowait(buffer)


async def _receive_frame(bulk: BulkSession, link: BulkLink, buffer: bytearray) -> _Frame:
    header = bytearray(FRAME_HEADER.size)
    with _moving(bulk, len(header)):
        await link.receive_into(memoryview(header))
    first, count = FRAME_HEADER.unpack(header)
    if not 0 < count <= bulk.most_chunks:
        raise ProtocolViolation(f"expected 1 to {bulk.most_chunks} chunks in a frame, found {count}")
    bulk.session.carry_chunks(first, count)
    _start, size = sealed_range(first, count, bulk.seal)
    view = memoryview(buffer)[: size + FRAME_TAG_SIZE]
    with _moving(bulk, size):
        await link.receive_into(view)
    return _Frame(buffer, bytes(header), first, count, view[:size], view[size:])


@contextmanager
def _moving(bulk: BulkSession, size_bytes: int) -> Iterator[None]:
    """Give a frame its time, and say what it means when it does not move."""
    try:
        with trio.fail_after(bulk.stall_seconds + size_bytes / SLOWEST_BYTES_PER_SECOND):
            yield
    except trio.TooSlowError as err:
        raise PeerStalled(f"expected chunks to move within {bulk.stall_seconds:.0f} s, found silence") from err
    except (trio.BrokenResourceError, trio.ClosedResourceError) as err:
        raise PeerVanished("expected the bulk connection to last, found it broken") from err
