"""Sealed chunks: content encrypted so that it can be resumed, read at any place and not cut short (spec/07-sealing).

The layout is C2SP chunked encryption with HKDF-SM3 and SM4-GCM. This module seals and opens single chunks and knows
their sizes and places; where they are stored, and who gets the content key, is for others.
"""

import hmac
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, ClassVar, Self, final

from ddtp.crypto import kdf, sm3
from ddtp.crypto.sm4 import KEY_SIZE, NONCE_SIZE, SM4GCM, TAG_SIZE, ChunkRun, Leaves, WritableBuffer
from ddtp.errors import AuthenticationFailed, DecodeError
from ddtp.protocol import merkle
from ddtp.protocol.codec import Buffer
from ddtp.protocol.record import Did, Digest, Identifier, Range, Record, Size

CONTENT_KEY_SIZE = 32
SALT_SIZE = 24
COMMITMENT_SIZE = 32

CHUNK_SIZE_LEAST = 64 << 10
"""Smallest chunk: below it the cost per chunk outweighs that of its bytes."""
CHUNK_SIZE_MOST = 1 << 20
"""Largest chunk: what is held in memory and sent again after a break."""
MAX_CONTENT_BYTES = 1 << 40
"""1 TiB: 2^36 cipher blocks under one key, which leaves an attacker of a 128-bit cipher a chance below 2^-56."""
MAX_OPENINGS_BYTES = 64 << 20
"""Bound of the encoded openings inside the content (spec/03)."""

_MAX_CHUNKS = MAX_CONTENT_BYTES // CHUNK_SIZE_LEAST + 1
RUN_CHUNKS = 16
"""Chunks that are sealed, opened or hashed in one call, at most: as many as the widest SM3 hashes side by side, and at
64 KiB as much as a second-level cache holds."""

_LABEL = b"ddtp.chunks.v1\x00"


class SealPurpose(Enum):
    """What a sealed content is (spec/07 s.1)."""

    TRANSFER = "transfer"
    PACKAGE = "package"


@dataclass(frozen=True, slots=True)
class SealContext(Record):
    """Who seals what for whom; the content opens only in the same context.

    Attributes:
        purpose: A transfer, or a package at rest.
        identifier: The transfer or package.
        sender: Who seals.
        receiver: Who may open.
        chunk_size: Content bytes per chunk.
    """

    MAX_BYTES: ClassVar[int] = 4096

    purpose: SealPurpose
    identifier: Identifier
    sender: Did
    receiver: Did
    chunk_size: int

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        check_chunk_size(self.chunk_size)


@dataclass(frozen=True, slots=True)
class SealHeader(Record):
    """What a receiver knows of a sealed content before it has the key.

    Attributes:
        chunk_size: Content bytes per chunk.
        content_bytes: Length of the content.
        openings_offset: Where the openings (spec/03) start in the content, on a chunk border.
        openings_bytes: Length of the openings.
        salt: 24 random bytes, never used twice with one content key.
        commitment: Value that only the content key gives in this context.
    """

    MAX_BYTES: ClassVar[int] = 4096

    chunk_size: int
    content_bytes: Annotated[int, Range(0, MAX_CONTENT_BYTES)]
    openings_offset: Annotated[int, Range(0, MAX_CONTENT_BYTES)]
    openings_bytes: Annotated[int, Range(0, MAX_OPENINGS_BYTES)]
    salt: Annotated[bytes, Size(SALT_SIZE)]
    commitment: Digest

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        check_chunk_size(self.chunk_size)
        if self.openings_offset % self.chunk_size:
            raise DecodeError("expected the openings to start on a chunk border")
        if self.openings_offset + self.openings_bytes > self.content_bytes:
            raise DecodeError("expected the openings inside the content, found them beyond its end")


@dataclass(frozen=True, slots=True)
class SealedRun:
    """Neighbouring sealed chunks, one after the other, and their leaves in the ciphertext tree if they are wanted."""

    sealed: bytes
    leaves: bytes


