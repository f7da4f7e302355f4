"""What an implementation of a primitive has to offer (spec/00).

The public modules `sm2`, `sm3` and `sm4` check lengths and ranges, so an implementation receives private keys in
[1, n-2] of 32 bytes, signatures whose r and s are in range, and keys and nonces of the right size. Every
implementation is safe to call from several threads at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

Buffer = bytes | bytearray | memoryview


class Sm3State(Protocol):
    """A running SM3 hash, as `hashlib` shapes it."""

    def update(self, data: Buffer, /) -> None:
        """Absorb `data`."""

    def digest(self) -> bytes:
        """Return the 32-byte hash of all that was absorbed; the state can go on."""

    def copy(self) -> "Sm3State":
        """Return an independent state that has absorbed the same bytes."""


class Sm4Gcm(Protocol):
    """SM4-GCM under one key."""

    def seal(self, nonce: bytes, plaintext: Buffer, aad: Buffer, /) -> bytes:
        """Return ciphertext ‖ 16-byte tag."""

    def open(self, nonce: bytes, sealed: Buffer, aad: Buffer, /) -> bytes:
        """Return the plaintext.

        Raises:
            AuthenticationFailed: the tag does not match; no plaintext is released.
        """


class Sm2(Protocol):
    """SM2 with user id 1234567812345678."""

    description: str
    last_resort: bool

    def public_key(self, private_key: bytes, /) -> bytes:
        """Return the 33-byte public key of `private_key`."""

    def sign(self, private_key: bytes, message: bytes, /) -> bytes:
        """Return the 64-byte signature, with a nonce from a cryptographic generator."""

    def verify(self, public_key: bytes, message: bytes, signature: bytes, /) -> bool:
        """Return whether the signature is valid.

        Raises:
            DecodeError: `public_key` is not a compressed point of the curve.
        """

    def agree(self, private_key: bytes, public_key: bytes, /) -> bytes:
        """Return the 32-byte x coordinate of the shared point.

        Raises:
            DecodeError: `public_key` is not a compressed point of the curve.
        """


@dataclass(frozen=True, slots=True)
class Sm3:
    """An SM3 implementation.

    Args:
        description: Name and version, for people.
        new: Makes an empty state.
    """

    description: str
    new: Callable[[], Sm3State]


@dataclass(frozen=True, slots=True)
class Sm4:
    """An SM4-GCM implementation.

    Args:
        description: Name and version, for people.
        gcm: Makes a cipher from a 16-byte key.
    """

    description: str
    gcm: Callable[[bytes], Sm4Gcm]
