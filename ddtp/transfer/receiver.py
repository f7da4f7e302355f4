"""The receiver's side of an exchange, from hello to the last receipt (spec/08-session)."""

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Final, final

import trio

from ddtp.errors import InternalError, PeerStalled, PeerVanished
from ddtp.protocol.chunks import SealHeader, run_chunks, sealed_leaves, sealed_offset
from ddtp.protocol.messages import Accept, Ack, ChunkFrame, Finish, Hello, KeyRelease, Message, Offer
from ddtp.protocol.states import Role
from ddtp.transfer.beside import beside, together
from ddtp.transfer.channel import PIECE_BYTES, BulkSession, ready_of, receive_chunks
from ddtp.transfer.pacing import Pace, is_small
from ddtp.transfer.ports import Arrival, BulkLink, BulkLinks, Deadlines, PeerStream, ReceiverPort
from ddtp.transfer.pump import GOODBYE_SECONDS, Pump, open_pump

SYNC_BYTES: Final = 8 << 20
"""Content that is stored before it is made durable and acknowledged: small against what a second moves, and large
enough that syncing costs little."""

LEAST_SYNC_BYTES: Final = 1 << 20
SYNC_SECONDS: Final = 1.0
LONGEST_SYNC_SECONDS: Final = 10.0
"""A mebibyte is made durable and acknowledged after a second, because a person on a slow link watches it; less waits
longer, so that many who drip do not keep a disk busy."""


async def receive_transfer(
    stream: PeerStream, port: ReceiverPort, *, deadlines: Deadlines, pace: Pace | None = None
) -> None:
    """Serve one session that a holder has opened; returns when it was concluded or declined.

    Args:
        stream: From the holder; closed on every way out.
        port: Decides, stores and signs.
        deadlines: How long the holder may be silent.
        pace: Asked before a chunk is stored; while it waits nothing is read, which slows the holder. None never waits.

    Raises:
        PeerAborted: The holder gave up.
        PeerStalled: The holder was silent past a deadline.
        PeerVanished: The connection broke; the holder may offer again.
        ProtocolViolation, DecodeError: The holder broke the protocol.
        DdtpError: Whatever the port raises; its code was told to the holder.
    """
    async with open_pump(stream, Role.RECEIVER) as pump:
        await _Receiving(pump, port, stream=stream, deadlines=deadlines, pace=pace or Pace()).run()


