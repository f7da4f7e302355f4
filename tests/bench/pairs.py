"""Both ends of a tool that `peers.py` does not know: `python -m tests.bench.pairs TOLD TOOL PROGRAM SOURCE TARGET`.

The end that waits is started first; the clock runs from the start of the other one until both have ended, as for the
tools that `peers.py` knows. The load and the seconds are appended to the file TOLD as a line of JSON.
"""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.processes import bound_to_us
from tests.daemons import free_port

READY_SECONDS = 60.0
"""For the waiting end; croc reads all of its source before."""
END_SECONDS = 600.0
LOOK_SECONDS = 0.01
SETTLE_SECONDS = 0.5
"""croc shows its code a moment before it has reached its relay."""
CROC_HOST = "127.0.0.2"
"""A croc relay that is told to listen on 127.0.0.1 listens everywhere."""
CROC_CHANNELS = 4
"""As croc does by itself."""
IROH_STREAM = Path(__file__).with_name("iroh_stream.py")


def croc(program: str, source: Path, target: Path) -> float:
    """Send with croc through a relay on this machine, without compression, which costs more than it gains here."""
    ports = [str(free_port()) for _ in range(1 + CROC_CHANNELS)]
    password, address = secrets.token_hex(8), f"{CROC_HOST}:{ports[0]}"
    environment = {"CROC_PASS": password, "CROC_SECRET": f"{secrets.randbelow(9000) + 1000}-bench-run-code"}
    common = [program, "--yes", "--ignore-stdin", "--disable-clipboard", "--no-compress"]
    relayed = ["--relay", address, "--relay6", ""]
    with ExitStack() as stack:
        relay = stack.enter_context(
            _running([program, "relay", "--host", CROC_HOST, "--ports", ",".join(ports)], target, environment)
        )
        for port in ports:
            relay.wait_for(port)
        sender = stack.enter_context(
            _running([*common, *relayed, "send", "--no-local", str(source)], target, environment)
        )
        sender.wait_for("Code is")
        time.sleep(SETTLE_SECONDS)
        return _timed(
            [*common, "--overwrite", "--ip", address, "--out", str(target.parent)], sender, target, environment
        )


def iroh(program: str, source: Path, target: Path) -> float:
    """Send over a stream of iroh from one process to another."""
    with _running([program, str(IROH_STREAM), "receive", str(target.parent)], target, {}) as receiver:
        receiver.wait_for("\n")
        return _timed(
            [program, str(IROH_STREAM), "send", str(source), *receiver.output().split()], receiver, target, {}
        )


PAIRS: Mapping[str, Callable[[str, Path, Path], float]] = {"croc": croc, "iroh": iroh}


class _End:
    """A process whose output is read while it runs."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_for(self, word: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while word not in self.output():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"expected {word!r} of a waiting end, found: {self.output()[-300:]}")
            time.sleep(LOOK_SECONDS)

    def finish(self) -> None:
        if self._process.wait(END_SECONDS):
            raise RuntimeError(f"a waiting end failed: {self.output()[-300:]}")


@contextmanager
def _running(command: Sequence[str], target: Path, environment: Mapping[str, str]) -> Iterator[_End]:
    log = target.parent.with_name(f"{secrets.token_hex(4)}.log")
    with (
        log.open("wb") as output,
        subprocess.Popen(
            bound_to_us(*command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
        ) as process,
    ):
        try:
            yield _End(process, log)
        finally:
            process.kill()


def _timed(command: Sequence[str], waiting: _End, target: Path, environment: Mapping[str, str]) -> float:
    start = time.perf_counter()
    with _running(command, target, environment) as end:
        end.finish()
    waiting.finish()
    return time.perf_counter() - start


def main(told: str, tool: str, program: str, source: str, target: str) -> None:
    """Move one load, and tell how long it took."""
    wall_s = PAIRS[tool](program, Path(source), Path(target))
    with Path(told).open("a") as file:
        file.write(json.dumps({"load": Path(source).parent.name, "tool": tool, "wall_s": wall_s}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