@final
class ChunkCipher:
    """Seals and opens the chunks of one content; safe to share between threads.

    One index must never be sealed twice with different bytes under one salt: that would repeat a nonce, which reveals
    both chunks and lets anybody forge. After an interruption seal the same bytes again, or take a new salt.

    Args:
        content_key: 32 random bytes.
        salt: 24 random bytes.
        context: Who seals what for whom.

    Raises:
        DecodeError: The key or the salt has another size.
    """

    __slots__ = ("_base", "_cipher", "_content_bytes", "chunk_size", "commitment")

    def __init__(self, content_key: bytes, *, salt: bytes, context: SealContext) -> None:
        if len(content_key) != CONTENT_KEY_SIZE:
            raise DecodeError(f"expected a content key of {CONTENT_KEY_SIZE} bytes, found {len(content_key)}")
        if len(salt) != SALT_SIZE:
            raise DecodeError(f"expected a salt of {SALT_SIZE} bytes, found {len(salt)}")
        derived = kdf.hkdf_expand(
            content_key, _LABEL + salt + context.encode(), KEY_SIZE + NONCE_SIZE + COMMITMENT_SIZE
        )
        self._cipher = SM4GCM(derived[:KEY_SIZE])
        self._base = derived[KEY_SIZE : KEY_SIZE + NONCE_SIZE]
        self._content_bytes: int | None = None
        self.commitment = derived[KEY_SIZE + NONCE_SIZE :]
        self.chunk_size = context.chunk_size

    @classmethod
    def open_with(cls, content_key: bytes, header: SealHeader, *, context: SealContext) -> Self:
        """Return a cipher that opens the content of a header.

        SM4-GCM does not commit to its key, so the commitment is compared before anything is decrypted (spec/07 s.4).
        The cipher refuses chunks whose length does not fit the header.

        Raises:
            AuthenticationFailed: The key is not the one that the header commits to in this context.
            DecodeError: The key has another size, or header and context have different chunk sizes.
        """
        if header.chunk_size != context.chunk_size:
            raise DecodeError(f"expected chunks of {context.chunk_size} bytes in the header, found {header.chunk_size}")
        cipher = cls(content_key, salt=header.salt, context=context)
        if not hmac.compare_digest(cipher.commitment, header.commitment):
            raise AuthenticationFailed("expected the content key that the header commits to, found another one")
        cipher._content_bytes = header.content_bytes
        return cipher

    def seal(self, index: int, chunk: Buffer) -> bytes:
        """Seal one chunk.

        Args:
            index: Its position, from 0.
            chunk: `chunk_size` bytes, fewer in the last chunk only.

        Returns:
            Ciphertext and tag, 16 bytes longer than the chunk.

        Raises:
            DecodeError: The index or the length is out of bounds.
        """
        size = memoryview(chunk).nbytes
        if size > self.chunk_size:
            raise DecodeError(f"expected a chunk of at most {self.chunk_size} bytes, found {size}")
        return self._cipher.seal(self._nonce(index), chunk)

    def seal_run(
        self, first: int, content: Buffer, *, count: int, plain: Leaves | None = None, hashed: bool = True
    ) -> SealedRun:
        """Seal neighbouring chunks in one call; the same bytes as `seal` for each of them.

        Args:
            first: Position of the first chunk.
            content: `count` chunks one after the other; only the last one may be short, or empty.
            count: Number of chunks, at least 1.
            plain: Leaves of the plain chunks to compute along the way.
            hashed: Whether the leaves of the sealed chunks are wanted.

        Raises:
            DecodeError: An index is out of bounds.
            InternalError: The content is no such run.
        """
        self._check_run(first, count)
        sealed = self._leaves(first, count, memoryview(content).nbytes + count * TAG_SIZE) if hashed else None
        run = ChunkRun(self._base, first, count, self.chunk_size, plain=plain, sealed=sealed)
        return SealedRun(self._cipher.seal_chunks(run, content), bytes(sealed.digests) if sealed else b"")

    def open_run(self, first: int, sealed: Buffer, *, count: int, plain: Leaves | None = None) -> bytes:
        """Open neighbouring chunks in one call; nothing is returned unless every tag verifies.

        Args:
            first: Position of the first chunk.
            sealed: `count` sealed chunks one after the other; only the last one may be short.
            count: Number of chunks, at least 1.
            plain: Leaves of the plain chunks to compute along the way.

        Raises:
            AuthenticationFailed: A chunk was sealed with another key, index, salt or context, or was altered.
            DecodeError: An index is out of bounds.
        """
        return self._cipher.open_chunks(self._sealed_run(first, sealed, count, plain), sealed)

    def open_run_into(
        self, first: int, sealed: Buffer, out: WritableBuffer, *, count: int, plain: Leaves | None = None
    ) -> None:
        """Open neighbouring chunks as `open_run` does, into memory of the caller's.

        Args:
            first: Position of the first chunk.
            sealed: `count` sealed chunks one after the other; only the last one may be short.
            out: Where the plain chunks go; just as long as they are.
            count: Number of chunks, at least 1.
            plain: Leaves of the plain chunks to compute along the way.

        Raises:
            AuthenticationFailed: As `open_run` does; `out` holds nothing of the others either.
            DecodeError: An index is out of bounds.
            InternalError: `out` has another size.
        """
        self._cipher.open_chunks_into(self._sealed_run(first, sealed, count, plain), sealed, out)

    def _sealed_run(self, first: int, sealed: Buffer, count: int, plain: Leaves | None) -> ChunkRun:
        self._check_run(first, count)
        size = memoryview(sealed).nbytes
        if not self._fits(first, count, size - count * TAG_SIZE):
            raise AuthenticationFailed(f"expected the sealed sizes of {count} chunks from {first}, found {size} bytes")
        return ChunkRun(self._base, first, count, self.chunk_size, plain=plain)

    def _leaves(self, first: int, count: int, sealed_bytes: int) -> Leaves:
        return Leaves(_sealed_heads(first, count, self.chunk_size, sealed_bytes), bytearray(count * sm3.DIGEST_SIZE))

    def _fits(self, first: int, count: int, plain_bytes: int) -> bool:
        before_last = (count - 1) * self.chunk_size
        if self._content_bytes is None:
            return before_last <= plain_bytes <= before_last + self.chunk_size
        return plain_bytes == before_last + _chunk_bytes(first + count - 1, self._content_bytes, self.chunk_size)

    def open(self, index: int, sealed: Buffer) -> bytes:
        """Open one chunk; nothing is returned unless its tag verifies.

        Args:
            index: The position at which it was sealed.
            sealed: Ciphertext and tag.

        Raises:
            AuthenticationFailed: The chunk was sealed with another key, index, salt or context, or was altered.
            DecodeError: The index is out of bounds.
        """
        nonce = self._nonce(index)
        size = memoryview(sealed).nbytes
        if not self._fits(index, 1, size - TAG_SIZE):
            raise AuthenticationFailed(f"expected the sealed size of chunk {index}, found {size} bytes")
        return self._cipher.open(nonce, sealed)

    def _nonce(self, index: int) -> bytes:
        self._check_index(index)
        return (int.from_bytes(self._base, "big") ^ index).to_bytes(NONCE_SIZE, "big")

    def _check_run(self, first: int, count: int) -> None:
        self._check_index(first)
        self._check_index(first + count - 1)

    def _check_index(self, index: int) -> None:
        if not 0 <= index < _MAX_CHUNKS:
            raise DecodeError(f"expected a chunk index below {_MAX_CHUNKS}, found {index}")


