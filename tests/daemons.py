"""Institutions as real processes: `python -m ddtp serve` in homes of their own, and the network between them."""

import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from ddtp.identity.document import Card, parse_card
from ddtp.protocol.envelope import Signed
from tests.town import ORIGIN, REQUEST, make_home, policy_text, write_files

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 30.0
"""For a process to start or to end, on a machine that has other things to do."""


def environment() -> dict[str, str]:
    """The environment without settings of whoever runs the tests."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DDTP_")}
    return clean | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error::ResourceWarning"}


@dataclass
class Daemon:
    """One institution; its home and settings outlive its process.

    Attributes:
        home: Its home.
        process: The running process, or None.
        card: The card that it gave out last.
        command: What it runs.
    """

    home: Path
    process: subprocess.Popen[str] | None = None
    card: Signed[Card] | None = None
    command: str = "serve"

    def start(self) -> "Daemon":
        """Start the process without waiting for it."""
        log = (self.home / "log.jsonl").open("a")
        with log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ddtp", "--home", str(self.home), self.command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(),
            )
        return self

    def limit(self, size_bytes: int | None) -> None:
        """Bound every file that the running process writes, or lift the bound."""
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (hard if size_bytes is None else size_bytes, hard))

    def children(self) -> list[str]:
        """Ids of the processes that the running process has started."""
        return Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()

    def wait_line(self) -> dict[str, Any]:
        """Wait for the line that says where it answers."""
        assert self.process is not None
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_SECONDS)
        line = self.process.stdout.readline() if ready else ""
        assert line, f"expected a daemon that answers, found: {self.log()}"
        return json.loads(line)

    def wait_ready(self) -> Signed[Card]:
        """Wait until it answers, and read its card."""
        self.card = parse_card(Path(self.wait_line()["card"]).read_text(), now=int(time.time()))
        return self.card

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def did(self) -> str:
        assert self.card is not None
        return self.card.body.did

    @property
    def inbox(self) -> Path:
        return self.home / "inbox"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end; return the exit code. A process that does not end is killed, which the code tells."""
        assert self.process is not None
        try:
            code = self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
        return code

    def kill(self) -> None:
        """End it as a power cut does."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """Ask it to end; return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def log(self) -> str:
        return (self.home / "log.jsonl").read_text()

    def events(self) -> list[str]:
        """What happened, by the log."""
        return [json.loads(line)["event"] for line in self.log().splitlines()]

    def defects(self) -> list[str]:
        """Lines of the log that nobody may cause."""
        return [line for line in self.log().splitlines() if '"level": "error"' in line or "Traceback" in line]


