"""Progress for machines and for terminals."""

import json

import pytest

from ddtp.cli import _progress
from ddtp.cli._console import Console
from ddtp.cli.options import Options


def test_one_line_per_interval_and_phase(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A line is written at most once a second, and at once when the phase changes."""
    now = 100.0
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now)
    report = _progress.json_lines()
    for step in (0.0, 0.4, 0.4, 0.4):
        now += step
        report("sending", int(now), 200)
    report("receipt", 200, 200)
    lines = [json.loads(line)["progress"] for line in capsys.readouterr().err.splitlines()]
    assert [(line["phase"], line["bytes_done"]) for line in lines] == [
        ("sending", 100),
        ("sending", 101),
        ("receipt", 200),
    ]


def test_no_terminal_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    """In a log there is no bar, and nothing on stdout ever."""
    for options in (Options(), Options(quiet=True), Options(quiet=True, json_output=True)):
        with Console(options).progress() as report:
            report("sending", 1, 2)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_bar_leaves_stdout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """A result that is printed while the bar is there arrives on stdout."""
    with _progress.bar({"sending": "sending"}) as report:
        report("sending", 1, 2)
        report("receipt", 2, 2)
        Console(Options(json_output=True)).result("", {"done": True})
    assert capsys.readouterr().out == '{"done": true}\n'
