"""Settings: every one of them, where they come from, and every way in which a file can be wrong."""

from dataclasses import fields
from pathlib import Path

import pytest

from ddtp.chain.admission import AdmissionPolicy
from ddtp.config import (
    CONFIG_FILE,
    DEFAULT_DRAIN_SECONDS,
    DEFAULT_LISTEN,
    DEFAULT_MAX_INCOMING_BYTES,
    DEFAULT_MAX_PACKAGE_BYTES,
    MAX_CONFIG_BYTES,
    Config,
    Institution,
    NetworkLimits,
    ReceiverSettings,
    RelaySettings,
    default_home,
    load_config,
)
from ddtp.errors import ConfigInvalid
from ddtp.identity.document import Role
from ddtp.identity.language import Language
from tests.ledgers import make_key

EVERYTHING = """
home = "keys"
vault = "/mnt/vault"
language = "zh"
passphrase_file = "secret"

[network]
listen = ["/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001"]
announce = ["/dns4/bank.example/tcp/4001"]
send_limit = "2MB/s"
lan = ["192.168.7.0/24"]
relays = ["/dns4/relay.example/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"]
connections = 512
connections_per_address = 128
streams_per_protocol = 96

[relay]
listen = ["/ip4/0.0.0.0/tcp/4002"]
peers = ["12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"]
reservations = 7
circuits = 8
circuit_seconds = 9
circuit_bytes = 10

[institution]
name = "Bank B"
country = "CN"
contact = "privacy@bank-b.example"

[serve]
roles = ["receiver", "issuer", "ledger", "verifier", "witness"]
drain_seconds = 5

[ledger]
origin = "bank-b.example/2026"
card = "operator.ddtp-card"
attestors = ["did:key:zEPJc3YDUb5Kd5hmukvSG1F5GG2DE9yGSbZJkTcftp8zMyKao"]
writers = ["12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"]
closed = true

[receiver]
policy = "policy.toml"
requests = "requests"
inbox = "/srv/inbox"
verifier = "verifier.ddtp-card"
max_package_bytes = 1000
max_incoming_bytes = 2000
limit = "10 MiB/s"

[verifier]
policy = "other.toml"

[issuer]
packages = "packages"

[notify]
command = ["notify", "a transfer"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings" / "ddtp.toml"


def load(file: Path, text: str, **environment: str) -> Config:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return load_config(file=file, environment=environment)


def test_every_setting_is_read(file: Path) -> None:
    """Each value arrives in its field; relative paths start at the file."""
    here = file.parent
    config = load(file, EVERYTHING)
    assert config == Config(
        home=here / "keys",
        vault=Path("/mnt/vault"),
        vault_is_set=True,
        language=Language.ZH,
        passphrase_file=here / "secret",
        listen=("/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001"),
        announce=("/dns4/bank.example/tcp/4001",),
        lan=("192.168.7.0/24",),
        relays=("/dns4/relay.example/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN",),
        relay=RelaySettings(
            listen=("/ip4/0.0.0.0/tcp/4002",),
            peers=frozenset({"12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"}),
            reservations=7,
            circuits=8,
            circuit_seconds=9,
            circuit_bytes=10,
        ),
        limits=NetworkLimits(connections=512, connections_per_address=128, streams_per_protocol=96),
        institution=Institution("Bank B", "CN", "privacy@bank-b.example"),
        roles=frozenset(Role),
        drain_seconds=5,
        ledger_origin="bank-b.example/2026",
        admission=AdmissionPolicy(attestors=(make_key("issuer").public_key,)),
        ledger_writers=frozenset({"12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"}),
        ledger_closed=True,
        ledger=here / "operator.ddtp-card",
        receiver=ReceiverSettings(
            policy=here / "policy.toml",
            requests=here / "requests",
            inbox=Path("/srv/inbox"),
            verifier=here / "verifier.ddtp-card",
            max_package_bytes=1000,
            max_incoming_bytes=2000,
            limit=10 << 20,
        ),
        verifier_policy=here / "other.toml",
        packages=here / "packages",
        send_limit=2_000_000,
        notify=("notify", "a transfer"),
    )
    defaults = Config(home=here, vault=here)
    unread = [field.name for field in fields(Config) if getattr(config, field.name) == getattr(defaults, field.name)]
    assert unread == [], "the text above sets every setting to something else than its default"


def test_an_empty_file_gives_the_defaults(file: Path) -> None:
    """Nothing has to be set by a person."""
    config = load(file, "", DDTP_HOME="/elsewhere")
    home = Path("/elsewhere")
    assert config == Config(home=home, vault=home / "vault")
    assert (config.listen, config.drain_seconds) == (DEFAULT_LISTEN, DEFAULT_DRAIN_SECONDS)


def test_a_receiver_has_defaults_too(file: Path) -> None:
    """The inbox lies in the home, the bounds are those of the module, and nobody else judges."""
    config = load(file, '[receiver]\npolicy = "p"\nrequests = "r"')
    assert config.receiver == ReceiverSettings(
        policy=file.parent / "p",
        requests=file.parent / "r",
        inbox=config.home / "inbox",
        verifier=None,
        max_package_bytes=DEFAULT_MAX_PACKAGE_BYTES,
        max_incoming_bytes=DEFAULT_MAX_INCOMING_BYTES,
    )


def test_a_home_without_a_file_is_a_persons(tmp_path: Path) -> None:
    """A person needs no settings file."""
    assert load_config(home=tmp_path, environment={}) == Config(home=tmp_path, vault=tmp_path / "vault")


def test_places_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records name files absolutely, so a home that is named from where one stands must be too."""
    monkeypatch.chdir(tmp_path)
    config = load_config(home=Path("mine") / ".." / "yours", environment={})
    assert (config.home, config.vault) == (tmp_path / "yours", tmp_path / "yours" / "vault")
    assert load_config(environment={"DDTP_HOME": "mine"}).home == tmp_path / "mine"


