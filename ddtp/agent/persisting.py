"""Going on with an exchange that the network broke off: which failures pass, how long to pause, when to give up.

An exchange may be tried again without anybody's consent, because it offers the same transfer again: same id, same
sealed bytes, same grant (spec/08 s.5). What the other side has decided is never asked again.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, TypeVar, final

import trio

from ddtp.errors import Cancelled, DdtpError, PeerAborted, PeerStalled, PeerUnreachable, PeerVanished
from ddtp.transfer.ports import Phase, Progress

FIRST_PAUSE_SECONDS: Final = 1.0
"""Doubled with every failure in a row."""
LONGEST_PAUSE_SECONDS: Final = 15.0
"""Nobody waits longer than this for a network that works again."""
MAX_TAKEOVERS: Final = 3
"""How often a receiver may say that it was told to stop: it is started anew, or another program of ours has taken the
transfer over; two that never gave way would take it from each other for ever."""

_PASSING_ABORTS: Final = frozenset({PeerStalled.code, PeerVanished.code})
"""Aborts by which the receiver says that it has lost us."""
_ADVANCES: Final = (Phase.SENDING, Phase.RECEIPT, Phase.KEY, Phase.VERIFYING, Phase.DONE)

Tell = Callable[[Progress], None]
Outcome = TypeVar("Outcome")


@final
class Persistence:
    """The tries of one transfer; does no I/O: it is told what happens, and says what to do.

    Args:
        patience_seconds: How long to go on without anything new; 0 tries once.
        clock: Seconds that never go back.
        jitter: Returns a number from 0 to 1, so that those whom one failure has hit do not come back at once.
        reached_before: Whether the receiver has answered before these tries.
    """

    def __init__(
        self,
        *,
        patience_seconds: float,
        clock: Callable[[], float],
        jitter: Callable[[], float],
        reached_before: bool = False,
    ) -> None:
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._jitter = jitter
        self._deadline = clock() + patience_seconds
        self._reached = reached_before
        self._failures = 0
        self._takeovers = 0
        self._best = (0, -1)
        self._shown = Progress(Phase.CONNECTING)

    def note(self, progress: Progress) -> Progress:
        """Take what an exchange says about itself; return what a person is shown."""
        self._reached = True
        if progress.phase not in _ADVANCES:
            # until it moves again it is the old failure that a person wants to know about
            return self.lost() if self._failures else progress
        self._shown = progress
        done = (progress.bytes_done, _ADVANCES.index(progress.phase))
        if done[0] > self._best[0] or done[1] > self._best[1]:
            self._best = max(done[0], self._best[0]), max(done[1], self._best[1])
            self._deadline = self._clock() + self._patience_seconds
            self._failures = 0
        return progress

    def lost(self) -> Progress:
        """Return what a person is shown while there is no exchange."""
        return replace(self._shown, phase=Phase.RECONNECTING)

    def begin_again(self) -> None:
        """Take note of a rest that somebody wanted: it uses up no patience."""
        self._failures = 0

    def pause_after(self, error: DdtpError) -> float | None:
        """Return how long to pause before the next try, in seconds; None if the failure is the last word."""
        if not self._failures:
            # an exchange may have worked for long without anything that shows
            self._deadline = self._clock() + self._patience_seconds
        left = self._deadline - self._clock()
        if left <= 0 or not self._passes(error):
            return None
        whole = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, 10))
        self._failures += 1
        return min(left, whole * (1 + self._jitter()) / 2)

    def _passes(self, error: DdtpError) -> bool:
        if isinstance(error, PeerAborted):
            self._takeovers += error.reason_code == Cancelled.code
            told_to_stop = error.reason_code == Cancelled.code and self._takeovers <= MAX_TAKEOVERS
            return told_to_stop or error.reason_code in _PASSING_ABORTS
        # whom nobody has reached yet is not there, or has another address
        return isinstance(error, PeerVanished | PeerStalled) or (self._reached and isinstance(error, PeerUnreachable))


async def persist(attempt: Callable[[Tell], Awaitable[Outcome]], *, persistence: Persistence, tell: Tell) -> Outcome:
    """Run an exchange, again and again while what breaks it passes.

    Args:
        attempt: Runs it once and tells how far it is, for the first time when the peer was reached.
        persistence: Decides.
        tell: Told of every step, and while there is no exchange; must not block.

    Raises:
        DdtpError: As the last attempt raised it.
    """
    while True:
        try:
            return await attempt(lambda progress: tell(persistence.note(progress)))
        except DdtpError as err:
            pause_seconds = persistence.pause_after(err)
            if pause_seconds is None:
                raise
        tell(persistence.lost())
        await trio.sleep(pause_seconds)
