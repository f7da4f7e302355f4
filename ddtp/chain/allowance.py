"""How much a log lets anonymous writers append (spec/09-ledger s.7): a token bucket for each peer and each address.

Identities cost nothing, so the address counts as well; many people share an address, so it may more than one peer.
Nothing of it is stored.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, final

from ddtp.errors import Overloaded


@dataclass(frozen=True, slots=True)
class Rate:
    """What a bucket holds when it is full, and how many entries flow in each second."""

    burst: int
    per_second: float


PEER_RATE: Final = Rate(1024, 0.2)
"""A first batch of an issuer whom the operator does not know yet; then 17,280 a day, 5 MB of ordinary entries."""

ADDRESS_RATE: Final = Rate(4096, 1.0)
"""A branch of people behind one gateway; then 86,400 a day, 25 MB of ordinary entries and at most 700 MB."""

MAX_BUCKETS: Final = 16_384
"""Remembered of each kind, about 200 bytes each; beyond it the one unused for longest is forgotten, which is then full
again."""


@final
class Allowance:
    """The buckets of one log."""

    def __init__(self) -> None:
        self._peers = _Buckets(PEER_RATE)
        self._addresses = _Buckets(ADDRESS_RATE)

    def spend(self, count: int, *, peer_id: str, address: str, now: float) -> None:
        """Take `count` entries out of the buckets of a peer and of its address.

        Args:
            count: Entries that are to be appended.
            peer_id: Network identity.
            address: What its address is counted by.
            now: Seconds of any clock that does not go back.

        Raises:
            Overloaded: A bucket holds less; nothing is taken.
        """
        left_address = self._addresses.left(address, now)
        left_peer = self._peers.left(peer_id, now)
        if count > min(left_address, left_peer):
            raise Overloaded(
                f"expected at most {int(min(left_address, left_peer))} entries now, found {count}",
                hint="wait, or ask the operator of the log to list you as a writer",
            )
        self._addresses.keep(address, left_address - count, now)
        self._peers.keep(peer_id, left_peer - count, now)


@final
class _Buckets:
    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._used: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def left(self, key: str, now: float) -> float:
        left, since = self._used.get(key, (self._rate.burst, now))
        return min(self._rate.burst, left + (now - since) * self._rate.per_second)

    def keep(self, key: str, left: float, now: float) -> None:
        self._used[key] = left, now
        self._used.move_to_end(key)
        if len(self._used) > MAX_BUCKETS:
            self._used.popitem(last=False)
