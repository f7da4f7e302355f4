"""Progress for machines, for logs and for terminals."""

import json
import threading
import time

import pytest

from ddtp.cli import _progress
from ddtp.cli._console import Console
from ddtp.cli._progress import REDRAW_SECONDS, Line, LineWords, State, clock_time, fit, parts, plain_lines, size
from ddtp.cli.options import Options
from ddtp.cli.wording import words
from ddtp.consent.layout import cells
from ddtp.identity.language import Language

MIB = 1 << 20


def line_words(language: Language) -> LineWords:
    told = words(language)
    return LineWords(told.phases, told.progress_of, told.progress_left, told.pause_key, told.resume_key)


class Clock:
    """A clock that stands still until it is told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def sending(clock: Clock) -> State:
    """A transfer of 200 MiB, a quarter of it sent in five seconds."""
    state = State(clock)
    for _ in range(51):
        state.take("sending", 0, 200 * MIB, round((clock.now - 100) * 10 * MIB))
        clock.now += 0.1
    return state


def test_one_line_per_interval_and_phase(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A line is written at most once a second, and at once when the phase changes."""
    clock = Clock()
    monkeypatch.setattr(_progress.State.__init__, "__defaults__", (clock,))
    report = _progress.json_lines()
    for step in (0.0, 0.4, 0.4, 0.4):
        clock.now += step
        report("sending", int(clock.now), 200, 150)
    report("receipt", 200, 200)
    lines = [json.loads(line)["progress"] for line in capsys.readouterr().err.splitlines()]
    assert [(line["phase"], line["bytes_done"], line["bytes_sent"]) for line in lines] == [
        ("sending", 100, 150),
        ("sending", 101, 150),
        ("receipt", 200, 200),
    ]
    assert lines[1].keys() == {
        *("phase", "bytes_done", "bytes_total", "bytes_sent", "bytes_per_second", "seconds_left", "seconds")
    }


def test_quiet_and_short_work_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    """In a log there is no line about what is done soon, and nothing on stdout ever."""
    for options in (Options(), Options(quiet=True), Options(quiet=True, json_output=True)):
        with Console(options).progress() as report:
            report("sending", 1, 2)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_long_work_writes_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """One at each interval, without a control character, whatever is reported meanwhile."""
    with plain_lines(line_words(Language.EN), interval_seconds=0.05) as report:
        report("sending", 50 * MIB, 200 * MIB, 100 * MIB)
        time.sleep(0.12)
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 3
    assert lines[0].startswith("sending, ")
    assert "50%, 100 MiB of 200 MiB" in lines[0]
    assert all(line.isprintable() for line in lines)


def test_line_leaves_stdout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """A result that is printed while the line is there arrives on stdout."""
    with Line(line_words(Language.EN), columns=lambda: 80).shown() as report:
        report("sending", 1, 2)
        report("receipt", 2, 2)
        Console(Options(json_output=True)).result("", {"done": True})
    assert capsys.readouterr().out == '{"done": true}\n'


@pytest.mark.parametrize("language", Language)
def test_the_line_fits_every_width(language: Language) -> None:
    """However narrow the terminal is, also with characters of two cells; the phase stays longest."""
    told = line_words(language)
    state = sending(Clock())
    for phase in told.phases:
        state.phase = phase
        for columns in range(1, 140):
            line = fit(parts(state, told, keys=True), columns)
            assert cells(line) <= columns
            if columns >= 40:
                assert line.startswith(told.phases[phase])


def test_what_a_wide_and_a_narrow_line_say() -> None:
    """Wide, it has everything; narrow, what matters most."""
    told = line_words(Language.EN)
    pieces = parts(sending(Clock()), told, keys=True)
    assert fit(pieces, 80) == "sending  ██░░░░░░░░  25%  50.0 MiB of 200 MiB  10.0 MiB/s  0:15 left  [p] pause"
    assert fit(pieces, 40) == "sending  25%  0:15 left  [p] pause"
    assert "pause" not in fit(parts(sending(Clock()), told), 120)
    assert fit(parts(sending(Clock()), line_words(Language.ZH), keys=True), 45) == "正在发送  25%  剩余 0:15  [p] 暂停"


def test_a_pause_does_not_count_for_the_rate() -> None:
    """It shows the time, no rate and no remaining time; afterwards the rate is that of what moves."""
    clock = Clock()
    state, told = sending(clock), line_words(Language.EN)
    state.take("paused", 50 * MIB, 200 * MIB, 50 * MIB)
    clock.now += 600
    assert fit(parts(state, told, keys=True), 100).endswith("25%  50.0 MiB of 200 MiB  10:05  [p] go on")
    for _ in range(30):
        state.take("sending", 0, 200 * MIB, 50 * MIB + round((clock.now - 705.1) * 10 * MIB))
        clock.now += 0.1
    assert state.estimate.rate == pytest.approx(10 * MIB, rel=0.05)


def test_never_all_of_it_before_the_receipt() -> None:
    """Everything that was sent is 99 percent; later phases have no measure, and no key."""
    state, told = sending(Clock()), line_words(Language.EN)
    state.take("sending", 0, 200 * MIB, 200 * MIB)
    assert parts(state, told)["percent"] == "99%"
    state.take("receipt", 200 * MIB, 200 * MIB, 200 * MIB)
    assert fit(parts(state, told, keys=True), 100) == "waiting for the receipt  0:05"


def test_drawings_are_bounded(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten in a second at most, however many reports come and from however many threads; the end leaves nothing."""
    monkeypatch.setenv("TERM", "xterm")
    line = Line(line_words(Language.EN), columns=lambda: 80)
    start = time.monotonic()
    with line.shown() as report:

        def work() -> None:
            for number in range(3000):
                report("sending", number, 3000)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    drawn = capsys.readouterr().err
    assert drawn.count("sending") <= (time.monotonic() - start) / REDRAW_SECONDS + 1
    assert drawn.endswith("\r\x1b[K\r")
    assert "\n" not in drawn


def test_a_dumb_terminal_gets_no_escapes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What stood there is written over with blanks."""
    monkeypatch.setenv("TERM", "dumb")
    line = Line(line_words(Language.ZH), columns=lambda: 80)
    line.report("connecting", 0, 0)
    line.clear()
    drawn = capsys.readouterr().err
    assert "\x1b" not in drawn
    assert drawn.endswith("\r" + " " * cells("正在连接  0:00") + "\r")


def test_other_words_take_the_line_away_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning stands on a line of its own."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "dumb")
    console = Console(Options())
    with console.progress() as report:
        report("connecting", 0, 0)
        console.note("hello")
    before, after = capsys.readouterr().err.split("hello\n")
    assert before.endswith(" \r")
    assert "connecting" not in after


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (150 * 1024, "150 KiB"),
        (5 << 40, "5.0 TiB"),
        (1 << 30, "1.0 GiB"),
    ],
)
def test_sizes_are_short(count: int, text: str) -> None:
    """At most eight cells up to the largest package."""
    assert size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (360_000, "100:00:00")])
def test_durations_are_those_of_a_clock(seconds: float, text: str) -> None:
    """Minutes and seconds, and hours if there are any."""
    assert clock_time(seconds) == text
