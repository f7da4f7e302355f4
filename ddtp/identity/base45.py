"""Base45: bytes in the letters that a QR code packs densest (RFC 9285), decoded strictly."""

from typing import Final

from ddtp.errors import DecodeError

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
_VALUES: Final = {character: value for value, character in enumerate(_ALPHABET)}
_BASE: Final = 45


def encode(data: bytes) -> str:
    """Return two bytes as three characters, a last single byte as two."""
    parts = []
    for start in range(0, len(data), 2):
        pair = data[start : start + 2]
        value = int.from_bytes(pair, "big")
        for _ in range(len(pair) + 1):
            value, digit = divmod(value, _BASE)
            parts.append(_ALPHABET[digit])
    return "".join(parts)


def decode(text: str) -> bytes:
    """Return the bytes that `encode` was given.

    Raises:
        DecodeError: The text holds another character, has an impossible length, or a group stands for too much.
    """
    decoded = bytearray()
    for start in range(0, len(text), 3):
        group = text[start : start + 3]
        size = len(group) - 1
        if not size or not set(group) <= _VALUES.keys():
            raise DecodeError("expected groups of base45 digits, found something else")
        value = sum(_VALUES[character] * _BASE**place for place, character in enumerate(group))
        if value >> 8 * size:
            raise DecodeError("expected base45 groups of at most two bytes, found more")
        decoded += value.to_bytes(size, "big")
    return bytes(decoded)
