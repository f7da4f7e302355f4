"""SM2, SM3 and SM4-GCM by the extension (spec/00 s.9), in the shape of `_contracts`.

Only imported where the extension is there.
"""

from collections.abc import Sequence
from typing import final

from ddtp.crypto import _native
from ddtp.crypto._contracts import (
    BLOCK_SIZE,
    DIGEST_SIZE,
    Buffer,
    ChunkRun,
    Leaves,
    Sm2Signer,
    Sm3,
    Sm4,
    WritableBuffer,
)
from ddtp.errors import AuthenticationFailed, DecodeError

_native.use_errors(AuthenticationFailed, DecodeError)


def describe() -> str:
    """Return version and processor path."""
    return f"native {_native.VERSION} ({_native.level()})"


def limit(path: str) -> bool:
    """Use a slower processor path from now on; return False if this processor has no such path."""
    if path not in _native.levels():
        return False
    _native.limit(path)
    return True


def sm3() -> Sm3:
    """Return SM3."""
    return Sm3(describe(), _native.Sm3State, _leaves, _native.sm3_root, _native.sm3_hmac, _native.sm3_hkdf_expand)


def sm4() -> Sm4:
    """Return SM4-GCM."""
    return Sm4(describe(), NativeSm4Gcm)


def _leaves(heads: Buffer, data: Buffer, stride: int) -> bytes:
    digests = bytearray(memoryview(heads).nbytes // BLOCK_SIZE * DIGEST_SIZE)
    _native.sm3_leaves(heads, data, stride, digests)
    return bytes(digests)


@final
class NativeSm4Gcm:
    """SM4-GCM under one key."""

    __slots__ = ("_core", "open", "seal")

    def __init__(self, key: bytes) -> None:
        self._core = _native.Sm4Gcm(key)
        # straight to the extension: a call of 16 bytes takes less time than a Python function around it
        self.seal = self._core.seal
        self.open = self._core.open

    def seal_chunks(self, run: ChunkRun, plain: Buffer, /) -> bytes:
        """Return the sealed chunks."""
        return self._core.seal_chunks(*_arguments(run, plain))

    def open_chunks(self, run: ChunkRun, sealed: Buffer, /) -> bytes:
        """Return the plain chunks.

        Raises:
            AuthenticationFailed: A tag does not match.
        """
        return self._core.open_chunks(*_arguments(run, sealed))

    def open_chunks_into(self, run: ChunkRun, sealed: Buffer, out: WritableBuffer, /) -> None:
        """Write the plain chunks to `out`.

        Raises:
            AuthenticationFailed: A tag does not match.
        """
        self._core.open_chunks_into(*_arguments(run, sealed), out)


_Both = tuple[Buffer | None, bytearray | None]


def _arguments(run: ChunkRun, data: Buffer) -> tuple[bytes, int, int, int, Buffer, *_Both, *_Both]:
    return (run.base_nonce, run.first, run.count, run.chunk_size, data, *_both(run.plain), *_both(run.sealed))


def _both(leaves: Leaves | None) -> _Both:
    return (None, None) if leaves is None else (leaves.heads, leaves.digests)


@final
class NativeSm2:
    """SM2 with user id 1234567812345678."""

    last_resort = False

    def __init__(self) -> None:
        self.description = describe()
        self._core = _native.Sm2()
        self.public_key = self._core.public_key
        self.verify = self._core.verify
        self.agree = self._core.agree

    def signer(self, private_key: bytes, /) -> Sm2Signer:
        """Return `private_key` made ready for signing."""
        return self._core.signer(private_key)

    def verify_many(self, checks: Sequence[tuple[bytes, bytes, bytes]], /) -> list[bool]:
        """Return for each public key, message and signature whether it is valid."""
        return [result == 1 for result in self._core.verify_many(checks)]
