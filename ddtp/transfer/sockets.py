"""How long a TCP connection without any sign of life counts as one (spec/14 s.4); no protocol of its own."""

import socket
import sys
from typing import Final

import trio

DEAD_SECONDS: Final = 30
"""Until what was sent must be acknowledged, and until a silent peer's machine must have answered a probe. Less would
end connections that a lossy link still repairs; the system's own values are 15 minutes and two hours."""
PROBE_AFTER_SECONDS: Final = 15
PROBE_EVERY_SECONDS: Final = 5
PROBES: Final = (DEAD_SECONDS - PROBE_AFTER_SECONDS) // PROBE_EVERY_SECONDS


def watch(stream: trio.SocketStream) -> None:
    """Have the system end a connection whose other machine has gone: cable, radio cell or address are another one.

    Raises:
        OSError: The connection is over already.
    """
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_AFTER_SECONDS)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_EVERY_SECONDS)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_SECONDS * 1000)
