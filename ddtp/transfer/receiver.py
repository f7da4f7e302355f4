"""The receiver's side of an exchange, from hello to the last receipt (spec/08-session)."""

from typing import Final, final

from ddtp.errors import InternalError
from ddtp.protocol.messages import Accept, Ack, ChunkFrame, Finish, Hello, KeyRelease, Offer
from ddtp.protocol.states import Role
from ddtp.transfer.pacing import Pace
from ddtp.transfer.ports import Deadlines, PeerStream, ReceiverPort
from ddtp.transfer.pump import Pump, open_pump

ACK_BYTES: Final = 1 << 20
"""Content that must have become durable before another ack is sent: one small frame per megabyte costs nothing."""


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
        await _Receiving(pump, port, deadlines=deadlines, pace=pace or Pace()).run()


@final
class _Receiving:
    """One run of `receive_transfer`."""

    def __init__(self, pump: Pump, port: ReceiverPort, *, deadlines: Deadlines, pace: Pace) -> None:
        self._pump = pump
        self._port = port
        self._deadlines = deadlines
        self._pace = pace
        self._acked_chunks = 0
        self._ack_step_chunks = 1

    async def run(self) -> None:
        limits = self._deadlines
        hello = await self._pump.receive(Hello, seconds=limits.greeting_seconds)
        greeting = await self._port.greet(hello, self._pump.remote_peer_id)
        await self._pump.send(greeting, seconds=limits.greeting_seconds)
        offer = await self._pump.receive(Offer, seconds=limits.decision_seconds)
        decision = await self._port.admit(offer, self._pump.remote_peer_id)
        await self._pump.send(decision, seconds=limits.decision_seconds)
        if isinstance(decision, Accept):
            self._acked_chunks = sum(part.stop - part.start for part in decision.have)
            self._ack_step_chunks = max(1, ACK_BYTES // offer.seal.chunk_size)
            await self._take_content()

    async def _take_content(self) -> None:
        limits = self._deadlines
        finish = await self._store_chunks()
        await self._pump.send(await self._port.complete(finish), seconds=limits.receipt_seconds)
        release = await self._pump.receive(KeyRelease, seconds=limits.receipt_seconds)
        await self._pump.send(await self._port.conclude(release), seconds=limits.receipt_seconds)

    async def _store_chunks(self) -> Finish:
        while True:
            match await self._pump.receive_any(seconds=self._deadlines.chunk_seconds):
                case ChunkFrame() as chunk:
                    await self._store(chunk)
                case Finish() as finish:
                    return finish
                case other:
                    raise InternalError(f"expected the session to refuse {type(other).__name__}, found it allowed")

    async def _store(self, chunk: ChunkFrame) -> None:
        await self._pace.take(len(chunk.sealed))
        durable_chunks = await self._port.store(chunk.index, chunk.sealed)
        if durable_chunks is not None and durable_chunks - self._acked_chunks >= self._ack_step_chunks:
            await self._pump.send(Ack(durable_chunks=durable_chunks), seconds=self._deadlines.chunk_seconds)
            self._acked_chunks = durable_chunks
