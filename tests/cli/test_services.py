"""A running service and the commands that talk to it; a whole transfer is told in tests/e2e."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import CARD, TIMEOUT_SECONDS, Run, command, environment, run

pytestmark = pytest.mark.slow

SETTINGS = """
[serve]
roles = ["issuer", "ledger", "receiver", "witness"]
drain_seconds = 1
[ledger]
origin = "bank-a.example/ddtp"
[issuer]
packages = "packages"
[receiver]
policy = "policy.toml"
requests = "requests"
"""
REQUEST = """
title = "Mortgage"
valid_seconds = 3600
use_seconds = 86400
operations = ["view"]
withdrawal = ["Write to us."]
jurisdictions = ["CN"]
logs = []
notice = {{ uri = "https://bank-a.example/privacy", digest = "{digest}", language = "en" }}
keep = {{ seconds = 86400, at_end = "erase" }}
[[purposes]]
code = "credit"
text = "decide on your mortgage"
basis = "consent"
required = true
[[asks]]
schema = "bank-statement/1"
items = ["name", "papers/"]
level = 2
sensitive = false
"""


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a bank whose service runs, a person who knows it, and a package that the person has collected."""
    town = tmp_path_factory.mktemp("town")
    bank, person = town / "bank", town / "person"
    assert run(bank, "init", *CARD, "--no-passphrase").code == 0
    settings = bank / "config.toml"
    settings.write_text(settings.read_text() + SETTINGS)
    (bank / "requests").mkdir()
    (bank / "requests" / "mortgage.toml").write_text(REQUEST.format(digest="00" * 32))
    (bank / "policy.toml").write_text('attestation = "issuer"\n')
    with (town / "log").open("wb") as log:
        service = subprocess.Popen(command(bank, ["serve"]), stdout=subprocess.PIPE, stderr=log, env=environment())
    try:
        ready = json.loads(service.stdout.readline())
        assert ready.keys() == {"card", "addresses", "did"}
        assert run(person, "init", "--no-passphrase").code == 0
        assert run(person, "card", "add", ready["card"]).code == 0
        address = run(person, "id", "--for", "Bank A").out.strip()
        papers = town / "papers"
        papers.mkdir()
        (papers / "statement.pdf").write_bytes(os.urandom(200_000))
        (papers / "a\u00a0\u2800b").touch()
        issued = run(
            *(
                bank,
                "issue",
                papers,
                "--holder",
                address,
                "--schema",
                "bank-statement/1",
                "--field",
                "name=小明",
                "--json",
            )
        )
        assert issued.code == 0, issued.err
        assert run(person, "collect", "Bank A").code == 0
        yield town
    finally:
        service.send_signal(signal.SIGTERM)
        assert service.wait(TIMEOUT_SECONDS) == 0
        service.stdout.close()


def collected(town: Path) -> Path:
    """The package file in the person's vault."""
    return next((town / "person" / "vault" / "packages").glob("*.ddtp"))


def test_log_lines_are_json(town: Path) -> None:
    """Where no terminal is, every line of the log is an object with time, level and event."""
    lines = (town / "log").read_text().splitlines()
    assert lines
    assert all({"time", "level", "event"} <= json.loads(line).keys() for line in lines)
    assert any("the port changes at each start" in line for line in lines)


def test_second_service_is_refused(town: Path) -> None:
    """Two services never share a home."""
    done = run(town / "bank", "serve")
    assert (done.code, done.out) == (1, "")
    assert "ddtp serve already runs here" in done.err


def test_collecting_again_keeps_one_copy(town: Path) -> None:
    """A package that is in the vault already is not fetched again."""
    before = collected(town).stat()
    assert run(town / "person", "collect", "Bank A").code == 0
    assert collected(town).stat().st_ino == before.st_ino
    assert len(run(town / "person", "inbox", "--json").json["packages"]) == 1


