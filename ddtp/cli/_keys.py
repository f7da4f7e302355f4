"""Single keys at a terminal while something runs, and a terminal that is as before however that ends.

Only the foreground process of a terminal reads keys: in the background, in a pipe, or when lines wait there already
that were pasted for the shell, nothing is touched. Ctrl-C and Ctrl-Z keep their meaning.
"""

import contextlib
import os
import select
import signal
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final, final

Handler = Callable[[int, FrameType | None], None]

_ENDING: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that end a process without its clean-up."""
_LOCAL_FLAGS: Final = 3
"""Where `termios.tcgetattr` has the flags of line editing and echo."""
_CONTROL: Final = 6
"""Where it has the special characters."""


@contextlib.contextmanager
def keys(press: Callable[[str], None]) -> Iterator[bool]:
    """Call `press` for each key, from another thread, while the block runs.

    Args:
        press: Told the key in lower case.

    Yields:
        True if there is somebody to press keys.
    """
    terminal = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else -1
    if terminal < 0 or not _in_foreground(terminal) or select.select([terminal], [], [], 0)[0]:
        yield False
        return
    mode = _KeyMode(terminal)
    wake, waker = os.pipe()
    thread = threading.Thread(target=_read, args=(terminal, wake, press), name="ddtp-keys", daemon=True)
    with mode.set():
        thread.start()
        try:
            yield True
        finally:
            os.close(waker)
            thread.join()
            os.close(wake)


def _read(terminal: int, wake: int, press: Callable[[str], None]) -> None:
    while True:
        ready = select.select([terminal, wake], [], [])[0]
        if wake in ready:
            return
        if not _in_foreground(terminal):
            # reading now would stop us, and the keys are for another program
            select.select([wake], [], [], 0.5)
            continue
        with contextlib.suppress(OSError):
            typed = os.read(terminal, 1024)
            if not typed:
                return  # the terminal has gone
            if len(typed) == 1:  # more at a time were pasted, and not for us
                press(typed.decode("ascii", "replace").lower())


def _in_foreground(terminal: int) -> bool:
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False  # it is not the terminal that controls us


@final
class _KeyMode:
    """A terminal that gives keys at once and does not show them, until it is restored."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._before = termios.tcgetattr(terminal)

    @contextlib.contextmanager
    def set(self) -> Iterator[None]:
        """Set the mode while the block runs; a signal that ends or stops the process restores the terminal first."""
        # one that is handled ends the block, not the process
        ending = [number for number in _ENDING if signal.getsignal(number) == signal.SIG_DFL]
        handlers: dict[signal.Signals, Handler] = dict.fromkeys(ending, self._end)
        handlers |= {signal.SIGTSTP: self._stop, signal.SIGCONT: self._go_on}
        heard = {number: handler for number, handler in handlers.items() if signal.getsignal(number) != signal.SIG_IGN}
        former = {number: signal.signal(number, handler) for number, handler in heard.items()}
        self._enter()
        try:
            yield
        finally:
            self._leave()
            for number, handler in former.items():
                signal.signal(number, handler)

    def _enter(self) -> None:
        if _in_foreground(self._terminal):
            changed = termios.tcgetattr(self._terminal)
            changed[_LOCAL_FLAGS] &= ~(termios.ICANON | termios.ECHO)
            changed[_CONTROL] = [*changed[_CONTROL]]
            changed[_CONTROL][termios.VMIN], changed[_CONTROL][termios.VTIME] = 1, 0
            termios.tcsetattr(self._terminal, termios.TCSADRAIN, changed)

    def _leave(self) -> None:
        # in the background the shell has its own mode, and setting ours would stop us
        if _in_foreground(self._terminal):
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._terminal, termios.TCSADRAIN, self._before)

    def _end(self, number: int, _frame: FrameType | None) -> None:
        self._leave()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self._leave()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, self._stop)  # here we have been woken up again

    def _go_on(self, _number: int, _frame: FrameType | None) -> None:
        self._enter()
