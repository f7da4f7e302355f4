"""Phrases: what was written down comes back, and a slip is named."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddtp.errors import UsageError
from ddtp.identity.language import Language
from ddtp.identity.phrase import encode_phrase, parse_phrase
from tests.vectors import Case, check, load

SEEDS = st.binary(min_size=32, max_size=32)
ENGLISH = encode_phrase(bytes(range(32)), Language.EN).split()
CHINESE = encode_phrase(bytes(range(32)), Language.ZH).split()


@pytest.mark.parametrize("case", [case for case in load("05-identity") if case.operation == "phrase"], ids=str)
def test_vector(case: Case) -> None:
    """Each vector of a phrase gives its seed, or is refused."""
    check(case, {"phrase": lambda case: parse_phrase(case.input["phrase"]).hex()})


@given(SEEDS, st.sampled_from(Language))
@settings(deadline=None)
def test_seed_survives(seed: bytes, language: Language) -> None:
    """Any seed comes back from its words, of which there are 24."""
    phrase = encode_phrase(seed, language)
    assert len(phrase.split()) == 24
    assert parse_phrase(phrase) == seed


@given(SEEDS, st.sampled_from(["\n", "  ", "\t ", "\u3000"]))
@settings(deadline=None)
def test_spacing_and_case_do_not_matter(seed: bytes, blank: str) -> None:
    """Lines, columns and capitals are how people write."""
    assert parse_phrase(blank + encode_phrase(seed, Language.EN).upper().replace(" ", blank)) == seed
    assert parse_phrase(encode_phrase(seed, Language.ZH).replace(" ", "")) == seed


@pytest.mark.parametrize("position", [1, 12, 24])
def test_typo_is_named(position: int) -> None:
    """The message names the word and where it stands; the hint says what may be meant."""
    words = [*ENGLISH]
    words[position - 1] += "q"
    with pytest.raises(UsageError, match=f"word {position} .*'{words[position - 1]}'") as caught:
        parse_phrase(" ".join(words))
    assert caught.value.hint is not None
    assert ENGLISH[position - 1] in caught.value.hint


def test_wrong_character_is_named() -> None:
    """A Chinese character that is not in the list is named as well."""
    words = [*CHINESE[:4], "龘", *CHINESE[5:]]
    with pytest.raises(UsageError, match=r"word 5 .*'龘'"):
        parse_phrase(" ".join(words))


def test_long_nonsense_is_not_repeated() -> None:
    """What was pasted by mistake does not come back in a message in full."""
    with pytest.raises(UsageError) as caught:
        parse_phrase("correcthorsebatterystaple " * 24)
    assert "staple" not in caught.value.message


@pytest.mark.parametrize("words", [ENGLISH[:23], [*ENGLISH, ENGLISH[0]], CHINESE[:12], []])
def test_count_is_told(words: list[str]) -> None:
    """A missing or doubled word is told by the count."""
    with pytest.raises(UsageError, match=f"24 words, found {len(words)}"):
        parse_phrase(" ".join(words))


def test_exchanged_words_are_noticed() -> None:
    """The checksum notices two words in the wrong order."""
    with pytest.raises(UsageError, match="checksum"):
        parse_phrase(" ".join([ENGLISH[1], ENGLISH[0], *ENGLISH[2:]]))


def test_huge_phrase_is_refused() -> None:
    """A phrase has a bound."""
    with pytest.raises(UsageError, match="at most"):
        parse_phrase("abandon " * 200)
