"""Logs of the service: one JSON object a line, or short lines for a person."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from ddtp.daemon.logs import JsonFormatter, PlainFormatter, set_up_logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def logging_is_put_back() -> Iterator[None]:
    """Handlers and levels are as before."""
    root, own = logging.getLogger(), logging.getLogger("ddtp")
    before = root.handlers[:], root.level, own.level
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    own.setLevel(before[2])


def test_a_line_is_one_json_object() -> None:
    """Time, level, event, and the fields that were given; line breaks and Chinese stay in their string."""
    stream = io.StringIO()
    set_up_logs(stream)
    logging.getLogger("ddtp.daemon").info(
        "transfer\nfinished", extra={"transfer": "ab", "receiver": "银行", "step": None}
    )
    (line,) = stream.getvalue().splitlines()
    fields = json.loads(line)
    assert fields.pop("time").endswith("+00:00")
    assert fields == {
        "level": "info",
        "event": "transfer\nfinished",
        "logger": "ddtp.daemon",
        "transfer": "ab",
        "receiver": "银行",
        "step": None,
    }
    assert "银行" in line


def test_a_defect_brings_its_traceback() -> None:
    """In the same object, so that a line stays a line."""
    stream = io.StringIO()
    set_up_logs(stream)
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        logging.getLogger("ddtp").exception("defect")
    (line,) = stream.getvalue().splitlines()
    assert "ZeroDivisionError" in json.loads(line)["traceback"]


def test_libraries_are_heard_from_warnings_on() -> None:
    """What they say about their daily work is noise."""
    stream = io.StringIO()
    set_up_logs(stream)
    logging.getLogger("some.library").info("noise")
    logging.getLogger("ddtp").debug("noise")
    logging.getLogger("some.library").warning("heard")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["heard"]


def test_setting_up_twice_does_not_double_lines() -> None:
    """The last stream counts."""
    first, second = io.StringIO(), io.StringIO()
    set_up_logs(first)
    set_up_logs(second)
    logging.getLogger("ddtp").warning("once")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


def test_a_person_at_a_terminal_gets_short_lines() -> None:
    """Time, level, words, and the fields behind them."""
    terminal = Terminal()
    set_up_logs(terminal)
    logging.getLogger("ddtp").info("serving", extra={"roles": ["ledger"]})
    line = terminal.getvalue()
    assert "info" in line
    assert line.endswith("serving roles=['ledger']\n")


def test_every_value_can_be_logged() -> None:
    """A value that JSON does not know is written as text, never raised about."""
    record = logging.makeLogRecord({"msg": "event", "levelname": "INFO", "odd": {1, 2} and object})
    assert "object" in json.loads(JsonFormatter().format(record))["odd"]
    assert "odd=" in PlainFormatter().format(record)