@final
class _Receiving:
    """One run of `receive_transfer`."""

    def __init__(self, pump: Pump, port: ReceiverPort, *, stream: PeerStream, deadlines: Deadlines, pace: Pace) -> None:
        self._pump = pump
        self._port = port
        self._bulk_desk = stream.bulk_desk
        self._deadlines = deadlines
        self._pace = pace
        self._sealed_size = 1
        self._stored_chunks = 0
        self._acked_chunks = 0
        self._sync_step_chunks = self._least_sync_chunks = 1
        self._stored = trio.Event()
        self._much_stored = trio.Event()

    async def run(self) -> None:
        limits = self._deadlines
        hello = await self._pump.receive(Hello, seconds=limits.greeting_seconds)
        greeting = await self._port.greet(hello, self._pump.remote_peer_id)
        await self._pump.send(greeting, seconds=limits.greeting_seconds)
        offer = await self._pump.receive(Offer, seconds=limits.decision_seconds)
        decision = await self._port.admit(offer, self._pump.remote_peer_id)
        if isinstance(decision, Accept):
            await self._take_content(offer.seal, decision)
        else:
            await self._pump.send(decision, seconds=limits.decision_seconds)

    async def _take_content(self, seal: SealHeader, accept: Accept) -> None:
        limits = self._deadlines
        self._stored_chunks = self._acked_chunks = sum(part.stop - part.start for part in accept.have)
        self._sealed_size = sealed_offset(1, seal.chunk_size)
        self._sync_step_chunks = SYNC_BYTES // seal.chunk_size
        self._least_sync_chunks = LEAST_SYNC_BYTES // seal.chunk_size
        async with AsyncExitStack() as stack:
            expected = None
            if self._bulk_desk is not None:
                # before the holder can know of it
                token = self._pump.session.bulk_keys().token
                expecting = self._bulk_desk.expect(token, self._pump.remote_peer_id)
                expected = await stack.enter_async_context(expecting)
            await self._pump.send(accept, seconds=limits.decision_seconds)
            finish = await beside(partial(self._store_content, seal, expected), self._keep_durable)
        await self._pump.send(await self._port.complete(finish), seconds=limits.receipt_seconds)
        release = await self._pump.receive(KeyRelease, seconds=limits.receipt_seconds)
        await self._pump.send(await self._port.conclude(release), seconds=limits.receipt_seconds)

    async def _store_content(self, seal: SealHeader, expected: BulkLinks | None) -> Finish:
        """Store the content as it comes: on bulk connections, or on the stream of the session; the holder chooses."""
        links, event = await self._first_of(expected)
        if event is not None:
            if expected is not None:
                expected.release()
            return await self._store_inside(seal, event)
        bulk = BulkSession(self._pump.session, seal, links, self._deadlines.chunk_seconds)
        try:
            await receive_chunks(bulk, self._store, pace=self._pace)
        except PeerVanished:
            # a holder that gives up says why on the stream
            with suppress(PeerStalled):
                await self._pump.receive_any(seconds=GOODBYE_SECONDS)
            raise
        return await self._pump.receive(Finish, seconds=self._deadlines.chunk_seconds)

    async def _first_of(self, expected: BulkLinks | None) -> tuple[tuple[BulkLink, ...], Message | ChunkFrame | None]:
        """Wait for the first message or the first frame; a holder that gave up its bulk connections uses the stream."""
        links: tuple[BulkLink, ...] = ()
        event: Message | ChunkFrame | None = None

        async def listen() -> None:
            nonlocal event
            event = await self._pump.receive_any(seconds=self._deadlines.chunk_seconds)

        async def await_frame() -> None:
            nonlocal links
            if expected is not None:
                arrived = await expected.wait()
                if await arrived[0].begins():
                    links = arrived
                    scope.cancel()
            await trio.sleep_forever()

        with trio.CancelScope() as scope:
            await beside(listen, await_frame)
        return links, event

    async def _store_inside(self, seal: SealHeader, event: Message | ChunkFrame) -> Finish:
        """Store chunks that come on the stream of the session, as many at a time as have come."""
        most, small = run_chunks(seal.chunk_size), is_small(seal.content_bytes)
        into, chunks = trio.open_memory_channel[ChunkFrame](most)
        ended: PeerVanished | PeerStalled | None = None

        async def read() -> None:
            nonlocal event, ended
            try:
                while isinstance(event, ChunkFrame):
                    await into.send(event)
                    event = await self._pump.receive_any(seconds=self._deadlines.chunk_seconds)
            except (PeerVanished, PeerStalled) as err:
                # what has arrived whole is stored first, so that it is not sent again
                ended = err
            into.close()

        async def keep() -> None:
            async for chunk in chunks:
                # nothing is read while they wait, and the holder waits for each piece
                count = most if self._pace.is_open(small=small) else max(1, PIECE_BYTES // seal.chunk_size)
                ready = [chunk, *ready_of(chunks, count - 1)]
                await self._pace.take(sum(len(each.sealed) for each in ready), small=small)
                await self._store([_joined(run, seal.chunk_size) for run in _neighbours(ready)])

        await together(read, keep)
        if ended is not None:
            raise ended
        if not isinstance(event, Finish):
            raise InternalError(f"expected the session to refuse {type(event).__name__}, found it allowed")
        return event

    async def _store(self, arrivals: Sequence[Arrival]) -> None:
        await self._port.store(arrivals)
        self._stored_chunks += sum(-(-len(arrival.sealed) // self._sealed_size) for arrival in arrivals)
        self._stored.set()
        if self._stored_chunks - self._acked_chunks >= self._sync_step_chunks:
            self._much_stored.set()

    async def _keep_durable(self) -> None:
        """Sync what is stored, step by step, and tell the holder."""
        while True:
            await self._stored.wait()
            with trio.move_on_after(SYNC_SECONDS):
                await self._much_stored.wait()
            if self._stored_chunks - self._acked_chunks < self._least_sync_chunks:
                with trio.move_on_after(LONGEST_SYNC_SECONDS - SYNC_SECONDS):
                    await self._much_stored.wait()
            self._stored, self._much_stored = trio.Event(), trio.Event()
            durable_chunks = await self._port.sync()
            if durable_chunks > self._acked_chunks:
                try:
                    await self._pump.send(Ack(durable_chunks=durable_chunks), seconds=self._deadlines.chunk_seconds)
                except PeerVanished:
                    # it is the task that stores which ends the exchange: what has arrived is not to be sent again
                    return
                self._acked_chunks = durable_chunks


def _neighbours(chunks: Sequence[ChunkFrame]) -> Iterator[Sequence[ChunkFrame]]:
    """Split ascending chunks where one is missing between two."""
    borders = [number for number in range(1, len(chunks)) if chunks[number].index != chunks[number - 1].index + 1]
    for start, stop in zip([0, *borders], [*borders, len(chunks)], strict=True):
        yield chunks[start:stop]


def _joined(chunks: Sequence[ChunkFrame], chunk_size: int) -> Arrival:
    first, sealed = chunks[0].index, b"".join(chunk.sealed for chunk in chunks)
    return Arrival(first, sealed, partial(sealed_leaves, first, sealed, count=len(chunks), chunk_size=chunk_size))