def test_request_in_plain_words(town: Path) -> None:
    """What is asked, why and for how long is shown; the requester's words are marked."""
    done = run(town / "person", "request", "--from", "Bank A")
    assert done.code == 0
    for line in ("> Mortgage", "> decide on your mortgage", "> papers/"):
        assert line in done.out
    assert run(town / "person", "request", "--from", "Bank A", "--json").json["purposes"][0]["required"] is True
    assert run(town / "person", "request", "--from", "Bank A", "--template", "none").code == 2


def test_consent_shows_the_screen_and_sends_nothing(town: Path) -> None:
    """The dry run holds the exact screen and the items; no transfer appears."""
    package = collected(town)
    done = run(town / "person", "consent", package, "--to", "Bank A", "--json")
    assert done.code == 0, done.err
    assert done.json["items"] == ["name", "papers/a\u00a0\u2800b", "papers/statement.pdf"]
    assert done.json["screen"].startswith("CONSENT TO SEND YOUR DATA")
    assert done.json["purposes"] == [1]
    shown = run(town / "person", "consent", package, "--to", "Bank A", COLUMNS="60").out
    assert "  > name\n  > papers/a␣␣b\n  > papers/statement.pdf\n" in shown
    assert "同意" in run(town / "person", "consent", package, "--to", "Bank A", "--language", "zh").out


def test_plain_file_finds_its_package(town: Path) -> None:
    """A file with exactly the packed bytes stands for its item; another one is told how to be packed."""
    copy = town / "renamed.pdf"
    shutil.copy(town / "papers" / "statement.pdf", copy)
    done = run(town / "person", "send", copy, "--to", "Bank A", "--dry-run", "--json")
    assert done.json["items"] == ["papers/statement.pdf"]
    copy.write_bytes(copy.read_bytes()[:-1] + b"\x00\x01")
    changed = run(town / "person", "send", copy, "--to", "Bank A", "--dry-run")
    assert changed.code == 2
    assert "ddtp pack" in changed.err


def test_a_package_that_was_cut_off_is_named(town: Path) -> None:
    """Sent or shown: nobody looks for it in the vault, and the error says which file it is and what to do."""
    cut = town / "cut.ddtp"
    cut.write_bytes(collected(town).read_bytes()[:-100])
    for line in (("send", cut, "--to", "Bank A", "--yes"), ("consent", cut, "--to", "Bank A"), ("show", cut)):
        done = run(town / "person", *line, "--json")
        assert (done.code, done.out, done.error["code"]) == (6, "", "malformed"), done.err
        assert done.error["message"].startswith("cut.ddtp: expected the end of a package file")
        assert "ddtp collect NAME" in done.error["hint"]


def test_folder_is_not_sent(town: Path) -> None:
    """A folder is answered with the packages in it; none is taken unasked."""
    package = collected(town)
    done = run(town / "person", "send", package.parent, "--to", "Bank A", "--yes")
    assert (done.code, done.out) == (2, "")
    assert package.name in done.err


def test_sending_needs_a_yes_and_a_receiver(town: Path) -> None:
    """Without a terminal --yes and --to must be there: exit 2, both named, nothing sent."""
    package = collected(town)
    unasked = run(town / "person", "send", package, "--to", "Bank A")
    assert (unasked.code, unasked.out) == (2, "")
    assert "--yes" in unasked.err
    nowhere = run(town / "person", "send", package, "--yes")
    assert nowhere.code == 2
    assert "--to" in nowhere.err
    assert "Bank A" in nowhere.err
    assert run(town / "person", "transfers", "--json").json == {"transfers": []}


def test_ctrl_c_at_the_consent_leaves_nothing_to_resume(town: Path, terminal: Run) -> None:
    """Nothing has begun yet, so no transfer is named."""
    arguments = ("send", collected(town), "--to", "Bank A")
    done = terminal(*arguments, answers=[("[y/N] ", "\x03")], home=town / "person")
    assert (done.code, done.out) == (130, "")
    assert done.err.endswith("\ninterrupted\n")


def test_show_package(town: Path) -> None:
    """A package is shown by its file, and by the first digits of its id."""
    by_file = run(town / "person", "show", collected(town), "--json").json
    assert by_file["type"] == "package"
    assert run(town / "person", "show", by_file["package_id"][:8], "--json").json == by_file
    assert run(town / "person", "show", "00000000").code == 2


