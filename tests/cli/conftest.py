"""The command line as its users have it: a process of its own, with or without a terminal."""

import fcntl
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 30.0
CARD = ("--institution", "Bank A", "--country", "CN", "--contact", "privacy@bank-a.example")


@dataclass(frozen=True)
class Finished:
    """What a process left: its exit code and its two outputs."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, object]:
        """The result; stdout holds exactly one JSON object."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, object]:
        """The error of a run with --json: the last line on stderr."""
        return json.loads(self.err.splitlines()[-1])["error"]


Run = Callable[..., Finished]


def environment(**more: str) -> dict[str, str]:
    """The environment without settings of whoever runs the tests."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DDTP_")}
    return clean | {"PYTHONPATH": str(ROOT), "TERM": "dumb", "COLUMNS": "100"} | more


def command(home: Path | None, arguments: Sequence[object]) -> list[str]:
    place = [] if home is None else ["--home", str(home)]
    return [sys.executable, "-m", "ddtp", *place, *map(str, arguments)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that does not exist yet."""
    return tmp_path / "home"


def run(home: Path | None, *arguments: object, stdin: str = "", folder: Path | None = None, **more: str) -> Finished:
    """Run the command line without a terminal, in a folder or wherever the tests run."""
    done = subprocess.run(
        command(home, arguments),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        env=environment(**more),
        check=False,
        cwd=folder,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def ddtp(home: Path) -> Run:
    """Runs the command line in the home, without a terminal."""

    def run_here(*arguments: object, home: Path | None = home, **more: str) -> Finished:
        return run(home, *arguments, **more)

    return run_here


def _take_terminal() -> None:
    # Only a controlling terminal makes an interrupt of Ctrl-C; tests in the background of a shell inherit that
    # interrupts are ignored
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def terminal(home: Path) -> Run:
    """Runs the command line at a terminal; each answer is typed when its question stands there.

    A question ends with a blank: only then is what was typed before thrown away, and echo off.
    """

    def run(*arguments: object, answers: Sequence[tuple[str, str]], home: Path = home, **more: str) -> Finished:
        try:
            master, slave = pty.openpty()
        except OSError as err:
            pytest.skip(f"needs pseudo-terminals, which a bare root without devpts does not have: {err}")
        process = subprocess.Popen(
            command(home, arguments),
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=slave,
            env=environment(**more),
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - no thread runs here
        )
        os.close(slave)
        seen, waiting = "", list(answers)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        try:
            while time.monotonic() < deadline:
                if select.select([master], [], [], 0.05)[0]:
                    try:
                        seen += os.read(master, 65536).decode()
                    except OSError:  # Linux reports the end of a terminal as an I/O error
                        break
                elif process.poll() is not None:
                    break
                if waiting and waiting[0][0] in seen:
                    os.write(master, waiting.pop(0)[1].encode())
            if process.poll() is None and time.monotonic() >= deadline:
                pytest.fail(f"expected an end, found the program waiting after: {seen[-200:]!r}")
            out = process.stdout.read().decode()
            return Finished(process.wait(TIMEOUT_SECONDS), out, seen.replace("\r\n", "\n"))
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            os.close(master)

    return run


@pytest.fixture
def person(ddtp: Run) -> Run:
    """The home of a person, whose keys have no passphrase."""
    assert ddtp("init", "--no-passphrase").code == 0
    return ddtp


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the home of Bank A, which issues and has a ledger, and its card."""
    town = tmp_path_factory.mktemp("town")
    bank = town / "bank"
    assert run(bank, "init", *CARD, "--no-passphrase").code == 0
    settings = bank / "config.toml"
    extra = '\n[serve]\nroles = ["issuer", "receiver", "ledger"]\n[ledger]\norigin = "bank-a.example/ddtp"\n'
    (bank / "requests").mkdir()
    extra += '[receiver]\npolicy = "policy.toml"\nrequests = "requests"\n'
    settings.write_text(settings.read_text() + extra)
    made = run(bank, "card", "make", "--address", "/ip4/127.0.0.1/tcp/9", "--out", town / "a.ddtp-card")
    assert made.code == 0, made.err
    return town


@pytest.fixture
def card(town: Path, tmp_path: Path) -> Path:
    """A card file of Bank A, beside its home, for one test."""
    shutil.copytree(town / "bank", tmp_path / "bank")
    return Path(shutil.copy(town / "a.ddtp-card", tmp_path))
