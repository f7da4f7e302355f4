"""Progress on stderr: one line that is drawn again on a terminal, JSON lines with --json, else plain lines.

The line never shows the end before the receipt is there, fits the terminal whatever its width, and goes when the work
ends. While nobody reports anything it is still drawn, so that time, rate and what remains stay true.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, final

from ddtp.cli._estimate import Estimate
from ddtp.cli._streams import write_error


class Report(Protocol):
    """Told how far something is; may be called from several threads."""

    def __call__(self, phase: str, done: int, total: int, sent: int = 0, /) -> None:
        """Take the phase, the bytes done, the bytes in all, and those that have left."""


JSON_INTERVAL_SECONDS: Final = 1.0
"""As often as a person or a log wants to know."""
PLAIN_INTERVAL_SECONDS: Final = 10.0
"""A log has no use for more, and nothing that is done sooner needs a line."""
REDRAW_SECONDS: Final = 0.1
"""Faster than this nobody reads."""
TICK_SECONDS: Final = 0.5
"""Between two drawings while nothing is reported."""

_MEASURED: Final = frozenset({"sending", "packing", "sealing", "paused"})
_BAR_CELLS: Final = 10
"""With it, everything fits on a line of 80 cells."""


@dataclass(frozen=True, slots=True)
class LineWords:
    """The words of the line; `phases` holds what each phase is called."""

    phases: Mapping[str, str]
    of: str
    left: str
    pause: str
    resume: str


@final
class State:
    """What was reported last, and what follows from it; a lock keeps threads apart."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.start = clock()
        self.phase, self.done, self.total, self.sent = "", 0, 0, 0
        self.estimate = Estimate()
        self.lock = threading.RLock()

    def take(self, phase: str, done: int, total: int, sent: int) -> bool:
        """Note a report; return True if the phase is another one now."""
        changed = phase != self.phase
        if changed:
            self.estimate.restart()
        self.phase, self.done, self.total, self.sent = phase, done, total, max(sent, done)
        self.measure()
        return changed

    def measure(self) -> None:
        """Let time pass for the rate."""
        if self.phase in _MEASURED and self.phase != "paused":
            self.estimate.update(self.sent, now=self.clock())

    @property
    def elapsed(self) -> float:
        """Seconds since the work began."""
        return self.clock() - self.start

    @property
    def seconds_left(self) -> float | None:
        """Remaining seconds of what is measured, or None."""
        return self.estimate.seconds_left(self.total, now=self.clock()) if self.phase in _MEASURED else None

    @property
    def percent(self) -> int | None:
        """How much of the measure is done; never all of it, which only a receipt can say."""
        return min(self.sent * 100 // self.total, 99) if self.phase in _MEASURED and self.total else None


def ignore(_phase: str, _done: int, _total: int, _sent: int = 0, /) -> None:
    """Show nothing."""


def json_lines() -> Report:
    """Return a report that writes one JSON object a second, and one at every change of phase."""
    state, next_time = State(), 0.0

    def report(phase: str, done: int, total: int, sent: int = 0, /) -> None:
        nonlocal next_time
        with state.lock:
            now = state.clock()
            if not state.take(phase, done, total, sent) and now < next_time:
                return
            next_time = now + JSON_INTERVAL_SECONDS
            left = state.seconds_left
            line = {
                "phase": phase,
                "bytes_done": done,
                "bytes_total": total,
                "bytes_sent": state.sent,
                "bytes_per_second": round(state.estimate.rate),
                "seconds_left": None if left is None else round(left),
                "seconds": round(state.elapsed, 1),
            }
            write_error(json.dumps({"progress": line}) + "\n")

    return report


@contextlib.contextmanager
def plain_lines(words: LineWords, *, interval_seconds: float = PLAIN_INTERVAL_SECONDS) -> Iterator[Report]:
    """Write a plain line at every interval while the block runs; nothing if it ends sooner."""
    state = State()

    def write() -> None:
        with state.lock:
            state.measure()
            write_error(", ".join(part for part in parts(state, words).values() if part) + "\n")

    def report(phase: str, done: int, total: int, sent: int = 0, /) -> None:
        with state.lock:
            state.take(phase, done, total, sent)

    with _ticking(write, interval_seconds):
        yield report


@final
class Line:
    """One line on a terminal.

    Args:
        words: What it says.
        columns: Returns the width of the terminal in cells.
        keys: True if a key pauses, which the line then says.
    """

    def __init__(self, words: LineWords, *, columns: Callable[[], int], keys: bool = False) -> None:
        self._words = words
        self._columns = columns
        self._keys = keys
        self._state = State()
        self._drawn_at = 0.0
        self._drawn_cells = 0

    def report(self, phase: str, done: int, total: int, sent: int = 0, /) -> None:
        """Take a report, and draw it if the last drawing is not too young."""
        with self._state.lock:
            self._state.take(phase, done, total, sent)
            self.draw()

    def draw(self) -> None:
        """Draw the line, unless it was drawn a moment ago."""
        with self._state.lock:
            now = self._state.clock()
            if now - self._drawn_at < REDRAW_SECONDS or not self._state.phase:
                return
            self._drawn_at = now
            self._state.measure()
            # the last cell stays free: some terminals begin a new line there
            text = fit(parts(self._state, self._words, keys=self._keys), self._columns() - 1)
            self._put(text)

    def clear(self) -> None:
        """Take the line away, so that something else can be written."""
        with self._state.lock:
            if self._drawn_cells:
                self._put("")
                write_error("\r")
            self._drawn_at = 0.0

    def _put(self, text: str) -> None:
        from ddtp.consent.layout import cells

        width = cells(text)
        # the escape also takes what a terminal that became narrower has left
        dumb = os.environ.get("TERM", "dumb") == "dumb"
        rest = " " * max(self._drawn_cells - width, 0) if dumb else "\x1b[K"
        write_error(f"\r{text}{rest}")
        self._drawn_cells = width

    @contextlib.contextmanager
    def shown(self) -> Iterator[Report]:
        """Show the line while the block runs; then it disappears."""
        try:
            with _ticking(self.draw, TICK_SECONDS):
                yield self.report
        finally:
            self.clear()


def parts(state: State, words: LineWords, *, keys: bool = False) -> dict[str, str]:
    """Return the pieces of a line in their order, each by a name that `fit` knows; what is not known is empty."""
    percent, left = state.percent, state.seconds_left
    resting = state.phase == "paused"
    moving = state.phase in _MEASURED and not resting
    hint = words.resume if resting else words.pause
    filled = 0 if percent is None else _BAR_CELLS * percent // 100
    return {
        "phase": words.phases.get(state.phase, state.phase),
        "bar": "" if percent is None else "█" * filled + "░" * (_BAR_CELLS - filled),
        "percent": "" if percent is None else f"{percent}%",
        "size": "" if percent is None else words.of.format(done=size(state.sent), total=size(state.total)),
        "rate": f"{size(state.estimate.rate)}/s" if moving and state.estimate.rate >= 1 else "",
        "left": "" if left is None or resting else words.left.format(time=clock_time(left)),
        "elapsed": "" if moving else clock_time(state.elapsed),
        "hint": hint if keys and (resting or state.phase in {"connecting", "waiting", "sealing", "sending"}) else "",
    }


_DISPENSABLE: Final = ("bar", "elapsed", "size", "rate", "hint", "left", "percent")
"""What a narrow terminal does without, in this order."""


def fit(pieces: Mapping[str, str], columns: int) -> str:
    """Return the pieces as one line of at most `columns` cells, without those that do not fit."""
    from ddtp.consent.layout import cells

    kept = {name: text for name, text in pieces.items() if text}
    for name in _DISPENSABLE:
        if cells("  ".join(kept.values())) <= columns:
            break
        kept.pop(name, None)
    line = "  ".join(kept.values())
    while line and cells(line) > columns:
        line = line[:-1]
    return line


def size(count: float) -> str:
    """Return a size for people in at most eight cells, in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def clock_time(seconds: float) -> str:
    """Return a duration as minutes and seconds, with hours if there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextlib.contextmanager
def _ticking(tick: Callable[[], None], interval_seconds: float) -> Iterator[None]:
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(interval_seconds):
            tick()

    thread = threading.Thread(target=run, name="ddtp-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
