"""Two machines on a network of their own: Linux network namespaces and a cable between them; needs root and `ip`."""

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import trio

from tests.daemons import ROOT, environment

NETWORK = "10.77.0.{}/24"


@cache
def why_not() -> str:
    """Say why namespaces cannot be made here; nothing if they can."""
    if sys.platform != "linux" or shutil.which("ip") is None:
        return "needs the command ip of iproute2"
    name = f"ddtp-{os.urandom(3).hex()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"may not make a network namespace: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return ""


needs_namespaces = pytest.mark.skipif(bool(why_not()), reason=why_not() or "namespaces can be made")


@dataclass(frozen=True)
class Link:
    """Machines 0 and 1, with the numbers 10.77.0.1 and 10.77.0.2.

    Attributes:
        names: Of their namespaces.
    """

    names: tuple[str, str]

    def inside(self, machine: int, command: Sequence[str]) -> list[str]:
        """Return a command line that runs on a machine."""
        return ["ip", "netns", "exec", self.names[machine], *command]

    async def run(
        self, machine: int, command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path = ROOT
    ) -> str:
        """Run a command to its end and return what it prints."""
        done = await trio.run_process(
            self.inside(machine, command), capture_stdout=True, env=env or environment(), cwd=cwd
        )
        return done.stdout.decode()

    @asynccontextmanager
    async def running(
        self, machine: int, command: Sequence[str], *, watched: bool = False
    ) -> AsyncIterator[trio.Process]:
        """Run a command during the block.

        Args:
            machine: Where.
            command: What.
            watched: Whether the test reads its stderr too.
        """
        process = await trio.lowlevel.open_process(
            self.inside(machine, command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if watched else None,
            env=environment(),
            cwd=ROOT,
        )
        try:
            yield process
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                assert process.stdout is not None
                await process.stdout.aclose()
                if process.stderr is not None:
                    await process.stderr.aclose()

    async def cut(self) -> None:
        """Pull the cable: everything that is sent is lost, and nobody is told."""
        await self.run(1, ["ip", "link", "set", "cable", "down"])

    async def join(self) -> None:
        """Plug it in again."""
        await self.run(1, ["ip", "link", "set", "cable", "up"])

    async def slow_down(self, *, megabits: int) -> None:
        """Let no more than this pass towards machine 0, so that something is still under way after a second."""
        shape = ["rate", f"{megabits}mbit", "burst", "256kb", "latency", "400ms"]
        await self.run(1, ["tc", "qdisc", "add", "dev", "cable", "root", "tbf", *shape])

    async def move(self, number: int) -> None:
        """Give machine 1 another number, as another network would."""
        await self.run(1, ["ip", "address", "flush", "dev", "cable"])
        await self.run(1, ["ip", "address", "add", NETWORK.format(number), "dev", "cable"])


@asynccontextmanager
async def open_link() -> AsyncIterator[Link]:
    """Make the machines and the cable; both are gone afterwards."""
    token = os.urandom(3).hex()
    link = Link((f"ddtp-{token}-0", f"ddtp-{token}-1"))
    try:
        for name in link.names:
            await trio.run_process(["ip", "netns", "add", name])
            await trio.run_process(["ip", "-n", name, "link", "set", "lo", "up"])
        first, second = link.names
        ends = ["cable", "netns", first, "type", "veth", "peer", "name", "cable", "netns", second]
        await trio.run_process(["ip", "link", "add", *ends])
        for number, name in enumerate(link.names, 1):
            await trio.run_process(["ip", "-n", name, "address", "add", NETWORK.format(number), "dev", "cable"])
            await trio.run_process(["ip", "-n", name, "link", "set", "cable", "up"])
        yield link
    finally:
        with trio.CancelScope(shield=True):
            for name in link.names:
                await trio.run_process(["ip", "netns", "del", name], check=False)
