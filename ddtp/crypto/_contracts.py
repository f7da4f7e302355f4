"""What an implementation of a primitive has to offer (spec/00).

The public modules `sm2` and `sm3` check lengths and ranges, so an implementation receives private keys in [1, n-2] of
32 bytes, and signatures whose r and s are in range. SM4-GCM checks for itself, because a Python check costs as much as
sealing a short message. Every
implementation is safe to call from several threads at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

Buffer = bytes | bytearray | memoryview
DIGEST_SIZE: Final = 32
"""Bytes of an SM3 hash."""
BLOCK_SIZE: Final = 64
"""Bytes that SM3 compresses at a time."""
NONCE_SIZE: Final = 12
"""Bytes of a nonce of SM4-GCM."""
TAG_SIZE: Final = 16
"""Bytes of a tag of SM4-GCM."""

WritableBuffer = bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Leaves:
    """Merkle leaves to compute along the way.

    Args:
        heads: The 64-byte block that each leaf starts with, one after the other.
        digests: Where the leaves go, 32 bytes each.
    """

    heads: Buffer
    digests: bytearray


@dataclass(frozen=True, slots=True)
class ChunkRun:
    """Neighbouring chunks of one content: chunk i is a message of its own under the nonce base XOR i (spec/07 s.3).

    Args:
        base_nonce: 12 bytes.
        first: Index of the first chunk, below 2^64.
        count: Number of chunks, at least 1.
        chunk_size: Plain bytes in every chunk but the last, which has no more.
        plain: Leaves of the plain chunks to compute, or None.
        sealed: Leaves of the sealed chunks to compute, or None.
    """

    base_nonce: bytes
    first: int
    count: int
    chunk_size: int
    plain: Leaves | None = None
    sealed: Leaves | None = None


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
        """Return ciphertext ‖ 16-byte tag.

        Raises:
            DecodeError: `nonce` is not 12 bytes, or `plaintext` is too long.
        """

    def open(self, nonce: bytes, sealed: Buffer, aad: Buffer, /) -> bytes:
        """Return the plaintext.

        Raises:
            DecodeError: `nonce` is not 12 bytes.
            AuthenticationFailed: the tag does not match, or cannot; no plaintext is released.
        """

    def seal_chunks(self, run: ChunkRun, plain: Buffer, /) -> bytes:
        """Return the sealed chunks one after the other, 16 bytes longer each."""

    def open_chunks(self, run: ChunkRun, sealed: Buffer, /) -> bytes:
        """Return the plain chunks one after the other.

        Raises:
            AuthenticationFailed: a tag does not match.
        """

    def open_chunks_into(self, run: ChunkRun, sealed: Buffer, out: WritableBuffer, /) -> None:
        """Write the plain chunks to `out`, which has just their size.

        Raises:
            AuthenticationFailed: a tag does not match; `out` holds nothing of them.
        """


class Sm2Signer(Protocol):
    """A private key made ready for many signatures."""

    def sign(self, message: Buffer, /) -> bytes:
        """Return the 64-byte signature, with a nonce from a cryptographic generator."""


class Sm2(Protocol):
    """SM2 with user id 1234567812345678."""

    description: str
    last_resort: bool

    def public_key(self, private_key: bytes, /) -> bytes:
        """Return the 33-byte public key of `private_key`."""

    def signer(self, private_key: bytes, /) -> Sm2Signer:
        """Return `private_key` made ready for signing."""

    def verify(self, public_key: bytes, message: bytes, signature: bytes, /) -> bool:
        """Return whether the signature is valid.

        Raises:
            DecodeError: `public_key` is not a compressed point of the curve.
        """

    def verify_many(self, checks: Sequence[tuple[bytes, bytes, bytes]], /) -> list[bool]:
        """Return for each public key, message and signature whether it is valid.

        Raises:
            DecodeError: a public key is not a compressed point of the curve.
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
        leaves: Hashes heads of 64 bytes, each with its piece of the data; the pieces have `stride` bytes, the last the
            rest. Called with heads, data and stride.
        root: The root of the RFC 9162 tree over at least one leaf. Called with the block that nodes start with, and the
            leaves one after the other.
        hmac: HMAC-SM3 (RFC 2104). Called with key and message.
        expand: HKDF-Expand (RFC 5869). Called with a key of 32 bytes, info, and a length of 1 to 8160.
    """

    description: str
    new: Callable[[], Sm3State]
    leaves: Callable[[Buffer, Buffer, int], bytes]
    root: Callable[[Buffer, Buffer], bytes]
    hmac: Callable[[Buffer, Buffer], bytes]
    expand: Callable[[Buffer, Buffer, int], bytes]


@dataclass(frozen=True, slots=True)
class Sm4:
    """An SM4-GCM implementation.

    Args:
        description: Name and version, for people.
        gcm: Makes a cipher from a 16-byte key.
    """

    description: str
    gcm: Callable[[bytes], Sm4Gcm]
