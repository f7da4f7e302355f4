"""Cards, addresses and trust on the command line."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ddtp.identity.document import encode_card_text, parse_card
from ddtp.protocol import envelope
from ddtp.store.keystore import load_identity
from ddtp.verify.policy import parse_policy
from tests.cli.conftest import Run

pytestmark = pytest.mark.slow


def test_show_checks_the_card(ddtp: Run, card: Path) -> None:
    """A card is shown with its meaning; a forged one is refused with exit 6."""
    done = ddtp("card", "show", card, "--json")
    assert done.json["name"] == "Bank A"
    assert done.json["addresses"][0].startswith("/ip4/127.0.0.1/tcp/9/p2p/")
    assert done.json["ledgers"][0]["origin"] == "bank-a.example/ddtp"
    lines = card.read_text().splitlines()
    middle = lines[4]
    lines[4] = ("A" if middle[0] != "A" else "B") + middle[1:]
    card.write_text("\n".join(lines) + "\n")
    forged = ddtp("card", "show", card)
    assert (forged.code, forged.out) == (6, "")


def test_add_list_and_find_by_name(person: Run, card: Path) -> None:
    """A remembered card is found by its name, a part of it, or its DID; others are not."""
    assert person("card", "list", "--json").json == {"cards": []}
    did = person("card", "add", card, "--json").json["did"]
    assert [each["did"] for each in person("card", "list", "--json").json["cards"]] == [did]
    for name in ("Bank A", "bank", did):
        assert person("card", "show", name, "--json").json["did"] == did
    missing = person("card", "show", "Bank Z")
    assert missing.code == 2
    assert "Bank A" in missing.err


def test_another_file_is_a_mistake_of_the_line(person: Run, tmp_path: Path) -> None:
    """A file of another kind is no forged card, and a name that is neither file nor id is a missing file: exit 2."""
    statement = tmp_path / "statement.json"
    statement.write_text('{"balance": 1}' * 20_000)
    for arguments in (("card", "add", statement), ("card", "show", statement), ("show", statement)):
        done = person(*arguments)
        assert (done.code, done.out) == (2, "")
        assert "statement.json" in done.err
    nothing = person("show", "nothing")
    assert nothing.code == 2
    assert "expected a file" in nothing.err


def test_older_card_is_refused(person: Run, card: Path, tmp_path: Path) -> None:
    """A card never replaces a newer one, so nobody is sent back to an address that was given up."""
    present = parse_card(card.read_text(), now=int(time.time())).body
    bank = load_identity(tmp_path / "bank", passphrase=None).institution_key("sign")
    old = tmp_path / "old"
    old.write_text(encode_card_text(envelope.sign(replace(present, issued=present.issued - 60), bank)))
    assert person("card", "add", old).code == 0
    assert person("card", "add", card).code == 0
    done = person("card", "add", old)
    assert done.code == 5
    assert "older" in done.err
    assert person("send", old, "--to", old).code == 5
    assert person("card", "show", "Bank A", "--json").json["issued"] == present.issued


def test_address_for_an_institution(person: Run, card: Path, tmp_path: Path) -> None:
    """A person's address depends on the institution and on nothing else; without one it is refused."""
    first = person("id", "--for", card, "--json").json
    again = person("id", "--for", card, "--json").json
    assert first["did"] == again["did"]
    assert first["address"].startswith("ddtp1:")
    plain = person("id", "--for", card)
    assert plain.out.startswith("ddtp1:")
    assert plain.out.count("\n") == 1
    assert person("id").code == 2


def test_trust_writes_a_policy(person: Run, card: Path, home: Path) -> None:
    """--trust adds issuer and ledger to the policy of the home; what was there stays; adding twice changes nothing."""
    (home / "policy.toml").write_text('# ours\nattestation = "both"\nclock_skew_seconds = 5\n')
    added = person("card", "add", card, "--trust", "--json").json
    text = (home / "policy.toml").read_text()
    policy = parse_policy(text)
    assert text.startswith("# ours\n")
    assert policy.clock_skew_seconds == 5
    assert policy.issuers[added["did"]].name == "Bank A"
    assert policy.logs["bank-a.example/ddtp"].hex() == added["ledgers"][0]["public_key"]
    assert person("card", "add", card, "--trust").code == 0
    assert (home / "policy.toml").read_text() == text


def test_ledger_under_another_key_is_refused(person: Run, card: Path, home: Path) -> None:
    """A trusted name of a ledger never changes its key by adding a card."""
    person("card", "add", card, "--trust")
    path = home / "policy.toml"
    key = person("card", "show", card, "--json").json["ledgers"][0]["public_key"]
    text = path.read_text().replace(key, "02" + "32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7")
    path.write_text(text)
    done = person("card", "add", card, "--trust")
    assert done.code == 2
    assert path.read_text() == text


def test_qr_on_the_terminal_and_as_image(ddtp: Run, card: Path, tmp_path: Path) -> None:
    """A QR code is drawn with blocks, or written as PNG or SVG; its text is a card that can be shown."""
    assert "▄" in ddtp("card", "qr", card).out
    text = ddtp("card", "qr", card, "--json").json["text"]
    assert ddtp("card", "show", text, "--json").json["name"] == "Bank A"
    for name, start in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml")):
        assert ddtp("card", "qr", card, "--out", tmp_path / name).code == 0
        assert (tmp_path / name).read_bytes().startswith(start)
    assert ddtp("card", "qr", card, "--out", tmp_path / "a.gif").code == 2


def test_card_without_address_is_refused(ddtp: Run, card: Path, tmp_path: Path) -> None:
    """A card that leads nowhere is not made; a person cannot make one at all."""
    done = ddtp("card", "make", home=tmp_path / "bank")
    assert done.code == 2
    assert "--address" in done.err
    assert ddtp("init", "--no-passphrase").code == 0
    assert ddtp("card", "make", "--address", "/ip4/127.0.0.1/tcp/9").code == 2


def test_card_on_stdout(ddtp: Run, card: Path, tmp_path: Path) -> None:
    """Without --out the card itself is the result, ready for a pipe."""
    made = ddtp("card", "make", "--address", "/ip4/127.0.0.1/tcp/9", home=tmp_path / "bank")
    assert made.out.startswith("-----BEGIN DDTP CARD-----\n")
    (tmp_path / "piped").write_text(made.out)
    assert ddtp("card", "show", tmp_path / "piped").code == 0
    assert json.loads(ddtp("show", card, "--json").out)["type"] == "card"
