"""HKDF-SM3: RFC 5869 over HMAC-SM3 (spec/00 s.5)."""

from typing import Final

from ddtp.crypto import _backend, sm3
from ddtp.errors import InternalError

MAX_OUTPUT_SIZE: Final = 255 * sm3.DIGEST_SIZE  # RFC 5869 s.2.3: the counter is one byte


def hkdf_extract(salt: bytes, input_key: bytes) -> bytes:
    """Return a 32-byte pseudorandom key.

    Args:
        salt: Of any length; empty means 32 zero bytes, as in RFC 5869.
        input_key: The key material to concentrate.

    Raises:
        CryptoUnavailable: no implementation passes its self-test.
    """
    return sm3.hmac(salt, input_key)


def hkdf_expand(key: bytes, info: bytes, length: int) -> bytes:
    """Return `length` bytes derived from a pseudorandom key.

    Args:
        key: The pseudorandom key, 32 bytes, as `hkdf_extract` gives it.
        info: What the output is for; separates outputs from each other.
        length: Number of bytes, 1 to 8160.

    Raises:
        InternalError: `length` is out of range or `key` is not of 32 bytes.
        CryptoUnavailable: no implementation passes its self-test.
    """
    if not 0 < length <= MAX_OUTPUT_SIZE:
        raise InternalError(f"expected an output of 1 to {MAX_OUTPUT_SIZE} bytes, found {length}")
    if len(key) != sm3.DIGEST_SIZE:
        raise InternalError(f"expected a key of {sm3.DIGEST_SIZE} bytes, found {len(key)}")
    return _backend.sm3().expand(key, info, length)