@dataclass
class Network:
    """A ledger, an issuer, a verifier and a receiver, each a process.

    Attributes:
        folder: All homes lie here.
        daemons: By name.
        dids: What they sign with, by name.
    """

    folder: Path
    daemons: dict[str, Daemon] = field(default_factory=dict)
    dids: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Daemon:
        return self.daemons[name]

    def make(self, name: str, settings: str, *, files: Mapping[str, str] | None = None) -> Daemon:
        """Make the home of an institution."""
        home = self.folder / name
        seed = make_home(home)
        institution = f'[institution]\nname = "{name.title()}"\ncountry = "CN"\ncontact = "privacy@{name}.example"'
        texts = {"config.toml": f"{settings}\n{institution}\n"} | dict(files or {})
        write_files(home, {path: text.encode() for path, text in texts.items()})
        daemon = Daemon(home)
        # policies name verifiers by the key of their verdicts
        key = seed.verifier_key() if name == "verifier" else seed.institution_key("sign")
        self.dids[name] = key.did
        self.daemons[name] = daemon
        return daemon

    def make_receiver(
        self, name: str, *, verifier: bool = True, top: str = "", network: str = "", drain_seconds: int = 10
    ) -> Daemon:
        """Make a receiver of this network.

        Args:
            name: Of its home.
            verifier: Whether the network's verifier judges for it, or it judges by itself.
            top: More settings at the top.
            network: Settings of the network.
            drain_seconds: As in the settings.
        """
        (log,) = self["ledger"].card.body.logs
        policy = policy_text(
            issuers=[self.dids["issuer"]], logs={log.origin: log.public_key}, verifiers=[self.dids["verifier"]]
        )
        text = f"""
{top}
[network]
{network}
[serve]
roles = ["receiver"]
drain_seconds = {drain_seconds}
[ledger]
card = "../ledger/card.ddtp-card"
[receiver]
policy = "policy.toml"
requests = "requests"
{'verifier = "../verifier/card.ddtp-card"' if verifier else ""}
"""
        return self.make(name, text, files={"policy.toml": policy, "requests/mortgage.toml": REQUEST})

    def start(self) -> None:
        """Start everybody."""
        ledger = self.make("ledger", f'[serve]\nroles = ["ledger"]\n[ledger]\norigin = "{ORIGIN}"')
        ledger.start().wait_ready()
        (log,) = ledger.card.body.logs
        issuer = self.make(
            "issuer",
            '[serve]\nroles = ["issuer"]\n[ledger]\ncard = "../ledger/card.ddtp-card"\n[issuer]\npackages = "packages"',
        )
        policy = policy_text(issuers=[self.dids["issuer"]], logs={log.origin: log.public_key})
        verifier = self.make(
            "verifier",
            '[serve]\nroles = ["verifier"]\n[verifier]\npolicy = "policy.toml"',
            files={"policy.toml": policy},
        )
        for daemon in (issuer, verifier):
            daemon.start()
        for daemon in (issuer, verifier):
            daemon.wait_ready()
        self.make_receiver("receiver").start().wait_ready()

    def stop(self) -> dict[str, int]:
        """Stop whoever runs; return the exit codes."""
        running = {name: daemon for name, daemon in self.daemons.items() if daemon.process is not None}
        for daemon in running.values():
            daemon.signal(signal.SIGTERM)
        return {name: daemon.wait() for name, daemon in running.items()}


@dataclass
class Relay:
    """A way to a daemon that counts bytes and can be blocked; it stays when the daemon is started again.

    Attributes:
        target: Port of the daemon.
        block_at_bytes: It lets nothing more pass after so many bytes towards the daemon.
        forth_bytes: Bytes towards the daemon so far.
        blocked: Set when it lets nothing more pass.
    """

    target: int
    block_at_bytes: int | None = None
    forth_bytes: int = 0
    blocked: trio.Event = field(default_factory=trio.Event)

    async def carry(self, client: trio.SocketStream) -> None:
        """Serve one connection; it ends on both sides when one side ends it."""
        async with client:
            with suppress(OSError):
                async with await trio.open_tcp_stream("127.0.0.1", self.target) as server, trio.open_nursery() as both:
                    both.start_soon(self._pass, client, server, True, both.cancel_scope)
                    both.start_soon(self._pass, server, client, False, both.cancel_scope)

    async def _pass(
        self, source: trio.SocketStream, sink: trio.SocketStream, forth: bool, scope: trio.CancelScope
    ) -> None:
        blocked = False
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for data in source:
                if forth and self.block_at_bytes is not None and self.forth_bytes >= self.block_at_bytes:
                    self.blocked.set()
                    blocked = True
                # what is held back is thrown away: a process that dies must be noticed at the other end
                if not blocked:
                    self.forth_bytes += len(data) if forth else 0
                    await sink.send_all(data)
        scope.cancel()


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@asynccontextmanager
async def open_relay(port: int, target: int) -> AsyncIterator[Relay]:
    """Listen on loopback."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        relay = Relay(target)
        nursery.start_soon(trio.serve_listeners, relay.carry, listeners)
        yield relay
        nursery.cancel_scope.cancel()
