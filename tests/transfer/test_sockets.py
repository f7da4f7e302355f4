"""The system ends a connection whose other machine has gone."""

import socket

import trio

from ddtp.transfer.sockets import DEAD_SECONDS, PROBE_AFTER_SECONDS, PROBE_EVERY_SECONDS, PROBES, watch


async def test_a_watched_connection_is_probed() -> None:
    """By the system, so that it happens while our process waits; that it works is tried in a network namespace."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1]) as stream:
        watch(stream)
        assert stream.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == DEAD_SECONDS * 1000
        assert PROBE_AFTER_SECONDS + PROBES * PROBE_EVERY_SECONDS == DEAD_SECONDS
