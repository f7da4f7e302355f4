"""Results, columns, sizes, errors as data."""

import json

import pytest

from ddtp.cli._console import Console, columns, human_bytes
from ddtp.cli.options import Options
from ddtp.errors import Cancelled, ConfirmationMissing, NotFound, PeerRefused, StorageFailed, VerificationFailed
from ddtp.identity.language import Language


def test_result_for_people_and_machines(capsys: pytest.CaptureFixture[str]) -> None:
    """The same call writes text, or one line of JSON in UTF-8."""
    Console(Options()).result("小明\n", {"name": "小明"})
    Console(Options(json_output=True)).result("小明", {"name": "小明"})
    assert capsys.readouterr().out == '小明\n{"name": "小明"}\n'


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
