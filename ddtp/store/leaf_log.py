"""Leaves of the chunks that a sender has sealed, so that a resumed transfer need not seal them again for their root.

One file of records in the order of the chunks: the leaf, and a check that binds it to its place, because a power cut
may leave zeros. It is a memory and no evidence: what is missing is computed again, a disk that refuses only makes it
forget, and a file that lies all the same leads to a root that the receiver refuses, whereupon it is deleted. Methods
block; the agent calls them in worker threads, one at a time per log.
"""

import os
from pathlib import Path
from typing import final

from ddtp.crypto import sm3
from ddtp.errors import EnvironmentProblem
from ddtp.protocol.codec import Buffer
from ddtp.store.durable import PRIVATE_FILE_MODE, make_directory, storage_errors, write_all_at

_LEAF_BYTES = 32
_CHECK_BYTES = 8
_RECORD_BYTES = _LEAF_BYTES + _CHECK_BYTES


@final
class LeafLog:
    """The leaves of one outgoing transfer.

    Args:
        path: The file; made, with its folder, if missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._count = 0
        try:
            make_directory(path.parent)
            with storage_errors(path):
                self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE_MODE)
                self._count = os.fstat(self._descriptor).st_size // _RECORD_BYTES
        except EnvironmentProblem:
            self.close()

    @property
    def count(self) -> int:
        """Number of leaves, from the first chunk on, that may be there."""
        return self._count

    def find(self, first: int, count: int) -> bytes | None:
        """Return the leaves of neighbouring chunks, or None if not all of them are there, and whole."""
        if not 0 < count <= self._count - first:
            return None
        try:
            with storage_errors(self._path):
                found = os.pread(self._descriptor, count * _RECORD_BYTES, first * _RECORD_BYTES)
        except EnvironmentProblem:
            return None
        if len(found) != count * _RECORD_BYTES:
            return None  # somebody has cut the file meanwhile
        records = [found[start : start + _RECORD_BYTES] for start in range(0, len(found), _RECORD_BYTES)]
        leaves = b"".join(record[:_LEAF_BYTES] for record in records)
        return leaves if _records(first, leaves) == found else None

    def keep(self, first: int, leaves: Buffer) -> None:
        """Remember the leaves of neighbouring chunks that follow those which are there, or are among them."""
        if self._descriptor < 0 or first > self._count or not leaves:
            return  # a gap would be taken for leaves
        try:
            with storage_errors(self._path):
                write_all_at(self._descriptor, _records(first, bytes(leaves)), offset=first * _RECORD_BYTES)
        except EnvironmentProblem:
            self.close()
        else:
            self._count = max(self._count, first + len(leaves) // _LEAF_BYTES)

    def close(self) -> None:
        """Close the file; a later attempt finds what is in it."""
        descriptor, self._descriptor, self._count = self._descriptor, -1, 0
        if descriptor >= 0:
            os.close(descriptor)


def delete_leaf_log(path: Path) -> None:
    """Delete the leaves of a transfer that is over, or that lie; none are no error.

    Raises:
        StorageFailed: The disk refuses.
    """
    with storage_errors(path):
        path.unlink(missing_ok=True)


def _records(first: int, leaves: bytes) -> bytes:
    starts = range(0, len(leaves), _LEAF_BYTES)
    heads = b"".join((first + number).to_bytes(sm3.BLOCK_SIZE, "big") for number in range(len(starts)))
    checks = sm3.leaves(heads, leaves, stride=_LEAF_BYTES)
    return b"".join(leaves[start : start + _LEAF_BYTES] + checks[start : start + _CHECK_BYTES] for start in starts)
