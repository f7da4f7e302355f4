"""The town of the demo: homes, keys, settings and request templates, as `ddtp init` and an operator would make them.

All paths in settings are relative, so that a kept folder works wherever it is moved.
"""

import importlib.resources
import json
import os
import string
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from ddtp.cli.demo_wording import Names
from ddtp.config import CONFIG_FILE
from ddtp.crypto import sm3
from ddtp.identity.keys import Seed
from ddtp.identity.language import Language
from ddtp.protocol.leaves import Field, FieldKind
from ddtp.store.durable import make_directory, write_file
from ddtp.store.keystore import create_identity

SCHEMA: Final = "bank-statement/1"
ORIGIN: Final = "ledger.example/demo"
REQUEST: Final = "mortgage"
SHORT_REQUEST: Final = "mortgage-in-a-hurry"
"""The same request, but what is agreed to ends after `SHORT_USE_SECONDS`."""
FILES: Final = ("statement.pdf", "transactions.csv", "transactions.json")
FIELDS: Final = (
    Field("name", FieldKind.TEXT, "小明"),
    Field("account", FieldKind.TEXT, "6200 **** **** 1818"),
    Field("closing-balance", FieldKind.DECIMAL, "14406.34"),
    Field("home-address", FieldKind.TEXT, "12 Willow Lane"),
)
"""The last one is not asked for, and stays with the person."""

USE_SECONDS: Final = 7 * 86_400
SHORT_USE_SECONDS: Final = 1

_DRAIN_SECONDS: Final = 1
"""Nothing is in flight when the demo ends, and nobody wants to wait."""


@dataclass(frozen=True, slots=True)
class Town:
    """The homes of all parties, each in a folder of its own.

    Attributes:
        folder: Holds everything.
        policy: Whom the banks and the verifier trust.
    """

    folder: Path
    policy: Path

    @property
    def ledger(self) -> Path:
        """Home of who runs the ledger, and attests as a witness."""
        return self.folder / "ledger"

    @property
    def issuer(self) -> Path:
        """Home of Bank A."""
        return self.folder / "bank-a"

    @property
    def receiver(self) -> Path:
        """Home of Bank B."""
        return self.folder / "bank-b"

    @property
    def other(self) -> Path:
        """Home of Bank C, for which nothing is meant."""
        return self.folder / "bank-c"

    @property
    def verifier(self) -> Path:
        """Home of the verifier, which judges for both receiving banks."""
        return self.folder / "verifier"

    @property
    def person(self) -> Path:
        """Home of the person."""
        return self.folder / "person"

    @property
    def forger(self) -> Path:
        """The person's keys on another machine, with a program that does not keep to the rules."""
        return self.folder / "forger"

    @property
    def packages(self) -> Path:
        """Where Bank A holds packages ready."""
        return self.issuer / "packages"

    @property
    def data(self) -> Path:
        """The files that Bank A issues."""
        return self.issuer / "data"


def build_town(folder: Path, names: Names, *, language: Language) -> Town:
    """Make all homes.

    Args:
        folder: An empty folder.
        names: What the parties are called.
        language: Of requests and screens.

    Raises:
        DiskFull, StorageFailed: The disk refuses.
    """
    town = Town(folder, folder / "policy.toml")
    ledger, issuer, verifier = (_identity(home) for home in (town.ledger, town.issuer, town.verifier))
    for home in (town.receiver, town.other):
        _identity(home)
        _write_requests(home, names.contact, language)
    _write_settings(town, names)
    person = _identity(town.person)
    create_identity(town.forger, person, passphrase=None, random_bytes=os.urandom)
    for home in (town.person, town.forger):
        _write(home / CONFIG_FILE, f'language = "{language.value}"\n')
    _write_policy(town, names, ledger=ledger, issuer=issuer, verifier=verifier)
    make_directory(town.packages)
    make_directory(town.data)
    for name in FILES:
        write_file(town.data / name, (_samples() / name).read_bytes())
    return town


def _identity(home: Path) -> Seed:
    seed = Seed.generate(os.urandom)
    create_identity(home, seed, passphrase=None, random_bytes=os.urandom)
    return seed


def _write_settings(town: Town, names: Names) -> None:
    anchored = '[ledger]\ncard = "../ledger/card.ddtp-card"\n'
    receiving = (
        f'{anchored}[receiver]\npolicy = "../policy.toml"\nrequests = "requests"\ninbox = "inbox"\n'
        'verifier = "../verifier/card.ddtp-card"\n'
    )
    parts = {
        town.ledger: (names.ledger, '"ledger", "witness"', f'[ledger]\norigin = "{ORIGIN}"\n'),
        town.verifier: (names.verifier, '"verifier"', '[verifier]\npolicy = "../policy.toml"\n'),
        town.issuer: (names.issuer, '"issuer"', f'{anchored}[issuer]\npackages = "packages"\n'),
        town.receiver: (names.receiver, '"receiver"', receiving),
        town.other: (names.other, '"receiver"', receiving),
    }
    for home, (name, roles, rest) in parts.items():
        institution = f'[institution]\nname = {_text(name)}\ncountry = "CN"\ncontact = {_text(names.contact)}\n'
        _write(home / CONFIG_FILE, f"{institution}[serve]\nroles = [{roles}]\ndrain_seconds = {_DRAIN_SECONDS}\n{rest}")


def _write_policy(town: Town, names: Names, *, ledger: Seed, issuer: Seed, verifier: Seed) -> None:
    # everybody has met everybody: in life, these keys come from cards that were checked
    tables = (
        'attestation = "issuer"\n',
        f"[issuers.{_text(issuer.institution_key('sign').did)}]\nname = {_text(names.issuer)}\n",
        f'schemas = ["{SCHEMA}"]\n',
        f"[logs.{_text(ORIGIN)}]\npublic_key = {_text(ledger.log_key().public_key.hex())}\n",
        f"[verifiers.{_text(verifier.verifier_key().did)}]\nname = {_text(names.verifier)}\n",
    )
    _write(town.policy, "".join(tables))


def _write_requests(home: Path, contact: str, language: Language) -> None:
    template = string.Template((_samples() / f"request.{language.value}.toml").read_text(encoding="utf-8"))
    notice = (_samples() / f"notice.{language.value}.txt").read_bytes()
    folder = make_directory(home / "requests")
    for name, seconds in ((REQUEST, USE_SECONDS), (SHORT_REQUEST, SHORT_USE_SECONDS)):
        text = template.substitute(
            use_seconds=seconds,
            contact=contact,
            origin=ORIGIN,
            schema=SCHEMA,
            notice_digest=sm3.digest(notice).hex(),
        )
        _write(folder / f"{name}.toml", text)


def _samples() -> Traversable:
    return importlib.resources.files("ddtp.cli") / "demo_data"


def _text(value: str) -> str:
    # the strings of JSON are strings of TOML
    return json.dumps(value, ensure_ascii=False)


def _write(path: Path, text: str) -> None:
    write_file(path, text.encode())
