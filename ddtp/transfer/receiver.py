"""The receiver's side of an exchange, from hello to the last receipt (spec/08-session)."""

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Final, final

import trio

from ddtp.errors import InternalError, PeerStalled, PeerVanished
from ddtp.protocol.bulk import frame_chunks
from ddtp.protocol.chunks import SealHeader, sealed_leaves
from ddtp.protocol.messages import Accept, Ack, ChunkFrame, Finish, Hello, KeyRelease, Message, Offer
from ddtp.protocol.states import Role
from ddtp.transfer.beside import beside, together
from ddtp.transfer.channel import BulkSession, receive_runs
from ddtp.transfer.ports import BulkArrival, BulkLink, Deadlines, PeerStream, ReceiverPort, Run
from ddtp.transfer.pump import GOODBYE_SECONDS, Pump, open_pump

SYNC_BYTES: Final = 8 << 20
"""Content that is stored before it is made durable and acknowledged: small against what a second moves, and large
enough that syncing costs little."""

SYNC_SECONDS: Final = 1.0
"""Less content than that is made durable and acknowledged after this time: a person on a slow link watches it."""


async def receive_transfer(stream: PeerStream, port: ReceiverPort, *, deadlines: Deadlines) -> None:
    """Serve one session that a holder has opened; returns when it was concluded or declined.

    Args:
        stream: From the holder; closed on every way out.
        port: Decides, stores and signs.
        deadlines: How long the holder may be silent.

    Raises:
        PeerAborted: The holder gave up.
        PeerStalled: The holder was silent past a deadline.
        PeerVanished: The connection broke; the holder may offer again.
        ProtocolViolation, DecodeError: The holder broke the protocol.
        DdtpError: Whatever the port raises; its code was told to the holder.
    """
    async with open_pump(stream, Role.RECEIVER) as pump:
        await _Receiving(pump, port, stream=stream, deadlines=deadlines).run()


@final
class _Receiving:
    """One run of `receive_transfer`."""

    def __init__(self, pump: Pump, port: ReceiverPort, *, stream: PeerStream, deadlines: Deadlines) -> None:
        self._pump = pump
        self._port = port
        self._bulk_desk = stream.bulk_desk
        self._deadlines = deadlines
        self._stored_chunks = 0
        self._acked_chunks = 0
        self._sync_step_chunks = 1
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
        self._sync_step_chunks = max(1, SYNC_BYTES // seal.chunk_size)
        async with AsyncExitStack() as stack:
            arrival = None
            if self._bulk_desk is not None:
                # expected before the holder can know of it
                token = self._pump.session.bulk_keys().token
                expected = self._bulk_desk.expect(token, self._pump.remote_peer_id)
                arrival = await stack.enter_async_context(expected)
            await self._pump.send(accept, seconds=limits.decision_seconds)
            finish = await beside(partial(self._store_content, seal, arrival), self._keep_durable)
        await self._pump.send(await self._port.complete(finish), seconds=limits.receipt_seconds)
        release = await self._pump.receive(KeyRelease, seconds=limits.receipt_seconds)
        await self._pump.send(await self._port.conclude(release), seconds=limits.receipt_seconds)

    async def _store_content(self, seal: SealHeader, arrival: BulkArrival | None) -> Finish:
        """Store the content as it comes: on bulk connections, or on the stream of the session; the holder chooses."""
        links, event = await self._first_of(arrival)
        if event is not None:
            return await self._store_inside(seal, event)
        hashing = self._bulk_desk.hashing if self._bulk_desk is not None else None
        bulk = BulkSession(self._pump.session, seal, links, self._deadlines.chunk_seconds, hashing)
        try:
            await receive_runs(bulk, self._store)
        except PeerVanished:
            # a holder that gives up says why on the stream
            with suppress(PeerStalled):
                await self._pump.receive_any(seconds=GOODBYE_SECONDS)
            raise
        return await self._pump.receive(Finish, seconds=self._deadlines.chunk_seconds)

    async def _first_of(self, arrival: BulkArrival | None) -> tuple[tuple[BulkLink, ...], Message | ChunkFrame | None]:
        """Wait for the first message or for bulk connections."""
        links: tuple[BulkLink, ...] = ()
        event: Message | ChunkFrame | None = None

        async def listen() -> None:
            nonlocal event
            event = await self._pump.receive_any(seconds=self._deadlines.chunk_seconds)

        async def await_links() -> None:
            nonlocal links
            if arrival is None:
                await trio.sleep_forever()
            else:
                links = await arrival.wait()
                scope.cancel()

        with trio.CancelScope() as scope:
            await beside(listen, await_links)
        return links, event

    async def _store_inside(self, seal: SealHeader, event: Message | ChunkFrame) -> Finish:
        """Store chunks that come on the stream of the session, as many at a time as have come."""
        most = frame_chunks(seal.chunk_size)
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
                ready = [chunk]
                with suppress(trio.WouldBlock, trio.EndOfChannel):
                    while len(ready) < most:
                        ready.append(chunks.receive_nowait())
                for run in _neighbours(ready):
                    await self._store(_joined(run, seal.chunk_size))

        await together(read, keep)
        if ended is not None:
            raise ended
        if not isinstance(event, Finish):
            raise InternalError(f"expected the session to refuse {type(event).__name__}, found it allowed")
        return event

    async def _store(self, run: Run) -> None:
        await self._port.store(run)
        self._stored_chunks += run.count
        self._stored.set()
        if self._stored_chunks - self._acked_chunks >= self._sync_step_chunks:
            self._much_stored.set()

    async def _keep_durable(self) -> None:
        """Sync what is stored, step by step, and tell the holder."""
        while True:
            await self._stored.wait()
            with trio.move_on_after(SYNC_SECONDS):
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


def _joined(chunks: Sequence[ChunkFrame], chunk_size: int) -> Run:
    first, count = chunks[0].index, len(chunks)
    sealed = b"".join(chunk.sealed for chunk in chunks)
    return Run(first, count, sealed, sealed_leaves(first, sealed, count=count, chunk_size=chunk_size))
