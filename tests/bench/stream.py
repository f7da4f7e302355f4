"""One flow stream (spec/14 s.3) between two processes on loopback, beside raw TCP under the same event loop.

`python -m tests.bench.stream` is the receiving process.
"""

import os
import time

import trio

from ddtp.transfer.host import open_host
from ddtp.transfer.stream import FlowStream
from tests.bench.figures import Figure, race
from tests.bench.sink import DIAL_SECONDS, PROTOCOL, SENT_BYTES, send_over_tcp, sink, take_all

PIECE_BYTES = 1 << 20
"""In one call, as when sealed chunks are sent in batches."""


def measure(*, runs: int) -> Figure:
    """Measure the bytes of a second, from the first one sent to the receiver's word that it has the last."""
    with sink("tests.bench.stream") as (address, port):
        return race(
            "ordinary_stream_MBps",
            "MB/s",
            lambda: trio.run(_send, address),
            runs=runs,
            peers={"trio-tcp": lambda: trio.run(send_over_tcp, port)},
        )


async def _send(address: str) -> float:
    piece = os.urandom(PIECE_BYTES)
    async with open_host(network_key=os.urandom(32)) as host:
        stream = await host.dial([address], PROTOCOL, timeout_seconds=DIAL_SECONDS)
        start = time.perf_counter()
        for _ in range(SENT_BYTES // PIECE_BYTES):
            await stream.send_all(piece)
        await stream.aclose()
        return SENT_BYTES / (time.perf_counter() - start) / 1e6


async def _read(stream: FlowStream) -> None:
    async for _ in stream:
        pass


if __name__ == "__main__":
    trio.run(take_all, _read)
