"""A bank that receives, its verifier and a ledger, each a daemon of its own, and homes of an issuer and a person."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import trio

from ddtp.agent.addressing import holder_address
from ddtp.agent.exporting import ExportedTransfer
from ddtp.agent.facade import open_agent, wall_clock
from ddtp.agent.issuing import Draft
from ddtp.config import load_config
from ddtp.identity.document import parse_card
from ddtp.identity.keys import Seed
from ddtp.protocol.leaves import Field, FieldKind
from ddtp.store.keystore import create_identity, load_identity
from tests.bench.processes import Daemon, run_module, talk_to_module
from tests.daemons import free_port

SCHEMA = "bank-statement/1"
VALID_SECONDS = 30 * 86400
BIG_FILE = "statement.bin"
SEND_SECONDS = 900.0
"""For one process of the person: several gigabytes on a slow disk."""
LEDGER, VERIFIER, RECEIVER, ISSUER, PERSON = "ledger", "verifier", "receiver", "issuer", "person"
CARD = "card.ddtp-card"
REQUEST = """\
title = "Mortgage application"
valid_seconds = 3600
use_seconds = 86400
operations = ["view", "store"]
withdrawal = ["privacy@receiver.example"]
jurisdictions = ["CN"]
logs = []
[notice]
uri = "https://receiver.example/privacy"
digest = "0000000000000000000000000000000000000000000000000000000000000000"
language = "en"
[[purposes]]
code = "dpv:CreditChecking"
text = "decide on your mortgage"
basis = "consent"
required = true
[[asks]]
schema = "bank-statement/1"
items = ["*"]
level = 1
sensitive = true
[keep]
at_end = "erase"
seconds = 86400
"""


@dataclass(frozen=True, slots=True)
class Told:
    """What a process of the person told: the fields of the object that `person` prints."""

    sent_s: list[float]
    began_s: list[float]
    phases_s: dict[str, float]
    cpu_s: float
    peak_rss_MB: float  # noqa: N815 - the name in the object, with its unit


class Town:
    """Runs from entering to leaving; everything lies under one directory.

    Args:
        root: A directory that does not exist yet.
        network: More settings of the network of all daemons.
    """

    def __init__(self, root: Path, *, network: str = "") -> None:
        self.root = root
        self._network = network
        self.policy = root / "policy.toml"
        self._stack = ExitStack()
        self._packages = 0
        self._daemons: dict[str, Daemon] = {}
        self._environment: Mapping[str, str] = {}

    def __enter__(self) -> Self:
        self.root.mkdir()
        for name in (LEDGER, VERIFIER, RECEIVER, ISSUER, PERSON):
            create_identity(self.root / name, Seed.generate(os.urandom), passphrase=None, random_bytes=os.urandom)
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        shutil.rmtree(self.root)

    @property
    def receiver(self) -> Daemon:
        """The process of the receiving bank."""
        return self._daemons[RECEIVER]

    def kill_receiver(self) -> None:
        """End the process of the receiving bank as a power cut does."""
        self.receiver.kill()

    def restart_receiver(self) -> None:
        """Start it again, at the same address."""
        self._start_daemon(self._stack, RECEIVER)

    def restart_with(self, environment: Mapping[str, str]) -> None:
        """Restart the receiving bank with more variables of the environment, which the person who sends has too."""
        self._environment = environment
        self.receiver.stop()
        self.restart_receiver()

    def person(self, name: str) -> Path:
        """Make the home of one more person."""
        home = self.root / name
        create_identity(home, Seed.generate(os.urandom), passphrase=None, random_bytes=os.urandom)
        return home

    def issue(self, folder: Path, *, home: Path | None = None) -> Path:
        """Issue a package with everything in a folder to the person, or to the one of a home; return its file."""
        self._packages += 1
        output = self.root / f"{self._packages}.ddtp"
        issuer = _did(self.root / ISSUER)
        address = holder_address(_seed(home or self.root / PERSON), issuer, now=wall_clock()).body
        fields = [Field("name", FieldKind.TEXT, "小明")]
        draft = Draft(sorted(folder.iterdir()), fields, SCHEMA, address, VALID_SECONDS, output)

        async def issue() -> None:
            async with open_agent(self.root / ISSUER) as agent:
                await agent.issue(draft)

        trio.run(issue)
        return output

    def send(self, package: Path, *, times: int) -> Told:
        """Let the person send a package, in a process of its own."""
        arguments = [str(self.root / PERSON), str(self.root / RECEIVER / CARD), str(package), str(times)]
        told = json.loads(
            run_module("tests.bench.person", arguments, timeout_seconds=SEND_SECONDS, environment=self._environment)
        )
        return Told(**told)

    @contextmanager
    def crowd(self, pairs: Sequence[tuple[Path, Path]], *, processes: int) -> Iterator[Callable[[], list[float]]]:
        """Let many persons send their packages from the same moment on, the beginning of the `with` block.

        What it gives waits for their receipts, and returns how long each has waited for it.
        """
        card = str(self.root / RECEIVER / CARD)
        with ExitStack() as stack:
            groups = [
                stack.enter_context(talk_to_module("tests.bench.crowd", [card, *_named(pairs[number::processes])]))
                for number in range(processes)
            ]
            for group in groups:
                group.hear()
            for group in groups:
                group.say("go")
            yield lambda: [seconds for group in groups for seconds in json.loads(group.hear())]

    def export_received(self) -> ExportedTransfer:
        """Take the newest package that the receiver has verified out, as files and a proof bundle."""

        async def export() -> ExportedTransfer:
            async with open_agent(self.root / RECEIVER) as receiver:
                return await receiver.export((await receiver.transfers())[0], self.root / "export")

        return trio.run(export)

    def received(self) -> list[Path]:
        """Return the folders of files that the receiver has released and that are still there."""
        return sorted(path / "files" for path in (self.root / RECEIVER / "inbox").iterdir())

    def forget_received(self) -> None:
        """Delete what the receiver has released."""
        shutil.rmtree(self.root / RECEIVER / "inbox", ignore_errors=True)

    def _start(self, stack: ExitStack) -> None:
        verifier_did = _seed(self.root / VERIFIER).verifier_key().did
        ledger_card = f"[ledger]\ncard = {_toml(self.root / LEDGER / CARD)}\n"
        self._daemon(stack, LEDGER, ["ledger", "witness"], '[ledger]\norigin = "ledger.example/bench"\n')
        log = parse_card((self.root / LEDGER / CARD).read_text(), now=wall_clock()).body.logs[0]
        self.policy.write_text(
            f'attestation = "issuer"\n[issuers."{_did(self.root / ISSUER)}"]\nname = "Bank A"\n'
            f'[logs."{log.origin}"]\npublic_key = "{log.public_key.hex()}"\n'
            f'[verifiers."{verifier_did}"]\nname = "Verifier"\n'
        )
        self._daemon(stack, VERIFIER, ["verifier"], f"[verifier]\npolicy = {_toml(self.policy)}\n")
        requests = self.root / "requests"
        requests.mkdir()
        (requests / "mortgage.toml").write_text(REQUEST)
        settings = (
            f"[receiver]\npolicy = {_toml(self.policy)}\nrequests = {_toml(requests)}\n"
            f"inbox = {_toml(self.root / RECEIVER / 'inbox')}\nverifier = {_toml(self.root / VERIFIER / CARD)}\n"
        )
        self._daemon(stack, RECEIVER, ["receiver"], ledger_card + settings)
        _configure(self.root / ISSUER, [], ledger_card)

    def _daemon(self, stack: ExitStack, name: str, roles: Sequence[str], settings: str) -> None:
        network = f'[network]\nlisten = ["/ip4/127.0.0.1/tcp/{free_port()}"]\n{self._network}\n'
        _configure(self.root / name, roles, network + settings)
        self._start_daemon(stack, name)

    def _start_daemon(self, stack: ExitStack, name: str) -> None:
        self._daemons[name] = stack.enter_context(Daemon(self.root / name, environment=self._environment))
        self._daemons[name].wait_until_ready()


def _named(pairs: Sequence[tuple[Path, Path]]) -> list[str]:
    return [str(path) for pair in pairs for path in pair]


def make_file(path: Path, size: int) -> None:
    """Write random bytes, which nobody can compress."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for start in range(0, size, 1 << 20):
            file.write(os.urandom(min(1 << 20, size - start)))


def _configure(home: Path, roles: Sequence[str], settings: str) -> None:
    names = ", ".join(f'"{role}"' for role in roles)
    institution = (
        f'[institution]\nname = "{home.name.title()}"\ncountry = "CN"\ncontact = "privacy@{home.name}.example"\n'
    )
    (home / "config.toml").write_text(f"{institution}[serve]\nroles = [{names}]\n{settings}")
    load_config(home=home)


def _seed(home: Path) -> Seed:
    return load_identity(home, passphrase=None)


def _did(home: Path) -> str:
    return _seed(home).institution_key("sign").did


def _toml(path: Path) -> str:
    return f'"{path}"'
