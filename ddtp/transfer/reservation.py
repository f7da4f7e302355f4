"""spec/14 s.7: the receiving side of relays: hold a place at each, and take the circuits that lead to us."""

import logging
from collections.abc import Callable, Sequence
from typing import Final, final

import trio

from ddtp.errors import PeerUnreachable
from ddtp.transfer.addresses import PeerAddress
from ddtp.transfer.bridge import bridged
from ddtp.transfer.circuit import (
    HOP,
    STOP,
    Message,
    Status,
    StopType,
    encode_stop,
    parse_stop,
    read_message,
    refuse,
    reserve,
)
from ddtp.transfer.host import Host
from ddtp.transfer.libp2p import Connection
from ddtp.transfer.yamux import CIRCUIT_WINDOW_BYTES, RawYamux

ANSWER_SECONDS: Final = 10.0
"""For a relay's answer, and for its word about who comes: as a handshake."""
SHORTEST_SECONDS: Final = 30.0
LONGEST_SECONDS: Final = 3600.0
"""Until a reservation is renewed, half of its time: clocks differ, and a relay must not make us ask all the time."""
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 60.0
"""Between tries at a relay that does not answer or refuses; doubled each time."""

_log = logging.getLogger(__name__)


@final
class Reservations:
    """A host's places at relays.

    Args:
        host: Ours.
        relays: Multiaddrs of the relays.
        clock: Seconds since the epoch.

    Attributes:
        addresses: Where others reach us through the relays, whether or not we have a place just now.
    """

    def __init__(self, host: Host, relays: Sequence[str], *, clock: Callable[[], int]) -> None:
        self._host = host
        self._relays = [PeerAddress(text) for text in relays]
        self._relay_ids = frozenset(relay.peer_id for relay in self._relays)
        self._clock = clock
        self._open: set[str] = set()
        self._changed = trio.Event()
        self.addresses = tuple(circuit_address(text, host.peer_id) for text in relays)

    async def run(self) -> None:
        """Hold the places until cancelled."""
        if not self._relays:
            return
        self._host.serve_raw(STOP, self._take, window_bytes=CIRCUIT_WINDOW_BYTES)
        async with trio.open_nursery() as nursery:
            for relay in self._relays:
                nursery.start_soon(self._keep, relay)

    async def wait_any(self) -> None:
        """Wait until there is a place at one relay at least, if there are relays."""
        while self._relays and not self._open:
            if self._changed.is_set():
                self._changed = trio.Event()
            await self._changed.wait()

    async def _keep(self, relay: PeerAddress) -> None:
        pause_seconds = FIRST_PAUSE_SECONDS
        while True:
            began = trio.current_time()
            try:
                async with self._host.attached(relay) as connection:
                    await self._hold(relay, connection)
            except PeerUnreachable as err:
                _log.warning("no place at a relay: %s", err.message)
            finally:
                self._open.discard(relay.multiaddr)
            if trio.current_time() - began > LONGEST_PAUSE_SECONDS:
                pause_seconds = FIRST_PAUSE_SECONDS
            await trio.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)

    async def _hold(self, relay: PeerAddress, connection: Connection) -> None:
        former: RawYamux | None = None
        while not connection.over.is_set():
            with trio.fail_after(ANSWER_SECONDS):
                raw = await connection.open_stream(HOP)
                expires = await reserve(raw)
                if former is not None:
                    await former.reset()
            # the latest stream is not reset: a relay may count the connection as idle without it
            former = raw
            if relay.multiaddr not in self._open:
                _log.info("reachable through %s", relay.multiaddr)
            self._open.add(relay.multiaddr)
            self._changed.set()
            half = (expires - self._clock()) / 2
            with trio.move_on_after(min(max(half, SHORTEST_SECONDS), LONGEST_SECONDS)):
                await connection.over.wait()

    async def _take(self, raw: RawYamux, connection: Connection) -> None:
        """Take a circuit: whoever comes through it proves its identity as on a connection of its own."""
        with trio.fail_after(ANSWER_SECONDS):
            message = parse_stop(await read_message(raw))
        if message.kind != StopType.CONNECT or connection.peer_id not in self._relay_ids:
            await refuse(raw, encode_stop(Message(StopType.STATUS, status=Status.PERMISSION_DENIED)))
            return
        await raw.write(encode_stop(Message(StopType.STATUS, status=Status.OK)))
        async with bridged(raw) as near:
            await self._host.welcome(near, relay=(connection.remote_host, 0))


def circuit_address(relay: str, peer_id: str) -> str:
    """Return where a peer is reached through a relay."""
    return f"{relay}/p2p-circuit/p2p/{peer_id}"
