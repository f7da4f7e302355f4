"""The only printer: results to stdout, everything else to stderr, errors with their cause and next step.

With --json a result is one JSON object a line on stdout, and everything else is JSON lines on stderr.
"""

import contextlib
import json
import os
import shutil
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TextIO, final

import typer

from ddtp.cli import _progress, _streams
from ddtp.cli._progress import Report
from ddtp.cli.options import Options
from ddtp.cli.wording import Words, words
from ddtp.errors import (
    Cancelled,
    ConfirmationMissing,
    DdtpError,
    PassphraseWrong,
    PeerAborted,
    PeerRefused,
    PeerUnreachable,
    ResultLost,
    UsageError,
    VerificationFailed,
)
from ddtp.identity.language import Language

_YES: Final = frozenset({"y", "yes", "是", "同意"})

_DEFAULT_COLUMNS: Final = 80
_LEAST_COLUMNS: Final = 2
"""Of a list: what tells its rows apart."""
MAX_COLUMNS: Final = 100
"""Wider lines of text are hard to read."""


@final
class Console:
    """Where a command writes, and whom it asks.

    Attributes:
        options: What was said for the whole run.
        language: Of texts for people.
        after_interrupt: What a person can do after Ctrl-C; None if there is nothing to go on with.
        line: The progress line that stands on the terminal now, if there is one.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.language = options.language or Language.EN
        self.after_interrupt: str | None = None
        self.line: _progress.Line | None = None
        self._told: DdtpError | None = None

    @property
    def words(self) -> Words:
        """The words of the language."""
        return words(self.language)

    @property
    def interactive(self) -> bool:
        """True if somebody can be asked."""
        return not self.options.json_output and sys.stdin.isatty() and sys.stderr.isatty()

    def result(self, text: str, data: Mapping[str, object], *, done: str | None = None) -> None:
        """Write the result: text for people, or the data as one line of JSON.

        Args:
            text: For people.
            data: For programs.
            done: What is so although nobody reads the result; None if the result is all that was wanted.

        Raises:
            ResultLost: Stdout does not take it.
            BrokenPipeError: Its reader has left, and nothing else was wanted.
        """
        self.draw(_shown(text), data, done=done)

    def draw(self, text: str, data: Mapping[str, object], *, done: str | None = None) -> None:
        """Write a result whose text may control the terminal; nothing in it comes from others.

        Raises:
            ResultLost, BrokenPipeError: As `result`.
        """
        self._clear_line()
        out = _json(data, sys.stdout) if self.options.json_output else text.rstrip("\n")
        try:
            _streams.write_out(out + "\n" if out else "")
        except OSError as err:
            if done is None and isinstance(err, BrokenPipeError):
                raise
            raise ResultLost(self.words.result_lost, hint=done) from err

    def rows(self, heading: Sequence[str], rows: Sequence[Sequence[str]], data: Mapping[str, object]) -> None:
        """Write a list: aligned columns for people, or the data as JSON.

        At a terminal the last columns are left out as long as the rows do not fit; the first two always stay.
        """
        width = _terminal_columns(sys.stdout) if sys.stdout.isatty() and not self.options.json_output else None
        shown = len(heading)
        table = columns([heading, *rows])
        while width is not None and shown > _LEAST_COLUMNS and _too_wide(table, width):
            shown -= 1
            table = columns([row[:shown] for row in (heading, *rows)])
        self.result(table if rows else "", data)
        if rows and shown < len(heading):
            self.note(self.words.left_out.format(columns=", ".join(heading[shown:])))

    def note(self, text: str) -> None:
        """Tell a person something that is not the result."""
        if not self.options.quiet and not self.options.json_output:
            self._say(text)

    def warn(self, text: str) -> None:
        """Tell something that must not be missed."""
        self._mark({"warning": text}, self.words.warning, text, style="yellow")

    def show(self, text: str) -> None:
        """Show a text that a person has to read before deciding; not even --quiet hides it."""
        if not self.options.json_output:
            self._say(text.rstrip("\n"))

    def confirm(self, question: str, *, flag: str = "--yes") -> None:
        """Ask a yes-or-no question; no answer means no, and so does the end of the input.

        Raises:
            Cancelled: The answer was no.
            ConfirmationMissing: Nobody can be asked.
        """
        if not self.interactive:
            raise ConfirmationMissing(self.words.not_confirmed, hint=self.words.not_confirmed_hint.format(flag=flag))
        # typer.confirm writes a blank to stdout, which holds the result alone
        _streams.write_error(f"{_shown(question)} [y/N] ")
        if sys.stdin.readline().strip().casefold() not in _YES:
            raise Cancelled(self.words.cancelled)

    def ask_passphrase(self) -> str:
        """Ask for the passphrase of a key file, unseen.

        Raises:
            Cancelled: The input has ended.
        """
        return self._ask_unseen(self.words.unlock)

    def ask_new_passphrase(self) -> str:
        """Ask for a new passphrase, unseen, twice.

        Raises:
            UsageError: The two differ.
            Cancelled: The input has ended.
        """
        first = self._ask_unseen(self.words.new_unlock)
        if self._ask_unseen(self.words.again) != first:
            raise UsageError(self.words.passphrases_differ)
        return first

    @contextlib.contextmanager
    def progress(self, *, keys: bool = False) -> Iterator[Report]:
        """Show progress while the block runs: JSON lines, a line on a terminal, or a plain line now and then.

        Args:
            keys: A key pauses what runs, and the line says so.
        """
        words = self.words
        told = _progress.LineWords(
            words.phases, words.progress_of, words.progress_left, words.pause_key, words.resume_key
        )
        if self.options.quiet:
            yield _progress.ignore
        elif self.options.json_output:
            yield _progress.json_lines()
        elif sys.stderr.isatty():
            self.line = _progress.Line(told, columns=_line_columns, keys=keys)
            try:
                with self.line.shown() as report:
                    yield report
            finally:
                self.line = None
        else:
            with _progress.plain_lines(told) as report:
                yield report

    def fail(self, error: DdtpError) -> int:
        """Report an error with its cause and the next step, once; return the exit code."""
        if error is self._told:
            return error.exit_code
        self._told = error
        reason = _cause(error)
        if error.hint is None and isinstance(error, PeerUnreachable):
            error.hint = self.words.unreachable_hint
        if self.options.json_output:
            self._put(_json({"error": _fields(error, reason)}, sys.stderr))
        else:
            detail = "".join(f" [{value}]" for value in _details(error).values())
            self._mark({}, self.words.error, error.message + detail, style="bold red")
            if reason:
                self._say(f"  {self.words.cause} {reason}")
            if error.hint:
                self._say(f"  {self.words.next_step} {error.hint}")
        self._trace(error)
        return error.exit_code

    def refuse_usage(self, message: str, *, usage: str, exit_code: int) -> int:
        """Report a line that could not be read; return the exit code."""
        fields = {"code": UsageError.code, "message": message, "exit_code": exit_code}
        self._mark({"error": fields}, self.words.error, message, style="bold red")
        if usage and not self.options.json_output:
            self._say(f"  {usage}")
        return exit_code

    def defect(self, error: BaseException) -> int:
        """Report an error that should not be possible; return the exit code."""
        message = self.words.defect.format(error=f"{type(error).__name__}: {error}")
        fields = {"code": "internal", "message": message, "hint": self.words.defect_advice, "exit_code": 1}
        self._mark({"error": fields}, self.words.error, message, style="bold red")
        if not self.options.json_output:
            self._say(f"  {self.words.next_step} {self.words.defect_advice}")
        self._trace(error)
        return 1

    def interrupted(self, by: str | None = None) -> None:
        """Tell that the person has broken off, or the signal of this name, and how it goes on if it does."""
        if by is None and sys.stderr.isatty() and not self.options.json_output:
            self._put("")  # the terminal has written ^C
        self.note(self.words.interrupted if by is None else self.words.ended.format(signal=by))
        if self.after_interrupt is not None:
            self.note(f"  {self.words.next_step} {self.after_interrupt}")

    def _ask_unseen(self, question: str) -> str:
        # not typer.prompt, which makes one error of Ctrl-C and of the end of the input
        import getpass

        answer = ""
        while not answer:
            try:
                answer = getpass.getpass(f"{question}: ")
            except EOFError as err:
                self._put("")
                raise Cancelled(self.words.cancelled) from err
        return answer

    def _trace(self, error: BaseException) -> None:
        if self.options.debug:
            self._say("".join(traceback.format_exception(error)))

    def _clear_line(self) -> None:
        if self.line is not None:
            self.line.clear()

    def _mark(self, data: Mapping[str, object], mark: str, text: str, *, style: str) -> None:
        self._clear_line()
        if self.options.json_output:
            self._put(_json(data, sys.stderr))
        elif sys.stderr.isatty():
            from rich.console import Console as Terminal
            from rich.text import Text

            # rich knows NO_COLOR and terminals without colour
            terminal = Terminal(stderr=True, soft_wrap=True, highlight=False)
            told = _wrapped(f"{mark} {_shown(text)}").removeprefix(mark)
            terminal.print(Text.assemble((mark, style), told))
        else:
            self._say(f"{mark} {text}")

    def _say(self, text: str) -> None:
        shown = _shown(text)
        self._put(_wrapped(shown) if sys.stderr.isatty() else shown)

    def _put(self, text: str) -> None:
        self._clear_line()
        _streams.write_error(text + "\n")


def console_of(context: typer.Context) -> Console:
    """Return the console of this run."""
    console = context.find_root().obj
    assert isinstance(console, Console), "set by the root command"
    return console


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as aligned columns, also where characters are two cells wide."""
    from ddtp.consent.layout import cells

    widths = [max(map(cells, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(value + " " * (width - cells(value)) for value, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "\n".join(lines)


def text_columns() -> int:
    """Return how wide text for reading should be here, in cells."""
    return min(_terminal_columns(sys.stderr), MAX_COLUMNS)


def _terminal_columns(stream: TextIO) -> int:
    fallback = _DEFAULT_COLUMNS
    with contextlib.suppress(OSError):  # it is no terminal
        fallback = os.get_terminal_size(stream.fileno()).columns or fallback
    return shutil.get_terminal_size((fallback, 24)).columns


def _line_columns() -> int:
    """Return how wide a line may be that must not break: what the terminal has now, whatever COLUMNS says."""
    with contextlib.suppress(OSError):  # it is no terminal
        return os.get_terminal_size(sys.stderr.fileno()).columns or _terminal_columns(sys.stderr)
    return _terminal_columns(sys.stderr)


def _wrapped(text: str) -> str:
    """Return a text with its lines broken between words; a path or command stays whole."""
    from ddtp.consent.layout import wrap

    return wrap(text, text_columns(), cut=False).removesuffix("\n")


def _too_wide(table: str, width: int) -> bool:
    from ddtp.consent.layout import cells

    return any(cells(line) > width for line in table.split("\n"))


def human_bytes(count: int) -> str:
    """Return a size for people, in binary units."""
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{count} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def human_seconds(seconds: float) -> str:
    """Return a duration for people: tenths of a second while it is short, else minutes and seconds."""
    return f"{seconds:.1f} s" if seconds < 60 else _progress.clock_time(seconds)


def human_time(seconds: int) -> str:
    """Return a time for people, in UTC; one that no calendar has stays a number of seconds."""
    from datetime import UTC, datetime

    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s"


def _shown(text: str) -> str:
    """Return a text that cannot control a terminal, whoever wrote parts of it: only its line ends stay."""
    from ddtp.protocol.plain_text import printable

    return "\n".join(map(printable, text.split("\n")))


def _json(data: Mapping[str, object], stream: TextIO) -> str:
    """Return data as one line of JSON that a stream can take and that cannot control a terminal either."""
    from ddtp.protocol.plain_text import is_printed

    text = json.dumps(data, ensure_ascii=not _streams.takes_all_text(stream))
    if text.isprintable():
        return text
    return "".join(each if is_printed(each) else json.dumps(each)[1:-1] for each in text)


def _cause(error: DdtpError) -> str | None:
    """Return what an error came from, unless its own message says so."""
    if isinstance(error, PassphraseWrong):
        return None  # a tag that does not fit is all that a wrong passphrase is
    match error.__cause__:
        case DdtpError() as cause:
            text = cause.message
        case OSError(strerror=str() as strerror):
            text = strerror.lower()
        case _:
            return None
    return None if text in error.message else text


def _fields(error: DdtpError, cause: str | None) -> dict[str, object]:
    return {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "cause": cause,
        "exit_code": error.exit_code,
        **_details(error),
    }


def _details(error: DdtpError) -> dict[str, object]:
    match error:
        case PeerRefused() | PeerAborted():
            return {"reason_code": error.reason_code}
        case VerificationFailed():
            return {"step": error.step, "step_name": error.step_name, "cause_code": error.cause_code}
        case _:
            return {}
