"""Leaves of the chunks that a sender has sealed, so that a resumed transfer need not seal them again for their root.

One file of 32 bytes per chunk, in order. It is a memory and no evidence: what a crash took from its end is computed
again, and a file that lies leads to a root that the receiver refuses, whereupon it is deleted. Methods block; the agent
calls them in worker threads, one at a time per log.
"""

import os
from pathlib import Path
from typing import final

from ddtp.protocol.codec import Buffer
from ddtp.store.durable import PRIVATE_FILE_MODE, make_directory, storage_errors, write_all_at

_LEAF_BYTES = 32


@final
class LeafLog:
    """The leaves of one outgoing transfer.

    Args:
        path: The file; made, with its folder, if missing.

    Raises:
        DiskFull, StorageFailed: The disk refuses.
    """

    def __init__(self, path: Path) -> None:
        make_directory(path.parent)
        self._path = path
        with storage_errors(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE_MODE)
            self._count = os.fstat(self._descriptor).st_size // _LEAF_BYTES

    def find(self, first: int, count: int) -> bytes | None:
        """Return the leaves of neighbouring chunks, or None if not all of them are there.

        Raises:
            StorageFailed: The disk refuses.
        """
        if first + count > self._count:
            return None
        with storage_errors(self._path):
            return os.pread(self._descriptor, count * _LEAF_BYTES, first * _LEAF_BYTES)

    def keep(self, first: int, leaves: Buffer) -> None:
        """Remember the leaves of neighbouring chunks that follow those which are there, or are among them.

        Raises:
            DiskFull, StorageFailed: The disk refuses.
        """
        if first > self._count:
            return  # a gap would be taken for leaves
        with storage_errors(self._path):
            write_all_at(self._descriptor, leaves, offset=first * _LEAF_BYTES)
        self._count = max(self._count, first + len(leaves) // _LEAF_BYTES)

    def close(self) -> None:
        """Close the file; a later attempt finds what is in it."""
        os.close(self._descriptor)


def delete_leaf_log(path: Path) -> None:
    """Delete the leaves of a transfer that is over, or that lie; none are no error.

    Raises:
        StorageFailed: The disk refuses.
    """
    with storage_errors(path):
        path.unlink(missing_ok=True)
