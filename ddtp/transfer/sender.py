"""The holder's side of an exchange, from hello to the last receipt (spec/08-session)."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Final, final

import trio

from ddtp.errors import InternalError, PeerRefused, PeerVanished
from ddtp.protocol.chunks import SealHeader, chunk_count, sealed_offset
from ddtp.protocol.codec import Buffer
from ddtp.protocol.messages import Accept, Ack, ChunkFrame, Decline, Hello, Message, Offer, ReceiptMessage
from ddtp.protocol.states import Role
from ddtp.transfer.beside import beside
from ddtp.transfer.channel import BulkSession, send_runs
from ddtp.transfer.pacing import Pace, is_small
from ddtp.transfer.ports import BulkLink, Deadlines, PeerStream, Phase, Progress, Run, SenderPort
from ddtp.transfer.pump import GOODBYE_SECONDS, SLOWEST_BYTES_PER_SECOND, Pump, open_pump
from ddtp.transfer.refusal import NO_REASON

BATCH_BYTES: Final = 256 << 10
"""Content of one write to the session's stream: tasks cost nothing beside it, and a cancelled write soon ends."""

SLOWEST_OPENING_BYTES_PER_SECOND: Final = 16 << 20
"""At which a receiver opens and checks content, others before it in turn: a busy old machine with a spinning disk."""

UNACKED_BYTES: Final = 64 << 20
"""Content that may be on its way when the last of it was written, in the buffers of both systems and of four bulk
connections: a receiver that is slow has no more left to store, so acks of more win it no time."""

BULK_LEAST_BYTES: Final = 4 << 20
"""Content that is missing at the receiver from which on bulk connections are opened: less has gone meanwhile."""


async def send_transfer(
    stream: PeerStream,
    port: SenderPort,
    *,
    progress: Callable[[Progress], None],
    deadlines: Deadlines,
    pace: Pace | None = None,
) -> ReceiptMessage:
    """Offer a package to a receiver and send it.

    Args:
        stream: To the receiver; closed on every way out.
        port: Makes and checks what is sent and received.
        progress: Told of every step; must not block.
        deadlines: How long the receiver may be silent.
        pace: Asked before chunks are written; None lets all pass. Whoever pauses it for longer than the receiver waits
            has to end the exchange.

    Returns:
        The "verified" or "rejected" receipt, not yet checked.

    Raises:
        PeerRefused: The receiver declined.
        PeerAborted: The receiver gave up.
        PeerStalled: The receiver was silent past a deadline.
        PeerVanished: The connection broke; offering again resumes.
        ProtocolViolation, DecodeError: The receiver broke the protocol.
        DdtpError: Whatever the port raises; its code was told to the receiver.
    """
    async with open_pump(stream, Role.HOLDER) as pump:
        sending = _Sending(pump, port, stream=stream, progress=progress, deadlines=deadlines, pace=pace or Pace())
        return await sending.run()


