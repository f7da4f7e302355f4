"""A town in one process: institutions that run their real services on loopback, and persons; one clock for all."""

import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

import trio

from ddtp.agent.facade import Agent, open_agent, own_ledger
from ddtp.agent.issuing import Draft, IssuedPackage
from ddtp.agent.tidying import clean_up
from ddtp.config import CARD_FILE, Config, Institution, ReceiverSettings
from ddtp.daemon.service import Service
from ddtp.identity.document import Card, Role, encode_card_text
from ddtp.identity.keys import Seed
from ddtp.protocol.envelope import Signed
from ddtp.protocol.leaves import Field, FieldKind
from ddtp.store.keystore import create_identity, load_identity
from tests.ledgers import Clock

PATIENCE_SECONDS = 30.0
"""For what must happen anyhow, on a machine that has other things to do."""

Thing = TypeVar("Thing")

SCHEMA = "bank-statement/1"
ORIGIN = "ledger.example/2026"
DAY = 86_400
VALID_SECONDS = 3600
"""How long a request can be answered."""
USE_SECONDS = DAY
"""How long a consent lasts."""
FIELDS = (Field("age", FieldKind.INTEGER, "18"), Field("name", FieldKind.TEXT, "小明"))
FILES = {
    "transactions.json": b'{"balance": 1}',
    "papers/deed.pdf": b"%PDF-" + bytes(range(256)) * 600,
    "papers/empty.txt": b"",
}

REQUEST = f"""
title = "Mortgage application"
valid_seconds = {VALID_SECONDS}
use_seconds = {USE_SECONDS}
operations = ["view", "store"]
withdrawal = ["privacy@bank-b.example"]
jurisdictions = ["CN"]
logs = []

[notice]
uri = "https://bank-b.example/privacy"
digest = "{"00" * 32}"
language = "en"

[[purposes]]
code = "dpv:CreditChecking"
text = "Decide on your mortgage"
basis = "consent"
required = true

[[asks]]
schema = "{SCHEMA}"
items = ["*"]
level = 1
sensitive = true

[keep]
at_end = "erase"
seconds = {30 * DAY}
"""


def write_files(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write files with folders in their names, and return what a person would pack: the uppermost entries."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return sorted(folder.iterdir())


def read_files(folder: Path) -> dict[str, bytes]:
    """Read them back."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder: Path) -> list[str]:
    """Everything in a folder that may not exist."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def policy_text(
    *, issuers: Iterable[str], logs: Mapping[str, bytes], verifiers: Iterable[str] = (), attestation: str = "issuer"
) -> str:
    """A trust policy."""
    parts = [f'attestation = "{attestation}"']
    parts += [f'[issuers."{did}"]\nname = "Bank A"' for did in issuers]
    parts += [f'[logs."{origin}"]\npublic_key = "{key.hex()}"' for origin, key in logs.items()]
    parts += [f'[verifiers."{did}"]\nname = "Our verifier"' for did in verifiers]
    return "\n".join(parts)


def make_home(home: Path) -> Seed:
    """Give a home an identity, and return it."""
    seed = Seed.generate(os.urandom)
    create_identity(home, seed, passphrase=None, random_bytes=os.urandom)
    return seed


@dataclass
class House:
    """One institution while it is open."""

    config: Config
    agent: Agent
    service: Service
    card: Signed[Card]

    @property
    def did(self) -> str:
        return self.card.body.did

    @property
    def inbox(self) -> Path:
        assert self.config.receiver is not None
        return self.config.receiver.inbox

    async def settled(self) -> None:
        """Wait until every receipt that the receiver has signed is on the ledger."""
        with trio.fail_after(PATIENCE_SECONDS):
            while await self.agent.records.unanchored_receipts():  # noqa: ASYNC110 - the ledger sets no event
                await trio.sleep(0.01)

    def remains(self) -> list[str]:
        """All on the disk of a receiver: chunks that wait for a resume, plaintext in quarantine, released packages."""
        return names(self.config.vault / "incoming") + names(self.inbox)


@asynccontextmanager
async def open_house(config: Config, *, clock: Clock) -> AsyncIterator[House]:
    """Run an institution as its daemon does, without signals and lock."""
    async with AsyncExitStack() as stack:
        ledger = None
        if config.ledger_origin is not None:
            seed = load_identity(config.home, passphrase=None)
            ledger = await stack.enter_async_context(own_ledger(config, seed, clock=clock))
        agent = await stack.enter_async_context(
            open_agent(config=config, clock=clock, listen=config.listen, ledger=ledger)
        )
        service = Service(agent, ledger)
        await clean_up(agent.context)
        service.register()
        await service.log_policy()
        card = service.card()
        (config.home / CARD_FILE).write_text(encode_card_text(card))
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(service.tidy)
        yield House(config, agent, service, card)
        nursery.cancel_scope.cancel()


@dataclass
class Held(Generic[Thing]):
    """Something open in a task of its own, so that any task may close it."""

    thing: Thing
    leave: trio.Event
    left: trio.Event

    async def close(self) -> None:
        self.leave.set()
        await self.left.wait()