def test_the_file_of_the_home_is_read(tmp_path: Path) -> None:
    """Without another file, `config.toml` in the home counts."""
    (tmp_path / CONFIG_FILE).write_text('language = "zh"')
    assert load_config(home=tmp_path, environment={}).language is Language.ZH


def test_who_wins(file: Path, tmp_path: Path) -> None:
    """The command line wins over the environment, that over the file, and that over the default."""
    load(file, EVERYTHING)
    told = {"DDTP_HOME": "/elsewhere", "DDTP_LANGUAGE": "en", "DDTP_PASSPHRASE_FILE": "/run/pass"}
    config = load_config(file=file, environment=told)
    assert (config.language, config.passphrase_file) == (Language.EN, Path("/run/pass"))
    assert config.home == Path("/elsewhere")
    assert load_config(home=tmp_path, file=file, environment=told).home == tmp_path
    assert load_config(file=file, environment={}).home == file.parent / "keys"
    assert load(file, "", DDTP_HOME="/elsewhere").home == Path("/elsewhere")


def test_the_default_home_is_the_platforms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a word from anybody, a home lies where programs keep their data."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_home({}).name == "ddtp"
    assert default_home({"DDTP_HOME": "~/mine"}) == Path.home() / "mine"


@pytest.mark.parametrize(
    ("text", "key", "meant"),
    [
        ("lanugage = 'en'", "lanugage", "language"),
        ("[network]\nlisten_on = []", "[network] listen_on", "listen"),
        ("[serve]\nrole = []", "[serve] role", "roles"),
        ("[ledger]\norigins = 'x'", "[ledger] origins", "origin"),
        ("[institution]\nname='B'\ncountry='CN'\ncontact='c'\nlogo='l'", "[institution] logo", None),
        ("[receiver]\npolicy='p'\nrequests='r'\nmax_bytes=1", "[receiver] max_bytes", "max_package_bytes"),
        ("[verifier]\npolicy='p'\nkey='k'", "[verifier] key", None),
        ("[issuer]\npackages='p'\nfolder='f'", "[issuer] folder", None),
        ("[reciever]\npolicy='p'", "reciever", "receiver"),
    ],
)
def test_an_unknown_setting_is_refused(file: Path, text: str, key: str, meant: str | None) -> None:
    """A setting that is misspelt must not silently be ignored; the operator reads where, and what there is."""
    with pytest.raises(ConfigInvalid) as caught:
        load(file, text)
    assert caught.value.message == f"expected no setting {key} in {file}, found one"
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("known here: ")
    assert meant is None or caught.value.hint.endswith(f"did you mean {meant}?")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("home = 1", "a text for home in {file}, found a number 1"),
        ("vault = []", "a text for vault in {file}, found a list"),
        ("[network]\nlisten = [true]", "texts in the list for [network] listen in {file}, found a boolean True"),
        ("[serve]\ndrain_seconds = '10'", "at least 0 for [serve] drain_seconds in {file}, found a text '10'"),
        ("network = 'x'", "a table [network] for network in {file}, found a text 'x'"),
        ("[verifier]", "the setting [verifier] policy in {file}, found none"),
        ("language = 'de'", "en or zh for language in {file}, found 'de'"),
    ],
)
def test_an_error_names_the_file_the_key_and_what_was_found(file: Path, text: str, words: str) -> None:
    """Whoever reads the error has the line to mend."""
    with pytest.raises(ConfigInvalid) as caught:
        load(file, text)
    assert words.format(file=file) in caught.value.message


