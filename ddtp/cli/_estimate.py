"""Rate and remaining time, as a person reads them: smoothed, and honest when nothing moves. Time is passed in."""

import math
from typing import Final, final

SMOOTHING_SECONDS: Final = 4.0
"""A change of the rate shows within a few seconds, while a single burst does not."""
LEAST_SECONDS: Final = 1.0
"""What is measured for a shorter time says nothing about the rest."""
STILL_SECONDS: Final = 5.0
"""When nothing has moved for so long, no remaining time is true."""
MOST_SECONDS: Final = 99 * 3600
"""A longer remaining time is not shown: it says only that the rate is about nothing."""


@final
class Estimate:
    """The rate of something that grows.

    Attributes:
        rate: Bytes per second; 0 while it is not known.
    """

    def __init__(self) -> None:
        self.rate = 0.0
        self.restart()

    def restart(self) -> None:
        """Forget everything: what is measured is another thing now, or rested."""
        self.rate = 0.0
        self._done = 0
        self._start: float | None = None
        self._last = 0.0
        self._moved = 0.0
        self._smoothed = 0.0

    def update(self, done: int, *, now: float) -> None:
        """Take a new value into account; also to be called when nothing has changed.

        Args:
            done: Bytes; what was there at the first call is not counted.
            now: Seconds of a clock that does not go back.
        """
        if self._start is None or done < self._done:
            self.restart()
            self._start, self._last, self._moved, self._done = now, now, now, done
            return
        passed = now - self._last
        if passed <= 0:
            return
        if done > self._done:
            self._moved = now
        weight = 1 - math.exp(-passed / SMOOTHING_SECONDS)
        self._smoothed += weight * ((done - self._done) / passed - self._smoothed)
        self._done, self._last = done, now
        # at first the average is short of what has not been measured yet
        self.rate = self._smoothed / (1 - math.exp(-(now - self._start) / SMOOTHING_SECONDS))

    def seconds_left(self, total: int, *, now: float) -> float | None:
        """Return the remaining time, or None if nothing true can be said about it."""
        if self._start is None or now - self._start < LEAST_SECONDS or now - self._moved > STILL_SECONDS:
            return None
        if self.rate < 1:
            return None
        left = max(total - self._done, 0) / self.rate
        return left if left <= MOST_SECONDS else None
