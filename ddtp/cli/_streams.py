"""The three streams of the process: always there, and what they do not take never hides what happened.

A stream that was closed when the program began reads or writes nothing. Text that an encoding does not have is escaped.
"""

import io
import os
import sys
from pathlib import Path
from typing import Literal, TextIO


def open_streams() -> None:
    """Put the null device where a stream is closed, and let no text fail on the encoding of another."""
    # in this order each takes the lowest free number, which is its own: what others write there hits no file of ours
    sys.stdin = sys.stdin or _null("r")
    sys.stdout = sys.stdout or _null("w")
    sys.stderr = sys.stderr or _null("w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def write_out(text: str) -> None:
    """Write to stdout.

    Raises:
        OSError: It does not take the text; it is the null device from now on.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError:
        sys.stdout = _null("w")  # Python would try once more at exit, and complain
        raise


def write_error(text: str) -> None:
    """Write to stderr; if it does not take the text, nobody can be told, and what runs goes on."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        sys.stderr = _null("w")


def takes_all_text(stream: TextIO) -> bool:
    """Tell whether every character can be written to a stream as it is."""
    return (stream.encoding or "").lower().replace("-", "") == "utf8"


def _null(mode: Literal["r", "w"]) -> TextIO:
    return Path(os.devnull).open(mode, encoding="utf-8")
