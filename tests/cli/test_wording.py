"""The words of both languages."""

import dataclasses
import string

from ddtp.cli.wording import Words, words
from ddtp.identity.language import Language
from ddtp.transfer.ports import Phase


def test_both_languages_fill_in_the_same() -> None:
    """A name in braces that one language has, the other has too."""

    def names(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    for field in dataclasses.fields(Words):
        english, chinese = (getattr(words(language), field.name) for language in (Language.EN, Language.ZH))
        if isinstance(english, str):
            assert names(english) == names(chinese), field.name


def test_every_phase_has_words() -> None:
    """All phases of a transfer, and packing, are named in both languages."""
    for language in Language:
        assert words(language).phases.keys() == {phase.value for phase in Phase} | {"packing"}


def test_every_mapping_has_the_same_keys() -> None:
    """Phases, states, headings and advice are complete in both languages."""
    english, chinese = words(Language.EN), words(Language.ZH)
    for field in dataclasses.fields(Words):
        value = getattr(english, field.name)
        if not isinstance(value, str):
            assert value.keys() == getattr(chinese, field.name).keys(), field.name
