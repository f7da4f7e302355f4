"""Both ends of real connections on loopback: sockets, and sessions and streams over them."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from ddtp.transfer.libp2p import Connection, Identity, secure
from ddtp.transfer.yamux import RawYamux

PROTOCOL = "/ddtp/test/1"


@asynccontextmanager
async def socket_pair() -> AsyncIterator[tuple[trio.SocketStream, trio.SocketStream]]:
    """Both ends of a TCP connection on loopback."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        left = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        right = await listener.accept()
    async with left, right:
        yield left, right


async def secure_pair(left: trio.SocketStream, right: trio.SocketStream) -> tuple[Connection, Connection]:
    """Handshake over two sockets; the first is the one that dialled."""
    identities = Identity(os.urandom(32)), Identity(os.urandom(32))
    connections: dict[int, Connection] = {}

    async def shake(side: int, socket: trio.SocketStream, expected: str | None) -> None:
        connections[side] = await secure(socket, identities[side], expected_peer_id=expected)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shake, 0, left, identities[1].peer_id)
            nursery.start_soon(shake, 1, right, None)
    return connections[0], connections[1]


async def open_accepted(dialled: Connection, accepted: Connection, nursery: trio.Nursery) -> tuple[RawYamux, RawYamux]:
    """A stream between two connections that run from now on, its protocol agreed."""
    nursery.start_soon(dialled.run)
    nursery.start_soon(accepted.run)
    raws: dict[str, RawYamux] = {}

    async def accept() -> None:
        raw = await accepted.accept_stream()
        assert raw is not None
        assert await raw.negotiate([PROTOCOL]) == PROTOCOL
        raws["right"] = raw

    with trio.fail_after(10):
        async with trio.open_nursery() as inner:
            inner.start_soon(accept)
            raws["left"] = await dialled.open_stream(PROTOCOL)
    return raws["left"], raws["right"]


async def read_exactly(raw: RawYamux, size_bytes: int) -> bytes:
    """Read so many bytes of a stream."""
    received = bytearray()
    while len(received) < size_bytes:
        piece = await raw.read(size_bytes - len(received))
        assert piece, "the stream ended early"
        received += piece
    return bytes(received)
