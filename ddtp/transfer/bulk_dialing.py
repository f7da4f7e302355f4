"""Opens the bulk connections of a session (spec/14-transport s.8): as many as the path is worth, or none.

Whatever is wrong with them, the stream of the session can carry the content too, so nothing here raises.
"""

import logging
from contextlib import suppress
from typing import Final, final

import trio

from ddtp.errors import ProtocolViolation
from ddtp.protocol.bulk import READY, Ticket
from ddtp.transfer.addresses import PeerAddress
from ddtp.transfer.channel import SocketLink, channels_for
from ddtp.transfer.libp2p import BULK, Handover, Identity, secure
from ddtp.transfer.sockets import watch

OPENING_SECONDS: Final = 10.0
"""For all bulk connections of one session: two handshakes and a ticket, 14 round trips, over a satellite."""

_FAILURES: Final = (OSError, trio.BrokenResourceError, ProtocolViolation)

_log = logging.getLogger(__name__)


@final
class BulkDialing:
    """Opens bulk connections to where a stream leads (a `ports.BulkDialer`).

    Args:
        identity: Ours.
        address: Where the stream of the session answered.
    """

    def __init__(self, identity: Identity, address: PeerAddress) -> None:
        self._identity = identity
        self._address = address

    async def connect(self, token: bytes) -> tuple[SocketLink, ...]:
        """See `ports.BulkDialer`."""
        opened: list[Handover] = []
        links: list[SocketLink] = []
        try:
            with trio.move_on_after(OPENING_SECONDS):
                # the first one tells how long the path is; others come only if it is there, and may be missing
                wanted = await self._open(opened)
                await self._open_more(opened, wanted - 1)
                await self._present(token, opened)
                # all sockets first: if one is refused, all are still with their connections, which are closed
                taken = [connection.take_socket() for connection in opened]
                links = [SocketLink(socket) for socket in taken]
        except _FAILURES as err:
            _log.info("no bulk connection to %s: %s", self._address.multiaddr, err)
        finally:
            if not links:
                for connection in opened:
                    connection.close_now()
        return tuple(links)

    async def _open(self, opened: list[Handover]) -> int:
        """Open one connection; return how many its path is worth."""
        socket = await trio.open_tcp_stream(self._address.host, self._address.port)
        connection = None
        try:
            watch(socket)
            connection = await secure(socket, self._identity, expected_peer_id=self._address.peer_id, inner=BULK)
        finally:
            if connection is None:
                socket.socket.close()
        assert isinstance(connection, Handover), "we asked for bulk frames"
        opened.append(connection)
        return channels_for(socket)

    async def _open_more(self, opened: list[Handover], count: int) -> None:
        async def attempt() -> None:
            with suppress(*_FAILURES):
                await self._open(opened)

        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(attempt)

    async def _present(self, token: bytes, opened: list[Handover]) -> None:
        """Show the tickets of all connections, whose number is settled now, and wait for the answers."""
        for number, connection in enumerate(opened):
            await connection.write(Ticket(token, number, len(opened)).encode())
        for connection in opened:
            if await connection.read(len(READY)) != READY:
                raise ProtocolViolation("expected the peer to be ready for bulk frames, found another answer")
