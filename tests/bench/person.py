"""A person as a process of its own: `python -m tests.bench.person HOME CARD PACKAGE TIMES`.

Sends a package that many times and prints one JSON object: `sent_s`, for each time the seconds from the confirmation
to the checked receipt; `began_s`, when that was; `phases_s`, for the last time the seconds spent in each phase;
`cpu_s` and `peak_rss_MB` of this process.
"""

import json
import sys
import time
from pathlib import Path

import trio

from ddtp.agent.facade import open_agent
from ddtp.transfer.ports import Progress
from tests.bench.processes import peak_rss_megabytes


async def main(home: str, card_file: str, package: str, times: str) -> None:
    """Send, and tell how long it took.

    Raises:
        RuntimeError: The receiver did not verify a package.
    """
    spent: list[float] = []
    began: list[float] = []
    phases: dict[str, float] = {}
    async with open_agent(Path(home)) as person:
        card = await person.remember_card(await trio.Path(card_file).read_text())
        for _ in range(int(times)):
            prepared = await person.prepare(Path(package), card=card)
            began.append(time.time())
            watch = _Watch()
            sent = await person.send(prepared, progress=watch)
            phases = watch.end()
            spent.append(sum(phases.values()))
            if not sent.verified:
                raise RuntimeError(f"expected a verified package, found step {sent.failed_step}: {sent.reason}")
    result = {
        "sent_s": spent,
        "began_s": began,
        "phases_s": phases,
        "cpu_s": time.process_time(),
        "peak_rss_MB": peak_rss_megabytes(),
    }
    sys.stdout.write(json.dumps(result) + "\n")


class _Watch:
    """Adds up the time between changes of the phase; what comes before the first is called "granting"."""

    def __init__(self) -> None:
        self._phase, self._since = "granting", time.perf_counter()
        self._spent: dict[str, float] = {}

    def __call__(self, progress: Progress) -> None:
        if progress.phase.value != self._phase:
            self._turn(progress.phase.value)

    def end(self) -> dict[str, float]:
        self._turn("")
        return self._spent

    def _turn(self, phase: str) -> None:
        now = time.perf_counter()
        self._spent[self._phase] = self._spent.get(self._phase, 0.0) + now - self._since
        self._phase, self._since = phase, now


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
