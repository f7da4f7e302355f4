"""Runs the benchmark; see `python -m tests.bench --help`."""

import argparse
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from tests.bench import cli, crypto, ledger, survival, transfer
from tests.bench.figures import Figure, Measured, Options, encode_json, encode_row

ROOT = Path(__file__).parents[2]
PEERS_VARIABLE = "DDTP_BENCH_PEERS"

AREAS: Mapping[str, Callable[[Options], Measured]] = {
    "cli": cli.measure,
    "crypto": crypto.measure,
    "ledger": ledger.measure,
    "survival": survival.measure,
    "transfer": transfer.measure,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the chosen areas; figures go to stdout as they come, everything else to stderr."""
    chosen = parse(arguments)
    work = Path(tempfile.mkdtemp(prefix="ddtp-bench-", dir=chosen.work))
    options = Options(
        runs=chosen.runs,
        work=work,
        size=chosen.size,
        entries=chosen.entries,
        kills=chosen.kills,
        seed=chosen.seed,
        peers=chosen.peers if chosen.peers.is_file() else None,
        peers_work=chosen.work,
        install=chosen.install,
    )
    encode = encode_json if chosen.json else encode_row
    sys.stderr.write(machine())
    try:
        for area in dict.fromkeys(chosen.areas):
            for found in AREAS[area](options):
                if isinstance(found, Figure):
                    sys.stdout.write(encode(found) + "\n")
                    sys.stdout.flush()
                else:
                    sys.stderr.write(f"not measured: {found.name}: {found.reason}\n")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0


def machine() -> str:
    """Return what figures depend on, in a line for people."""
    load = os.getloadavg()[0]
    facts = f"{os.cpu_count()} cores, load {load:.1f}, {platform.machine()}, Linux {platform.release()}"
    return f"{facts}, Python {platform.python_version()}\n"


def stop(number: int, _frame: object) -> NoReturn:
    """End orderly on a signal, so that neither processes nor data stay behind; what is still missing is told."""
    sys.stderr.write(f"stopped by {signal.Signals(number).name}: further figures were not measured\n")
    sys.exit(128 + number)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure DDTP on this machine.")
    parser.add_argument("areas", nargs="+", choices=sorted(AREAS), metavar="AREA", help=", ".join(sorted(AREAS)))
    parser.add_argument("--json", action="store_true", help="one JSON object per figure and line")
    parser.add_argument("--runs", type=positive, default=3, help="samples of each figure (default 3)")
    parser.add_argument(
        "--size", default="1GiB", help="transfer, survival: size of the large file, 0 for none (default 1GiB)"
    )
    parser.add_argument("--entries", type=positive, default=100_000, help="ledger: size of the log (default 100000)")
    parser.add_argument("--kills", type=positive, default=50, help="survival: how many, of both sides (default 50)")
    parser.add_argument("--seed", type=int, default=1, help="survival: what the moments of the kills are drawn from")
    parser.add_argument(
        "--peers",
        type=Path,
        default=Path(os.environ.get(PEERS_VARIABLE) or ROOT / "../shared/bench/peers.py"),
        help=f"transfer: benchmark of other tools (or {PEERS_VARIABLE}; default ../shared/bench/peers.py)",
    )
    parser.add_argument("--install", action="store_true", help="transfer: let other tools be installed")
    parser.add_argument(
        "--work",
        type=existing,
        help="directory on the disk to measure, where the other benchmark also keeps its tools (default: temporary)",
    )
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    """Read a whole number above zero."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, found {text!r}")
    return int(text)


def existing(text: str) -> Path:
    """Read a directory that is there."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"expected a directory, found {text!r}")
    return Path(text).resolve()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    sys.exit(main())
