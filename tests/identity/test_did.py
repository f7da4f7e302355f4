"""Identifiers: one key, one text."""

import base58
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddtp.crypto import sm2
from ddtp.errors import DecodeError
from ddtp.identity.did import did_of, public_key_of, short
from tests.vectors import Case, check, load

KEY = sm2.public_key(bytes(31) + b"\x05")
DID = did_of(KEY)
SCALARS = st.integers(1, 1 << 200).map(lambda value: value.to_bytes(32, "big"))


@pytest.mark.parametrize("case", [case for case in load("05-identity") if case.operation == "did"], ids=str)
def test_vector(case: Case) -> None:
    """Each vector of an identifier gives its key, or is refused."""
    check(case, {"did": lambda case: public_key_of(case.input["did"]).hex()})


@given(SCALARS)
@settings(deadline=None)
def test_key_survives(scalar: bytes) -> None:
    """Any key comes back from its identifier."""
    key = sm2.public_key(scalar)
    assert public_key_of(did_of(key)) == key


@given(st.integers(0, len(DID) - 1), st.characters())
@settings(deadline=None)
def test_changed_character_is_another_key_or_none(position: int, character: str) -> None:
    """No second text stands for the same key."""
    changed = DID[:position] + character + DID[position + 1 :]
    try:
        assert (public_key_of(changed) == KEY) == (changed == DID)
    except DecodeError:
        assert changed != DID


@pytest.mark.parametrize(
    "text",
    [
        DID.removeprefix("did:key:z"),
        DID + " ",
        DID + "\n",
        " " + DID,
        DID[:-1],
        DID + "1",
        DID.upper(),
        "",
        "did:key:z",
    ],
)
def test_sloppy_text_is_refused(text: str) -> None:
    """Blanks, other lengths and other letter cases are no identifiers."""
    with pytest.raises(DecodeError):
        public_key_of(text)


def test_other_codec_is_refused() -> None:
    """A key of another kind is not an SM2 key of the same bytes."""
    other = "did:key:z" + base58.b58encode(b"\x80\x24" + KEY).decode()
    with pytest.raises(DecodeError, match="another kind"):
        public_key_of(other)


@pytest.mark.parametrize("key", [b"", bytes(33), KEY[:-1], b"\x04" + KEY[1:]])
def test_malformed_key_has_no_identifier(key: bytes) -> None:
    """Only points of the curve get an identifier."""
    with pytest.raises(DecodeError):
        did_of(key)


def test_short_form_shows_the_end() -> None:
    """The short form keeps what differs between keys, and leaves short texts alone."""
    assert short(DID) == f"did:key:z…{DID[-8:]}"
    assert short("did:weid:1") == "did:weid:1"
