"""HKDF-SM3."""

import pytest
from cryptography.hazmat.primitives.hashes import SM3
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from ddtp.crypto import kdf
from ddtp.errors import InternalError


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=40), st.integers(1, 200))
def test_agrees_with_an_independent_implementation(salt: bytes, input_key: bytes, info: bytes, length: int) -> None:
    """Extract and expand together are the HKDF of `cryptography`."""
    expected = HKDF(SM3(), length, salt, info).derive(input_key)
    assert kdf.hkdf_expand(kdf.hkdf_extract(salt, input_key), info, length) == expected


def test_the_longest_output_is_255_blocks() -> None:
    """8160 bytes come out, and the shorter outputs are its beginnings."""
    longest = kdf.hkdf_expand(bytes(32), b"", kdf.MAX_OUTPUT_SIZE)
    assert len(longest) == 8160
    assert longest.startswith(kdf.hkdf_expand(bytes(32), b"", 33))


@pytest.mark.parametrize("length", [0, -1, kdf.MAX_OUTPUT_SIZE + 1])
def test_an_impossible_length_is_refused(length: int) -> None:
    """The one-byte counter does not wrap, and nothing is never derived."""
    with pytest.raises(InternalError):
        kdf.hkdf_expand(bytes(32), b"", length)


def test_a_short_key_is_refused() -> None:
    """Expanding what was never extracted is a defect of the caller."""
    with pytest.raises(InternalError):
        kdf.hkdf_expand(bytes(31), b"", 16)
