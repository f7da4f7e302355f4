"""How fast payload may move, and whether it may at all: a bandwidth limit and a pause (spec/08-session s.6).

Whoever moves payload asks a `Pace` before each piece of it. A pace knows no stream and no peer; it only counts bytes
and time. How long a pause may last before the peer's patience ends is the business of whoever owns the exchange.
"""

import math
from collections.abc import Callable
from typing import Final, final

import trio

STEP_SECONDS: Final = 0.1
"""A pause, its end and a new limit take effect within this time, from whichever thread they come."""
CREDIT_SECONDS: Final = 0.25
"""What was not used of a limit is made up for, within a quarter of a second: timers and disks are late by less."""
SMALL_BYTES: Final = 32 << 20
"""Content of a small package: a person waits for it."""
SMALL_SHARE: Final = 0.75
"""Of a limit, for small packages while a large one waits: it is later for them, and it arrives."""


def is_small(content_bytes: int) -> bool:
    """Tell whether content is that of a small package, which waits for no large one."""
    return content_bytes < SMALL_BYTES


@final
class Pace:
    """Lets payload pass, piece by piece, first come first served; small packages do not wait for others.

    One pace may be shared by several transfers, which then share its limit, or be `within` another one, which then
    counts for all that are. All but `take` and `is_open` may be called from any thread.

    Args:
        limit_bytes_per_second: Payload that may pass in a second, at least `rates.LEAST_BYTES_PER_SECOND`; None
            for all.
        within: A pace that is asked as well, first.
        clock: Returns seconds that never go back.

    Attributes:
        passed_bytes: Payload that has passed so far.
        limit_bytes_per_second: As the argument; may be set while payload moves.
    """

    def __init__(
        self,
        *,
        limit_bytes_per_second: int | None = None,
        within: "Pace | None" = None,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self.passed_bytes = 0
        self._within = within
        self.limit_bytes_per_second = limit_bytes_per_second
        self._clock = clock
        self._paused = False
        self._all = _Account()
        self._small = _Account()

    @property
    def paused(self) -> bool:
        """True if nothing may pass until `resume`."""
        return self._paused

    def pause(self) -> None:
        """Let nothing pass from now on; what is on its way arrives."""
        self._paused = True

    def resume(self) -> None:
        """Let payload pass again."""
        self._paused = False

    def is_open(self, *, small: bool = False) -> bool:
        """Tell whether a piece would pass without waiting; whoever gathers pieces moves them on when it would not."""
        account = self._small if small else self._all
        passes = not account.turn.locked() and self._wait_seconds(account) <= 0
        return passes and (self._within is None or self._within.is_open(small=small))

    async def take(self, size_bytes: int, *, small: bool = False) -> None:
        """Wait until a piece of payload may pass; from a thread of trio's call it by `trio.from_thread.run`.

        A piece should not be larger than 1 MiB, so that a low limit does not look like silence to the peer.

        Args:
            size_bytes: Size of the piece that is moved next.
            small: It belongs to content that `is_small`: it waits for such pieces only, and all others for it.
        """
        if self._within is not None:
            await self._within.take(size_bytes, small=small)
        own = self._small if small else self._all
        async with own.turn:
            # an event could not be set from another thread, and a limit that changes moves the time anyway
            while (seconds := self._wait_seconds(own)) > 0:  # noqa: ASYNC110
                await trio.sleep(min(seconds, STEP_SECONDS))
            for account in {own, self._all}:
                account.count(size_bytes, self._rate(account), now=self._clock())
            self.passed_bytes += size_bytes

    def _wait_seconds(self, account: "_Account") -> float:
        """Return how long the next piece has to wait, as it looks now."""
        seconds = account.settle(self._rate(account), now=self._clock())
        return math.inf if self._paused else seconds

    def _rate(self, account: "_Account") -> float | None:
        limit = self.limit_bytes_per_second
        shared = account is self._small and self._all.turn.locked()
        return limit * SMALL_SHARE if limit is not None and shared else limit


@final
class _Account:
    """What has passed, less what the time since then is worth; and a turn for whoever waits for it."""

    def __init__(self) -> None:
        self.turn = trio.Lock()
        self._owed_bytes = 0.0
        self._settled_at: float | None = None

    def settle(self, limit: float | None, *, now: float) -> float:
        """Return how many seconds are owed."""
        if limit is None:
            # what passes without a limit is not held against a later one
            self._owed_bytes, self._settled_at = 0.0, None
            return 0.0
        passed = 0.0 if self._settled_at is None else now - self._settled_at
        self._settled_at = now
        self._owed_bytes = max(self._owed_bytes - passed * limit, -CREDIT_SECONDS * limit)
        # less than a byte is what arithmetic leaves over; a clock may not even show the time that it is worth
        return 0.0 if self._owed_bytes < 1 else self._owed_bytes / limit

    def count(self, size_bytes: int, limit: float | None, *, now: float) -> None:
        """Add a piece."""
        self.settle(limit, now=now)
        if limit is not None:
            self._owed_bytes += size_bytes
