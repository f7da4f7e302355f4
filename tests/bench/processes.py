"""Processes that a benchmark starts: daemons and persons, their memory, and their end."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import IO, Self

STOP_SECONDS = 15.0
NOTHING_MORE: Mapping[str, str] = MappingProxyType({})


class Daemon:
    """A running `ddtp serve`, killed with us at the latest.

    Args:
        home: Its home, with `config.toml`.
        environment: More variables for it.
    """

    def __init__(self, home: Path, *, environment: Mapping[str, str] = NOTHING_MORE) -> None:
        self._log = (home / "log.jsonl").open("ab")
        self._process = subprocess.Popen(
            bound_to_us(sys.executable, "-m", "ddtp", "--home", str(home), "serve"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **environment},
        )
        self.pid = self._process.pid

    def wait_until_ready(self) -> None:
        """Wait until the daemon answers; it then writes its first line.

        Raises:
            RuntimeError: It ended instead.
        """
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError(f"a daemon ended: {Path(self._log.name).read_text()[-500:]}")

    def peak_rss_megabytes(self) -> float:
        """Return the most memory that it has had."""
        return peak_rss_megabytes(self.pid)

    def cpu_seconds(self) -> float:
        """Return the CPU time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        # proc(5): utime and stime are fields 14 and 15, and two fields were cut off
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """Ask it to stop, and kill it if it does not."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()

    def kill(self) -> None:
        """End it as a power cut does."""
        self._process.kill()
        self._process.wait()
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _close(self) -> None:
        self._log.close()
        assert self._process.stdout is not None
        self._process.stdout.close()


def start_module(module: str, arguments: Sequence[str], *, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a module of the tests as a process of its own."""
    return subprocess.Popen(
        bound_to_us(sys.executable, "-m", module, *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )


class Talk:
    """Lines to and from a module that runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def say(self, line: str) -> None:
        """Send a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def hear(self) -> str:
        """Wait for a line.

        Raises:
            RuntimeError: The process ended instead.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"expected a line of process {self._process.pid}, found that it ended")
        return line


@contextmanager
def talk_to_module(module: str, arguments: Sequence[str]) -> Iterator[Talk]:
    """Run a module of the benchmark during the `with` block; what it says against it goes to our stderr."""
    with subprocess.Popen(
        bound_to_us(sys.executable, "-m", module, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Talk(process)
        finally:
            process.kill()


def run_module(
    module: str, arguments: Sequence[str], *, timeout_seconds: float, environment: Mapping[str, str] = NOTHING_MORE
) -> str:
    """Run a module of the benchmark as a process of its own, with more variables, and return what it prints.

    Raises:
        RuntimeError: It failed.
    """
    done = subprocess.run(
        bound_to_us(sys.executable, "-m", module, *arguments),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        env={**os.environ, **environment},
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module} failed: {done.stderr[-1500:]}")
    return done.stdout


def peak_rss_megabytes(pid: int | str = "self") -> float:
    """Return the peak of the resident memory of a process (VmHWM), in 10^6 bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None, "Linux tells the peak of every process"
    return int(found[1]) * 1024 / 1e6


def bound_to_us(*command: str) -> list[str]:
    """Return a command that the kernel kills when we have gone, however that ended, where `setpriv` is installed."""
    setpriv = shutil.which("setpriv")
    return [*([setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []), *command]
