"""SM3 and HMAC-SM3 (spec/00 s.2, GB/T 32905-2016)."""

from typing import final

from ddtp.crypto import _backend
from ddtp.crypto._contracts import BLOCK_SIZE, DIGEST_SIZE, Buffer, Sm3State
from ddtp.errors import InternalError

__all__ = ["BLOCK_SIZE", "DIGEST_SIZE", "Hasher", "Prefixed", "digest", "hmac", "leaves", "prefixed", "root"]


def digest(data: Buffer) -> bytes:
    """Return the 32-byte SM3 hash of `data`.

    Raises:
        CryptoUnavailable: no implementation passes its self-test.
    """
    state = _backend.sm3().new()
    state.update(data)
    return state.digest()


@final
class Prefixed:
    """A hash that has already absorbed a prefix; made by `prefixed`.

    A prefix that fills whole 64-byte blocks costs nothing more per digest. Safe to share between threads.
    """

    __slots__ = ("_state",)

    def __init__(self, state: Sm3State) -> None:
        self._state = state

    def digest(self, *parts: Buffer) -> bytes:
        """Return the 32-byte hash of prefix ‖ parts."""
        state = self._state.copy()
        for part in parts:
            state.update(part)
        return state.digest()


def prefixed(prefix: Buffer) -> Prefixed:
    """Hash `prefix` once, for many messages that start with it.

    Raises:
        CryptoUnavailable: no implementation passes its self-test.
    """
    state = _backend.sm3().new()
    state.update(prefix)
    return Prefixed(state)


@final
class Hasher:
    """A running SM3 hash. Not safe to update from two threads at once.

    Raises:
        CryptoUnavailable: no implementation passes its self-test.
    """

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state = _backend.sm3().new()

    def update(self, data: Buffer) -> None:
        """Absorb `data`."""
        self._state.update(data)

    def digest(self) -> bytes:
        """Return the 32-byte hash of all that was absorbed so far; more can be absorbed afterwards."""
        return self._state.digest()

    def copy(self) -> "Hasher":
        """Return an independent hasher that has absorbed the same bytes."""
        twin = object.__new__(Hasher)
        twin._state = self._state.copy()
        return twin


def hmac(key: bytes, *parts: Buffer) -> bytes:
    """Return the 32-byte HMAC-SM3 (RFC 2104) of the concatenated `parts`.

    Compare a received value with `hmac.compare_digest` of the standard library, never with ==.

    Args:
        key: Of any length; one above 64 bytes is hashed first.
        *parts: The message, in pieces.

    Raises:
        CryptoUnavailable: no implementation passes its self-test.
    """
    return _backend.sm3().hmac(key, b"".join(parts))


def leaves(heads: Buffer, data: Buffer, *, stride: int) -> bytes:
    """Hash many messages of one size side by side: each head of 64 bytes, followed by its piece of `data`.

    Args:
        heads: The heads one after the other, at least one.
        data: The pieces one after the other, `stride` bytes each; the last one may be shorter.
        stride: Bytes in a piece.

    Returns:
        The digests, 32 bytes each.

    Raises:
        InternalError: Heads and pieces do not fit each other.
        CryptoUnavailable: no implementation passes its self-test.
    """
    count, odd = divmod(memoryview(heads).nbytes, BLOCK_SIZE)
    if odd or stride < 1 or not (count - 1) * stride <= memoryview(data).nbytes <= count * stride or not count:
        raise InternalError(
            f"expected a head of {BLOCK_SIZE} bytes for each piece of {stride} bytes, found another size"
        )
    return _backend.sm3().leaves(heads, data, stride)


def root(prefix: Buffer, leaves: Buffer) -> bytes:
    """Return the 32-byte root of the RFC 9162 tree over `leaves`, whose nodes are SM3(prefix ‖ left ‖ right).

    Args:
        prefix: 64 bytes.
        leaves: Digests of 32 bytes one after the other, at least one.

    Raises:
        InternalError: A size is wrong.
        CryptoUnavailable: no implementation passes its self-test.
    """
    size = memoryview(leaves).nbytes
    if memoryview(prefix).nbytes != BLOCK_SIZE or not size or size % DIGEST_SIZE:
        raise InternalError("expected a prefix of 64 bytes and leaves of 32 bytes, found other sizes")
    return _backend.sm3().root(prefix, leaves)
