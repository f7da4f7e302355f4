"""spec/14 s.4: how much strangers can make a host do; above a bound the newcomer is refused."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

from ddtp.errors import Overloaded


@final
@dataclass(frozen=True, slots=True)
class HostLimits:
    """Bounds of one host.

    Attributes:
        connections: Inbound at a time: each costs a socket and about 100 KiB, one that was busy up to 1 MiB; 256 stay
            below every default limit of open files.
        connections_per_address: From one IP address (IPv6: from one /64), identity unknown: a branch behind one
            gateway fits, one stranger cannot take all places.
        connections_per_peer: From one proven identity: an institution's workers fit.
        streams_per_connection: Opened by the peer at a time, negotiating or served.
        streams_per_protocol: Served at a time: each may hold one window (4 MiB) of unread data.
        stream_share: Of these, for one address and for one identity, once half of all are taken: an eighth, so that
            four more addresses find room beside a greedy one. Below half there is room for all, so that many
            people behind one gateway, or on one machine, are not told apart from one stranger.
        bulk_connections: That carry chunks, at a time, shared as the streams of a protocol: one that is refused makes a
            transfer slower and nothing else. Each session holds eight frames of 1 MiB at most.
        handshake_seconds: From TCP to Yamux, and again from a new stream to its protocol: ten round trips over a
            satellite.
        idle_seconds: A connection without streams is closed: longer than a person needs for the next step is waste.
    """

    connections: int = 256
    connections_per_address: int = 32
    connections_per_peer: int = 8
    streams_per_connection: int = 32
    streams_per_protocol: int = 64
    stream_share: int = 8
    bulk_connections: int = 64
    handshake_seconds: float = 10.0
    idle_seconds: float = 60.0


@final
class Places:
    """Counts who is inside, in all and per key, and refuses the next one at the bound.

    Args:
        total: Places in all.
        per_key: Places for one key.
    """

    def __init__(self, total: int, per_key: int) -> None:
        self._total = total
        self._per_key = per_key
        self._inside: Counter[str] = Counter()

    @contextmanager
    def take(self, key: str) -> Iterator[None]:
        """Hold one place during the `with` block.

        Raises:
            Overloaded: No place is free.
        """
        if self._inside.total() >= self._total or self._inside[key] >= self._per_key:
            raise Overloaded(f"expected a free place for {key}, found {self._inside[key]} taken")
        self._inside[key] += 1
        try:
            yield
        finally:
            self._inside[key] -= 1
            if not self._inside[key]:
                del self._inside[key]


@final
class SharedPlaces:
    """Places for whoever comes while there are many, and for those with less than their share when they get scarce.

    Args:
        total: Places in all.
        share: How many one holder may have once half of all are taken.
    """

    def __init__(self, total: int, share: int) -> None:
        self._total = total
        self._share = share
        self._taken = 0
        self._held: Counter[str] = Counter()

    @contextmanager
    def take(self, *holders: str) -> Iterator[None]:
        """Hold one place, on account of each of the holders, during the `with` block.

        Raises:
            Overloaded: No place is free, or half are taken and a holder has its share.
        """
        scarce = 2 * self._taken >= self._total
        greedy = any(self._held[holder] >= self._share for holder in holders)
        if self._taken >= self._total or (scarce and greedy):
            raise Overloaded(f"expected a free place, found {self._taken} of {self._total} taken")
        self._taken += 1
        self._held.update(holders)
        try:
            yield
        finally:
            self._taken -= 1
            self._held.subtract(holders)
            self._held = +self._held