async def _hold(
    opened: AbstractAsyncContextManager[Thing], *, task_status: trio.TaskStatus[Held[Thing]] = trio.TASK_STATUS_IGNORED
) -> None:
    left = trio.Event()
    try:
        async with opened as thing:
            held = Held(thing, trio.Event(), left)
            task_status.started(held)
            await held.leave.wait()
    finally:
        left.set()


@dataclass
class Town:
    """What a test plays in; made by `open_town`.

    Attributes:
        folder: All homes lie here.
        nursery: Where all that is open lives.
        clock: The time of everybody.
        houses: The institutions by name.
        held: What is open, by name.
    """

    folder: Path
    nursery: trio.Nursery
    clock: Clock
    houses: dict[str, House] = field(default_factory=dict)
    held: dict[str, Held[House] | Held[Agent]] = field(default_factory=dict)

    @property
    def ledger(self) -> House:
        return self.houses["ledger"]

    @property
    def issuer(self) -> House:
        return self.houses["issuer"]

    @property
    def receiver(self) -> House:
        return self.houses["receiver"]

    def config(self, name: str, role: Role, **changes: object) -> Config:
        """Settings of an institution; the first call of a name makes its identity."""
        home = self.folder / name
        if not home.exists():
            make_home(home)
        config = Config(
            home=home,
            vault=home / "vault",
            institution=Institution(name.title(), "CN", f"privacy@{name}.example"),
            roles=frozenset({role}),
            ledger=None if role is Role.LEDGER else self.folder / "ledger" / CARD_FILE,
        )
        return replace(config, **changes)

    async def open(self, name: str, config: Config) -> House:
        """Open an institution until the end of the test."""
        held: Held[House] = await self.nursery.start(_hold, open_house(config, clock=self.clock))
        self.held[name], self.houses[name] = held, held.thing
        return held.thing

    async def close(self, name: str) -> None:
        """Close an institution or a person."""
        await self.held.pop(name).close()

    async def open_ledger(self, name: str = "ledger", **changes: object) -> House:
        config = self.config(name, Role.LEDGER, ledger_origin=ORIGIN, **changes)
        return await self.open(name, config)

    async def open_issuer(self, name: str = "issuer", **changes: object) -> House:
        config = self.config(name, Role.ISSUER, packages=self.folder / name / "packages", **changes)
        return await self.open(name, config)

    def receiver_config(
        self, name: str = "receiver", *, request: str = REQUEST, policy: str | None = None, **changes: object
    ) -> Config:
        """Settings of a receiver that trusts the town's issuer and ledger."""
        folder = self.folder / f"{name}-settings"
        write_files(folder, {"requests/mortgage.toml": request.encode()})
        (folder / "policy.toml").write_text(policy or self.policy())
        settings = ReceiverSettings(
            policy=folder / "policy.toml",
            requests=folder / "requests",
            inbox=self.folder / name / "inbox",
            **{key: changes.pop(key) for key in ("verifier", "max_package_bytes") if key in changes},
        )
        return self.config(name, Role.RECEIVER, receiver=settings, **changes)

    async def open_receiver(self, name: str = "receiver", **changes: object) -> House:
        return await self.open(name, self.receiver_config(name, **changes))

    def policy(self, **changes: Iterable[str]) -> str:
        """A policy that trusts the town's issuer and ledger."""
        log = self.ledger.card.body.logs[0]
        trusted = {"issuers": [self.issuer.did], "logs": {log.origin: log.public_key}}
        return policy_text(**(trusted | changes))

    async def person(self, name: str = "person", **changes: object) -> Agent:
        """Open the home of a person until the end of the test."""
        home = self.folder / name
        if not home.exists():
            make_home(home)
        config = replace(Config(home=home, vault=home / "vault"), **changes)
        held: Held[Agent] = await self.nursery.start(_hold, open_agent(config=config, clock=self.clock))
        self.held[name] = held
        return held.thing

    def draft(
        self,
        person: Agent,
        paths: Sequence[Path],
        output: Path,
        *,
        issuer: House | None = None,
        valid_seconds: int = 30 * DAY,
    ) -> Draft:
        """What an issuer is to make for a person."""
        address = person.address((issuer or self.issuer).card).body
        return Draft(paths, FIELDS, SCHEMA, address, valid_seconds, output)

    async def issue(
        self,
        person: Agent,
        *,
        files: Mapping[str, bytes] = FILES,
        issuer: House | None = None,
        valid_seconds: int = 30 * DAY,
    ) -> IssuedPackage:
        """Issue a package to a person, straight into their vault."""
        token = os.urandom(4).hex()
        output = person.context.config.vault / "packages" / f"{token}.ddtp"
        paths = write_files(self.folder / f"sources-{token}", files)
        draft = self.draft(person, paths, output, issuer=issuer, valid_seconds=valid_seconds)
        return await (issuer or self.issuer).agent.issue(draft)


@asynccontextmanager
async def open_town(folder: Path, *, clock: Clock | None = None, **ledger: object) -> AsyncIterator[Town]:
    """Open a ledger, with settings, an issuer, and a receiver that judges by itself."""
    async with trio.open_nursery() as nursery:
        town = Town(folder, nursery, clock or Clock())
        await town.open_ledger(**ledger)
        await town.open_issuer()
        await town.open_receiver()
        yield town
        for name in reversed(list(town.held)):
            await town.close(name)
