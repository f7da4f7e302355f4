"""Trees, codes, runs of chunks and signers for implementations that know single messages only (spec/00 s.9)."""

from collections.abc import Callable
from typing import Final, final

from ddtp.crypto._contracts import (
    BLOCK_SIZE,
    DIGEST_SIZE,
    NONCE_SIZE,
    TAG_SIZE,
    Buffer,
    ChunkRun,
    Leaves,
    Sm3State,
    Sm4Gcm,
)

_INNER_PAD: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD: Final = bytes(byte ^ 0x5C for byte in range(256))


def hash_leaves(new: Callable[[], Sm3State], heads: Buffer, data: Buffer, stride: int) -> bytes:
    """Return the digest of each head of 64 bytes and its piece of `data`."""
    view, blocks = memoryview(data).cast("B"), memoryview(heads).cast("B")
    digests = bytearray()
    for number in range(len(blocks) // BLOCK_SIZE):
        state = new()
        state.update(blocks[BLOCK_SIZE * number : BLOCK_SIZE * (number + 1)])
        state.update(view[stride * number : stride * (number + 1)])
        digests += state.digest()
    return bytes(digests)


def hash_root(new: Callable[[], Sm3State], prefix: Buffer, leaves: Buffer) -> bytes:
    """Return the root over at least one leaf: level by level, an odd last node rises as it is."""
    start = new()
    start.update(prefix)
    nodes = bytes(leaves)
    while len(nodes) > DIGEST_SIZE:
        pairs, odd = divmod(len(nodes), 2 * DIGEST_SIZE)
        level = bytearray()
        for number in range(pairs):
            state = start.copy()
            state.update(nodes[2 * DIGEST_SIZE * number : 2 * DIGEST_SIZE * (number + 1)])
            level += state.digest()
        nodes = bytes(level) + nodes[len(nodes) - odd :]
    return nodes


def mac(new: Callable[[], Sm3State], key: Buffer, message: Buffer) -> bytes:
    """Return HMAC-SM3."""
    block = (_digest(new, key) if len(key) > BLOCK_SIZE else bytes(key)).ljust(BLOCK_SIZE, b"\0")
    inner = _digest(new, block.translate(_INNER_PAD), message)
    return _digest(new, block.translate(_OUTER_PAD), inner)


def expand(new: Callable[[], Sm3State], key: Buffer, info: Buffer, length: int) -> bytes:
    """Return HKDF-Expand with HMAC-SM3."""
    output = block = b""
    for counter in range(1, -(-length // DIGEST_SIZE) + 1):
        block = mac(new, key, block + bytes(info) + bytes([counter]))
        output += block
    return output[:length]


def seal_chunks(gcm: Sm4Gcm, new: Callable[[], Sm3State], run: ChunkRun, plain: Buffer) -> bytes:
    """Return sealed chunks one after the other; see `ChunkRun`."""
    source, size = memoryview(plain).cast("B"), run.chunk_size
    sealed = b"".join(
        gcm.seal(_nonce(run, number), source[size * number : size * (number + 1)], b"") for number in range(run.count)
    )
    _hash(new, run.plain, source, size)
    _hash(new, run.sealed, sealed, size + TAG_SIZE)
    return sealed


def open_chunks(gcm: Sm4Gcm, new: Callable[[], Sm3State], run: ChunkRun, sealed: Buffer) -> bytes:
    """Return plain chunks one after the other; see `ChunkRun`.

    Raises:
        AuthenticationFailed: A tag does not match.
    """
    source, stride = memoryview(sealed).cast("B"), run.chunk_size + TAG_SIZE
    plain = b"".join(
        gcm.open(_nonce(run, number), source[stride * number : stride * (number + 1)], b"")
        for number in range(run.count)
    )
    _hash(new, run.sealed, source, stride)
    _hash(new, run.plain, plain, run.chunk_size)
    return plain


@final
class MessageSigner:
    """A private key that only a function of whole messages signs with.

    Args:
        sign: Returns r ‖ s for a message.
    """

    __slots__ = ("_sign",)

    def __init__(self, sign: Callable[[bytes], bytes]) -> None:
        self._sign = sign

    def sign(self, message: Buffer, /) -> bytes:
        """Return r ‖ s."""
        return self._sign(bytes(message))


def _digest(new: Callable[[], Sm3State], *parts: Buffer) -> bytes:
    state = new()
    for part in parts:
        state.update(part)
    return state.digest()


def _hash(new: Callable[[], Sm3State], leaves: Leaves | None, data: Buffer, stride: int) -> None:
    if leaves is not None:
        leaves.digests[:] = hash_leaves(new, leaves.heads, data, stride)


def _nonce(run: ChunkRun, number: int) -> bytes:
    return (int.from_bytes(run.base_nonce, "big") ^ run.first + number).to_bytes(NONCE_SIZE, "big")
