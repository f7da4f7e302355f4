"""RFC 8305 for peers (spec/14 s.1): what is tried, in which order, and when the next attempt starts.

A name stands for all its numbers, each tried by itself up to the end of the handshake: a number that takes connections
and says nothing holds nobody up longer than a dead one. Whoever answers first wins, and all others are given up.
"""

import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, final

import trio

from ddtp.errors import PeerUnreachable, UsageError
from ddtp.transfer.addresses import PeerAddress

STAGGER_SECONDS: Final = 0.5
"""Head start of an attempt over the next one: a TCP and Noise handshake at a round trip of 100 ms."""

RESOLUTION_SECONDS: Final = 0.05
"""What IPv4 waits for the answer about IPv6 (RFC 8305 s.3)."""

MAX_ADDRESSES: Final = 16
"""Of a card, and of numbers tried per dial: a card lists a handful; more would make us a scanner on somebody's behalf.
All of them start within half of the time that a dial has."""

_FAMILIES: Final = {4: (socket.AF_INET,), 6: (socket.AF_INET6,), 0: (socket.AF_INET6, socket.AF_INET)}


@final
@dataclass(frozen=True, slots=True)
class Target:
    """One place to try.

    Attributes:
        address: As it was given.
        host: The number that its name stands for, or its number.
    """

    address: PeerAddress
    host: str

    @property
    def is_ipv6(self) -> bool:
        """The family."""
        return ":" in self.host

    def __str__(self) -> str:
        named = self.address.multiaddr
        return named if self.host == self.address.host else f"{named} at {self.host}"


Add = Callable[[Target], None]
Source = Callable[[Add], Awaitable[None]]
"""Adds what it finds, for as long as it likes; it may raise `PeerUnreachable`."""
Attempt = Callable[[Target], Awaitable[None]]
"""Returns when the peer has answered; raises `PeerUnreachable` with the reason why it has not."""


async def race(
    addresses: Sequence[str], attempt: Attempt, *, timeout_seconds: float, sources: Sequence[Source] = ()
) -> list[str]:
    """Try all that is known and found until one attempt succeeds; the others are cancelled.

    Args:
        addresses: Multiaddrs with the peer's identity, best first; at most `MAX_ADDRESSES` are read.
        attempt: Tries one of them.
        timeout_seconds: For everything together.
        sources: Of more, asked at the same time.

    Returns:
        Why each attempt failed, in the order of the failures; those that were still running last.
    """
    contest = _Race(attempt)
    with trio.move_on_after(timeout_seconds) as deadline:
        await contest.run(addresses[:MAX_ADDRESSES], sources)
    if deadline.cancelled_caught:
        contest.reasons += [f"{name}: no answer within {timeout_seconds:g} s" for name in contest.running]
    return contest.reasons


@final
class _Race:
    """One run of `race`."""

    def __init__(self, attempt: Attempt) -> None:
        self.reasons: list[str] = []
        self.running: list[str] = []
        self._attempt = attempt
        self._waiting: list[Target] = []
        self._started = 0
        self._searches = 0
        self._changed = trio.Event()
        self._last_was_ipv6: bool | None = None

    async def run(self, addresses: Sequence[str], sources: Sequence[Source]) -> None:
        searches = [source for text in addresses if (source := self._read(text)) is not None]
        self._searches = len(searches) + len(sources)
        async with trio.open_nursery() as nursery:
            for source in (*searches, *sources):
                nursery.start_soon(self._search, source)
            while self._started < MAX_ADDRESSES and (self._waiting or self._searches):
                if not self._waiting:
                    self._changed = trio.Event()
                    await self._changed.wait()
                    continue
                failed = trio.Event()
                nursery.start_soon(self._try, self._take(), failed, nursery.cancel_scope)
                with trio.move_on_after(STAGGER_SECONDS):
                    await failed.wait()

    def _read(self, text: str) -> Source | None:
        """Take a numeric address as it is; return the search that a name needs."""
        try:
            address = PeerAddress(text)
        except UsageError as err:
            self.reasons.append(err.message)
            return None
        if address.is_name:
            return partial(_resolve, address)
        self._add(Target(address, address.host))
        return None

    def _add(self, target: Target) -> None:
        self._waiting.append(target)
        self._changed.set()

    def _take(self) -> Target:
        """Return what is next: the families take turns, in each the order is kept (RFC 8305 s.4); relays come last."""
        near = [target for target in self._waiting if target.address.relay_id is None] or self._waiting
        target = next((each for each in near if each.is_ipv6 != self._last_was_ipv6), near[0])
        if self._last_was_ipv6 is None:
            target = near[0]
        self._waiting.remove(target)
        self._started += 1
        self._last_was_ipv6 = target.is_ipv6
        return target

    async def _search(self, source: Source) -> None:
        try:
            await source(self._add)
        except PeerUnreachable as err:
            self.reasons.append(err.message)
        finally:
            self._searches -= 1
            self._changed.set()

    async def _try(self, target: Target, failed: trio.Event, everything: trio.CancelScope) -> None:
        self.running.append(str(target))
        try:
            await self._attempt(target)
        except PeerUnreachable as err:
            self.reasons.append(f"{target}: {err.message}")
            self.running.remove(str(target))
            failed.set()
        else:
            everything.cancel()


async def _resolve(address: PeerAddress, add: Add) -> None:
    """Find the numbers of a name, of each family by itself: the answer of one does not wait for the other for long."""
    found: set[str] = set()
    preferred, *others = _FAMILIES[address.ip_version]
    answered = trio.Event()

    async def look_up(family: socket.AddressFamily) -> None:
        # a label that is too long is a UnicodeError of Python's own
        with suppress(OSError, UnicodeError):
            entries = await trio.socket.getaddrinfo(address.host, address.port, family=family, type=socket.SOCK_STREAM)
            if family != preferred:
                with trio.move_on_after(RESOLUTION_SECONDS):
                    await answered.wait()
            for host in dict.fromkeys(str(entry[4][0]) for entry in entries):
                found.add(host)
                add(Target(address, host))

    async with trio.open_nursery() as nursery:
        for family in others:
            nursery.start_soon(look_up, family)
        await look_up(preferred)
        answered.set()
    if not found:
        raise PeerUnreachable(f"{address.multiaddr}: the name stands for no address")
