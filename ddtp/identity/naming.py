"""Texts that others write and people decide by: names and wording (spec/05-identity s.5).

A name must not be mistakable for another one: letters of one script only, apart from Latin beside Chinese, Japanese or
Korean, as UTS 39 calls highly restrictive. Look-alikes inside one script cannot be told mechanically; a person compares
identifiers, or trusts a registry.
"""

import re
import unicodedata
from itertools import groupby
from typing import Final

from ddtp.errors import DecodeError

_EAST_ASIAN: Final = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC"})
_BLANK: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols that show as nothing: https://www.unicode.org/reports/tr36/#Invisible_Characters"""
OPEN_BOX: Final = "\N{OPEN BOX}"
"""Stands for a blank that would not be seen."""
_MAX_MARKS: Final = 3
"""Marks on one letter: Vietnamese and Thai use two; dozens climb into the lines above and below."""


def check_wording(text: str) -> None:
    """Check that a text cannot pretend to be part of the screen that shows it.

    The encoding (spec/01) has refused control, reordering and invisible format characters already.

    Raises:
        DecodeError: The text has blanks at an end or in a row, unusual blanks, or piles of marks.
    """
    if text != text.strip() or "  " in text:
        raise DecodeError("expected words separated by single spaces, found more blanks")
    for character in text:
        if character in _BLANK or _is_odd_blank(character):
            raise DecodeError(f"expected no blanks but spaces, found U+{ord(character):04X}")
    for marked, run in groupby(text, key=_is_mark):
        if marked and sum(1 for _ in run) > _MAX_MARKS:
            raise DecodeError(f"expected at most {_MAX_MARKS} marks on a letter, found more")


def show_blanks(text: str) -> str:
    """Return a text in which every blank can be seen, for a screen that shows what is no wording, such as a path.

    A single space between words stays. Any other blank, and each space of a row, becomes U+2423, and marks that would
    climb into other lines become question marks.
    """
    shown = "".join(OPEN_BOX if character in _BLANK or _is_odd_blank(character) else character for character in text)
    rows = re.sub(" {2,}|^ +| +$", lambda row: OPEN_BOX * len(row.group()), shown)
    runs = (("".join(run), marked) for marked, run in groupby(rows, key=_is_mark))
    return "".join(run[:_MAX_MARKS] + "?" * (len(run) - _MAX_MARKS) if marked else run for run, marked in runs)


def check_name(name: str) -> None:
    """Check that the name of an institution mixes no scripts that hold look-alike letters.

    Raises:
        DecodeError: It does, or has letters that stand for others, or is not proper wording.
    """
    check_wording(name)
    if _is_mark(name[:1]):
        raise DecodeError("expected a name to start with a letter or digit, found a mark")
    letters = [character for character in name if unicodedata.category(character)[0] in "LN"]
    if not letters:
        raise DecodeError("expected a letter or digit in a name, found none")
    for character in letters:
        if unicodedata.normalize("NFKC", character) != character:
            raise DecodeError(f"expected plain letters in a name, found U+{ord(character):04X}")
    scripts = {_script(character) for character in letters} - {""}
    if len(scripts - {"EAST ASIAN"}) > 1 or ("EAST ASIAN" in scripts and scripts - {"EAST ASIAN", "LATIN"}):
        raise DecodeError(f"expected a name in one script, found {' and '.join(sorted(scripts)).lower()}")


def _is_odd_blank(character: str) -> bool:
    return character != " " and unicodedata.category(character) == "Zs"


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M" if character else False


def _script(character: str) -> str:
    """Return the script of a letter or digit, or nothing for the digits that all scripts share."""
    if character.isascii() and character.isdigit():
        return ""
    # names never change, unlike properties: https://www.unicode.org/policies/stability_policy.html
    first = unicodedata.name(character, "UNNAMED").replace("-", " ").split()[0]
    return "EAST ASIAN" if first in _EAST_ASIAN else first
