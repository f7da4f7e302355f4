"""SM4-GCM with 12-byte nonces and 16-byte tags (spec/00 s.6, GB/T 32907-2016, RFC 8998)."""

from typing import Final, final

from ddtp.crypto import _backend
from ddtp.crypto._contracts import (
    BLOCK_SIZE,
    DIGEST_SIZE,
    NONCE_SIZE,
    TAG_SIZE,
    Buffer,
    ChunkRun,
    Leaves,
    WritableBuffer,
)
from ddtp.errors import DecodeError, InternalError

__all__ = ["KEY_SIZE", "NONCE_SIZE", "SM4GCM", "TAG_SIZE", "ChunkRun", "Leaves", "WritableBuffer"]

KEY_SIZE: Final = 16

_MAX_CHUNKS: Final = 1 << 64


@final
class SM4GCM:
    """SM4-GCM under one key; safe to share between threads.

    A nonce must never be used twice with one key: that reveals both plaintexts and lets anybody forge. The caller
    owns the uniqueness of nonces.

    Args:
        key: 16 bytes.

    Raises:
        DecodeError: `key` is not 16 bytes.
        CryptoUnavailable: no implementation passes its self-test.
    """

    __slots__ = ("_cipher", "_open", "_seal")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_SIZE:
            raise DecodeError(f"expected an SM4 key of {KEY_SIZE} bytes, found {len(key)}")
        self._cipher = _backend.sm4().gcm(key)
        self._seal, self._open = self._cipher.seal, self._cipher.open

    def seal(self, nonce: bytes, plaintext: Buffer, *, aad: Buffer = b"") -> bytes:
        """Return ciphertext ‖ 16-byte tag.

        Args:
            nonce: 12 bytes, never used before with this key.
            plaintext: At most 64 GiB - 32 bytes.
            aad: Bytes that are authenticated and not encrypted.

        Raises:
            DecodeError: `nonce` is not 12 bytes, or `plaintext` is too long.
        """
        return self._seal(nonce, plaintext, aad)

    def open(self, nonce: bytes, sealed: Buffer, *, aad: Buffer = b"") -> bytes:
        """Return the plaintext of `sealed`; nothing is released unless the tag matches.

        Args:
            nonce: The 12 bytes used to seal.
            sealed: Ciphertext ‖ tag.
            aad: The bytes authenticated when sealing.

        Raises:
            DecodeError: `nonce` is not 12 bytes.
            AuthenticationFailed: key, nonce, `aad` or `sealed` is not what was sealed.
        """
        return self._open(nonce, sealed, aad)

    def seal_chunks(self, run: ChunkRun, plain: Buffer) -> bytes:
        """Seal neighbouring chunks in one call.

        Args:
            run: Which chunks, and what to hash of them.
            plain: `count` chunks one after the other, of which only the last may be shorter.

        Returns:
            The sealed chunks one after the other, each 16 bytes longer.

        Raises:
            DecodeError: The base nonce is not 12 bytes.
            InternalError: The sizes do not fit each other, or an index is not below 2^64.
        """
        _check_run(run, memoryview(plain).nbytes)
        return self._cipher.seal_chunks(run, plain)

    def open_chunks(self, run: ChunkRun, sealed: Buffer) -> bytes:
        """Open neighbouring chunks in one call; nothing is released unless all tags match.

        Args:
            run: Which chunks, and what to hash of them.
            sealed: `count` sealed chunks one after the other, of which only the last may be shorter.

        Raises:
            AuthenticationFailed: A chunk is not what was sealed.
            DecodeError: The base nonce is not 12 bytes.
            InternalError: The sizes do not fit each other, or an index is not below 2^64.
        """
        _check_run(run, memoryview(sealed).nbytes - run.count * TAG_SIZE)
        return self._cipher.open_chunks(run, sealed)

    def open_chunks_into(self, run: ChunkRun, sealed: Buffer, out: WritableBuffer) -> None:
        """Open neighbouring chunks in one call, into memory of the caller's.

        Args:
            run: Which chunks, and what to hash of them.
            sealed: `count` sealed chunks one after the other, of which only the last may be shorter.
            out: Where the plain chunks go, one after the other; just as long as they are.

        Raises:
            AuthenticationFailed: A chunk is not what was sealed; `out` holds nothing of the others either.
            DecodeError: The base nonce is not 12 bytes.
            InternalError: The sizes do not fit each other, or an index is not below 2^64.
        """
        plain_bytes = memoryview(sealed).nbytes - run.count * TAG_SIZE
        _check_run(run, plain_bytes)
        if memoryview(out).nbytes != plain_bytes:
            raise InternalError(f"expected room for {plain_bytes} bytes, found {memoryview(out).nbytes}")
        self._cipher.open_chunks_into(run, sealed, out)


def _check_run(run: ChunkRun, plain_bytes: int) -> None:
    if len(run.base_nonce) != NONCE_SIZE:
        raise DecodeError(f"expected a nonce of {NONCE_SIZE} bytes, found {len(run.base_nonce)}")
    before_last = (run.count - 1) * run.chunk_size
    if run.count < 1 or run.chunk_size < 1 or not before_last <= plain_bytes <= before_last + run.chunk_size:
        raise InternalError(f"expected {run.count} chunks of {run.chunk_size} bytes, found {plain_bytes} bytes")
    if not 0 <= run.first <= _MAX_CHUNKS - run.count:
        raise InternalError(f"expected chunks with an index below 2^64, found {run.count} from {run.first} on")
    for leaves in (run.plain, run.sealed):
        if leaves is not None and (
            memoryview(leaves.heads).nbytes != run.count * BLOCK_SIZE or len(leaves.digests) != run.count * DIGEST_SIZE
        ):
            raise InternalError(f"expected heads and digests of {run.count} leaves, found others")
