"""The SM3 Merkle tree of packages, of sealed chunks and of ledgers (spec/02-tree).

Shape as in RFC 9162 section 2.1: the odd node is never duplicated. Leaves and nodes start with one whole 64-byte SM3
block that carries what they are, so their content stays aligned for hashing many lanes at once and the state after the
block can be reused. This module hashes and proves; it does not know what a leaf means.
"""

import functools
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from typing import final

from ddtp.crypto import sm3
from ddtp.errors import DecodeError, ProofInvalid
from ddtp.protocol.codec import Buffer

Subtree = Callable[[int, int], bytes]
"""Gives the hash of the leaves from `start` up to `stop`, for ranges that RFC 9162 splits produce."""

NO_SALT = bytes(32)
"""Salt of leaves whose content is public anyway."""

_LEAF_HEAD = struct.Struct(">xB32sQQ14x")
"""0x00, type, salt, index, length, zeros to 64 bytes (spec/02 s.2)."""
_NODE_BLOCK = b"\x01" + bytes(63)


class LeafType(IntEnum):
    """What a leaf holds (spec/02 s.2)."""

    FIELD = 1
    PREDICATE = 2
    HASH_CHAIN = 3
    PEDERSEN = 4
    CHUNK = 5
    FILE = 6
    DECOY = 7
    SEALED_CHUNK = 8
    LEDGER_ENTRY = 9
    CANONICAL = 10


@functools.cache
def _node_prefix() -> sm3.Prefixed:
    return sm3.prefixed(_NODE_BLOCK)


def leaf_hash(leaf_type: LeafType, content: Buffer, *, salt: bytes = NO_SALT, index: int = 0) -> bytes:
    """Hash one leaf.

    Args:
        leaf_type: What the content is.
        content: The leaf's bytes.
        salt: 32 bytes that hide the content, or `NO_SALT`.
        index: Position that the leaf claims, where its type has one (chunks), else 0.

    Returns:
        32 bytes: SM3(0x00 ‖ type ‖ salt ‖ index ‖ length ‖ zeros to 64 bytes ‖ content).

    Raises:
        DecodeError: The salt is not 32 bytes, which would move the fields after it.
    """
    return sm3.prefixed(leaf_head(leaf_type, len(content), salt=salt, index=index)).digest(content)


def leaf_head(leaf_type: LeafType, size: int, *, salt: bytes = NO_SALT, index: int = 0) -> bytes:
    """Return the 64-byte block that a leaf starts with; its content of `size` bytes follows.

    Raises:
        DecodeError: The salt is not 32 bytes, which would move the fields after it.
    """
    if len(salt) != len(NO_SALT):
        raise DecodeError(f"expected a salt of {len(NO_SALT)} bytes, found {len(salt)}")
    return _LEAF_HEAD.pack(leaf_type, salt, index, size)


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash an inner node: SM3(0x01 ‖ 63 zero bytes ‖ left ‖ right)."""
    return _node_prefix().digest(left, right)


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the root of a whole tree; that of no leaves is SM3 of nothing."""
    builder = RootBuilder()
    for leaf in leaves:
        builder.add(leaf)
    return builder.root()


