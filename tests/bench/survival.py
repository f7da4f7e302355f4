"""A large transfer during which both sides are killed, again and again, at random moments.

The moments are drawn from a seed. Most of them are places in the content: as soon as the receiver has stored so much,
one side gets SIGKILL. Some come after the last chunk, while keys are released and files are opened. At the end the
files are compared bit for bit. What was sent twice is counted by what the sender has noted before it sent it.
"""

import itertools
import random
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import IO, final

from ddtp.protocol.chunks import chunk_count
from ddtp.protocol.leaves import CHUNK_SIZE_DEFAULT
from tests.bench.figures import Figure, Measured, Options
from tests.bench.processes import start_module
from tests.bench.town import BIG_FILE, CARD, PERSON, RECEIVER, Town, make_file
from tests.bench.transfer import check_received, parse_size
from tests.mortal import BROKEN_OFF, Diary, Note

LATE_SHARE = 0.1
"""Of all kills, after the last chunk."""
LATE_SECONDS = 1.0
"""At most, after an exchange has begun that has nothing to send."""
JITTER_SECONDS = 0.005
"""At most, after the place in the content: what a frame takes."""
LOOK_SECONDS = 0.001
"""Between two looks at how far it is."""
PATIENCE_SECONDS = 120.0
"""For the next moment, on a machine that has other things to do."""
LEAF_BYTES = 32
"""Per stored chunk in the receiver's journal."""


