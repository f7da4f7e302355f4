"""Progress on stderr: a bar on a terminal, one JSON line a second with --json, else nothing.

The bar never shows the end before the receipt is there: while the other side works, it moves without a measure.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

Report = Callable[[str, int, int], None]
"""Told the phase, the bytes done and the bytes in all; may be called from several threads."""

JSON_INTERVAL_SECONDS: Final = 1.0
"""As often as a person or a log wants to know."""

_MEASURED: Final = frozenset({"sending", "packing"})


def ignore(_phase: str, _done: int, _total: int) -> None:
    """Show nothing."""


def json_lines() -> Report:
    """Return a report that writes one JSON object a second, and one at every change of phase."""
    last_phase, next_time = "", 0.0

    def report(phase: str, done: int, total: int) -> None:
        nonlocal last_phase, next_time
        now = time.monotonic()
        if phase == last_phase and now < next_time:
            return
        last_phase, next_time = phase, now + JSON_INTERVAL_SECONDS
        line = {"progress": {"phase": phase, "bytes_done": done, "bytes_total": total}}
        sys.stderr.write(json.dumps(line) + "\n")
        sys.stderr.flush()

    return report


@contextlib.contextmanager
def bar(phases: Mapping[str, str]) -> Iterator[Report]:
    """Show a bar with phase, bytes, rate and remaining time while the block runs; then it disappears.

    Args:
        phases: What each phase is called.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    # a bar that redirects stdout swallows results that are written meanwhile
    with Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False
    ) as progress:
        task = progress.add_task("", total=None)

        def report(phase: str, done: int, total: int) -> None:
            known = total if phase in _MEASURED and total else None
            progress.update(task, description=phases.get(phase, phase), completed=done, total=known)

        yield report
