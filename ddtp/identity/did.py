"""Identifiers: an SM2 public key written as a `did:key` (spec/05-identity s.1).

The identifier is the key, so nothing is looked up and nobody can answer wrongly. One key has one identifier.
"""

from typing import Final

import base58

from ddtp.crypto import sm2
from ddtp.errors import DecodeError

_METHOD: Final = "did:key:z"
_MULTICODEC: Final = b"\x86\x24"
"""sm2-pub, 0x1206, as an unsigned varint: https://github.com/multiformats/multicodec/blob/master/table.csv"""
_TEXT_SIZE: Final = 48
"""Base58 digits of 35 bytes that start with 0x86: 58^47 < 0x86 * 256^34 < 58^48."""

_SHOWN_DIGITS: Final = 8


def did_of(public_key: bytes) -> str:
    """Return the identifier of a public key of 33 bytes.

    Raises:
        DecodeError: The key is malformed.
    """
    sm2.check_public_key(public_key)
    return _METHOD + base58.b58encode(_MULTICODEC + public_key).decode("ascii")


def public_key_of(did: str) -> bytes:
    """Return the public key, 33 bytes, that an identifier is.

    Raises:
        DecodeError: The text is not the one identifier of an SM2 key.
    """
    digits = did.removeprefix(_METHOD)
    if digits == did or len(digits) != _TEXT_SIZE:
        raise DecodeError(f"expected {_METHOD} and {_TEXT_SIZE} base58 digits, found another identifier")
    try:
        decoded = base58.b58decode(digits)
    except ValueError as err:
        raise DecodeError(f"expected base58 digits after {_METHOD}, found another character") from err
    key = decoded.removeprefix(_MULTICODEC)
    # the length also refuses white space, which the decoder drops
    if key == decoded or len(key) != sm2.PUBLIC_KEY_SIZE or base58.b58encode(decoded).decode("ascii") != digits:
        raise DecodeError("expected the identifier of an SM2 key, found one of another kind")
    sm2.check_public_key(key)
    return key


def short(did: str) -> str:
    """Return an identifier cut for display; never compare two of these.

    The digits shown are the last ones: the first are the same for all keys.
    """
    return did if len(did) <= len(_METHOD) + _SHOWN_DIGITS else f"{_METHOD}…{did[-_SHOWN_DIGITS:]}"
