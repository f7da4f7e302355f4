"""`ddtp demo` as a newcomer runs it: in processes of its own, with a home directory that has never seen DDTP."""

import json
import os
import signal
import string
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from ddtp.cli.demo_wording import Words, words
from ddtp.identity.language import Language

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 120.0
"""Six processes start; on an idle machine the whole demo takes eight seconds."""
CAUGHT = {
    "attack-altered-file": (14, "content"),
    "attack-other-receiver": (8, "request-signature"),
    "attack-other-request": (9, "grant-binding"),
    "attack-expired-consent": (10, "grant-time"),
    "offline-altered-file": (14, "content"),
    "offline-other-receiver": (8, "request-signature"),
    "offline-expired-consent": (10, "grant-time"),
}

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts the command line with a fresh HOME and a temporary directory of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("DDTP_", "XDG_"))}
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    places = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": str(ROOT)}

    def start(*arguments: object, **more: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "ddtp", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean | places | more,
        )

    return start


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Wait for a process; return its exit code and what it still had to say."""
    try:
        out, err = process.communicate(timeout=TIMEOUT_SECONDS)
    finally:
        process.kill()
    return process.returncode, out, err


def processes_of(folder: Path) -> list[str]:
    """Command lines of all processes that work somewhere in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if str(folder) in line:
            found.append(line)
    return found


@pytest.mark.slow
def test_demo_shows_a_transfer_and_three_attacks(start: Start, tmp_path: Path) -> None:
    """The demo ends well, names the step behind each refusal, and the kept proof verifies by itself afterwards."""
    kept = tmp_path / "kept"
    code, out, err = finish(start("demo", "--keep", kept))
    assert (code, err) == (0, "")
    assert "VERIFIED" in out
    assert "Checked by:" in out, "evidence goes to a verifier, which the person reads before"
    assert "Checked by:" in (kept / "person" / "screen.txt").read_text()
    assert [out.count(f"Attack {number}") for number in (1, 2, 3)] == [1, 2, 1]
    for number, label in CAUGHT.values():
        assert f"=> caught by check {number}, {label}: " in out
    assert processes_of(tmp_path) == []
    assert list((tmp_path / "tmp").iterdir()) == []

    (bundle,) = kept.glob("exported/*.ddtp-proof")
    assert f"ddtp verify {bundle} --policy {kept / 'policy.toml'}" in out
    verify = ("verify", bundle, "--policy", kept / "policy.toml", "--json")
    code, out, err = finish(start(*verify))
    assert (code, json.loads(out)["content_checked"]) == (0, True), err
    code, out, _err = finish(start(*verify, "--files", kept / "altered"))
    states = {step["number"]: step["state"] for step in json.loads(out)["steps"]}
    assert (code, states.pop(14), set(states.values())) == (6, "failed", {"passed"})


@pytest.mark.slow
def test_machines_read_one_object_a_step(start: Start, tmp_path: Path) -> None:
    """With --json every line is an object with its step and time; without --keep nothing is left, not even in HOME."""
    code, out, err = finish(start("demo", "--json"))
    assert (code, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    assert all(line["seconds"] >= 0 for line in lines)
    steps = {line["step"]: line for line in lines}
    assert len(steps) == len(lines)
    refused = {
        name: (line["failed_step"], line["failed_step_name"]) for name, line in steps.items() if "refused" in line
    }
    assert refused == CAUGHT
    assert steps["deliver"]["verified"] is True
    assert lines[-1]["step"] == "end"
    assert lines[-1]["passed"] is True
    assert processes_of(tmp_path) == []
    assert [list((tmp_path / name).iterdir()) for name in ("home", "tmp")] == [[], []]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_demo_leaves_nothing(start: Start, tmp_path: Path, number: signal.Signals, code: int) -> None:
    """A signal while services run stops them all, removes the folder, and tells by the exit code."""
    process = start("demo", DDTP_LANGUAGE="zh")
    assert process.stdout is not None
    title = process.stdout.readline()
    assert title.startswith("小明")
    while " 1. " not in process.stdout.readline():
        assert process.poll() is None
    assert len(processes_of(tmp_path)) == 5
    process.send_signal(number)
    assert finish(process)[0] == code
    assert processes_of(tmp_path) == []
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.slow
def test_dead_service_fails_the_demo(start: Start, tmp_path: Path) -> None:
    """If a service dies, the demo fails, shows that service's log, and stops the others."""
    process = start("demo", "--json")
    assert process.stdout is not None
    started = json.loads(process.stdout.readline())
    os.kill(started["process_ids"][3], signal.SIGKILL)
    code, out, err = finish(process)
    warning, error = map(json.loads, err.splitlines())
    assert code == error["error"]["exit_code"] != 0
    assert "bank-b has ended" in warning["warning"]
    assert "serving" in warning["warning"]
    assert '"end"' not in out
    assert processes_of(tmp_path) == []
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.slow
def test_folder_with_something_in_it_is_left_alone(start: Start, tmp_path: Path) -> None:
    """The demo writes into a new or empty folder only."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "letter.txt").write_text("mine")
    code, out, err = finish(start("demo", "--keep", kept))
    assert (code, out) == (1, "")
    assert "expected no folder or an empty one" in err
    assert [path.name for path in kept.iterdir()] == ["letter.txt"]


def placeholders(text: str) -> set[str]:
    """The names in braces of a text."""
    return {name for _literal, name, _format, _conversion in string.Formatter().parse(text) if name}


def test_both_languages_tell_the_same() -> None:
    """Every sentence exists in both languages and tells the same numbers."""
    english, chinese = words(Language.EN), words(Language.ZH)
    assert english.steps.keys() == chinese.steps.keys()
    values = {field.name for field in fields(Words)} - {"names", "steps"}
    pairs = [(english.steps[name], chinese.steps[name]) for name in english.steps]
    pairs += [(getattr(english, name), getattr(chinese, name)) for name in values]
    parties = {field.name for field in fields(english.names)}
    for first, second in pairs:
        assert placeholders(first) - parties == placeholders(second) - parties, first
