"""The words of the screen are those of the spec."""

import dataclasses
import re
from pathlib import Path

import pytest

from ddtp.consent.wording import Words, duration, words
from ddtp.identity.language import Language

SPEC = Path(__file__).parents[2] / "spec" / "06-consent.md"
ROW = re.compile(r"^\| `([a-z0-9_.-]+)` \| (.*?) \| (.*?) \|$", re.MULTILINE)


def rows(text: Words) -> dict[str, str]:
    """Return the words of a language by the names of the spec's table."""
    flat: dict[str, str] = {}
    for field in dataclasses.fields(Words):
        value = getattr(text, field.name)
        if field.name == "units":
            flat |= {f"units.{size}": f"{one} / {many}" for size, one, many in value}
        elif isinstance(value, str):
            flat[field.name] = value
        elif not isinstance(value, int):
            flat |= {f"{field.name}.{key.value}": each for key, each in value.items()}
    return flat


@pytest.mark.parametrize(("language", "column"), [(Language.EN, 1), (Language.ZH, 2)])
def test_table_of_the_spec(language: Language, column: int) -> None:
    """Every word of a screen stands in the table of spec/06, in both languages."""
    table = {row[0]: row[column] for row in ROW.findall(SPEC.read_text("utf-8"))}
    assert table == rows(words(language))


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Words)])
def test_languages_fill_in_the_same(name: str) -> None:
    """Both languages are given the same values to fill in."""
    english, chinese = (rows(words(language)) for language in Language)
    for key in english:
        if key == name or key.startswith(name + "."):
            assert set(re.findall(r"{\w+}", english[key])) == set(re.findall(r"{\w+}", chinese[key]))


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [
        (0, "0 days", "0 天"),
        (1, "1 second", "1 秒"),
        (60, "1 minute", "1 分钟"),
        (7200, "2 hours", "2 小时"),
        (86400, "1 day", "1 天"),
        (90000, "25 hours", "25 小时"),
        (86401, "86401 seconds", "86401 秒"),
    ],
)
def test_duration(seconds: int, english: str, chinese: str) -> None:
    """A duration is told exactly, in the largest unit that fits."""
    assert duration(seconds, words(Language.EN)) == english
    assert duration(seconds, words(Language.ZH)) == chinese
