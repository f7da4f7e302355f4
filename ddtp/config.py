"""Settings: frozen values from one TOML file and three environment variables, which nothing else reads.

Precedence: command-line flag, then environment (`DDTP_HOME`, `DDTP_PASSPHRASE_FILE`, `DDTP_LANGUAGE`), then file, then
default. Relative paths in a file are relative to its directory. Unknown keys are refused: a setting that is misspelt
must not silently be ignored. What is no setting of a home is read elsewhere: `DDTP_CRYPTO` in `crypto/_backend.py`,
`NO_COLOR` in the console.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import IPv4Network
from pathlib import Path

import base58
import platformdirs

from ddtp.chain.admission import AdmissionPolicy
from ddtp.errors import ConfigInvalid, DecodeError, UsageError
from ddtp.identity.did import public_key_of
from ddtp.identity.document import Role
from ddtp.identity.language import Language
from ddtp.rates import parse_rate

CONFIG_FILE = "config.toml"
LEDGER_FILE = "ledger.db"
CARD_FILE = "card.ddtp-card"
"""Where the service of a home writes its card."""
MAX_CONFIG_BYTES = 1 << 20  # a settings file is read whole; a larger one is a mistake

DEFAULT_LISTEN = ("/ip4/127.0.0.1/tcp/0",)
"""Loopback until the operator says otherwise: nothing is reachable from outside by accident."""
DEFAULT_DRAIN_SECONDS = 10
"""Within the time that service managers give a process before they kill it."""
DEFAULT_MAX_PACKAGE_BYTES = 1 << 40
"""1 TiB: beyond the largest archive of one person; the disk is the real limit and is asked first."""
DEFAULT_MAX_INCOMING_BYTES = 1 << 41  # 2 TiB of unfinished transfers

PEER_ID_PREFIX = bytes.fromhex("002408011220")
"""Of a network identity: what spec/14 s.1 puts before the 32 bytes of an Ed25519 key."""

Table = Mapping[str, object]

_KINDS = ((bool, "a boolean"), (int | float, "a number"), (str, "a text"), (list, "a list"), (dict, "a table"))
"""What TOML calls the values that Python reads; a boolean is a number to Python, so it comes first."""
_SHOWN_CHARACTERS = 60
"""Of a wrong value in a message: enough to find it in the file."""


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
        limit: Payload that all transfers together may bring in a second; None for what the network gives.
    """

    policy: Path
    requests: Path
    inbox: Path
    verifier: Path | None = None
    max_package_bytes: int = DEFAULT_MAX_PACKAGE_BYTES
    max_incoming_bytes: int = DEFAULT_MAX_INCOMING_BYTES
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """Settings of `ddtp relay`.

    Attributes:
        listen: Multiaddrs to listen on.
        peers: Network identities that may hold a place; empty for everybody.
        reservations: Places, at least 1.
        circuits: Connections through the relay at a time, at least 1.
        circuit_seconds, circuit_bytes: How long one lasts, and how much it carries in each direction, at least 1.
    """

    listen: tuple[str, ...]
    peers: frozenset[str] = frozenset()
    reservations: int = 128
    circuits: int = 128
    circuit_seconds: int = 3600
    circuit_bytes: int = 16 << 30


