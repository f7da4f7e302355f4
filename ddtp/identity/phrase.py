"""Phrases: a seed as 24 words that a person can write on paper (spec/05-identity s.3, BIP 39).

The words are the seed itself and an 8-bit checksum; no passphrase is mixed in. English and simplified Chinese.
"""

import difflib
import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

from mnemonic import Mnemonic

from ddtp.errors import UsageError
from ddtp.identity.language import Language

WORD_COUNT: Final = 24

_LISTS: Final[Mapping[Language, str]] = {Language.EN: "english", Language.ZH: "chinese_simplified"}
_MAX_CHARACTERS: Final = 1024
"""More than 24 of the longest words with generous spacing."""
_NUMBER: Final = re.compile(r"[0-9]+\.?")
"""How a written phrase counts its words; no word has a digit."""
_MAX_SHOWN: Final = 16
"""Of a word that is no word, this much is repeated in a message: what was typed may be something else altogether."""


def encode_phrase(seed: bytes, language: Language) -> str:
    """Return the words of a seed of 32 bytes, separated by single spaces."""
    return str(_list(language).to_mnemonic(seed))


def parse_phrase(text: str) -> bytes:
    """Return the seed, 32 bytes, that a phrase is.

    Args:
        text: 24 words of one language in any letter case, numbered or not; spaces may be missing between Chinese ones.

    Raises:
        UsageError: The count is wrong, a word is not in the list, or the checksum fails.
    """
    if len(text) > _MAX_CHARACTERS:
        raise UsageError(f"expected a phrase of at most {_MAX_CHARACTERS} characters, found {len(text)}")
    # whoever wrote the words down as they were shown has numbered them
    words = [word for word in unicodedata.normalize("NFKC", text).lower().split() if not _NUMBER.fullmatch(word)]
    chinese = any("\u4e00" <= letter <= "\u9fff" for letter in "".join(words))
    language = Language.ZH if chinese else Language.EN
    if chinese:
        words = [character for word in words for character in word]
    known = _list(language)
    _check_words(words, known.wordlist, language=language)
    if len(words) != WORD_COUNT:
        raise UsageError(f"expected a phrase of {WORD_COUNT} words, found {len(words)}")
    try:
        return bytes(known.to_entropy(words))
    except ValueError as err:
        raise UsageError(
            f"expected the checksum of the phrase to fit, found that it does not: a word is wrong or misplaced, "
            f"although all {WORD_COUNT} are in the list",
            hint="compare each word and their order with what was written down",
        ) from err


def _check_words(words: Sequence[str], known: Sequence[str], *, language: Language) -> None:
    members = frozenset(known)
    for position, word in enumerate(words, start=1):
        if word not in members:
            shown = word if len(word) <= _MAX_SHOWN else word[:_MAX_SHOWN] + "…"
            raise UsageError(
                f"expected word {position} of the phrase to be in the word list, found {shown!r}",
                hint=_suggestion(word, known) if language is Language.EN else None,
            )


def _suggestion(word: str, known: Sequence[str]) -> str | None:
    # BIP 39: the first four letters tell the English words apart
    near = [each for each in known if each[:4] == word[:4]] or difflib.get_close_matches(word, known, n=3)
    return f"did you mean: {', '.join(near)}" if near else None


@functools.cache
def _list(language: Language) -> Mnemonic:
    return Mnemonic(_LISTS[language])
