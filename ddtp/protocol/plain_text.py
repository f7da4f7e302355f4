"""Text of others as a record can hold it and a screen can show it (spec/01 s.4)."""

import unicodedata


def plain(text: str, *, most: int) -> str:
    """Return a text normalised, freed of what does not print, and cut.

    Args:
        text: May quote what a peer sent.
        most: Most characters that are kept.
    """
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return unicodedata.normalize("NFC", printable)[:most]
