"""One flow stream (spec/14 s.3) between two processes on loopback, beside raw TCP under the same event loop.

`python -m tests.bench.stream` is the receiving process; it prints where it listens and reads until it is killed.
"""

import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial

import trio

from ddtp.transfer.host import open_host
from ddtp.transfer.stream import FlowStream
from tests.bench.figures import Figure, race
from tests.bench.processes import bound_to_us

PROTOCOL = "/ddtp/bench/1"
SENT_BYTES = 512 << 20
PIECE_BYTES = 1 << 20
"""In one call, as when sealed chunks are sent in batches."""
TCP_PIECE_BYTES = 64 << 10
"""The size with which raw TCP is fastest here."""
DIAL_SECONDS = 10.0


def measure(*, runs: int) -> Figure:
    """Measure the bytes of a second, from the first one sent to the receiver's word that it has the last."""
    with _sink() as (address, port):
        return race(
            "ordinary_stream_MBps",
            "MB/s",
            lambda: trio.run(_send_over_stream, address),
            runs=runs,
            peers={"trio-tcp": lambda: trio.run(_send_over_tcp, port)},
        )


@contextmanager
def _sink() -> Iterator[tuple[str, int]]:
    with subprocess.Popen(
        bound_to_us(sys.executable, "-m", "tests.bench.stream"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            address, port = process.stdout.readline().split()
            yield address, int(port)
        finally:
            process.kill()


async def _send_over_stream(address: str) -> float:
    async with open_host(network_key=os.urandom(32)) as host:
        stream = await host.dial([address], PROTOCOL, timeout_seconds=DIAL_SECONDS)
        return await _rate(stream.send_all, stream.aclose, piece_bytes=PIECE_BYTES)


async def _send_over_tcp(port: int) -> float:
    async with await trio.open_tcp_stream("127.0.0.1", port) as socket:

        async def confirm() -> None:
            await socket.send_eof()
            await socket.receive_some()

        return await _rate(socket.send_all, confirm, piece_bytes=TCP_PIECE_BYTES)


async def _rate(
    send: Callable[[bytes], Awaitable[None]], confirm: Callable[[], Awaitable[None]], *, piece_bytes: int
) -> float:
    piece = os.urandom(piece_bytes)
    start = time.perf_counter()
    for _ in range(SENT_BYTES // piece_bytes):
        await send(piece)
    await confirm()
    return SENT_BYTES / (time.perf_counter() - start) / 1e6


async def _receive() -> None:
    async with open_host(network_key=os.urandom(32), listen=["/ip4/127.0.0.1/tcp/0"]) as host, trio.open_nursery() as n:
        host.serve(PROTOCOL, _read_stream)
        listeners = await n.start(partial(trio.serve_tcp, _read_tcp, 0, host="127.0.0.1"))
        sys.stdout.write(f"{host.addresses[0]} {listeners[0].socket.getsockname()[1]}\n")
        sys.stdout.flush()
        await trio.sleep_forever()


async def _read_stream(stream: FlowStream) -> None:
    async for _ in stream:
        pass


async def _read_tcp(socket: trio.SocketStream) -> None:
    while await socket.receive_some(TCP_PIECE_BYTES):
        pass
    await socket.send_all(b"\0")


if __name__ == "__main__":
    trio.run(_receive)
