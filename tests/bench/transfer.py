"""Whole transfers between processes on this machine: a person, a receiving bank, its verifier, and a ledger.

`package_*` is the time from the person's confirmation to the checked receipt "verified". The large file and the small
files are timed like the tools beside them: from the start of the person's process, interpreter included, to its end.
What arrives is compared with its source byte for byte, outside the clock.
"""

import filecmp
import math
import re
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import channel, stream
from tests.bench.figures import Figure, Measured, Missing, Options
from tests.bench.rivals import Rivals
from tests.bench.town import BIG_FILE, Told, Town, make_file

SENDS = 5
"""Transfers of a small package per sample run, all samples."""
SMALL = "1000x4KiB"
SMALL_FILES, SMALL_BYTES = 1000, 4096
CROWD, CROWD_BYTES, CROWD_PROCESSES = 100, 10 << 20, 4
CROWD_NETWORK = "connections = 512\nconnections_per_address = 512\nstreams_per_protocol = 256"
"""A service where a hundred people come through one gateway, as they do here."""
LARGE, LARGE_BYTES, BESIDE = 8, 100 << 20, "package_1KiB_ms"
LATENCY_PACKAGES = {"package_1KiB_ms": 1024, "package_2MB_ms": 2_000_000}
LIBRARY = {"DDTP_CRYPTO": "library"}
"""For both sides; measured once, because it takes longer than a round of all others together."""
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

SPEEDUPS = {
    "speedup_vs_scp": "scp",
    "speedup_vs_wormhole": "wormhole",
    "speedup_vs_iroh": "iroh",
    "speedup_vs_croc": "croc",
}
"""Their wall time over ours."""
RATIOS = {"ratio_vs_curl_tls": "curl-tls", "ratio_vs_curl_tls_sha256": "curl-tls+sha256"}
"""Our wall time over theirs."""


@dataclass
class _Samples:
    """What the rounds of the loads that others move too have brought."""

    large: list[float] = field(default_factory=list)
    small: list[float] = field(default_factory=list)
    sent: list[float] = field(default_factory=list)
    phases: dict[str, list[float]] = field(default_factory=dict)
    sender_cpu: list[float] = field(default_factory=list)
    receiver_cpu: list[float] = field(default_factory=list)
    sender_rss: list[float] = field(default_factory=list)
    receiver_rss: list[float] = field(default_factory=list)
    others: dict[tuple[str, str], list[float]] = field(default_factory=dict)


def measure(options: Options) -> Measured:
    """Measure connections by themselves, small packages, then the loads that others move too."""
    yield from channel.measure(runs=options.runs)
    yield stream.measure(runs=options.runs)
    with Town(options.work / "latency") as town:
        for name, size in LATENCY_PACKAGES.items():
            yield _latency(town, name, size, runs=options.runs)
    yield from _crowds(options)
    yield _beside_large(options)
    yield from _loads(options)


def _latency(town: Town, name: str, size: int, *, runs: int) -> Figure:
    folder = town.root / name
    make_file(folder / BIG_FILE, size)
    # the first is not counted: it opens connections to the ledger and loads code
    told = town.send(town.issue(folder), times=1 + SENDS * runs)
    check_received(town, folder, count=1 + SENDS * runs)
    return Figure(name, "ms", [1000 * sent for sent in told.sent_s[1:]])


def _crowds(options: Options) -> Iterator[Figure]:
    """Many persons at the same moment, beside one alone."""
    efficiency, spread = [], []
    with Town(options.work / "crowd", network=CROWD_NETWORK) as town:
        source = town.root / "source"
        make_file(source / BIG_FILE, CROWD_BYTES)
        alone = town.issue(source)
        homes = [town.person(f"person-{number}") for number in range(CROWD)]
        pairs = [(home, town.issue(source, home=home)) for home in homes]
        for _ in range(options.runs):
            single = statistics.median(town.send(alone, times=1 + SENDS).sent_s[1:])
            town.forget_received()
            with town.crowd(pairs, processes=CROWD_PROCESSES) as receipts:
                waits = sorted(receipts())
            check_received(town, source, count=CROWD)
            efficiency.append(CROWD * single / waits[-1])
            spread.append(waits[math.ceil(0.95 * CROWD) - 1] / statistics.median(waits))
    yield Figure("concurrent_100x10MiB_efficiency", "1", efficiency)
    yield Figure("concurrent_100x10MiB_p95_over_median", "1", spread)


def _beside_large(options: Options) -> Figure | Missing:
    """A small package while large ones of others are on their way to the same service."""
    waits: list[float] = []
    with Town(options.work / "beside") as town:
        small, large = town.root / "small", town.root / "large"
        make_file(small / BIG_FILE, LATENCY_PACKAGES[BESIDE])
        make_file(large / BIG_FILE, LARGE_BYTES)
        package = town.issue(small)
        homes = [town.person(f"person-{number}") for number in range(LARGE)]
        pairs = [(home, town.issue(large, home=home)) for home in homes]
        for _ in range(options.runs):
            with town.crowd(pairs, processes=1) as receipts:
                start = time.time()  # from here on they wait; what they did before is not in their times
                told = town.send(package, times=2 * SENDS)
                waits += _begun_before(start + max(receipts()), told)
            town.forget_received()
    return _beside_figure(waits)


def _begun_before(end: float, told: Told) -> list[float]:
    return [sent for sent, began in zip(told.sent_s, told.began_s, strict=True) if began < end]


