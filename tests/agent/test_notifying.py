"""The command that is run when a transfer ends: what it is told, and that it can do no harm."""

import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from ddtp.agent import notifying
from ddtp.agent.attending import sending_alone
from ddtp.agent.context import TRANSFER_PROTOCOL
from ddtp.agent.notifying import notify, variables
from ddtp.errors import AlreadyRunning, PeerUnreachable
from ddtp.store.records import TransferRow
from ddtp.transfer.stream import FlowStream
from tests.town import Town

WRITE = "import json, os, sys; json.dump([sys.argv, dict(os.environ)], open(sys.argv[1] + '.part', 'w'))"
WRITE += "; os.rename(sys.argv[1] + '.part', sys.argv[1])"


@pytest.fixture
async def row(town: Town) -> TransferRow:
    """A transfer that has been verified."""
    person = await town.person()
    package = await town.issue(person)
    await person.send(await person.prepare(package.path, card=town.receiver.card))
    return (await person.transfers())[0]


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.__dict__["reason"] for record in caplog.records if record.name == notifying.__name__]


def ended(process_id: int) -> None:
    """Wait until a process is no more, or only waits to be counted by whoever started it."""
    deadline = time.monotonic() + 5
    state = Path(f"/proc/{process_id}/stat")
    while state.exists() and state.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_details_are_in_the_environment_only(
    row: TransferRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arguments are those of the settings; our own variables, which name keys, are not handed on."""
    monkeypatch.setenv("DDTP_PASSPHRASE_FILE", "secret")
    place = tmp_path / "told"
    await notify((sys.executable, "-c", WRITE, str(place), "$HOME `id`"), row)
    arguments, environment = json.loads(place.read_text())
    assert arguments == ["-c", str(place), "$HOME `id`"]
    assert "DDTP_PASSPHRASE_FILE" not in environment
    assert {name: value for name, value in environment.items() if name.startswith("DDTP_")} == variables(row)
    assert environment["DDTP_TRANSFER_STATE"] == "verified"
    assert environment["DDTP_TRANSFER_ID"] == row.transfer_id.hex()
    assert environment["PATH"] == os.environ["PATH"]
    assert row.secret is None


async def test_names_cannot_break_the_environment(row: TransferRow) -> None:
    """What others wrote is printable text."""
    bad = replace(row, peer_name="B\0\x1b[2J", reason="a\nb")
    assert all(value.isprintable() for value in variables(bad).values())


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ((sys.executable, "-c", "print('why'); raise SystemExit(3)"), "exit 3: why"),
        (("/no/such/program",), "No such file"),
        ((sys.executable, "-c", "import time; time.sleep(60)"), "no end after"),
    ],
)
async def test_failures_are_logged_and_returned(
    row: TransferRow,
    command: tuple[str, ...],
    reason: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A command that fails, is not there, or does not end is a line in the log, soon, and known to who has run it."""
    monkeypatch.setattr(notifying, "NOTIFY_SECONDS", 1.0)
    start = time.monotonic()
    with caplog.at_level(logging.WARNING):
        failure = await notify(command, row)
    assert time.monotonic() - start < 5
    assert failure is not None
    assert reason in failure
    (found,) = told(caplog)
    assert found in failure
    assert await notify((sys.executable, "-c", ""), row) is None


@pytest.mark.slow
async def test_output_is_bounded_and_children_end(
    row: TransferRow, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Megabytes are read and thrown away; what a command leaves behind ends with it."""
    code = "import subprocess, sys; print('x' * 10_000_000); p = subprocess.Popen(['sleep', '60'])\n"
    code += f"open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid)); sys.stdout.flush(); sys.exit(1)"
    monkeypatch.setattr(notifying, "NOTIFY_SECONDS", 2.0)
    with caplog.at_level(logging.WARNING):
        await notify((sys.executable, "-c", code), row)
    (record,) = [record for record in caplog.records if record.name == notifying.__name__]
    assert len(record.__dict__["output"]) <= notifying.SHOWN_BYTES
    await trio.to_thread.run_sync(ended, int((tmp_path / "pid").read_text()))


@pytest.mark.slow
async def test_each_end_is_told_once(town: Town, tmp_path: Path) -> None:
    """The person's command is run for what was verified or broken off, and not again for the same outcome."""
    person = await town.person()
    log = tmp_path / "log"
    code = f"import os; open({str(log)!r}, 'a').write(os.environ['DDTP_TRANSFER_STATE'] + ' ')"
    config = replace(person.context.config, notify=(sys.executable, "-c", code))
    object.__setattr__(person.context, "config", config)
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    sent = await person.send(prepared)
    assert log.read_text() == "verified "
    assert await person.resume(sent.transfer_id) == sent
    assert log.read_text() == "verified "
    again = await person.prepare(package.path, card=town.receiver.card)

    async def nowhere(_addresses: object, _protocol: str) -> FlowStream:
        raise PeerUnreachable("gone")

    dial = person.context.dial

    async def only_ledgers(addresses: Sequence[str], protocol: str) -> FlowStream:
        return await (nowhere if protocol == TRANSFER_PROTOCOL else dial)(addresses, protocol)

    object.__setattr__(person.context, "dial", only_ledgers)
    with pytest.raises(PeerUnreachable):
        await person.send(again)
    assert log.read_text() == "verified failed "


async def test_what_another_process_sends_is_told_by_that_process(town: Town, tmp_path: Path) -> None:
    """Whoever is refused because of it tells nothing: the transfer has not ended."""
    place = tmp_path / "told"
    person = await town.person(notify=("touch", str(place)))
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    with sending_alone(person.context.config.home, prepared.transfer_id), pytest.raises(AlreadyRunning):
        await person.send(prepared)
    assert not place.exists()
