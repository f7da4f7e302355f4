"""Layout: lines are broken and nothing else happens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddtp.consent import layout, screen
from ddtp.identity.language import Language
from tests.consent.story import STORY

TEXT = st.text(st.sampled_from("ab，。城市银行 ）é"), min_size=1, max_size=200).map(lambda text: " ".join(text.split()))


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("columns", [24, 40, 80, 120])
def test_no_line_is_too_wide(language: Language, columns: int) -> None:
    """Every line of a screen fits the terminal, Chinese characters counted twice."""
    text = layout.wrap(screen.render(STORY.signed_request, STORY.choice(), language), columns)
    assert max(map(layout.cells, text.splitlines())) <= columns


@given(TEXT, st.integers(24, 90))
def test_breaking_keeps_every_word(text: str, columns: int) -> None:
    """Apart from blanks at the breaks, the characters stay as they are, in their order."""
    rows = layout.wrap("  > " + text + "\n", columns).splitlines()
    assert all(row.startswith("  >") and layout.cells(row) <= columns for row in rows)
    assert "".join(row.removeprefix("  >") for row in rows).replace(" ", "") == text.replace(" ", "")


def test_lines_that_fit_stay() -> None:
    """A screen that fits is not changed."""
    text = "HEADING\n  > words\n\n    more\n"
    assert layout.wrap(text, 80) == text


def test_mark_is_repeated() -> None:
    """The requester's words are marked on every line, so a long text cannot end as ours."""
    assert layout.wrap("  > " + "word " * 8 + "end\n", 24) == (
        "  > word word word word\n  > word word word word\n  > end\n"
    )


def test_no_line_starts_with_closing_punctuation() -> None:
    """A comma stays with the word before it."""
    assert layout.wrap("银行城市银行城市银行城市，城市\n", 24) == "银行城市银行城市银行城\n市，城市\n"


def test_long_word_stays_whole_on_demand() -> None:
    """A path that a person copies is not broken; it has a line of its own."""
    assert layout.wrap("see " + "/x" * 15 + " now\n", 24, cut=False) == "see\n" + "/x" * 15 + "\nnow\n"


def test_long_word_is_cut() -> None:
    """A word longer than the line is cut rather than run over."""
    assert layout.wrap("x" * 30 + "\n", 24) == "x" * 24 + "\n" + "x" * 6 + "\n"


def test_narrow_terminal_gets_the_least_width() -> None:
    """Below 24 columns the layout gives up on fitting, not on showing."""
    assert layout.wrap("x" * 30 + "\n", 3) == layout.wrap("x" * 30 + "\n", 24)


def test_cells() -> None:
    """Wide characters take two cells, marks none."""
    assert layout.cells("ab城（e\u0301") == 7
