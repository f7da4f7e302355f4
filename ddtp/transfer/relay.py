"""spec/14 s.7: a relay: peers that nobody can connect to hold a place here, and others reach them through it.

What passes is the two peers' own Noise: a relay sees who talks to whom, when and how much, and nothing of what.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, final
from weakref import WeakValueDictionary

import trio

from ddtp.errors import DdtpError, Overloaded
from ddtp.transfer.addresses import address_group
from ddtp.transfer.bridge import splice
from ddtp.transfer.circuit import (
    GOODBYE_SECONDS,
    HOP,
    STOP,
    HopType,
    Limit,
    Message,
    Status,
    encode_hop,
    offer,
    parse_hop,
    read_message,
    refuse,
)
from ddtp.transfer.host import Host
from ddtp.transfer.libp2p import Connection
from ddtp.transfer.limits import HostLimits, Places, SharedPlaces
from ddtp.transfer.yamux import CIRCUIT_WINDOW_BYTES, RawYamux

ADDRESS_SHARE: Final = 8
"""Of the circuits, an eighth for one IP address once half are taken: identities cost nothing."""
TARGET_SHARE: Final = 4
"""Of the circuits to one peer, a quarter for one identity and one IP address once half are taken: two strangers who do
nothing would keep everybody else away from it otherwise."""
QUESTION_SECONDS: Final = 10.0
"""For a question, and for the other peer to take a circuit: as a handshake."""

_log = logging.getLogger(__name__)


@final
@dataclass(frozen=True, slots=True)
class RelayLimits:
    """Bounds of one relay; a newcomer above one is refused.

    Attributes:
        peers: Who may hold a reservation; empty for everybody.
        reservations: At a time; each holds a connection.
        reservations_per_address: For one IP address (or network, in IPv6): a branch behind one gateway fits.
        reservation_seconds: How long one lasts unless it is renewed.
        circuits: At a time, each with up to two windows of Yamux in memory.
        circuits_from_peer: Of one identity that dials.
        circuits_to_peer: To one identity: as many as its host takes from one relay. A quarter of them for one
            identity and for one IP address, once half are taken.
        circuit_seconds: How long a circuit lasts; a transfer that is cut goes on over the next one.
        circuit_bytes: How much a circuit carries in each direction.
    """

    peers: frozenset[str] = frozenset()
    reservations: int = 128
    reservations_per_address: int = 16
    reservation_seconds: int = 3600
    circuits: int = 128
    circuits_from_peer: int = 16
    circuits_to_peer: int = 32
    circuit_seconds: int = 3600
    circuit_bytes: int = 16 << 30

    def for_host(self) -> HostLimits:
        """Return bounds of a host that let all this happen, and half as much again for those who are refused."""
        both = self.reservations + self.circuits
        return HostLimits(
            connections=both + both // 2,
            connections_per_address=4 * max(self.reservations_per_address, self.circuits_from_peer),
            connections_per_peer=self.circuits_from_peer + 2,
            streams_per_protocol=both + both // 2,
            stream_share=4 * max(self.reservations_per_address, self.circuits_from_peer),
        )


@final
@dataclass(frozen=True, slots=True)
class _Held:
    """A reservation while it lasts."""

    connection: Connection
    scope: trio.CancelScope
    ended: trio.Event = field(default_factory=trio.Event)


@final
class Relay:
    """The reservations and circuits of one host.

    Args:
        limits: Bounds.
        clock: Seconds since the epoch, for the expiry that is said.
    """

    def __init__(self, limits: RelayLimits, *, clock: Callable[[], int]) -> None:
        self._limits = limits
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._places = Places(limits.reservations, limits.reservations_per_address)
        self._sources = Places(limits.circuits, limits.circuits_from_peer)
        # circuits outlive the reservation that they were made with; who holds a place keeps the places there
        self._targets: WeakValueDictionary[str, SharedPlaces] = WeakValueDictionary()
        self._shares = SharedPlaces(limits.circuits, max(limits.circuits_from_peer, limits.circuits // ADDRESS_SHARE))

    def serve(self, host: Host) -> None:
        """Answer on a host, which should have the bounds of `RelayLimits.for_host`."""
        host.serve_raw(HOP, self._answer)

    async def _answer(self, raw: RawYamux, connection: Connection) -> None:
        with trio.fail_after(QUESTION_SECONDS):
            message = parse_hop(await read_message(raw))
        if message.kind == HopType.RESERVE:
            await self._reserve(raw, connection)
        elif message.kind == HopType.CONNECT and message.peer_id is not None:
            await self._connect(raw, connection, message.peer_id)
        else:
            await _refuse(raw, Status.UNEXPECTED_MESSAGE)

    async def _reserve(self, raw: RawYamux, connection: Connection) -> None:
        """Hold a place for a peer as long as its connection and its time last; a newer reservation replaces it."""
        peer_id, limits = connection.peer_id, self._limits
        if limits.peers and peer_id not in limits.peers:
            await _refuse(raw, Status.PERMISSION_DENIED)
            return
        while (older := self._held.get(peer_id)) is not None:
            # of several newcomers one takes the place, and the next one takes it from that
            older.scope.cancel()
            await older.ended.wait()
        try:
            with self._places.take(address_group(connection.remote_host)), trio.CancelScope() as scope:
                held = self._held[peer_id] = _Held(connection, scope)
                try:
                    scope.deadline = trio.current_time() + limits.reservation_seconds
                    expires = self._clock() + limits.reservation_seconds
                    granted = Message(HopType.STATUS, expires=expires, limit=self._limit, status=Status.OK)
                    await raw.write(encode_hop(granted))
                    # the stream stays ours, so that the host does not take the connection for an idle one
                    await connection.over.wait()
                finally:
                    held.ended.set()
                    del self._held[peer_id]
        except Overloaded:
            await _refuse(raw, Status.RESERVATION_REFUSED)

    async def _connect(self, raw: RawYamux, connection: Connection, peer_id: str) -> None:
        held = self._held.get(peer_id)
        if held is None:
            await _refuse(raw, Status.NO_RESERVATION)
            return
        group = address_group(connection.remote_host)
        try:
            with (
                self._sources.take(connection.peer_id),
                self._circuits_to(peer_id).take(connection.peer_id, group),
                self._shares.take(group),
            ):
                await self._join(raw, connection.peer_id, held)
        except Overloaded:
            await _refuse(raw, Status.RESOURCE_LIMIT_EXCEEDED)

    def _circuits_to(self, peer_id: str) -> SharedPlaces:
        most = self._limits.circuits_to_peer
        return self._targets.setdefault(peer_id, SharedPlaces(most, max(1, most // TARGET_SHARE)))

    async def _join(self, raw: RawYamux, source: str, held: _Held) -> None:
        far: RawYamux | None = None
        try:
            try:
                with trio.fail_after(QUESTION_SECONDS):
                    far = await held.connection.open_stream(STOP, window_bytes=CIRCUIT_WINDOW_BYTES)
                    await offer(far, source, self._limit)
            except (DdtpError, trio.BrokenResourceError, trio.TooSlowError) as err:
                _log.info("a circuit to %s failed: %s", held.connection.peer_id, err)
                await _refuse(raw, Status.CONNECTION_FAILED)
                return
            await raw.write(encode_hop(Message(HopType.STATUS, limit=self._limit, status=Status.OK)))
            with trio.move_on_after(self._limits.circuit_seconds):
                await splice(raw, far, most_bytes=self._limits.circuit_bytes)
        finally:
            if far is not None:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + GOODBYE_SECONDS):
                    await far.reset()

    @property
    def _limit(self) -> Limit:
        return Limit(seconds=self._limits.circuit_seconds, size_bytes=self._limits.circuit_bytes)


async def _refuse(raw: RawYamux, status: Status) -> None:
    await refuse(raw, encode_hop(Message(HopType.STATUS, status=status)))
