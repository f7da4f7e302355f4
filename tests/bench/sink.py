"""A process that takes whatever is sent to it, by a protocol of ours and by raw TCP under the same event loop."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import trio

from ddtp.transfer.host import Handler, open_host
from tests.bench.processes import bound_to_us

PROTOCOL = "/ddtp/bench/1"
SENT_BYTES = 512 << 20
TCP_PIECE_BYTES = 64 << 10
"""The size with which raw TCP is fastest here."""
DIAL_SECONDS = 10.0


@contextmanager
def sink(module: str) -> Iterator[tuple[str, int]]:
    """Run a module that calls `take_all`; give the address of its host and its port for raw TCP."""
    with subprocess.Popen(
        bound_to_us(sys.executable, "-m", module), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            address, port = process.stdout.readline().split()
            yield address, int(port)
        finally:
            process.kill()


async def take_all(handler: Handler) -> None:
    """Serve our protocol and raw TCP until the process is killed; say where."""
    async with open_host(network_key=os.urandom(32), listen=["/ip4/127.0.0.1/tcp/0"]) as host, trio.open_nursery() as n:
        host.serve(PROTOCOL, handler)
        listeners = await n.start(partial(trio.serve_tcp, _read_tcp, 0, host="127.0.0.1"))
        sys.stdout.write(f"{host.addresses[0]} {listeners[0].socket.getsockname()[1]}\n")
        sys.stdout.flush()
        await trio.sleep_forever()


async def send_over_tcp(port: int) -> float:
    """Return megabytes in a second, from the first byte to the receiver's word that it has the last."""
    piece = os.urandom(TCP_PIECE_BYTES)
    async with await trio.open_tcp_stream("127.0.0.1", port) as socket:
        start = time.perf_counter()
        for _ in range(SENT_BYTES // TCP_PIECE_BYTES):
            await socket.send_all(piece)
        await socket.send_eof()
        await socket.receive_some()
        return SENT_BYTES / (time.perf_counter() - start) / 1e6


async def _read_tcp(socket: trio.SocketStream) -> None:
    while await socket.receive_some(TCP_PIECE_BYTES):
        pass
    await socket.send_all(b"\0")
