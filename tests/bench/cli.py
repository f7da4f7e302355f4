"""How long a person waits for the command line: whole processes, from start to exit."""

import subprocess
import sys
import time
from collections.abc import Sequence

from tests.bench.figures import Figure, Measured, Missing, Options
from tests.bench.town import BIG_FILE, Town, make_file

COMMAND_SECONDS = 120.0
BUNDLE_CONTENT_BYTES = 2_000_000
"""Size of the file that is checked beside the bundle: a scanned statement."""


def measure(options: Options) -> Measured:
    """Measure the help, an offline check of a bundle with its file, and the demonstration."""
    yield _command("help_s", ["--help"], runs=options.runs)
    with Town(options.work / "cli") as town:
        folder = town.root / "source"
        make_file(folder / BIG_FILE, BUNDLE_CONTENT_BYTES)
        town.send(town.issue(folder), times=1)
        export = town.export_received()
        yield _command(
            "verify_bundle_s",
            ["verify", str(export.bundle), "--policy", str(town.policy), "--files", str(export.folder / "files")],
            runs=options.runs,
        )
    yield _command("demo_s", ["demo"], runs=options.runs)


def _command(name: str, arguments: Sequence[str], *, runs: int) -> Figure | Missing:
    """Run a command, once more than it is counted, so that nobody pays for cold files."""
    samples: list[float] = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "ddtp", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        samples.append(time.perf_counter() - start)
        if done.returncode:
            last = (done.stderr.splitlines() or ["no reason given"])[-1]
            return Missing(name, f"exit code {done.returncode}: {last}")
    return Figure(name, "s", samples[1:])
