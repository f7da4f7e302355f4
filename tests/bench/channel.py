"""A session whose chunks move on a bulk connection (spec/14 s.8), without disks, beside raw TCP under the same loop.

`python -m tests.bench.channel` is the receiving process. The chunks are sealed and hashed before the clock starts; the
receiver hashes them and checks their tags, as it always does.
"""

import os
import time
from collections.abc import AsyncGenerator, Sequence

import trio

from ddtp.protocol.chunks import RUN_CHUNKS, SealHeader, chunk_count, sealed_leaves, sealed_size
from ddtp.protocol.messages import Accept, Finish, Hello, KeyRelease, Offer, ReceiptMessage, Stage
from ddtp.transfer.host import open_host
from ddtp.transfer.ports import Arrival, Deadlines, Progress, Run
from ddtp.transfer.receiver import receive_transfer
from ddtp.transfer.sender import send_transfer
from ddtp.transfer.stream import FlowStream
from tests.bench.figures import Figure, Measured, race
from tests.bench.sink import DIAL_SECONDS, PROTOCOL, SENT_BYTES, send_over_tcp, sink, take_all

CHUNK_BYTES = 64 << 10
TRANSFER_ID = bytes(16)
SEAL = SealHeader(
    chunk_size=CHUNK_BYTES,
    content_bytes=SENT_BYTES,
    openings_offset=0,
    openings_bytes=0,
    salt=bytes(24),
    commitment=bytes(32),
)
RATIO = "bulk_channel_ratio_vs_trio_tcp"


def measure(*, runs: int) -> Measured:
    """Measure the bytes of a second, from the offer to the receiver's word that it has the last of them."""
    with sink("tests.bench.channel") as (address, port):
        figure = race(
            "bulk_channel_MBps",
            "MB/s",
            lambda: trio.run(_send_chunks, address),
            runs=runs,
            peers={"trio-tcp": lambda: trio.run(send_over_tcp, port)},
        )
    yield figure
    yield Figure(RATIO, "1", [sample / figure.peer["trio-tcp"] for sample in figure.samples])


class Holder:
    """Sends made-up chunks (a `SenderPort`)."""

    def __init__(self) -> None:
        count = chunk_count(SEAL.content_bytes, SEAL.chunk_size)
        sealed = os.urandom(RUN_CHUNKS * sealed_size(0, SEAL))
        self._runs = [_run(first, sealed, min(RUN_CHUNKS, count - first)) for first in range(0, count, RUN_CHUNKS)]
        self.started = self.ended = 0.0

    def hello(self) -> Hello:
        return Hello(suites=("DDTP-SM-1",), nonce=os.urandom(32))

    async def offer(self, hello: Hello, remote_peer_id: str) -> Offer:  # noqa: ARG002 - nobody is checked here
        nothing = b"\0"
        return Offer(TRANSFER_ID, nothing, nothing, nothing, nothing, nothing, nothing, SEAL)

    async def runs(self, accept: Accept, *, most_chunks: int) -> AsyncGenerator[Run, None]:  # noqa: ARG002 - all
        assert most_chunks == RUN_CHUNKS
        self.started = time.perf_counter()
        for run in self._runs:
            yield run

    async def finish(self) -> Finish:
        return Finish(TRANSFER_ID, chunk_count(SEAL.content_bytes, SEAL.chunk_size), bytes(32))

    async def release_key(self, receipt: ReceiptMessage) -> KeyRelease:  # noqa: ARG002 - it is not checked
        self.ended = time.perf_counter()
        return KeyRelease(TRANSFER_ID, b"\0")


def _run(first: int, sealed: bytes, count: int) -> Run:
    last_is_empty = (first + count) * CHUNK_BYTES > SEAL.content_bytes
    size = (count - 1) * sealed_size(0, SEAL) + (16 if last_is_empty else sealed_size(0, SEAL))
    part = memoryview(sealed)[:size]
    return Run(first, count, part, sealed_leaves(first, part, count=count, chunk_size=CHUNK_BYTES))


class Receiver:
    """Keeps nothing (a `ReceiverPort`)."""

    stored_bytes = 0

    async def greet(self, hello: Hello, remote_peer_id: str) -> Hello:  # noqa: ARG002 - nobody is checked here
        return Hello(suites=("DDTP-SM-1",), nonce=os.urandom(32), binding=b"\0")

    async def admit(self, offer: Offer, remote_peer_id: str) -> Accept:  # noqa: ARG002 - nobody is checked here
        return Accept(offer.transfer_id, (), b"\0")

    async def store(self, arrivals: Sequence[Arrival]) -> None:
        await trio.to_thread.run_sync(lambda: [arrival.examine() for arrival in arrivals])
        self.stored_bytes += sum(len(arrival.sealed) for arrival in arrivals)

    async def sync(self) -> int:
        return self.stored_bytes // sealed_size(0, SEAL)

    async def complete(self, finish: Finish) -> ReceiptMessage:  # noqa: ARG002 - the session has counted
        return ReceiptMessage(Stage.CIPHER, b"\0")

    async def conclude(self, release: KeyRelease) -> ReceiptMessage:  # noqa: ARG002 - nothing is opened
        return ReceiptMessage(Stage.VERIFIED, b"\0")


async def _send_chunks(address: str) -> float:
    holder = Holder()
    async with open_host(network_key=os.urandom(32)) as host:
        stream = await host.dial([address], PROTOCOL, timeout_seconds=DIAL_SECONDS)
        await send_transfer(stream, holder, progress=_ignore, deadlines=Deadlines())
    return SENT_BYTES / (holder.ended - holder.started) / 1e6


def _ignore(_progress: Progress) -> None:
    """Nobody watches."""


async def _serve(stream: FlowStream) -> None:
    await receive_transfer(stream, Receiver(), deadlines=Deadlines())


if __name__ == "__main__":
    trio.run(take_all, _serve)
