"""Settings: frozen values from one TOML file and a few environment variables, which nothing else reads.

Precedence: command-line flag, then environment (`DDTP_HOME`, `DDTP_PASSPHRASE_FILE`, `DDTP_LANGUAGE`), then file, then
default. Relative paths in a file are relative to its directory. Unknown keys are refused: a setting that is misspelt
must not silently be ignored.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import base58
import platformdirs

from ddtp.chain.admission import AdmissionPolicy
from ddtp.errors import ConfigInvalid, DecodeError
from ddtp.identity.did import public_key_of
from ddtp.identity.document import Role
from ddtp.identity.language import Language

CONFIG_FILE = "config.toml"
CARD_FILE = "card.ddtp-card"
"""Where the service of a home writes its card."""
MAX_CONFIG_BYTES = 1 << 20
"""A settings file is read whole; a larger one is a mistake."""

DEFAULT_LISTEN = ("/ip4/127.0.0.1/tcp/0",)
"""Loopback until the operator says otherwise: nothing is reachable from outside by accident."""
DEFAULT_DRAIN_SECONDS = 10
"""Within the time that service managers give a process before they kill it."""
DEFAULT_MAX_PACKAGE_BYTES = 1 << 40
"""1 TiB: beyond the largest archive of one person; the disk is the real limit and is asked first."""
DEFAULT_MAX_INCOMING_BYTES = 1 << 41
"""2 TiB of unfinished transfers."""

PEER_ID_PREFIX = bytes.fromhex("002408011220")
"""Of a network identity: what spec/14 s.1 puts before the 32 bytes of an Ed25519 key."""

Table = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Institution:
    """What an institution's card says about it."""

    name: str
    country: str
    contact: str


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    """Settings of the receiving role.

    Attributes:
        policy: Trust policy file (spec/10 s.2).
        requests: Directory of request templates, one TOML file each.
        inbox: Where verified packages are released.
        verifier: Card of the verifier that judges evidence; None judges in this process.
        max_package_bytes: Largest content that is accepted.
        max_incoming_bytes: Most sealed bytes of unfinished transfers on the disk.
    """

    policy: Path
    requests: Path
    inbox: Path
    verifier: Path | None = None
    max_package_bytes: int = DEFAULT_MAX_PACKAGE_BYTES
    max_incoming_bytes: int = DEFAULT_MAX_INCOMING_BYTES


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of one home.

    Attributes:
        home: Keys and records; only this user may enter it.
        vault: Sealed packages and unfinished transfers; any folder or mounted drive.
        language: Of texts that people read.
        passphrase_file: File whose first line opens the key file.
        listen: Multiaddrs to listen on; port 0 takes a free one.
        announce: Multiaddrs to put on the card instead of those listened on (behind NAT).
        institution: Set for institutions.
        roles: What `ddtp serve` does.
        drain_seconds: How long a stopping daemon lets transfers in flight go on.
        ledger_origin: Name of this home's own log.
        admission: Rules of this home's own log; they are published on it, and enforced.
        ledger_writers: Network identities that append to it without a bound on their number.
        ledger_closed: Nobody else appends to it over the network.
        ledger: Card of the ledger operator to anchor on; None uses the own log.
        receiver: Settings of the receiving role.
        verifier_policy: Trust policy of the verifying role.
        packages: Directory of packages that the issuing role hands out to their holders.
    """

    home: Path
    vault: Path
    language: Language = Language.EN
    passphrase_file: Path | None = None
    listen: tuple[str, ...] = DEFAULT_LISTEN
    announce: tuple[str, ...] = ()
    institution: Institution | None = None
    roles: frozenset[Role] = frozenset()
    drain_seconds: int = DEFAULT_DRAIN_SECONDS
    ledger_origin: str | None = None
    admission: AdmissionPolicy = field(default_factory=AdmissionPolicy)
    ledger_writers: frozenset[str] = frozenset()
    ledger_closed: bool = False
    ledger: Path | None = None
    receiver: ReceiverSettings | None = None
    verifier_policy: Path | None = None
    packages: Path | None = None


@dataclass(slots=True)
class _Reader:
    """Takes typed values out of one TOML table, and refuses what is left over."""

    table: Table
    where: str
    base: Path
    seen: set[str] = field(default_factory=set)

    def text(self, key: str, *, default: str | None = None) -> str | None:
        """Return a text, or the default."""
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise ConfigInvalid(f"expected a text for {self.where}{key}, found {type(value).__name__}")
        return value

    def required_text(self, key: str) -> str:
        """Return a text that must be there."""
        value = self.text(key)
        if value is None:
            raise ConfigInvalid(f"expected the setting {self.where}{key}, found none")
        return value

    def path(self, key: str) -> Path | None:
        """Return a path, relative to the file that says it."""
        value = self.text(key)
        return None if value is None else self.base / Path(value).expanduser()

    def required_path(self, key: str) -> Path:
        """Return a path that must be there."""
        return self.base / Path(self.required_text(key)).expanduser()

    def number(self, key: str, *, default: int) -> int:
        """Return a whole number of at least 0, or the default."""
        value = self._take(key)
        if value is None:
            return default
        if type(value) is not int or value < 0:
            raise ConfigInvalid(f"expected a whole number of at least 0 for {self.where}{key}")
        return value

    def flag(self, key: str) -> bool:
        """Return true or false, which is the default."""
        value = self._take(key)
        if value is not None and not isinstance(value, bool):
            raise ConfigInvalid(f"expected true or false for {self.where}{key}, found {type(value).__name__}")
        return bool(value)

    def texts(self, key: str, *, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return a list of texts, or the default."""
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ConfigInvalid(f"expected a list of texts for {self.where}{key}")
        return tuple(value)

    def section(self, key: str) -> "_Reader | None":
        """Return the reader of a sub-table, or None."""
        value = self._take(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise ConfigInvalid(f"expected a table for {self.where}{key}, found {type(value).__name__}")
        return _Reader(value, f"{self.where}{key}.", self.base)

    def end(self) -> None:
        """Refuse keys that nobody asked for."""
        unknown = sorted(self.table.keys() - self.seen)
        if unknown:
            raise ConfigInvalid(f"expected no setting {self.where}{unknown[0]}, found one", hint="check the spelling")

    def _take(self, key: str) -> object:
        self.seen.add(key)
        return self.table.get(key)


def default_home(environment: Mapping[str, str] = os.environ) -> Path:
    """Return `DDTP_HOME`, or the platform's place for a program's own data."""
    told = environment.get("DDTP_HOME")
    return Path(told).expanduser() if told else Path(platformdirs.user_data_dir("ddtp", appauthor=False))


def load_config(
    *, home: Path | None = None, file: Path | None = None, environment: Mapping[str, str] = os.environ
) -> Config:
    """Read the settings.

    Args:
        home: Home given on the command line; it wins over every other.
        file: Settings file; by default `config.toml` in the home, if there is one.
        environment: The process environment.

    Raises:
        ConfigInvalid: A setting is unknown, missing or of another type, or the file cannot be read.
    """
    chosen = home or default_home(environment)
    source = file or chosen / CONFIG_FILE
    if file is None and not source.exists():
        table: Table = {}
    else:
        table = read_toml(source)
    return _config(_Reader(table, "", source.parent.absolute()), home, chosen, environment)


def read_toml(path: Path) -> Table:
    """Parse a TOML file.

    Raises:
        ConfigInvalid: It cannot be read or parsed, or is larger than `MAX_CONFIG_BYTES`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
        if len(data) > MAX_CONFIG_BYTES:
            raise ConfigInvalid(f"expected at most {MAX_CONFIG_BYTES} bytes in {path}")
        return tomllib.loads(data.decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise ConfigInvalid(f"cannot read settings from {path}: {err}") from err


def _config(reader: _Reader, home: Path | None, chosen: Path, environment: Mapping[str, str]) -> Config:
    in_file = reader.path("home")
    place = home or in_file or chosen
    passphrase = environment.get("DDTP_PASSPHRASE_FILE")
    # read even where the environment wins: what is not read counts as misspelt
    in_file_language, in_file_passphrase = reader.text("language"), reader.path("passphrase_file")
    network = reader.section("network") or _Reader({}, "network.", reader.base)
    serve = reader.section("serve") or _Reader({}, "serve.", reader.base)
    ledger = reader.section("ledger") or _Reader({}, "ledger.", reader.base)
    config = Config(
        home=place,
        vault=reader.path("vault") or place / "vault",
        language=_language(environment.get("DDTP_LANGUAGE") or in_file_language or Language.EN.value),
        passphrase_file=Path(passphrase) if passphrase else in_file_passphrase,
        listen=network.texts("listen", default=DEFAULT_LISTEN),
        announce=network.texts("announce"),
        institution=_institution(reader.section("institution")),
        roles=_roles(serve.texts("roles")),
        drain_seconds=serve.number("drain_seconds", default=DEFAULT_DRAIN_SECONDS),
        ledger_origin=ledger.text("origin"),
        admission=_admission(ledger.texts("attestors")),
        ledger_writers=_peer_ids(ledger.texts("writers")),
        ledger_closed=ledger.flag("closed"),
        ledger=ledger.path("card"),
        receiver=_receiver(reader.section("receiver"), place),
        verifier_policy=_single_path(reader.section("verifier"), "policy"),
        packages=_single_path(reader.section("issuer"), "packages"),
    )
    for part in (network, serve, ledger, reader):
        part.end()
    return config


def _language(language: str) -> Language:
    try:
        return Language(language)
    except ValueError as err:
        raise ConfigInvalid(f"expected the language en or zh, found {language!r}") from err


def _roles(names: tuple[str, ...]) -> frozenset[Role]:
    known = {role.value: role for role in Role}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigInvalid(f"expected roles among {', '.join(known)}, found {unknown[0]!r}")
    return frozenset(known[name] for name in names)


def _admission(attestors: tuple[str, ...]) -> AdmissionPolicy:
    try:
        keys = tuple(public_key_of(did) for did in attestors)
        return AdmissionPolicy(attestors=keys or None)
    except DecodeError as err:
        raise ConfigInvalid(f"expected DIDs of institutions in ledger.attestors: {err.message}") from err


def _peer_ids(texts: tuple[str, ...]) -> frozenset[str]:
    for text in texts:
        try:
            raw = base58.b58decode(text)
        except ValueError:
            raw = b""
        if len(raw) != len(PEER_ID_PREFIX) + 32 or not raw.startswith(PEER_ID_PREFIX):
            raise ConfigInvalid(f"expected peer ids in ledger.writers, found {text[:64]!r}")
    return frozenset(texts)


def _institution(section: _Reader | None) -> Institution | None:
    if section is None:
        return None
    institution = Institution(
        name=section.required_text("name"),
        country=section.required_text("country"),
        contact=section.required_text("contact"),
    )
    section.end()
    return institution


def _receiver(section: _Reader | None, home: Path) -> ReceiverSettings | None:
    if section is None:
        return None
    settings = ReceiverSettings(
        policy=section.required_path("policy"),
        requests=section.required_path("requests"),
        inbox=section.path("inbox") or home / "inbox",
        verifier=section.path("verifier"),
        max_package_bytes=section.number("max_package_bytes", default=DEFAULT_MAX_PACKAGE_BYTES),
        max_incoming_bytes=section.number("max_incoming_bytes", default=DEFAULT_MAX_INCOMING_BYTES),
    )
    section.end()
    return settings


def _single_path(section: _Reader | None, key: str) -> Path | None:
    if section is None:
        return None
    path = section.required_path(key)
    section.end()
    return path
