"""Pausing a transfer that runs, by key and by command, and what `ddtp transfers` says about it meanwhile."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import CARD, TIMEOUT_SECONDS, Run, command, environment, run
from tests.cli.test_services import REQUEST, SETTINGS

pytestmark = pytest.mark.slow

CONTENT_BYTES = 12 << 20
LIMIT = "1500KB/s"
"""So that the transfer takes about eight seconds, in which a busy machine starts a few commands."""
SLOW = "600KB/s"
"""So that the transfer does not end before it is ended, however busy the machine."""
HOOK = "import os, sys; e = os.environ; open(sys.argv[1], 'a').write(e['DDTP_TRANSFER_STATE'] + '\\n')"


def hook(place: Path) -> str:
    """The setting that writes the state of each transfer that ends to a file."""
    return f"[notify]\ncommand = {json.dumps([sys.executable, '-c', HOOK, str(place)])}\n"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A bank that receives what it issued, and a person with a package of it."""
    town = tmp_path_factory.mktemp("town")
    bank, person = town / "bank", town / "person"
    assert run(bank, "init", *CARD, "--no-passphrase").code == 0
    settings = bank / "config.toml"
    more = SETTINGS.replace("[receiver]\n", '[receiver]\nlimit = "6MB/s"\n')
    settings.write_text(settings.read_text() + more + hook(town / "bank-told"))
    (bank / "requests").mkdir()
    asked = REQUEST.format(digest="00" * 32).replace('"name", "papers/"', '"*"').replace("level = 2", "level = 1")
    (bank / "requests" / "mortgage.toml").write_text(asked)
    made = run(bank, "card", "make", "--address", "/ip4/127.0.0.1/tcp/9", "--out", town / "card")
    assert made.code == 0, made.err
    assert run(bank, "card", "add", town / "card", "--trust").code == 0
    with (town / "log").open("wb") as log:
        service = subprocess.Popen(command(bank, ["serve"]), stdout=subprocess.PIPE, stderr=log, env=environment())
    try:
        ready = json.loads(service.stdout.readline())
        assert run(person, "init", "--no-passphrase").code == 0
        (person / "config.toml").write_text(hook(town / "person-told"))
        assert run(person, "card", "add", ready["card"]).code == 0
        address = run(person, "id", "--for", "Bank A").out.strip()
        (town / "scan.bin").write_bytes(os.urandom(CONTENT_BYTES))
        issued = run(bank, "issue", town / "scan.bin", "--holder", address, "--schema", "bank-statement/1")
        assert issued.code == 0, issued.err
        assert run(person, "collect", "Bank A").code == 0
        yield town
    finally:
        service.send_signal(signal.SIGTERM)
        assert service.wait(TIMEOUT_SECONDS) == 0
        service.stdout.close()


@pytest.fixture
def told(town: Path) -> Callable[[str], list[str]]:
    """What the commands of a side have been told since the test began."""
    before = {side: _lines(town / f"{side}-told") for side in ("person", "bank")}
    return lambda side: _lines(town / f"{side}-told")[len(before[side]) :]


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def sending(town: Path, *options: object) -> list[object]:
    """The arguments that send the package."""
    package = next((town / "person" / "vault" / "packages").glob("*.ddtp"))
    return ["send", package, "--to", "Bank A", "--yes", *options]


def newest(town: Path) -> dict[str, object]:
    return run(town / "person", "transfers", "--json").json["transfers"][0]