def test_ledger_through_the_running_service(town: Path) -> None:
    """Head, entries, lookup and a checked proof, from the person and from the bank's own home."""
    bank, person = town / "bank", town / "person"
    assert run(person, "ledger", "head", "--card", "Bank A", "--json").json["origin"] == "bank-a.example/ddtp"
    entries = run(bank, "ledger", "entries", "--json").json["entries"]
    anchor = next(entry for entry in entries if entry["kind"] == "anchor")
    digest, index = anchor["digest"], anchor["index"]
    assert run(bank, "ledger", "lookup", digest, "--json").json["positions"] == [index]
    assert run(bank, "ledger", "lookup", "00").code == 2
    assert run(bank, "ledger", "prove", index, "--json").json["digest"] == digest
    assert run(bank, "ledger", "prove", "999").code != 0


def test_doctor_and_paths(town: Path) -> None:
    """A sound home is healthy; a key file that others can read is broken."""
    person = town / "person"
    report = run(person, "doctor", "--json")
    assert report.code == 0
    names = [check["name"] for check in report.json["checks"]]
    assert {"python", "crypto", "clock", "home", "keys", "records", "vault"} <= set(names)
    key = Path(run(person, "paths", "--json").json["keys"])
    key.chmod(0o644)
    try:
        broken = run(person, "doctor")
        assert broken.code == 1
        assert "chmod 600" in broken.out
    finally:
        key.chmod(0o600)


def test_vault_moves_with_its_packages(town: Path) -> None:
    """All packages are found in the new place, the old one is gone, and other settings stay."""
    person, new = town / "person", town / "drive" / "vault"
    settings = person / "config.toml"
    settings.write_text('# mine\nlanguage = "en"\n[network]\nlisten = []\n')
    old = Path(run(person, "paths", "--json").json["vault"])
    moved = run(person, "vault", "move", new, "--json")
    assert moved.code == 0, moved.err
    assert moved.json["files"] == 1
    assert not old.exists()
    assert run(person, "paths", "--json").json["vault"] == str(new)
    assert settings.read_text().endswith('# mine\nlanguage = "en"\n[network]\nlisten = []\n')
    package = run(person, "inbox", "--json").json["packages"][0]
    assert package["present"] is True
    assert Path(package["path"]).is_relative_to(new)
    (town / "taken").mkdir()
    (town / "taken" / "x").touch()
    for place in (new / "inside", town / "taken"):
        assert run(person, "vault", "move", place).code in {1, 2}
    assert run(person, "inbox", "--json").json["packages"][0]["present"] is True


def test_vault_of_a_home_that_is_named_from_where_one_stands(town: Path, tmp_path: Path) -> None:
    """`--home person` means the same folder as its full name: the packages arrive, and only then the old place goes."""
    shutil.copytree(town / "person", tmp_path / "person")
    (tmp_path / "person" / "config.toml").unlink(missing_ok=True)
    relative = Path("person")
    assert run(relative, "collect", "Bank A", folder=tmp_path).code == 0
    old = tmp_path / "person" / "vault"
    moved = run(relative, "vault", "move", "drive", "--json", folder=tmp_path)
    assert moved.code == 0, moved.err
    assert not old.exists()
    (package,) = run(relative, "inbox", "--json", folder=tmp_path).json["packages"]
    assert package["present"] is True
    assert Path(package["path"]).is_relative_to(tmp_path / "drive")


def test_vault_of_a_running_service_stays(town: Path) -> None:
    """The vault does not move under a service."""
    (town / "bank" / "vault").mkdir(exist_ok=True)
    assert run(town / "bank", "vault", "move", town / "elsewhere").code == 1
    assert not (town / "elsewhere").exists()


def test_service_without_roles_is_refused(town: Path, tmp_path: Path) -> None:
    """A service that would do nothing says which setting is missing."""
    assert run(tmp_path, "init", *CARD, "--no-passphrase").code == 0
    done = run(tmp_path, "serve")
    assert (done.code, done.out) == (2, "")
    assert "roles" in done.err


