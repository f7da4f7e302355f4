"""Keys at a real terminal: they arrive at once, and the terminal is as before however the program ends."""

import os
import pty
import select
import shlex
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, _take_terminal

pytestmark = pytest.mark.slow

PROGRAM = """
import os, signal, sys, time
from ddtp.cli._keys import keys
if "handle" in sys.argv:
    signal.signal(int(sys.argv[-1]), lambda *_: sys.exit(3))
def say(text):
    os.write(1, f"{text}\\n".encode())  # in one piece: two threads write
with keys(lambda key: say(f"key {key!r}")) as pressable:
    say(f"ready {pressable}")
    if "raise" in sys.argv:
        raise RuntimeError
    for _ in range(600):
        time.sleep(0.05)
"""
DEADLINE_SECONDS = 15


class Terminal:
    """A command at a terminal of its own."""

    def __init__(self, command: Sequence[str], *, typed: bytes = b"") -> None:
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        os.write(self.master, typed)
        self.process = subprocess.Popen(
            command,
            stdin=self.slave,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - no thread runs here
        )
        self.seen = ""

    def expect(self, text: str) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.process.stdout], [], [], 0.1)[0]:
                data = os.read(self.process.stdout.fileno(), 4096)
                assert data, self.seen
                self.seen += data.decode()

    def press(self, keys: bytes) -> None:
        os.write(self.master, keys)

    @property
    def restored(self) -> bool:
        return termios.tcgetattr(self.slave) == self.before

    def eventually_changed(self) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self.restored:
            assert time.monotonic() < deadline, self.seen
            time.sleep(0.02)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for each in opened:
        each.close()


def start(terminals: list[Terminal], *arguments: str, typed: bytes = b"", shell: bool = False) -> Terminal:
    program = [sys.executable, "-c", PROGRAM, *arguments]
    try:
        terminals.append(Terminal(["sh", "-i"] if shell else program, typed=typed))
    except OSError as err:
        pytest.skip(f"needs pseudo-terminals, which a bare root without devpts does not have: {err}")
    return terminals[-1]


def test_keys_arrive_without_a_return(terminals: list[Terminal]) -> None:
    """Each by itself, in lower case; what is pasted is for another program."""
    terminal = start(terminals)
    terminal.expect("ready True")
    assert not terminal.restored
    for key, seen in ((b"p", "key 'p'"), (b" ", "key ' '"), (b"P", "key 'p'")):
        terminal.seen = ""
        terminal.press(key)
        terminal.expect(seen)
    terminal.seen = ""
    terminal.press(b"ddtp transfers")
    time.sleep(1)  # else the next key would be taken for a part of it
    terminal.press(b"x")
    terminal.expect("key 'x'")
    assert "'p'" not in terminal.seen


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_restores_the_terminal(terminals: list[Terminal], number: signal.Signals) -> None:
    """The process ends by the signal, as it would without us."""
    terminal = start(terminals)
    terminal.expect("ready True")
    terminal.process.send_signal(number)
    assert terminal.process.wait(DEADLINE_SECONDS) == -number
    assert terminal.restored


def test_ctrl_c_and_an_error_restore_the_terminal(terminals: list[Terminal]) -> None:
    """Ctrl-C still interrupts."""
    terminal = start(terminals)
    terminal.expect("ready True")
    terminal.press(b"\x03")
    assert terminal.process.wait(DEADLINE_SECONDS) != 0
    assert terminal.restored
    failing = start(terminals, "raise")
    assert failing.process.wait(DEADLINE_SECONDS) == 1
    assert failing.restored


def test_ctrl_z_hands_the_terminal_back_for_a_while(terminals: list[Terminal], tmp_path: Path) -> None:
    """Stopped, the shell has its terminal as it was; in the foreground again, keys arrive again."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    terminal = start(terminals, shell=True)
    terminal.press(f"{shlex.quote(sys.executable)} {shlex.quote(str(program))}\n".encode())
    terminal.expect("ready True")
    assert not terminal.restored
    for _ in range(2):
        terminal.seen = ""
        terminal.press(b"\x1a")
        terminal.expect("Stopped")
        assert terminal.restored
        terminal.press(b"fg\n")
        terminal.eventually_changed()
        terminal.press(b"p")
        terminal.expect("key 'p'")


def test_lines_that_wait_are_left_to_the_shell(terminals: list[Terminal]) -> None:
    """Whoever pastes two commands gets both run: the second is not taken for keys."""
    terminal = start(terminals, typed=b"ddtp transfers\n")
    terminal.expect("ready False")
    assert terminal.restored


def test_no_terminal_no_keys() -> None:
    """In a script nothing is read, and nothing set."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("range(600)", "range(1)")],
        input=b"p",
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=DEADLINE_SECONDS,
        check=True,
    )
    assert done.stdout == b"ready False\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_is_handled_ends_what_runs(terminals: list[Terminal], number: signal.Signals) -> None:
    """Its handler is called, the terminal is as before, and the program ends as the handler wants."""
    terminal = start(terminals, "handle", str(number.value))
    terminal.expect("ready True")
    terminal.eventually_changed()
    terminal.process.send_signal(number)
    assert terminal.process.wait(DEADLINE_SECONDS) == 3
    assert terminal.restored