def test_near_names_are_offered(file: Path) -> None:
    """Also where a setting is missing because it is misspelt, and for roles."""
    for text, hint in (
        ("[receiver]\nploicy = 'p'\nrequests = 'r'", "did you mean policy where it says ploicy?"),
        ("[serve]\nroles = ['reciever']", "did you mean receiver?"),
    ):
        with pytest.raises(ConfigInvalid) as caught:
            load(file, text)
        assert caught.value.hint == hint
    with pytest.raises(ConfigInvalid, match="en or zh in DDTP_LANGUAGE"):
        load(file, "", DDTP_LANGUAGE="de")


@pytest.mark.parametrize(
    "text",
    [
        "home = 1",
        "vault = []",
        "language = 'de'",
        "language = 7",
        "passphrase_file = true",
        "network = 'x'",
        "[network]\nlisten = '/ip4/0.0.0.0/tcp/1'",
        "[network]\nlisten = [1]",
        "[network]\nannounce = {}",
        "[network]\nsend_limit = 2000000",
        "[network]\nsend_limit = '2Mbit/s'",
        "[notify]\ncommand = 'notify-send done'",
        "[notify]\nshell = true",
        "[network]\nlan = ['192.168.7.1/24']",
        "[network]\nlan = ['fd00::/8']",
        "[network]\nlan = true",
        "[network]\nconnections = 0",
        "[network]\nconnections_per_address = 0",
        "[network]\nstreams_per_protocol = 0",
        "[network]\nrelays = 'x'",
        "[relay]",
        "[relay]\nlisten = []",
        "[relay]\nlisten = ['/ip4/0.0.0.0/tcp/1']\ncircuits = 0",
        "[relay]\nlisten = ['/ip4/0.0.0.0/tcp/1']\npeers = ['x']",
        "[relay]\nlisten = ['/ip4/0.0.0.0/tcp/1']\nspeed = 1",
        "serve = []",
        "[serve]\nroles = 'ledger'",
        "[serve]\nroles = ['king']",
        "[serve]\ndrain_seconds = -1",
        "[serve]\ndrain_seconds = 1.5",
        "[serve]\ndrain_seconds = true",
        "[serve]\ndrain_seconds = '10'",
        "[ledger]\norigin = 1",
        "[ledger]\ncard = 1",
        "[[institution]]\nname = 'B'",
        "[institution]\nname = 'B'\ncountry = 'CN'",
        "[institution]\nname = 1\ncountry = 'CN'\ncontact = 'c'",
        "[receiver]\npolicy = 'p'",
        "[receiver]\nrequests = 'r'",
        "[receiver]\npolicy = 'p'\nrequests = 'r'\nmax_package_bytes = -1",
        "[receiver]\npolicy = 'p'\nrequests = 'r'\nmax_incoming_bytes = 'much'",
        "[receiver]\npolicy = 'p'\nrequests = 'r'\nverifier = 1",
        "[receiver]\npolicy = 'p'\nrequests = 'r'\nlimit = '1B/s'",
        "[verifier]",
        "[issuer]\npackages = 1",
    ],
)
def test_a_wrong_type_or_value_is_refused(file: Path, text: str) -> None:
    """Nothing is converted, and nothing that is needed may be left out."""
    with pytest.raises(ConfigInvalid):
        load(file, text)


@pytest.mark.parametrize("data", [b"home = ", b"home = '\xff'", b"\x00", b"#" * (MAX_CONFIG_BYTES + 1)])
def test_a_file_that_is_no_settings_file_is_refused(file: Path, data: bytes) -> None:
    """Broken TOML, other encodings, and files beyond the bound."""
    file.parent.mkdir()
    file.write_bytes(data)
    with pytest.raises(ConfigInvalid):
        load_config(file=file, environment={})


def test_a_file_that_is_asked_for_must_be_there(file: Path) -> None:
    """A missing file is no empty file when somebody names it."""
    with pytest.raises(ConfigInvalid):
        load_config(file=file, environment={})


def test_a_directory_is_no_settings_file(tmp_path: Path) -> None:
    """What cannot be read is told with its name."""
    with pytest.raises(ConfigInvalid, match=str(tmp_path)):
        load_config(file=tmp_path, environment={})


@pytest.mark.parametrize(
    "line",
    [
        'attestors = ["did:key:zabc"]',
        'attestors = "all"',
        'writers = ["12D3KooW"]',
        'writers = ["0OIl"]',
        'writers = ["QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"]',
        "closed = 1",
    ],
)
def test_who_appends_must_be_told_right(file: Path, line: str) -> None:
    """A writer or attestor that is misspelt must not silently be nobody."""
    with pytest.raises(ConfigInvalid, match=r"\[ledger\]"):
        load(file, f"[ledger]\n{line}")
