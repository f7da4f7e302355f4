"""Layout of a consent screen for a terminal (spec/06-consent s.4): lines are broken, nothing else changes.

The grant names the unbroken text; broken lines keep their indent and their mark, so the requester's words stay
recognisable on every line.
"""

import unicodedata
from collections.abc import Iterator
from typing import Final

DEFAULT_COLUMNS: Final = 80
MIN_COLUMNS: Final = 24
"""Narrower than this, indents leave no room for words."""

_MARK: Final = "> "
_CLOSING: Final = frozenset("，。；：、！？）》」』】”’,.;:!?)]}%")
"""Never the first on a line: GB/T 15834 s.5.1 and common typesetting."""


def wrap(screen: str, columns: int = DEFAULT_COLUMNS, *, cut: bool = True) -> str:
    """Return a screen with no line wider than `columns` cells, for display only.

    Args:
        screen: Text of `screen.render`.
        columns: Width of the terminal in cells, of which Chinese characters take two; at least 24.
        cut: Cut a word that is wider than a line. Without it such a word, as a path or a command, stays whole.
    """
    width = max(columns, MIN_COLUMNS)
    return "".join(line + "\n" for paragraph in screen.splitlines() for line in _wrap_line(paragraph, width, cut=cut))


def cells(text: str) -> int:
    """Return how many terminal cells a text takes."""
    return sum(map(_cell, text))


def _cell(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def _wrap_line(line: str, width: int, *, cut: bool) -> Iterator[str]:
    words = line.lstrip(" ")
    prefix = line[: len(line) - len(words)]
    if words.startswith(_MARK):
        prefix, words = prefix + _MARK, words.removeprefix(_MARK)
    room = width - cells(prefix)
    row = ""
    for piece in _pieces(words, room if cut else None):
        if row and cells(row) + cells(piece.rstrip(" ")) > room:
            yield (prefix + row).rstrip(" ")
            row = ""
        row += piece
    yield (prefix + row).rstrip(" ")


def _pieces(text: str, room: int | None) -> Iterator[str]:
    """Split a text where a line may be broken; no piece is wider than `room`, if that is given."""
    piece = ""
    for character in text:
        too_wide = room is not None and cells(piece) + _cell(character) > room
        if piece and (too_wide or _may_break(piece[-1], character)):
            yield piece
            piece = ""
        piece += character
    if piece:
        yield piece


def _may_break(before: str, after: str) -> bool:
    if after == " " or after in _CLOSING or _cell(after) == 0:
        return False
    return before == " " or _cell(before) == 2 or _cell(after) == 2