@dataclass(frozen=True, slots=True)
class NetworkLimits:
    """How much others may make this machine do at a time (spec/14 s.4).

    Attributes:
        connections: Inbound; bulk connections (spec/14 s.8) count here until their handshake is over.
        connections_per_address: Of these, from one IP address: raise it where many come through one gateway.
        streams_per_protocol: Served, of one protocol; an eighth of them for one address once half are taken.
    """

    connections: int = 256
    connections_per_address: int = 32
    streams_per_protocol: int = 64


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of one home.

    Attributes:
        home: Keys and records; only this user may enter it. Absolute when it comes from `load_config`.
        vault: Sealed packages and unfinished transfers; any folder or mounted drive. Absolute like `home`.
        vault_is_set: Whether the settings name the vault; it may lie on a drive that is not there, so nobody makes it.
        language: Of texts that people read.
        passphrase_file: File whose first line opens the key file.
        listen: Multiaddrs to listen on; port 0 takes a free one.
        announce: Multiaddrs to put on the card instead of those listened on (behind NAT).
        lan: IPv4 networks on which this home looks for peers, and its service lets itself be found; none by default.
        relays: Multiaddrs, with peer ids, of relays at which the service holds a place (behind NAT).
        relay: Settings of a relay of our own.
        limits: How much others may make this machine do.
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
        send_limit: Payload that one sending may move in a second; None for what the network takes.
        notify: A program and its arguments, run when a transfer ends; empty for none.
    """

    home: Path
    vault: Path
    vault_is_set: bool = False
    language: Language = Language.EN
    passphrase_file: Path | None = None
    listen: tuple[str, ...] = DEFAULT_LISTEN
    announce: tuple[str, ...] = ()
    lan: tuple[str, ...] = ()
    relays: tuple[str, ...] = ()
    relay: RelaySettings | None = None
    limits: NetworkLimits = NetworkLimits()
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
    send_limit: int | None = None
    notify: tuple[str, ...] = ()


@dataclass(slots=True)
class _Reader:
    """Takes typed values out of one TOML table, and refuses what is left over.

    Attributes:
        table: The table.
        name: Of the table; empty for the top of the file.
        file: Where it stands, for messages; relative paths in it start at its folder.
        seen: Keys that were asked for.
    """

    table: Table
    name: str
    file: Path
    seen: set[str] = field(default_factory=set)

    def text(self, key: str, *, default: str | None = None) -> str | None:
        """Return a text, or the default."""
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self._wrong(key, "a text", value)
        return value

    def required_text(self, key: str) -> str:
        """Return a text that must be there."""
        value = self.text(key)
        if value is None:
            near = get_close_matches(key, self.table.keys() - self.seen, n=1)
            raise ConfigInvalid(
                f"expected the setting {self._called(key)} in {self.file}, found none",
                hint=f"did you mean {key} where it says {near[0]}?" if near else None,
            )
        return value

    def path(self, key: str) -> Path | None:
        """Return a path, relative to the file that says it."""
        value = self.text(key)
        return None if value is None else self._placed(value)

    def required_path(self, key: str) -> Path:
        """Return a path that must be there."""
        return self._placed(self.required_text(key))

    def number(self, key: str, *, default: int) -> int:
        """Return a whole number of at least 0, or the default."""
        value = self._take(key)
        if value is None:
            return default
        if type(value) is not int or value < 0:
            raise self._wrong(key, "a whole number of at least 0", value)
        return value

    def positive(self, key: str, *, default: int) -> int:
        """Return a whole number of at least 1, or the default."""
        value = self.number(key, default=default)
        if not value:
            raise self._wrong(key, "a whole number of at least 1", value)
        return value

    def rate(self, key: str) -> int | None:
        """Return bytes per second, or None."""
        value = self.text(key)
        try:
            return None if value is None else parse_rate(value)
        except UsageError as err:
            raise ConfigInvalid(f"{err.message}, for {self._called(key)} in {self.file}", hint=err.hint) from err

    def flag(self, key: str) -> bool:
        """Return true or false, which is the default."""
        value = self._take(key)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(key, "true or false", value)
        return bool(value)

    def texts(self, key: str, *, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return a list of texts, or the default."""
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, list):
            raise self._wrong(key, "a list of texts", value)
        for item in value:
            if not isinstance(item, str):
                raise self._wrong(key, "texts in the list", item)
        return tuple(value)

    def section(self, key: str) -> "_Reader | None":
        """Return the reader of a sub-table, or None."""
        value = self._take(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._wrong(key, f"a table [{key}]", value)
        return _Reader(value, key, self.file)

    def empty_section(self, key: str) -> "_Reader":
        """Return the reader of a sub-table, which may be missing."""
        return self.section(key) or _Reader({}, key, self.file)

    def end(self) -> None:
        """Refuse keys that nobody asked for; to be called when all that are known were."""
        unknown = sorted(self.table.keys() - self.seen)
        if not unknown:
            return
        near = get_close_matches(unknown[0], self.seen, n=1)
        known = f"known here: {', '.join(sorted(self.seen))}"
        raise ConfigInvalid(
            f"expected no setting {self._called(unknown[0])} in {self.file}, found one",
            hint=f"{known}; did you mean {near[0]}?" if near else known,
        )

    def _take(self, key: str) -> object:
        self.seen.add(key)
        return self.table.get(key)

    def _placed(self, value: str) -> Path:
        return self.file.parent.absolute() / Path(value).expanduser()

    def _called(self, key: str) -> str:
        return f"[{self.name}] {key}" if self.name else key

    def _wrong(self, key: str, expected: str, found: object) -> ConfigInvalid:
        kind = next((name for known, name in _KINDS if isinstance(found, known)), type(found).__name__)
        shown = f" {found!r}"[:_SHOWN_CHARACTERS] if isinstance(found, str | int | float) else ""
        return ConfigInvalid(f"expected {expected} for {self._called(key)} in {self.file}, found {kind}{shown}")


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
    return _config(_Reader(table, "", source), home, chosen, environment)


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


def child_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment for a program of somebody else: without our own variables, which name keys and homes."""
    return {name: value for name, value in environment.items() if not name.startswith("DDTP_")}


def _config(reader: _Reader, home: Path | None, chosen: Path, environment: Mapping[str, str]) -> Config:
    in_file = reader.path("home")  # also where others win: what is not read counts as misspelt
    # absolute, because records name files by absolute paths; not resolve(), which would fix today's target of a link
    told = home or (chosen if environment.get("DDTP_HOME") else None)
    place = Path(os.path.abspath(told or in_file or chosen))  # noqa: PTH100
    passphrase = environment.get("DDTP_PASSPHRASE_FILE")
    in_file_language, in_file_passphrase = reader.text("language"), reader.path("passphrase_file")
    network, serve, ledger = (reader.empty_section(name) for name in ("network", "serve", "ledger"))
    notify = reader.empty_section("notify")
    vault = reader.path("vault")
    config = Config(
        home=place,
        vault=Path(os.path.abspath(vault or place / "vault")),  # noqa: PTH100
        vault_is_set=vault is not None,
        language=_language(environment.get("DDTP_LANGUAGE"), in_file_language, reader.file),
        passphrase_file=Path(passphrase) if passphrase else in_file_passphrase,
        listen=network.texts("listen", default=DEFAULT_LISTEN),
        announce=network.texts("announce"),
        lan=_networks(network.texts("lan")),
        relays=network.texts("relays"),
        relay=_relay(reader.section("relay")),
        limits=_limits(network),
        institution=_institution(reader.section("institution")),
        roles=_roles(serve.texts("roles"), reader.file),
        drain_seconds=serve.number("drain_seconds", default=DEFAULT_DRAIN_SECONDS),
        ledger_origin=ledger.text("origin"),
        admission=_admission(ledger.texts("attestors")),
        ledger_writers=_peer_ids(ledger.texts("writers"), "[ledger] writers"),
        ledger_closed=ledger.flag("closed"),
        ledger=ledger.path("card"),
        receiver=_receiver(reader.section("receiver"), place),
        verifier_policy=_single_path(reader.section("verifier"), "policy"),
        packages=_single_path(reader.section("issuer"), "packages"),
        send_limit=network.rate("send_limit"),
        notify=notify.texts("command"),
    )
    for part in (network, serve, ledger, notify, reader):
        part.end()
    return config


def _language(told: str | None, in_file: str | None, file: Path) -> Language:
    language = told or in_file or Language.EN.value
    try:
        return Language(language)
    except ValueError as err:
        place = "in DDTP_LANGUAGE" if told else f"for language in {file}"
        raise ConfigInvalid(f"expected en or zh {place}, found {language!r}") from err


def _limits(section: _Reader) -> NetworkLimits:
    usual = NetworkLimits()
    keys = ("connections", "connections_per_address", "streams_per_protocol")
    return NetworkLimits(**{key: section.positive(key, default=getattr(usual, key)) for key in keys})


def _roles(names: tuple[str, ...], file: Path) -> frozenset[Role]:
    known = {role.value: role for role in Role}
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise ConfigInvalid(
                f"expected roles among {', '.join(known)} for [serve] roles in {file}, found {name!r}",
                hint=f"did you mean {near[0]}?" if near else None,
            )
    return frozenset(known[name] for name in names)


def _admission(attestors: tuple[str, ...]) -> AdmissionPolicy:
    try:
        keys = tuple(public_key_of(did) for did in attestors)
        return AdmissionPolicy(attestors=keys or None)
    except DecodeError as err:
        raise ConfigInvalid(f"expected DIDs of institutions in [ledger] attestors: {err.message}") from err


def _peer_ids(texts: tuple[str, ...], place: str) -> frozenset[str]:
    for text in texts:
        try:
            raw = base58.b58decode(text)
        except ValueError:
            raw = b""
        if len(raw) != len(PEER_ID_PREFIX) + 32 or not raw.startswith(PEER_ID_PREFIX):
            raise ConfigInvalid(f"expected peer ids in {place}, found {text[:64]!r}")
    return frozenset(texts)


def _networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        try:
            IPv4Network(text)
        except ValueError as err:
            raise ConfigInvalid(
                f"expected IPv4 networks such as 192.168.0.0/16 in [network] lan, found {text[:64]!r}"
            ) from err
    return texts


def _relay(section: _Reader | None) -> RelaySettings | None:
    if section is None:
        return None
    default = RelaySettings(listen=())
    keys = ("reservations", "circuits", "circuit_seconds", "circuit_bytes")
    numbers = {key: section.positive(key, default=getattr(default, key)) for key in keys}
    listen = section.texts("listen")
    if not listen:
        raise ConfigInvalid(f"expected the setting [relay] listen in {section.file}, found none")
    settings = RelaySettings(listen=listen, peers=_peer_ids(section.texts("peers"), "[relay] peers"), **numbers)
    section.end()
    return settings


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
        limit=section.rate("limit"),
    )
    section.end()
    return settings


def _single_path(section: _Reader | None, key: str) -> Path | None:
    if section is None:
        return None
    path = section.required_path(key)
    section.end()
    return path