class Side(Enum):
    """Who is killed."""

    HOLDER = "holder"
    RECEIVER = "receiver"


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill: of whom, at which chunk (that of the end for one after it), and how long after that."""

    side: Side
    chunk: int
    delay_seconds: float


def plan(count: int, *, chunks: int, seed: int) -> list[Kill]:
    """Return the kills of a transfer in their order, as many of each side."""
    chance = random.Random(seed)
    sides = [list(Side)[number % 2] for number in range(count)]
    chance.shuffle(sides)
    late = round(count * LATE_SHARE)
    places = sorted(chance.randrange(chunks) for _ in range(count - late))
    delays = [chance.uniform(0, JITTER_SECONDS) for _ in places]
    places += [chunks] * late
    delays += [chance.uniform(0, LATE_SECONDS) for _ in range(late)]
    return [Kill(*each) for each in zip(sides, places, delays, strict=True)]


@dataclass
class Toll:
    """What the kills of one transfer have cost.

    Attributes:
        resent: Chunks that were sent again after each kill of a side.
        stored_resent: Chunks that the receiver had stored and that were sent again.
        total_s: From the start of the first process to the last receipt.
    """

    resent: dict[Side, list[int]] = field(default_factory=lambda: {side: [] for side in Side})
    stored_resent: int = 0
    total_s: float = 0.0


def measure(options: Options) -> Measured:
    """Kill, go on, and count."""
    size_bytes = parse_size(options.size)
    tolls = []
    for number in range(options.runs):
        with Town(options.work / f"survival-{number}") as town:
            tolls.append(_survive(town, size_bytes, kills=options.kills, seed=options.seed + number))
    yield from _figures(tolls)


def _figures(tolls: list[Toll]) -> Iterator[Figure]:
    yield Figure("kills_completed", "1", [sum(map(len, toll.resent.values())) for toll in tolls])
    yield Figure(
        "kills_resent_chunks_per_kill",
        "1",
        [sum(map(sum, toll.resent.values())) / max(1, sum(map(len, toll.resent.values()))) for toll in tolls],
    )
    for side in Side:
        counts = [count for toll in tolls for count in toll.resent[side]]
        if counts:
            yield Figure(f"kills_resent_chunks_by_{side.value}", "1", counts)
    yield Figure("kills_stored_chunks_resent", "1", [toll.stored_resent for toll in tolls])
    yield Figure("kills_total_s", "s", [toll.total_s for toll in tolls])


def _survive(town: Town, size_bytes: int, *, kills: int, seed: int) -> Toll:
    source = town.root / "source"
    make_file(source / BIG_FILE, size_bytes)
    package = town.issue(source)
    chunks = chunk_count(size_bytes, CHUNK_SIZE_DEFAULT)
    with tempfile.TemporaryFile(dir=town.root) as errors:
        toll = _Run(town, package, chunks=chunks, errors=errors).run(plan(kills, chunks=chunks, seed=seed))
    check_received(town, source, count=1)
    return toll


@dataclass(frozen=True, slots=True)
class Death:
    """A kill that has happened.

    Attributes:
        side: Who was killed.
        exchanges: How many had begun by then.
        stored: Chunks that the receiver had stored by then.
    """

    side: Side
    exchanges: int
    stored: int


def count_resent(toll: Toll, deaths: Sequence[Death], notes: Iterable[Note]) -> None:
    """Add up what was sent again after each death, by the diary of the sender."""
    spans = list(_spans(notes))
    for death, following in itertools.pairwise([*deaths, None]):
        assert death is not None, "only the end has no death"
        sent = max((stop for _, stop in spans[: death.exchanges]), default=0)
        again = 0
        for first, stop in spans[death.exchanges : following and following.exchanges]:
            again += max(0, min(stop, sent) - first)
            toll.stored_resent += max(0, min(stop, death.stored) - first)
            sent = max(sent, stop)
        toll.resent[death.side].append(again)


def _spans(notes: Iterable[Note]) -> Iterator[tuple[int, int]]:
    """Yield the first chunk that each exchange sent and the one after its last; chunks go in order."""
    first = stop = None
    for note in notes:
        if note.count:
            first, stop = note.first if first is None else first, note.first + note.count
        else:
            if stop is not None:
                yield first or 0, stop
            first, stop = None, 0
    yield first or 0, stop or 0


@final
class _Run:
    """One transfer, from its first process to its last."""

    def __init__(self, town: Town, package: Path, *, chunks: int, errors: IO[bytes]) -> None:
        self._town = town
        self._arguments = [str(path) for path in (town.root / PERSON, town.root / RECEIVER / CARD, package)]
        self._diary = Diary(town.root / "diary")
        self._arguments += [str(town.root / "diary"), "0"]
        self._errors = errors
        self._holder: subprocess.Popen[bytes] | None = None
        self._chunks = chunks
        self._toll = Toll()

    def run(self, kills: list[Kill]) -> Toll:
        start = time.perf_counter()
        deaths = []
        for kill in kills:
            if not self._await(kill):
                break
            deaths.append(self._end(kill.side))
        while self._goes_on():
            time.sleep(LOOK_SECONDS)
        self._toll.total_s = time.perf_counter() - start
        count_resent(self._toll, deaths, self._diary.notes())
        return self._toll

    def _end(self, side: Side) -> Death:
        if side is Side.RECEIVER:
            self._town.kill_receiver()
        elif self._holder is not None:
            self._holder.kill()
            self._holder.wait()
            self._holder = None
        death = Death(side, sum(not note.count for note in self._diary.notes()), self._stored())
        if side is Side.RECEIVER:
            self._town.restart_receiver()
        return death

    def _await(self, kill: Kill) -> bool:
        """Wait for the moment of a kill in another exchange than now; return False if the transfer ends before."""
        began = self._diary.size()
        deadline = time.perf_counter() + PATIENCE_SECONDS
        while self._diary.size() == began or self._stored() < kill.chunk:
            if not self._goes_on():
                return False
            if time.perf_counter() > deadline:
                raise RuntimeError("expected a transfer that goes on, found that nothing moves")
            time.sleep(LOOK_SECONDS)
        time.sleep(kill.delay_seconds)
        return self._goes_on()

    def _goes_on(self) -> bool:
        """Start the sending process if there is none; return False when the last receipt is there."""
        if self._holder is not None and self._holder.poll() == 0:
            return False
        if self._holder is None or self._holder.poll() == BROKEN_OFF:
            self._holder = start_module("tests.mortal", self._arguments, stderr=self._errors)
        elif self._holder.poll() is not None:
            self._errors.seek(0)
            raise RuntimeError(f"a sender ended: {self._errors.read()[-1500:].decode()}")
        return True

    def _stored(self) -> int:
        """Return how many chunks the receiver has stored; those that it has released count."""
        for journal in (self._town.root / RECEIVER / "vault" / "incoming").glob("*.journal"):
            try:
                return journal.stat().st_size // LEAF_BYTES
            except FileNotFoundError:
                break
        return self._chunks if any((self._town.root / RECEIVER / "inbox").glob("[!.]*")) else 0