def test_peer_that_does_not_answer(town: Path, tmp_path: Path) -> None:
    """Nobody at the address on the card: exit 7."""
    bank = tmp_path / "bank"
    assert run(bank, "init", *CARD, "--no-passphrase").code == 0
    (bank / "config.toml").write_text((bank / "config.toml").read_text() + '[serve]\nroles = ["issuer"]\n')
    card = tmp_path / "card"
    assert run(bank, "card", "make", "--address", "/ip4/127.0.0.1/tcp/9", "--out", card).code == 0
    done = run(town / "person", "collect", card, "--json")
    assert done.code == 7
    assert done.error["code"] == "unreachable"
    assert done.error["message"].startswith("Bank A does not answer: ")
    assert "/ip4/127.0.0.1/tcp/9/" in done.error["message"]
    assert "card" in done.error["hint"]


def test_an_institution_is_not_asked_for_what_it_does_not_do(town: Path, tmp_path: Path) -> None:
    """The card says which roles it has: nobody is called, nothing is sealed, and the words are those of the card."""
    bank = tmp_path / "bank"
    assert run(bank, "init", "--institution", "Bank B", *CARD[2:], "--no-passphrase").code == 0
    (bank / "config.toml").write_text((bank / "config.toml").read_text() + '[serve]\nroles = ["verifier"]\n')
    card = tmp_path / "card"
    assert run(bank, "card", "make", "--address", "/ip4/127.0.0.1/tcp/9", "--out", card).code == 0
    papers = tmp_path / "papers"
    papers.mkdir()
    (papers / "x.txt").write_text("x")
    for role, line in (
        ("issuer", ["collect", card]),
        ("witness", ["pack", papers, "--schema", "s/1", "--witness", card]),
    ):
        done = run(town / "person", *line, "--json")
        assert done.code == 2
        assert done.error["code"] == "not-found"
        assert done.error["message"] == (
            f"expected an institution with the role {role}, found Bank B with the roles: verifier"
        )


def test_plain_file_prefers_a_package_that_is_asked_for(town: Path) -> None:
    """Of two packages with the same file the one of the kind that the receiver asks for is sent, though it is older."""
    bank, person = town / "bank", town / "person"
    address = run(person, "id", "--for", "Bank A").out.strip()
    other = town / "other"
    other.mkdir()
    shutil.copy(town / "papers" / "statement.pdf", other / "same.pdf")
    assert run(bank, "issue", other, "--holder", address, "--schema", "other/1").code == 0
    assert run(person, "collect", "Bank A").code == 0
    sent = run(person, "send", other / "same.pdf", "--to", "Bank A", "--dry-run", "--json")
    assert sent.json["items"] == ["papers/statement.pdf"]
    packages = run(person, "inbox", "--json").json["packages"]
    newest = next(Path(each["path"]) for each in packages if each["schema"] == "other/1")
    refused = run(person, "send", newest, "--to", "Bank A", "--yes")
    assert (refused.code, refused.out) == (5, "")
    assert newest.name in refused.err


def test_a_receiver_that_declines(town: Path) -> None:
    """Nothing has left; the person reads why, what to do, and finds both again in the list."""
    person = town / "person"
    packages = run(person, "inbox", "--json").json["packages"]
    package = next(each["path"] for each in reversed(packages) if each["schema"] == "bank-statement/1")
    declined = run(person, "send", package, "--to", "Bank A", "--yes")
    assert declined.code == 5, declined.err
    assert "no data has left" in declined.err
    row = run(person, "transfers", "--json").json["transfers"][0]
    name = row["transfer_id"][:8]
    assert (row["standing"], row["bytes_done"], row["next"]) == ("declined", 0, f"ddtp transfers show {name}")
    shown = run(person, "transfers", "show", name).out
    assert "Reason:     expected an attestation by issuer" in shown
    assert f"ddtp transfers show {name}" not in shown