def check_chunk_size(chunk_size: int) -> None:
    """Check that a chunk size is a power of two from 64 KiB to 1 MiB.

    Raises:
        DecodeError: It is not.
    """
    if not CHUNK_SIZE_LEAST <= chunk_size <= CHUNK_SIZE_MOST or chunk_size & (chunk_size - 1):
        raise DecodeError(f"expected a chunk size that is a power of two from 64 KiB to 1 MiB, found {chunk_size}")


def run_chunks(chunk_size: int) -> int:
    """Return how many chunks are worked on in one call.

    They are 1 MiB together at most: whoever chooses large chunks does not choose how much memory that takes.
    """
    return min(RUN_CHUNKS, CHUNK_SIZE_MOST // chunk_size)


def chunk_count(content_bytes: int, chunk_size: int) -> int:
    """Return the number of chunks, at least 1: the last one is always short, maybe empty (spec/07 s.2)."""
    return content_bytes // chunk_size + 1


def sealed_size(index: int, header: SealHeader) -> int:
    """Return the length in bytes of one sealed chunk.

    Raises:
        DecodeError: The content has no such chunk.
    """
    return _chunk_bytes(index, header.content_bytes, header.chunk_size) + TAG_SIZE


def sealed_bytes(header: SealHeader) -> int:
    """Return the length in bytes of all sealed chunks together."""
    return header.content_bytes + chunk_count(header.content_bytes, header.chunk_size) * TAG_SIZE


def sealed_offset(index: int, chunk_size: int) -> int:
    """Return where a sealed chunk starts if all are stored one after the other."""
    return index * (chunk_size + TAG_SIZE)


def sealed_range(first: int, count: int, header: SealHeader) -> tuple[int, int]:
    """Return where neighbouring sealed chunks start if all are stored one after the other, and their length in bytes.

    Raises:
        DecodeError: The content has no such chunks.
    """
    last = first + count - 1
    start = sealed_offset(first, header.chunk_size)
    return start, sealed_offset(last, header.chunk_size) + sealed_size(last, header) - start


def sealed_leaves(first: int, sealed: Buffer, *, count: int, chunk_size: int) -> bytes:
    """Return the leaves of neighbouring sealed chunks that lie one after the other, 32 bytes each.

    Args:
        first: Position of the first chunk.
        sealed: The sealed chunks; only the last one may be short.
        count: Number of chunks.
        chunk_size: Content bytes per chunk.
    """
    heads = _sealed_heads(first, count, chunk_size, memoryview(sealed).nbytes)
    return sm3.leaves(heads, sealed, stride=chunk_size + TAG_SIZE)


def _sealed_heads(first: int, count: int, chunk_size: int, sealed_bytes: int) -> bytes:
    sizes = [chunk_size + TAG_SIZE] * (count - 1) + [sealed_bytes - (count - 1) * (chunk_size + TAG_SIZE)]
    leaf_type = merkle.LeafType.SEALED_CHUNK
    return b"".join(merkle.leaf_head(leaf_type, size, index=first + number) for number, size in enumerate(sizes))


def _chunk_bytes(index: int, content_bytes: int, chunk_size: int) -> int:
    last = content_bytes // chunk_size
    if not 0 <= index <= last:
        raise DecodeError(f"expected a chunk index up to {last}, found {index}")
    return content_bytes % chunk_size if index == last else chunk_size
