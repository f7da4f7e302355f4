"""The two ends of a transfer over a stream of iroh; run by the Python in whose environment iroh is installed.

`iroh_stream.py receive FOLDER` prints where it listens, `iroh_stream.py send SOURCE ID ADDRESS` sends a file or a
folder there. iroh is QUIC, without relays here. Its wheel hands bytes to Rust one at a time, in a loop of Python; that
one function is replaced here, or the figure would be that of the loop (7 MB/s).
"""

import asyncio
import ctypes
import os
import struct
import sys
from io import FileIO
from pathlib import Path

import iroh
from iroh import iroh_ffi

ALPN = b"bench/1"
CHUNK_BYTES = 1 << 20
HEADER = struct.Struct("!HQ")
"""Length of a name and of the content under it; no name ends the stream."""
RECEIVED = b"K"


def _write(builder: iroh_ffi._UniffiRustBufferBuilder, value: bytes) -> None:
    with builder._reserve(len(value)):
        address = ctypes.addressof(builder.rbuf.data.contents) + builder.rbuf.len
        ctypes.memmove(address, value, len(value))


def _files(source: Path) -> list[Path]:
    return [source] if source.is_file() else sorted(source.iterdir())


def _open(path: Path) -> FileIO:
    return FileIO(path)


def _create(path: Path) -> FileIO:
    path.parent.mkdir(exist_ok=True)
    return FileIO(path, "wb")


async def _bind() -> iroh.Endpoint:
    options = iroh.EndpointOptions(
        preset=iroh.preset_minimal(),
        bind_addr="127.0.0.1:0",
        alpns=[ALPN],
        relay_mode=iroh.RelayMode.disabled(),
    )
    return await iroh.Endpoint.bind(options)


async def receive(folder: str) -> None:
    """Take everything that one sender sends."""
    endpoint = await _bind()
    sys.stdout.write(f"{endpoint.id()} {endpoint.bound_sockets()[0]}\n")
    sys.stdout.flush()
    accepting = await (await endpoint.accept_next()).accept()
    connection = await accepting.connect()
    stream = await connection.accept_bi()
    source, answer = stream.recv(), stream.send()
    while True:
        name_bytes, left = HEADER.unpack(await source.read_exact(HEADER.size))
        if not name_bytes:
            break
        with _create(Path(folder, (await source.read_exact(name_bytes)).decode())) as file:
            while left:
                data = await source.read(min(left, CHUNK_BYTES))
                file.write(data)
                left -= len(data)
    await answer.write_all(RECEIVED)
    await answer.finish()
    await connection.closed()
    await endpoint.close()


async def send(source: str, identity: str, address: str) -> None:
    """Send everything, and wait until it has been received.

    Raises:
        RuntimeError: The receiver did not say so.
    """
    endpoint = await _bind()
    receiver = iroh.EndpointAddr(iroh.EndpointId.from_string(identity), None, [address])
    connection = await endpoint.connect(receiver, ALPN)
    stream = await connection.open_bi()
    target, answer = stream.send(), stream.recv()
    for path in _files(Path(source)):
        name = str(path.relative_to(Path(source).parent)).encode()
        with _open(path) as file:
            header = HEADER.pack(len(name), os.fstat(file.fileno()).st_size) + name
            await target.write_all(header + file.read(CHUNK_BYTES))
            while chunk := file.read(CHUNK_BYTES):
                await target.write_all(chunk)
    await target.write_all(HEADER.pack(0, 0))
    if await answer.read_exact(len(RECEIVED)) != RECEIVED:
        raise RuntimeError("expected the receiver to confirm, found another answer")
    connection.close(0, b"")
    await endpoint.close()


if __name__ == "__main__":
    iroh_ffi._UniffiRustBufferBuilder.write = _write
    asyncio.run({"receive": receive, "send": send}[sys.argv[1]](*sys.argv[2:]))
