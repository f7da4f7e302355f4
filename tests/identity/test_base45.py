"""Base45: RFC 9285, strictly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddtp.errors import DecodeError
from ddtp.identity import base45


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"AB", "BB8"), (b"Hello!!", "%69 VD92EX0"), (b"base-45", "UJCLQE7W581"), (b"ietf!", "QED8WEX0"), (b"", "")],
)
def test_published_examples(data: bytes, text: str) -> None:
    """The examples of RFC 9285 section 4.3 and 4.4."""
    assert base45.encode(data) == text
    assert base45.decode(text) == data


@given(st.binary(max_size=300))
def test_bytes_survive(data: bytes) -> None:
    """Any bytes come back."""
    assert base45.decode(base45.encode(data)) == data


@given(st.text(st.sampled_from("09AZ $%*+-./:"), max_size=12))
def test_one_text_for_each_value(text: str) -> None:
    """What decodes is exactly what encoding gives."""
    try:
        data = base45.decode(text)
    except DecodeError:
        return
    assert base45.encode(data) == text


@pytest.mark.parametrize("text", ["A", "AAAA", "GGW", ":::", "::", "bb8", "BB8\n", "ＢB8"])
def test_impossible_text_is_refused(text: str) -> None:
    """Other lengths, other characters and groups above two bytes are refused."""
    with pytest.raises(DecodeError):
        base45.decode(text)
