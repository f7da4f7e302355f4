"""Text of others as a record can hold it and a screen can show it (spec/01 s.3)."""

import unicodedata
from typing import Final

UNPRINTED: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""General categories of characters that control, hide, reorder or mean nothing."""


def is_printed(character: str) -> bool:
    """Tell whether a character shows as itself, or as a blank."""
    return unicodedata.category(character) not in UNPRINTED


def printable(text: str) -> str:
    """Return a text with a question mark for each character that does not print, line ends among them."""
    return text if text.isprintable() else "".join(map(_printed, text))


def plain(text: str, *, most: int) -> str:
    """Return a text normalised, freed of what does not print, and cut.

    Args:
        text: May quote what a peer sent.
        most: Most characters that are kept.
    """
    return unicodedata.normalize("NFC", printable(text))[:most]


def _printed(character: str) -> str:
    return character if is_printed(character) else "?"