@final
class _Sending:
    """One run of `send_transfer`."""

    def __init__(
        self,
        pump: Pump,
        port: SenderPort,
        *,
        stream: PeerStream,
        progress: Callable[[Progress], None],
        deadlines: Deadlines,
        pace: Pace,
    ) -> None:
        self._pump = pump
        self._port = port
        self._bulk_dialer = stream.bulk_dialer
        self._chunk_size = 0
        self._progress = progress
        self._deadlines = deadlines
        self._pace = pace
        self._phase = Phase.CONNECTING
        self._total_bytes = 0
        self._done_bytes = 0
        self._receipt: ReceiptMessage | None = None

    async def run(self) -> ReceiptMessage:
        self._report(Phase.CONNECTING)
        limits = self._deadlines
        await self._pump.send(self._port.hello(), seconds=limits.greeting_seconds)
        greeting = await self._pump.receive(Hello, seconds=limits.greeting_seconds)
        offer = await self._port.offer(greeting, self._pump.remote_peer_id)
        self._total_bytes = offer.seal.content_bytes
        self._report(Phase.WAITING)
        match await self._ask(offer):
            case Accept() as accept:
                return await self._deliver(offer.seal, accept)
            case Decline() as decline:
                raise PeerRefused(decline.reason or NO_REASON, reason_code=decline.code)
            case ReceiptMessage() as receipt:
                self._report(Phase.DONE, done_bytes=self._total_bytes)
                return receipt
            case other:
                raise _unexpected(other)

    async def _ask(self, offer: Offer) -> Message | ChunkFrame:
        await self._pump.send(offer, seconds=self._deadlines.decision_seconds)
        return await self._pump.receive_any(seconds=self._deadlines.decision_seconds)

    async def _deliver(self, seal: SealHeader, accept: Accept) -> ReceiptMessage:
        held = sum(part.stop - part.start for part in accept.have)
        self._chunk_size = seal.chunk_size
        self._report(Phase.SENDING, done_bytes=self._durable_bytes(held))
        links = await self._open_links((chunk_count(seal.content_bytes, seal.chunk_size) - held) * seal.chunk_size)
        try:
            if links:
                bulk = BulkSession(self._pump.session, seal, links, self._deadlines.chunk_seconds)
                await beside(lambda: self._send_beside(bulk, accept), self._read_answers)
            else:
                await beside(lambda: self._send_inside(seal, accept), self._read_answers)
        finally:
            for link in links:
                link.close()
        self._report(Phase.RECEIPT)
        receipt = await self._await_receipt()
        self._report(Phase.KEY, done_bytes=self._total_bytes)
        release = await self._port.release_key(receipt)
        await self._pump.send(release, seconds=self._deadlines.receipt_seconds)
        self._report(Phase.VERIFYING)
        patience = self._deadlines.verdict_seconds + self._total_bytes / SLOWEST_OPENING_BYTES_PER_SECOND
        verdict = await self._pump.receive(ReceiptMessage, seconds=patience)
        self._report(Phase.DONE)
        return verdict

    async def _open_links(self, missing_bytes: int) -> Sequence[BulkLink]:
        if self._bulk_dialer is None or missing_bytes < BULK_LEAST_BYTES:
            return ()
        return await self._bulk_dialer.connect(self._pump.session.bulk_keys().token)

    async def _send_beside(self, bulk: BulkSession, accept: Accept) -> None:
        """Send the content on bulk connections."""
        try:
            await send_runs(bulk, self._port.runs(accept, most_chunks=bulk.most_chunks), pace=self._pace)
        except PeerVanished:
            # a peer that gives up says why on the stream; the task that reads there then cancels this one
            await trio.sleep(GOODBYE_SECONDS)
            raise
        await self._pump.send(await self._port.finish(), seconds=self._deadlines.chunk_seconds)

    async def _send_inside(self, seal: SealHeader, accept: Accept) -> None:
        """Send the content on the stream of the session."""
        most, small = max(1, BATCH_BYTES // seal.chunk_size), is_small(seal.content_bytes)
        async with aclosing(self._port.runs(accept, most_chunks=most)) as runs:
            async for run in runs:
                await self._pace.take(len(run.sealed), small=small)
                await self._pump.write(partial(self._frames, run), seconds=self._deadlines.chunk_seconds)
        await self._pump.send(await self._port.finish(), seconds=self._deadlines.chunk_seconds)

    def _frames(self, run: Run) -> Iterator[Buffer]:
        sealed, size = memoryview(run.sealed), sealed_offset(1, self._chunk_size)
        for number in range(run.count):
            yield from self._pump.session.send_chunk(run.first + number, sealed[size * number : size * (number + 1)])

    async def _read_answers(self) -> None:
        # No deadline of its own: it lives as long as the writing task, whose every write has one.
        while self._receipt is None:
            self._take(await self._pump.receive_any(seconds=math.inf))

    async def _await_receipt(self) -> ReceiptMessage:
        """Wait for the receipt; what acks add extends this, so that a receiver at a low rate has its time (s.6)."""
        deadline = trio.current_time() + self._deadlines.receipt_seconds
        counted = max(self._done_bytes, self._total_bytes - UNACKED_BYTES)
        while self._receipt is None:
            added_seconds = max(0, self._done_bytes - counted) / SLOWEST_BYTES_PER_SECOND
            self._take(await self._pump.receive_any(seconds=deadline + added_seconds - trio.current_time()))
        return self._receipt

    def _take(self, event: Message | ChunkFrame) -> None:
        match event:
            case Ack():
                self._report(self._phase, done_bytes=self._durable_bytes(event.durable_chunks))
            case ReceiptMessage():
                self._receipt = event
            case other:
                raise _unexpected(other)

    def _durable_bytes(self, durable_chunks: int) -> int:
        return min(durable_chunks * self._chunk_size, self._total_bytes)

    def _report(self, phase: Phase, *, done_bytes: int | None = None) -> None:
        self._phase = phase
        if done_bytes is not None:
            self._done_bytes = done_bytes
        self._progress(Progress(phase=phase, bytes_done=self._done_bytes, bytes_total=self._total_bytes))


def _unexpected(event: Message | ChunkFrame) -> InternalError:
    return InternalError(f"expected the session to refuse {type(event).__name__} in this state, found it allowed")