def _beside_figure(waits: Sequence[float]) -> Figure | Missing:
    name = f"{BESIDE.removesuffix('_ms')}_beside_{LARGE}x100MiB_ms"
    if not waits:
        return Missing(name, "no small package began before the large ones had arrived")
    return Figure(name, "ms", [1000 * wait for wait in waits])


def _loads(options: Options) -> Iterator[Figure | Missing]:
    rivals, samples = Rivals(options), _Samples()
    size_bytes = parse_size(options.size)
    with Town(options.work / "loads") as town:
        small = town.root / "small"
        for number in range(SMALL_FILES):
            make_file(small / f"{number:04}.bin", SMALL_BYTES)
        small_package = town.issue(small)
        large, large_package = town.root / "large", None
        if size_bytes:
            make_file(large / BIG_FILE, size_bytes)
            large_package = town.issue(large)
        for _ in range(options.runs):
            samples.small.append(_send(town, small, small_package)[0])
            if large_package is not None:
                _large(town, large, large_package, samples)
            for key, wall in rivals.walls(size=options.size, small=SMALL).items():
                samples.others.setdefault(key, []).append(wall)
        if large_package is not None:
            yield _library(town, large, large_package, options.size)
    yield Figure("small_1000x4KiB_s", "s", samples.small, _peer(samples.others, SMALL))
    if size_bytes:
        yield from _large_figures(options.size, size_bytes, samples)
        yield from _comparisons(options.size, samples, rivals)


def _large(town: Town, source: Path, package: Path, samples: _Samples) -> None:
    cpu_before = town.receiver.cpu_seconds()
    wall, told = _send(town, source, package)
    samples.large.append(wall)
    samples.sent += told.sent_s
    samples.sender_cpu.append(told.cpu_s)
    samples.receiver_cpu.append(town.receiver.cpu_seconds() - cpu_before)
    samples.sender_rss.append(told.peak_rss_MB)
    samples.receiver_rss.append(town.receiver.peak_rss_megabytes())
    for phase, spent in told.phases_s.items():
        samples.phases.setdefault(phase, []).append(spent)


def _library(town: Town, source: Path, package: Path, size: str) -> Figure | Missing:
    """The large file once more, without the extension on either side."""
    name = f"verified_{size}_MBps_library"
    try:
        town.restart_with(LIBRARY)
        wall, _told = _send(town, source, package)
    except RuntimeError as err:
        return Missing(name, str(err))
    return Figure(name, "MB/s", [parse_size(size) / 1e6 / wall])


def _large_figures(size: str, size_bytes: int, samples: _Samples) -> Iterator[Figure]:
    rates = [size_bytes / 1e6 / wall for wall in samples.large]
    yield Figure(f"verified_{size}_s", "s", samples.large, _peer(samples.others, size))
    yield Figure(f"verified_{size}_MBps", "MB/s", rates)
    yield Figure(f"verified_{size}_after_confirmation_s", "s", samples.sent)
    for phase, spent in samples.phases.items():
        yield Figure(f"verified_{size}_phase_{phase}_s", "s", spent)
    yield Figure(f"verified_{size}_cpu_sender_s", "s", samples.sender_cpu)
    yield Figure(f"verified_{size}_cpu_receiver_s", "s", samples.receiver_cpu)
    yield Figure("peak_rss_sender_MB", "MB", samples.sender_rss)
    yield Figure("peak_rss_receiver_MB", "MB", samples.receiver_rss)


def _comparisons(size: str, samples: _Samples, rivals: Rivals) -> Iterator[Figure | Missing]:
    for suffix, tool in {**SPEEDUPS, **RATIOS}.items():
        name, theirs = f"verified_{size}_{suffix}", samples.others.get((size, tool), [])
        if len(theirs) != len(samples.large):
            yield Missing(name, rivals.why_missing(tool))
            continue
        pairs = list(zip(samples.large, theirs, strict=True))
        ratios = [their / our if suffix in SPEEDUPS else our / their for our, their in pairs]
        yield Figure(name, "1", ratios)


def _send(town: Town, source: Path, package: Path) -> tuple[float, Told]:
    """Send once, check what arrived, delete it; return the wall time of the person's process and what it told."""
    start = time.perf_counter()
    told = town.send(package, times=1)
    wall = time.perf_counter() - start
    check_received(town, source, count=1)
    return wall, told


def check_received(town: Town, source: Path, *, count: int) -> None:
    """Compare what arrived with its source byte for byte, and delete it.

    Raises:
        RuntimeError: It is not the same.
    """
    folders, names = town.received(), sorted(path.name for path in source.iterdir())
    if len(folders) != count:
        raise RuntimeError(f"expected {count} packages in the inbox, found {len(folders)}")
    for folder in folders:
        same, _different, _unreadable = filecmp.cmpfiles(source, folder, names, shallow=False)
        if sorted(same) != names:
            raise RuntimeError("expected the files that were sent, found others")
    town.forget_received()


def _peer(others: Mapping[tuple[str, str], list[float]], load: str) -> dict[str, float]:
    return {tool: statistics.median(walls) for (moved, tool), walls in others.items() if moved == load}


def parse_size(text: str) -> int:
    """Return the bytes of a size such as "64KiB" or "1GiB".

    Raises:
        ValueError: It is none.
    """
    found = re.fullmatch(r"(\d+)(?:([KMG])iB)?", text)
    if found is None:
        raise ValueError(f"expected a size such as 64MiB or 1GiB, found {text!r}")
    return int(found[1]) * UNITS[found[2] or ""]
