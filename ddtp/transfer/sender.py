"""The holder's side of an exchange, from hello to the last receipt (spec/08-session)."""

import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final, final

import trio

from ddtp.errors import DdtpError, InternalError, PeerRefused
from ddtp.protocol.codec import Buffer
from ddtp.protocol.messages import Accept, Ack, ChunkFrame, Decline, Hello, Message, Offer, ReceiptMessage
from ddtp.protocol.states import Role
from ddtp.transfer.pacing import Pace
from ddtp.transfer.ports import Deadlines, PeerStream, Phase, Progress, SenderPort
from ddtp.transfer.pump import Pump, open_pump

BATCH_BYTES: Final = 256 << 10
"""Sealed bytes collected for one write: tasks cost nothing beside it, yet a cancelled write is soon finished."""


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
        return await _Sending(pump, port, progress=progress, deadlines=deadlines, pace=pace or Pace()).run()


@final
class _Sending:
    """One run of `send_transfer`."""

    def __init__(
        self,
        pump: Pump,
        port: SenderPort,
        *,
        progress: Callable[[Progress], None],
        deadlines: Deadlines,
        pace: Pace,
    ) -> None:
        self._pump = pump
        self._port = port
        self._progress = progress
        self._deadlines = deadlines
        self._pace = pace
        self._phase = Phase.CONNECTING
        self._chunk_size = 0
        self._total_bytes = 0
        self._done_bytes = 0
        self._receipt: ReceiptMessage | None = None

    async def run(self) -> ReceiptMessage:
        self._report(Phase.CONNECTING)
        limits = self._deadlines
        await self._pump.send(self._port.hello(), seconds=limits.greeting_seconds)
        greeting = await self._pump.receive(Hello, seconds=limits.greeting_seconds)
        offer = await self._port.offer(greeting, self._pump.remote_peer_id)
        self._chunk_size, self._total_bytes = offer.seal.chunk_size, offer.seal.content_bytes
        self._report(Phase.WAITING)
        match await self._ask(offer):
            case Accept() as accept:
                return await self._deliver(accept)
            case Decline() as decline:
                raise PeerRefused(decline.reason or "the peer gave no reason", reason_code=decline.code)
            case ReceiptMessage() as receipt:
                self._report(Phase.DONE, done_bytes=self._total_bytes)
                return receipt
            case other:
                raise _unexpected(other)

    async def _ask(self, offer: Offer) -> Message | ChunkFrame:
        await self._pump.send(offer, seconds=self._deadlines.decision_seconds)
        return await self._pump.receive_any(seconds=self._deadlines.decision_seconds)

    async def _deliver(self, accept: Accept) -> ReceiptMessage:
        self._report(Phase.SENDING, done_bytes=self._durable_bytes(sum(part.stop - part.start for part in accept.have)))
        await _beside(lambda: self._write_content(accept), self._read_answers)
        self._report(Phase.RECEIPT)
        while self._receipt is None:
            self._take(await self._pump.receive_any(seconds=self._deadlines.receipt_seconds))
        self._report(Phase.KEY, done_bytes=self._total_bytes)
        release = await self._port.release_key(self._receipt)
        await self._pump.send(release, seconds=self._deadlines.receipt_seconds)
        self._report(Phase.VERIFYING)
        verdict = await self._pump.receive(ReceiptMessage, seconds=self._deadlines.verdict_seconds)
        self._report(Phase.DONE)
        return verdict

    async def _write_content(self, accept: Accept) -> None:
        batch: list[tuple[int, Buffer]] = []
        size_bytes = 0
        async with aclosing(self._port.chunks(accept)) as chunks:
            async for index, sealed in chunks:
                if sealed is None:
                    continue
                batch.append((index, sealed))
                size_bytes += len(sealed)
                if size_bytes >= BATCH_BYTES:
                    await self._write_chunks(batch)
                    batch, size_bytes = [], 0
        await self._write_chunks(batch)
        await self._pump.send(await self._port.finish(), seconds=self._deadlines.chunk_seconds)

    async def _write_chunks(self, batch: Sequence[tuple[int, Buffer]]) -> None:
        def encode() -> list[Buffer]:
            return [part for index, sealed in batch for part in self._pump.session.send_chunk(index, sealed)]

        if batch:
            await self._pace.take(sum(len(sealed) for _index, sealed in batch))
            await self._pump.write(encode, seconds=self._deadlines.chunk_seconds)

    async def _read_answers(self) -> None:
        # No deadline of its own: it lives as long as the writing task, whose every write has one.
        while self._receipt is None:
            self._take(await self._pump.receive_any(seconds=math.inf))

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


async def _beside(main: Callable[[], Awaitable[None]], watcher: Callable[[], Awaitable[None]]) -> None:
    """Run `watcher` as long as `main`; the first failure of either ends both and is raised alone."""
    failures: list[DdtpError] = []

    async def guard(task: Callable[[], Awaitable[None]]) -> None:
        try:
            await task()
        except DdtpError as err:
            failures.append(err)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(guard, watcher)
        await guard(main)
        nursery.cancel_scope.cancel()
    if failures:
        raise failures[0]


def _unexpected(event: Message | ChunkFrame) -> InternalError:
    return InternalError(f"expected the session to refuse {type(event).__name__} in this state, found it allowed")
