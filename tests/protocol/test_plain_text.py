"""Text of others, made fit for records and screens."""

from hypothesis import given
from hypothesis import strategies as st

from ddtp.protocol import codec
from ddtp.protocol.plain_text import plain, printable


@given(st.text())
def test_any_text_becomes_one_that_a_record_can_hold(text: str) -> None:
    """Whatever was quoted, the result prints and has one encoding."""
    made = plain(text, most=20)
    assert len(made) <= 20
    assert printable(made) == made
    assert codec.decode(codec.encode(made), max_bytes=200) == made


def test_plain_words_stay_as_they_are() -> None:
    """Only what does not print is replaced."""
    assert plain("expected 1 grant, found 2: 小明", most=100) == "expected 1 grant, found 2: 小明"
    assert plain("a\nb\x07\u202e", most=100) == "a?b??"
