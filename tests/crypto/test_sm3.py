"""SM3 and HMAC-SM3."""

import hashlib
import hmac

from cryptography.hazmat.primitives.hashes import SM3, Hash
from gmssl.sm3 import sm3_hash
from hypothesis import given
from hypothesis import strategies as st

from ddtp.crypto import _library, sm3


@given(st.binary(max_size=200))
def test_digest_agrees_with_independent_implementations(data: bytes) -> None:
    """OpenSSL through `cryptography` and the pure Python of gmssl find the same hash."""
    other = Hash(SM3())
    other.update(data)
    assert sm3.digest(data) == other.finalize() == bytes.fromhex(sm3_hash(list(data)))


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_both_library_states_agree(parts: list[bytes]) -> None:
    """The state of hashlib and that of `cryptography` go through the same digests, and can go on after each."""
    first, second = _library.sm3().new(), _library.sm3_of_cryptography().new()
    for part in parts:
        first.update(part)
        second.update(part)
        assert first.digest() == second.digest() == second.copy().digest()


@given(st.binary(max_size=150), st.lists(st.binary(max_size=100), max_size=4))
def test_a_prefix_hashes_as_if_concatenated(prefix: bytes, parts: list[bytes]) -> None:
    """A midstate gives the hash of the whole, any number of times."""
    midstate = sm3.prefixed(prefix)
    assert midstate.digest(*parts) == sm3.digest(prefix + b"".join(parts))
    assert midstate.digest() == sm3.digest(prefix)


def test_hasher_goes_on_after_digest_and_copy() -> None:
    """A digest ends nothing, and a copy goes its own way."""
    hasher = sm3.Hasher()
    hasher.update(b"a")
    assert hasher.digest() == sm3.digest(b"a")
    twin = hasher.copy()
    twin.update(bytearray(b"x"))
    hasher.update(memoryview(b"bc"))
    assert hasher.digest() == sm3.digest(b"abc")
    assert twin.digest() == sm3.digest(b"ax")


@given(st.binary(max_size=130), st.lists(st.binary(max_size=100), max_size=3))
def test_hmac_agrees_with_the_standard_library(key: bytes, parts: list[bytes]) -> None:
    """Short, block-sized and long keys give the HMAC of RFC 2104."""
    assert sm3.hmac(key, *parts) == hmac.new(key, b"".join(parts), lambda data=b"": hashlib.new("sm3", data)).digest()