@final
class RootBuilder:
    """Computes a root from leaves that come one after the other, in memory of one hash per level."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        """Append one leaf hash of 32 bytes."""
        self._append(leaf, 1)

    def extend(self, leaves: Buffer) -> None:
        """Append leaf hashes of 32 bytes that lie one after the other."""
        view = memoryview(leaves).cast("B")
        while view:
            count = _whole_subtree(self.size, len(view) // sm3.DIGEST_SIZE)
            part, view = view[: count * sm3.DIGEST_SIZE], view[count * sm3.DIGEST_SIZE :]
            self._append(bytes(part) if count == 1 else sm3.root(_NODE_BLOCK, part), count)

    def _append(self, node: bytes, leaves: int) -> None:
        """Append the root of a whole subtree, which starts where a subtree of its size may start."""
        size = self.size // leaves
        while size & 1:
            node = node_hash(self._peaks.pop(), node)
            size >>= 1
        self._peaks.append(node)
        self.size += leaves

    def root(self) -> bytes:
        """Return the root of the leaves so far."""
        if not self._peaks:
            return sm3.digest(b"")
        return functools.reduce(lambda right, left: node_hash(left, right), reversed(self._peaks))


def subtrees(leaves: Sequence[bytes]) -> Subtree:
    """Return a `Subtree` over leaves that are all in memory."""

    @functools.cache
    def subtree(start: int, stop: int) -> bytes:
        if stop - start == 1:
            return leaves[start]
        middle = start + _split(stop - start)
        return node_hash(subtree(start, middle), subtree(middle, stop))

    return subtree


def inclusion_path(index: int, size: int, subtree: Subtree) -> tuple[bytes, ...]:
    """Return the audit path of one leaf, lowest sibling first (RFC 9162 s.2.1.3.1).

    Args:
        index: Leaf position, below `size`.
        size: Number of leaves of the tree that is proven.
        subtree: Hashes of that tree.
    """
    path = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            path.append(subtree(middle, stop))
            stop = middle
        else:
            path.append(subtree(start, middle))
            start = middle
    return tuple(reversed(path))


def root_from_inclusion(leaf: bytes, index: int, *, size: int, path: Sequence[bytes]) -> bytes:
    """Compute the root that an audit path leads to (RFC 9162 s.2.1.3.2).

    Raises:
        ProofInvalid: The path has another length than the position needs.
    """
    if not 0 <= index < size:
        raise ProofInvalid(f"expected an index below the tree size {size}, found {index}")
    _check_hashes(path)
    position, last, node = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise ProofInvalid("expected a shorter audit path")
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            node = node_hash(node, sibling)
        position >>= 1
        last >>= 1
    if last:
        raise ProofInvalid("expected a longer audit path")
    return node


def consistency_path(old_size: int, new_size: int, subtree: Subtree) -> tuple[bytes, ...]:
    """Return the proof that a tree of `new_size` extends its first `old_size` leaves (RFC 9162 s.2.1.4.1).

    Args:
        old_size: From 0 to `new_size`.
        new_size: Number of leaves of the newer tree.
        subtree: Hashes of the newer tree.
    """
    if old_size in {0, new_size}:
        return ()
    path = []
    start, stop, whole = 0, new_size, True
    while old_size != stop:
        middle = start + _split(stop - start)
        if old_size <= middle:
            path.append(subtree(middle, stop))
            stop = middle
        else:
            path.append(subtree(start, middle))
            start, whole = middle, False
    if not whole:
        path.append(subtree(start, stop))
    return tuple(reversed(path))


def check_consistency(old_size: int, old_root: bytes, *, new_size: int, new_root: bytes, path: Sequence[bytes]) -> None:
    """Check that the newer tree extends the older one (RFC 9162 s.2.1.4.2).

    Every tree extends the empty one, whose root is not looked at.

    Raises:
        ProofInvalid: The path does not prove it.
    """
    if not 0 <= old_size <= new_size:
        raise ProofInvalid(f"expected a tree of at least {old_size} leaves, found {new_size}")
    _check_hashes(path)
    if old_size in {0, new_size}:
        if path or (old_size == new_size and old_root != new_root):
            raise ProofInvalid("expected equal roots for equal sizes, found different ones")
        return
    nodes = list(path) if old_size & (old_size - 1) else [old_root, *path]
    if not nodes:
        raise ProofInvalid("expected a consistency path, found none")
    if _roots_from_consistency(old_size, new_size, nodes) != (old_root, new_root):
        raise ProofInvalid("expected a consistency path between the two roots, found another one")


def _roots_from_consistency(old_size: int, new_size: int, nodes: Sequence[bytes]) -> tuple[bytes, bytes]:
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position >>= 1
        last >>= 1
    old = new = nodes[0]
    for sibling in nodes[1:]:
        if last == 0:
            raise ProofInvalid("expected a shorter consistency path")
        if position & 1 or position == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while position and not position & 1:
                position >>= 1
                last >>= 1
        else:
            new = node_hash(new, sibling)
        position >>= 1
        last >>= 1
    if last:
        raise ProofInvalid("expected a longer consistency path")
    return old, new


def multiproof(indexes: Iterable[int], size: int, subtree: Subtree) -> tuple[bytes, ...]:
    """Return the hashes that, with the leaves at `indexes`, give the root (spec/02 s.5).

    They are the roots of the largest subtrees without any of these leaves, from left to right.

    Args:
        indexes: Positions of the disclosed leaves, each below `size`.
        size: Number of leaves.
        subtree: Hashes of the tree.
    """
    wanted = sorted(set(indexes))

    def walk(start: int, stop: int, inside: list[int]) -> Iterator[bytes]:
        if not inside:
            yield subtree(start, stop)
        elif stop - start > 1:
            middle = start + _split(stop - start)
            yield from walk(start, middle, [index for index in inside if index < middle])
            yield from walk(middle, stop, [index for index in inside if index >= middle])

    return tuple(walk(0, size, wanted))


def root_from_multiproof(leaves: Mapping[int, bytes], size: int, *, proof: Sequence[bytes]) -> bytes:
    """Compute the root from disclosed leaves and their multiproof.

    Raises:
        ProofInvalid: The proof has another number of hashes than the positions need.
    """
    if size < 1 or not all(0 <= index < size for index in leaves):
        raise ProofInvalid(f"expected leaf positions below {size}")
    _check_hashes(proof)
    hashes = iter(proof)

    def walk(start: int, stop: int, inside: list[int]) -> bytes:
        if not inside:
            missing = next(hashes, None)
            if missing is None:
                raise ProofInvalid("expected more hashes in the multiproof")
            return missing
        if stop - start == 1:
            return leaves[start]
        middle = start + _split(stop - start)
        left = walk(start, middle, [index for index in inside if index < middle])
        return node_hash(left, walk(middle, stop, [index for index in inside if index >= middle]))

    top = walk(0, size, sorted(leaves))
    if next(hashes, None) is not None:
        raise ProofInvalid("expected fewer hashes in the multiproof")
    return top


def _check_hashes(hashes: Sequence[bytes]) -> None:
    # two hashes of other lengths could be cut elsewhere and still give the same node
    if any(len(item) != sm3.DIGEST_SIZE for item in hashes):
        raise ProofInvalid(f"expected hashes of {sm3.DIGEST_SIZE} bytes in the proof, found another length")


def _whole_subtree(size: int, most: int) -> int:
    """Return the largest power of two, at most `most`, of leaves that are a subtree after `size` leaves."""
    largest = 1 << (most.bit_length() - 1)
    return largest if not size else min(largest, size & -size)


def _split(count: int) -> int:
    """Return the largest power of two below `count`, which is at least 2."""
    return int(1 << ((count - 1).bit_length() - 1))
