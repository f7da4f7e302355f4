"""What doctor says of homes in which something is wrong; that it is healthy elsewhere is told in test_services."""

import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import CARD, Run, run

pytestmark = pytest.mark.slow

SETTINGS = """
[serve]
roles = ["ledger", "receiver"]
[ledger]
origin = "bank-a.example/ddtp"
[receiver]
policy = "policy.toml"
requests = "requests"
"""


def rows(home: Path) -> dict[str, dict[str, str]]:
    """The rows of a run by name, the broken ones first where a name has two."""
    done = run(home, "doctor", "--json")
    checks = sorted(done.json["checks"], key=lambda row: row["state"] != "broken")
    assert done.code == (1 if any(row["state"] == "broken" for row in checks) else 0)
    assert {row["name"] for row in checks} >= {"python", "versions", "crypto", "clock"}
    found: dict[str, dict[str, str]] = {}
    for row in checks:
        found.setdefault(row["name"], row)
    return found


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    """The home of an institution whose service never ran, and that has a ledger."""
    home = tmp_path / "bank"
    assert run(home, "init", *CARD, "--no-passphrase").code == 0
    settings = home / "config.toml"
    settings.write_text(settings.read_text() + SETTINGS)
    (home / "requests").mkdir()
    (home / "policy.toml").write_text('attestation = "issuer"\n')
    assert run(home, "ledger", "head").code == 0
    return home


def test_what_a_service_needs_has_rows(bank: Path) -> None:
    """Settings, policy, roles, addresses and the whole ledger; what only limits is a warning."""
    found = rows(bank)
    assert {name for name, row in found.items() if row["state"] == "broken"} == set()
    assert found["roles"]["detail"] == "ledger, receiver"
    assert found["ledger file"]["detail"] == "bank-a.example/ddtp: all 0 entries lead to the root"
    warnings = {name for name, row in found.items() if row["state"] == "warning"}
    assert warnings >= {"policy", "requests", "addresses"}
    assert found["addresses"]["hint"] == "the port changes at each start; set [network] listen"


def test_settings_that_are_wrong_do_not_hide_the_rest(bank: Path) -> None:
    """The error is a row, and keys, records and ledger are still checked."""
    (bank / "config.toml").write_text("colour = 1")
    found = rows(bank)
    assert found["settings"]["state"] == "broken"
    assert str(bank / "config.toml") in found["settings"]["detail"]
    assert {"home", "keys", "records", "ledger file"} <= found.keys()


def test_every_broken_part_has_its_row(bank: Path) -> None:
    """One run finds all of them, each with what to do."""
    (bank / "policy.toml").write_text("attestation = 'maybe'")
    (bank / "requests" / "mortgage.toml").write_text("title = 1")
    settings = (bank / "config.toml").read_text() + '[network]\nlisten = ["4001"]\n'
    (bank / "config.toml").write_text(f'vault = "{bank.parent}/drive/vault"\n' + settings)
    found = rows(bank)
    for name in ("policy", "requests", "addresses", "vault"):
        assert found[name]["state"] == "broken", name
    assert "is the drive mounted?" in found["vault"]["hint"]
    assert "mortgage.toml" in found["requests"]["detail"]
    (bank / "config.toml").write_text('[serve]\nroles = ["receiver", "verifier", "ledger"]\n')
    assert rows(bank)["roles"]["state"] == "broken"


def test_a_damaged_ledger_is_found(bank: Path) -> None:
    """Everything in the log is read, without its keys and without a service."""
    database = sqlite3.connect(bank / "ledger.db")
    with database:
        database.execute("UPDATE head SET root = zeroblob(32)")
    database.close()
    assert rows(bank)["ledger file"]["state"] == "broken"
    text = (bank / "config.toml").read_text()
    (bank / "config.toml").write_text(text.replace("bank-a.example/ddtp", "bank-b.example"))
    assert rows(bank)["ledger file"]["state"] == "broken"


def test_lost_keys_are_restored_and_not_replaced(ddtp: Run, home: Path, tmp_path: Path) -> None:
    """Records without their keys are found by doctor; a new identity in their place would be a stranger to them."""
    made = ddtp("init", "--no-passphrase", "--show-phrase", "--json").json
    assert ddtp("transfers").code == 0
    (home / "identity.key").unlink()
    row = rows(home)["home"]
    assert (row["state"], row["hint"]) == ("broken", "restore: ddtp init --phrase FILE")
    refused = ddtp("init", "--no-passphrase", "--json")
    assert (refused.code, refused.error["hint"]) == (1, "restore: ddtp init --phrase FILE")
    assert not (home / "identity.key").exists()
    restored = ddtp("init", "--no-passphrase", "--phrase", "-", "--json", stdin=made["phrase"])
    assert restored.json["did"] == made["did"]
