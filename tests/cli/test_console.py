"""Results, columns, sizes, errors as data."""

import json
import sys

import pytest

from ddtp.cli._console import Console, columns, human_bytes, human_time
from ddtp.cli.options import Options
from ddtp.errors import Cancelled, ConfirmationMissing, NotFound, PeerRefused, StorageFailed, VerificationFailed
from ddtp.identity.language import Language


def test_result_for_people_and_machines(capsys: pytest.CaptureFixture[str]) -> None:
    """The same call writes text, or one line of JSON in UTF-8."""
    Console(Options()).result("小明\n", {"name": "小明"})
    Console(Options(json_output=True)).result("小明", {"name": "小明"})
    assert capsys.readouterr().out == '小明\n{"name": "小明"}\n'


def test_nothing_that_is_put_out_controls_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Escapes, reordering and broken names become question marks in text; in JSON they stay, escaped."""
    bad = "a\x1b[2Jb\x9b\u202e\u2028\r\udc80\nc"
    console = Console(Options())
    console.result(bad, {})
    for put in (console.note, console.show, console.warn):
        put(bad)
    console.fail(NotFound(bad, hint=bad))
    console.refuse_usage(bad, usage=bad, exit_code=2)
    console.defect(ValueError(bad))
    captured = capsys.readouterr()
    assert captured.out == "a?[2Jb?????\nc\n"
    assert not set(bad) - {"\n", *"a[2Jbc"} & set(captured.err)
    Console(Options(json_output=True)).result("", {"name": bad, "id": "小明"})
    out = capsys.readouterr().out
    assert out.rstrip("\n").isprintable()
    assert json.loads(out) == {"name": bad, "id": "小明"}


def test_columns_count_cells() -> None:
    """Chinese characters take two cells, so the columns still line up, and no line ends in blanks."""
    assert columns([("银行", "b"), ("abc", "")]) == "银行  b\nabc"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (5 << 30, "5.0 GiB"), (1 << 50, "1024.0 TiB")],
)
def test_sizes(count: int, text: str) -> None:
    """Sizes are in binary units, and whole below one of them."""
    assert human_bytes(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "1970-01-01 00:00 UTC"), (1 << 40, "1099511627776 s")])
def test_times(seconds: int, text: str) -> None:
    """A time is a date, or a number of seconds where no calendar has it."""
    assert human_time(seconds) == text


def test_error_with_cause_and_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    """An error says what, why, and what to do; stdout stays empty; the code is that of the class."""
    error = StorageFailed("expected a disk, found none", hint="plug it in")
    error.__cause__ = OSError(5, "Input/output error")
    assert Console(Options()).fail(error) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: expected a disk, found none\n  cause: input/output error\n  next:  plug it in\n"


def test_cause_that_says_the_same_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """A cause that the message repeats is no news."""
    error = NotFound("expected x: no such thing")
    error.__cause__ = NotFound("no such thing")
    Console(Options()).fail(error)
    assert "cause" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "extra"),
    [
        (PeerRefused("no", reason_code="overloaded"), {"code": "refused", "reason_code": "overloaded", "exit_code": 5}),
        (
            VerificationFailed("no", step=9, step_name="grant", cause_code="malformed"),
            {"code": "verification-failed", "step": 9, "step_name": "grant", "exit_code": 6},
        ),
        (Cancelled("no", hint="stop"), {"code": "cancelled", "hint": "stop", "exit_code": 3}),
    ],
)
def test_errors_as_data(error: NotFound, extra: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    """With --json an error is one object on stderr, with all that its class knows."""
    assert Console(Options(json_output=True)).fail(error) == extra["exit_code"]
    fields = json.loads(capsys.readouterr().err)["error"]
    assert extra.items() <= fields.items()


def test_nobody_to_ask_names_the_flag() -> None:
    """Without a terminal a question is an error that names the flag to use."""
    with pytest.raises(ConfirmationMissing) as caught:
        Console(Options()).confirm("Sure?", flag="--yes")
    assert "--yes" in caught.value.hint


def test_lines_of_a_terminal_break_between_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Notes and errors keep their words whole, and a path too; elsewhere no line is broken."""
    text = "expected something that takes a whole line and more, found /a/very/long/path/to/some/file/that/is/copied"
    Console(Options()).note(text)
    assert capsys.readouterr().err == text + "\n"
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    Console(Options()).note(text)
    Console(Options()).fail(NotFound(text, hint=text))
    lines = [line.strip() for line in capsys.readouterr().err.splitlines()]
    assert set(text.split()) <= {word for line in lines for word in line.split()}
    assert all(len(line) <= 40 or line.startswith("/a/") for line in lines)


def test_lists_leave_out_what_does_not_fit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """At a terminal the last columns go first, with a note; in a pipe all are there."""
    heading, rows = ("ID", "KIND", "SIZE", "FILE"), [("1", "a/1", "5", "/x" * 30)]
    Console(Options()).rows(heading, rows, {})
    assert "FILE" in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    Console(Options()).rows(heading, rows, {})
    captured = capsys.readouterr()
    assert captured.out == "ID  KIND  SIZE\n1   a/1   5\n"
    assert "FILE" in captured.err


def test_notes_are_silent_when_told(capsys: pytest.CaptureFixture[str]) -> None:
    """--quiet and --json silence notes, but not warnings."""
    for options in (Options(quiet=True), Options(json_output=True)):
        console = Console(options)
        console.note("by the way")
        console.warn("mind this")
    assert capsys.readouterr().err == 'warning: mind this\n{"warning": "mind this"}\n'


def test_text_to_decide_on_is_never_silent(capsys: pytest.CaptureFixture[str]) -> None:
    """What a person confirms is shown even with --quiet."""
    Console(Options(quiet=True)).show("You agree to this")
    assert capsys.readouterr().err == "You agree to this\n"


def test_language_of_errors(capsys: pytest.CaptureFixture[str]) -> None:
    """The frame of an error is in the chosen language."""
    Console(Options(language=Language.ZH)).fail(NotFound("x", hint="y"))
    assert capsys.readouterr().err == "错误： x\n  下一步： y\n"
