"""spec/14 s.7: bytes between two streams: through a relay, and from a relayed stream to the handshake above it."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from ddtp.transfer.stream import RawStream

PIECE_BYTES: Final = 65_507
"""With Yamux's header and the tag exactly one Noise message, as a record of spec/14 s.3; more would be cut into a full
message and a crumb."""

_LOST: Final = (trio.BrokenResourceError, trio.ClosedResourceError)


@asynccontextmanager
async def bridged(raw: RawStream) -> AsyncIterator[trio.SocketStream]:
    """Let a raw stream look like a socket, so that everything that works over TCP works over a relay too.

    The price is one more copy of what a relay, which is slower by far, lets pass.

    Args:
        raw: Reset by its owner after the block.
    """
    ends = [trio.SocketStream(trio.socket.from_stdlib_socket(each)) for each in socket.socketpair()]
    near, far = ends
    async with near, far, trio.open_nursery() as nursery:
        nursery.start_soon(_inward, raw, far)
        nursery.start_soon(_outward, far, raw)
        yield near
        nursery.cancel_scope.cancel()


async def splice(one: RawStream, other: RawStream, *, most_bytes: int) -> None:
    """Pass bytes between two raw streams until both have ended, one is broken, or one direction is used up.

    Args:
        one: A stream.
        other: Another stream.
        most_bytes: Per direction; 0 is without bound.
    """
    async with trio.open_nursery() as nursery:

        async def carry(source: RawStream, sink: RawStream) -> None:
            if not await _carry(source, sink, most_bytes=most_bytes):
                nursery.cancel_scope.cancel()

        nursery.start_soon(carry, one, other)
        await carry(other, one)


async def _carry(source: RawStream, sink: RawStream, *, most_bytes: int) -> bool:
    """Pass bytes in one direction; return whether they came to their end, which is then passed on too."""
    passed_bytes = 0
    try:
        while data := await source.read(PIECE_BYTES):
            passed_bytes += len(data)
            if most_bytes and passed_bytes > most_bytes:
                return False
            await sink.write(bytes(data))
        await sink.close()
    except trio.BrokenResourceError:
        return False
    return True


async def _inward(raw: RawStream, far: trio.SocketStream) -> None:
    try:
        while data := await raw.read(PIECE_BYTES):
            await far.send_all(memoryview(data))
        await far.send_eof()
    except _LOST:
        far.socket.close()


async def _outward(far: trio.SocketStream, raw: RawStream) -> None:
    try:
        while data := await far.receive_some(PIECE_BYTES):
            await raw.write(bytes(data))
        await raw.close()
    except _LOST:
        far.socket.close()
