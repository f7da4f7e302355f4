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


@final
class Pace:
    """Lets payload pass, piece by piece, first come first served.

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
        self._turn = trio.Lock()
        self._owed_bytes = 0.0
        self._counted_at: float | None = None

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

    def is_open(self) -> bool:
        """Tell whether a piece would pass without waiting; whoever gathers pieces moves them on when it would not."""
        passes = not self._turn.locked() and self._wait_seconds() <= 0
        return passes and (self._within is None or self._within.is_open())

    async def take(self, size_bytes: int) -> None:
        """Wait until a piece of payload may pass; from a thread of trio's call it by `trio.from_thread.run`.

        A piece should not be larger than 1 MiB, so that a low limit does not look like silence to the peer.

        Args:
            size_bytes: Size of the piece that is moved next.
        """
        if self._within is not None:
            await self._within.take(size_bytes)
        async with self._turn:
            # an event could not be set from another thread, and a limit that changes moves the time anyway
            while (seconds := self._wait_seconds()) > 0:  # noqa: ASYNC110
                await trio.sleep(min(seconds, STEP_SECONDS))
            if self.limit_bytes_per_second is not None:
                self._owed_bytes += size_bytes
            self.passed_bytes += size_bytes

    def _wait_seconds(self) -> float:
        """Return how long the next piece has to wait, as it looks now."""
        limit = self.limit_bytes_per_second
        if limit is None:
            # what passes without a limit is not held against a later one
            self._owed_bytes, self._counted_at = 0.0, None
        else:
            now = self._clock()
            passed = 0.0 if self._counted_at is None else now - self._counted_at
            self._counted_at = now
            self._owed_bytes = max(self._owed_bytes - passed * limit, -CREDIT_SECONDS * limit)
        if self._paused:
            return math.inf
        # less than a byte is what arithmetic leaves over; a clock may not even show the time that it is worth
        return 0.0 if limit is None or self._owed_bytes < 1 else self._owed_bytes / limit