def wait_for(town: Path, known: int, **fields: object) -> dict[str, object]:
    """Wait until the newest transfer, another than those known, looks so."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        rows = run(town / "person", "transfers", "--json").json["transfers"]
        if len(rows) > known and all(rows[0][name] == value for name, value in fields.items()):
            return rows[0]
    pytest.fail(f"expected {fields}, found {rows[:1]}")


def test_a_key_pauses_and_goes_on(town: Path, terminal: Run, told: Callable[[str], list[str]]) -> None:
    """The line says which key; the same one lets it go on, and the last words are those of any transfer."""
    done = terminal(
        *sending(town, "--limit", LIMIT),
        answers=[("sending  ", "p"), ("paused  ", ""), ("[p] go on", " ")],
        home=town / "person",
    )
    assert done.code == 0, done.err
    assert "Delivered and verified: Bank A signed at " in done.out
    assert (newest(town)["state"], newest(town)["paused"], newest(town)["next"]) == ("verified", False, None)
    assert told("person") == ["verified"]
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while told("bank") != ["verified"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert told("bank") == ["verified"]


def test_a_command_pauses_and_resumes(town: Path) -> None:
    """From another process, by the first digits; the list shows it, JSON progress tells it, the process goes on."""
    person, known = town / "person", len(run(town / "person", "transfers", "--json").json["transfers"])
    process = subprocess.Popen(
        command(person, sending(town, "--limit", LIMIT, "--json")),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    try:
        row = wait_for(town, known, standing="sending")
        name = row["transfer_id"]
        assert run(person, "transfers", "pause", name[:8], "--json").json == {"transfer_id": name, "paused": True}
        row = wait_for(town, known, standing="paused")
        assert (row["running"], row["next"]) == (True, f"ddtp transfers resume {name[:8]}")
        listed = run(person, "transfers").out.splitlines()
        assert listed[0].split() == ["ID", "WHO", "STATE", "DONE", "NEXT", "WHEN", "KIND"]
        assert f"{name[:8]}  to Bank A  paused" in listed[1]
        assert "已暂停" in run(person, "transfers", "--language", "zh").out
        time.sleep(1)
        assert process.poll() is None
        refused = run(person, "transfers", "resume", name[:8], "--limit", "1MB/s")
        assert (refused.code, refused.out) == (2, "")
        assert f"ddtp transfers resume {name[:8]}" in refused.err
        assert run(person, "transfers", "resume", name[:8]).code == 0
        out, err = process.communicate(timeout=TIMEOUT_SECONDS)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert json.loads(out)["transfer_id"] == name
    phases = [json.loads(line)["progress"]["phase"] for line in err.splitlines()]
    assert "paused" in phases
    assert phases[-1] == "done"


def test_an_interrupt_while_it_rests_is_resumed_later(
    town: Path, terminal: Run, told: Callable[[str], list[str]]
) -> None:
    """It stays paused in the list, nobody is told what they did themselves, and resuming sends what is missing."""
    person = town / "person"
    done = terminal(*sending(town, "--limit", LIMIT), answers=[("sending  ", "p"), ("[p] go on", "\x03")], home=person)
    assert done.code == 130, done.err
    row = newest(town)
    name = row["transfer_id"][:8]
    assert f"ddtp resume {name}" in done.err
    assert (row["standing"], row["running"], row["next"]) == ("paused", False, f"ddtp transfers resume {name}")
    assert told("person") == []
    again = run(person, "transfers", "pause", name)
    assert (again.code, again.out) == (2, "")
    assert f"ddtp transfers resume {name}" in again.err
    resumed = run(person, "transfers", "resume", name)
    assert resumed.code == 0, resumed.err
    assert "Delivered and verified" in resumed.out


@contextmanager
def sender(town: Path, *options: object) -> Iterator[subprocess.Popen[str]]:
    """A process that sends, slowly unless told otherwise, and hears signals as one that a shell has started."""
    process = subprocess.Popen(
        command(town / "person", sending(town, "--limit", SLOW, *options)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no thread runs here
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_of_two_that_are_sent_each_names_its_own(town: Path) -> None:
    """Ctrl-C ends with the id of the transfer that this process has sent, not with that of the newest one."""
    known = len(run(town / "person", "transfers", "--json").json["transfers"])
    with sender(town) as first:
        older = wait_for(town, known, standing="sending")["transfer_id"]
        with sender(town) as second:
            newer = wait_for(town, known + 1, standing="sending")["transfer_id"]
            for process, name in ((first, older), (second, newer)):
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=TIMEOUT_SECONDS)
                assert (process.returncode, out) == (130, "")
                assert f"ddtp resume {name[:8]}" in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_that_ends_it_is_told_how_it_goes_on(
    town: Path, told: Callable[[str], list[str]], number: signal.Signals, code: int
) -> None:
    """As after Ctrl-C: the last line names what resumes it, nobody is notified, and it is known as broken off."""
    known = len(run(town / "person", "transfers", "--json").json["transfers"])
    with sender(town) as process:
        name = wait_for(town, known, standing="sending")["transfer_id"]
        process.send_signal(number)
        out, err = process.communicate(timeout=TIMEOUT_SECONDS)
    assert (process.returncode, out) == (code, "")
    assert err.endswith(f"ended by {number.name}\n  next:  nothing is lost; go on later with: ddtp resume {name[:8]}\n")
    assert (newest(town)["state"], told("person")) == ("failed", [])


def test_what_is_broken_off_is_said_before_a_new_consent_and_can_be_given_up(town: Path) -> None:
    """A line, not a refusal; given up, it is not resumed, and nothing of it is left on this side."""
    person, known = town / "person", len(run(town / "person", "transfers", "--json").json["transfers"])
    with sender(town) as process:
        name = wait_for(town, known, standing="sending")["transfer_id"]
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not newest(town)["bytes_done"] and time.monotonic() < deadline:
            time.sleep(0.2)
        running = run(person, "transfers", "drop", name, "--json")
        assert (running.code, running.error["code"]) == (1, "already-running")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 130
    asked = run(person, *sending(town)[:4])
    assert asked.code == 2
    line = rf"^[1-9]\d?% of this package is at Bank A already.*: ddtp resume {name[:8]}$"
    assert re.search(line, asked.err, re.MULTILINE)
    theirs = run(town / "bank", "transfers", "drop", name, "--json")
    assert (theirs.code, theirs.error["code"]) == (1, "already-running")
    dropped = run(person, "transfers", "drop", name[:8], "--json")
    assert dropped.json == {"transfer_id": name, "dropped": True}
    assert not list((person / "vault" / "outgoing").glob(f"{name}*"))
    assert not (person / "sending" / name).exists()
    assert (newest(town)["state"], newest(town)["standing"], newest(town)["next"]) == ("declined", "dropped", None)
    assert "given up" in run(person, "transfers").out
    assert run(person, "resume", name).code == 2
    assert run(person, "transfers", "drop", name).code == 2
    assert name[:8] not in run(person, *sending(town)[:4]).err


def test_the_outcome_comes_before_the_command_that_fails(town: Path, tmp_path: Path) -> None:
    """A person waits for no hook to read it, and is told that the hook has failed; the exit code stays."""
    read = tmp_path / "read"
    code = (
        "import pathlib, sys, time\nwhile not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.05)\nsys.exit('no bell')"
    )
    settings = tmp_path / "settings.toml"
    settings.write_text(f"[notify]\ncommand = {json.dumps([sys.executable, '-c', code, str(read)])}\n")
    with sender(town, "--config", settings, "--quiet", "--limit", "9MB/s") as process:
        assert process.stdout.readline().startswith("Delivered and verified: Bank A")
        read.touch()
        _out, err = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0
    assert err == "warning: the command of [notify] failed: exit 1: no bell\n"


def test_a_failure_comes_before_the_command_and_once(town: Path, tmp_path: Path) -> None:
    """What went wrong is on stderr while the hook still runs, and is not said again after it."""
    read = tmp_path / "read"
    code = "import pathlib, sys, time\nwhile not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.05)"
    settings = tmp_path / "settings.toml"
    settings.write_text(f"[notify]\ncommand = {json.dumps([sys.executable, '-c', code, str(read)])}\n")
    package = next((town / "person" / "vault" / "packages").glob("*.ddtp"))
    whole = package.read_bytes()
    # it opens, because its names and sizes stand at the end
    package.write_bytes(bytes(1000) + whole[1000:])
    try:
        with sender(town, "--config", settings, "--quiet", "--limit", "9MB/s") as process:
            assert process.stderr.readline().startswith("error: expected an undamaged package file")
            read.touch()
            err = process.stderr.read()
            assert process.wait(TIMEOUT_SECONDS) == 1
    finally:
        package.write_bytes(whole)
    assert "error" not in err
    assert f"ddtp resume {newest(town)['transfer_id'][:8]} --package FILE" in err


def test_quiet_and_scripts_get_no_line(town: Path) -> None:
    """Nothing but the result, and --quiet leaves the screen out as well."""
    done = run(town / "person", *sending(town, "--quiet"))
    assert (done.code, done.err) == (0, "")
    assert "\r" not in run(town / "person", *sending(town)).err


@pytest.mark.parametrize(("redirections", "code"), [("> /dev/full", 8), ("| true", 8), ("<&- >&- 2>&-", 0)])
def test_a_delivery_is_one_whatever_takes_its_result(town: Path, redirections: str, code: int) -> None:
    """Stdout that is full, left or closed hides nothing: the receipt is there, and stderr says so with its own code."""
    line = f'set -o pipefail; "$@" {redirections}'
    done = subprocess.run(
        ["bash", "-c", line, "bash", *command(town / "person", sending(town, "--quiet"))],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        env=environment(),
        check=False,
    )
    row = newest(town)
    assert (row["state"], done.returncode) == ("verified", code), done.stderr
    name = row["transfer_id"][:8]
    assert (f"Bank A has verified the data; see ddtp show {name}" in done.stderr) == (code == 8)
    assert "defect" not in done.stderr


def test_the_receiver_may_be_the_slow_one(town: Path) -> None:
    """Its limit holds for whoever sends without one, who is slowed and not broken off."""
    done = run(town / "person", *sending(town, "--json"))
    assert done.code == 0, done.err
    assert done.json["seconds"] > CONTENT_BYTES / 6e6 - 0.5


def test_no_option_goes_beyond_the_settings(town: Path, tmp_path: Path) -> None:
    """--limit is no way around [network] send_limit."""
    settings = tmp_path / "settings.toml"
    settings.write_text('[network]\nsend_limit = "4MB/s"\n')
    done = run(town / "person", *sending(town, "--limit", "1GB/s", "--config", settings, "--json"))
    assert done.code == 0, done.err
    assert done.json["seconds"] > CONTENT_BYTES / 4e6 - 0.5


def test_one_transfer_in_detail(town: Path) -> None:
    """By itself and by `ddtp show`: the same, with the receipt and the content that it names; on both sides."""
    name = newest(town)["transfer_id"]
    shown = run(town / "person", "transfers", "show", name[:8])
    assert shown.code == 0
    for part in ("State:", "verified", "Done:", "12.0 MiB of 12.0 MiB", "Receipt:", "Signed:", "Content:"):
        assert part in shown.out
    assert shown.out == run(town / "person", "show", name[:8]).out
    bank = run(town / "bank", "transfers", "show", name, "--json").json
    assert (bank["direction"], bank["standing"], bank["next"]) == ("in", "verified", f"ddtp export {name[:8]} --to DIR")
    assert "  from " in run(town / "bank", "transfers").out


@pytest.mark.parametrize("action", ["show", "pause", "resume", "drop"])
def test_ids_that_mean_nothing(town: Path, action: str) -> None:
    """Unknown, too short, or no id: an error of the user, with its name."""
    for wrong, code in (("00000000", "not-found"), ("0", "usage"), ("bank", "usage")):
        done = run(town / "person", "transfers", action, wrong, "--json")
        assert (done.code, done.error["code"]) == (2, code)


def test_what_is_over_is_not_paused(town: Path) -> None:
    """The error says what it is instead."""
    done = run(town / "person", "transfers", "pause", newest(town)["transfer_id"], "--json")
    assert (done.code, done.error["code"]) == (2, "not-found")
    assert "found one that is verified" in done.error["message"]


def test_a_limit_in_bits_sends_nothing(town: Path) -> None:
    """It is refused before anybody is asked anything."""
    done = run(town / "person", *sending(town, "--limit", "16Mbit/s", "--json"))
    assert (done.code, done.error["code"]) == (2, "usage")
    assert "2MB/s" in done.error["hint"]
