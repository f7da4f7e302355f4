"""Figures: what was measured, how often, and what others reached in the same run."""

import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

DIGITS = 4
"""Significant digits; no timing on a shared machine is better than that."""
BUDGET_SECONDS = 0.3
"""How long one sample of a fast operation runs: long against the clock and a time slice, short enough to repeat."""

LOOKS = 10
"""At the clock per sample: it may then overrun its budget by a tenth."""
CLOCK_SECONDS = 1e-6
"""Nothing shorter is trusted."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line chose.

    Attributes:
        runs: Samples of each figure.
        work: Empty directory for all data; removed at the end.
        size: Size of the large file, with its unit ("1GiB"); "0" leaves it out.
        entries: Size of the log whose proofs are timed.
        kills: How many processes die during one transfer.
        seed: What the moments of their deaths are drawn from.
        peers: The benchmark of the tools people use today, or None.
        peers_work: Where that one keeps what it installs for itself, or None.
        install: Whether it may install tools.
    """

    runs: int
    work: Path
    size: str
    entries: int
    kills: int
    seed: int
    peers: Path | None
    peers_work: Path | None
    install: bool


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    Attributes:
        name: As in the list of figures; never changes its meaning.
        unit: Of all values.
        samples: One per run, at least one.
        peer: Medians of others in the same run, in the same unit.
    """

    name: str
    unit: str
    samples: Sequence[float]
    peer: Mapping[str, float] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.samples)


@dataclass(frozen=True, slots=True)
class Missing:
    """A figure that could not be measured here, and why; it is told to people and never given a number."""

    name: str
    reason: str


Measured = Iterable[Figure | Missing]


def encode_json(figure: Figure) -> str:
    """Return a figure as one line of JSON."""
    return json.dumps(
        {
            "name": figure.name,
            "value": rounded(figure.value),
            "unit": figure.unit,
            "peer": {name: rounded(value) for name, value in figure.peer.items()},
            "runs": len(figure.samples),
            "min": rounded(min(figure.samples)),
            "max": rounded(max(figure.samples)),
        }
    )


def encode_row(figure: Figure) -> str:
    """Return a figure as one line for people."""
    value, least, most = (shown(number) for number in (figure.value, min(figure.samples), max(figure.samples)))
    spread = f"[{least}-{most}, {len(figure.samples)} runs]" if len(figure.samples) > 1 else ""
    peers = "  ".join(f"{name} {shown(number)}" for name, number in figure.peer.items())
    return f"{figure.name:<44} {value:>10} {figure.unit:<6} {spread:<34} {peers}".rstrip()


def rounded(number: float) -> float:
    """Return a number with the digits that mean something."""
    precise = float(f"{number:.{DIGITS}g}")
    return int(precise) if precise.is_integer() else precise


def shown(number: float) -> str:
    """Return a number as people write it."""
    return f"{rounded(number):,}"


def seconds(operation: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    operation()
    return time.perf_counter() - start


def calls_per_second(operation: Callable[[], object], *, budget_seconds: float = BUDGET_SECONDS) -> float:
    """Return how many calls a second makes; calls are counted in batches, so that the clock costs nothing."""
    operation()
    batch, calls, start = 1, 0, time.perf_counter()
    while True:
        for _ in range(batch):
            operation()
        calls += batch
        spent = max(time.perf_counter() - start, CLOCK_SECONDS)
        if spent >= budget_seconds:
            return calls / spent
        batch = max(1, int(calls / spent * budget_seconds / LOOKS))


def race(
    name: str,
    unit: str,
    ours: Callable[[], float],
    *,
    runs: int,
    peers: Mapping[str, Callable[[], float]] | None = None,
) -> Figure:
    """Measure ours and the same of others in turns, so that a slow minute of the machine does not hit one only."""
    samples: list[float] = []
    others: dict[str, list[float]] = {peer: [] for peer in peers or {}}
    for _ in range(runs):
        samples.append(ours())
        for peer, measure in (peers or {}).items():
            others[peer].append(measure())
    return Figure(name, unit, samples, {peer: statistics.median(values) for peer, values in others.items()})
