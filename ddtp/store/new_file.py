"""A file that several threads write at once, each at a place of its own; `durable.sync_file` makes it durable.

A large file goes past the memory in which the system keeps files, where the system allows it: the bytes are not copied
there first, nothing else is driven out of it, and the sync has nothing left to do. Methods block.
"""

import errno
import fcntl
import mmap
import os
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Final, final

from ddtp.store.durable import PRIVATE_FILE_MODE, storage_errors, write_all_at

DIRECT_LEAST_BYTES: Final = 32 << 20
"""Smaller files stay in memory for whoever reads them next; a sync of them is quick."""
FLUSH_BYTES: Final = 32 << 20
"""Bytes in memory between two syncs: the last one then has little left to do, and memory is not full of them."""

_DIRECT: Final[int] = getattr(os, "O_DIRECT", 0)
"""Not every system has it."""


def direct_buffer(size_bytes: int) -> memoryview:
    """Return memory from which a disk can be written directly: it starts with a page."""
    return memoryview(mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


@final
class NewFile:
    """A file that does not exist yet; close it.

    Args:
        path: Where; its directory exists.
        size_bytes: What it will hold; room for a large one is reserved now, where the file system can.

    Raises:
        DiskFull: There is no room.
        StorageFailed: There is such a file, or the disk refuses.
    """

    def __init__(self, path: Path, *, size_bytes: int) -> None:
        self._path = path
        self._writing = threading.Lock()
        self._counting = threading.Lock()
        self._unsynced_bytes = 0
        self._direct = False
        with storage_errors(path), ExitStack() as stack:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, PRIVATE_FILE_MODE)
            stack.callback(self.close)
            if size_bytes >= DIRECT_LEAST_BYTES and self._pass_memory():
                self._direct = True
                self._reserve(size_bytes)
            stack.pop_all()

    def write(self, data: memoryview, *, offset: int) -> None:
        """Write a piece; several threads may at once.

        Args:
            data: In a `direct_buffer`, from its start; whole pages, for a large file to go past memory.
            offset: Where; a multiple of the size of a page for the same.

        Raises:
            DiskFull, StorageFailed: The disk refuses.
        """
        with storage_errors(self._path):
            if not self._direct or not self._write_directly(data, offset):
                self._write_to_memory(data, offset)

    def write_rest(self, data: bytes | bytearray | memoryview, *, offset: int) -> None:
        """Write the last piece, of any size and in any memory, when all others are written.

        Raises:
            DiskFull, StorageFailed: The disk refuses.
        """
        with storage_errors(self._path):
            if self._direct:
                self._stay_in_memory()
            write_all_at(self._descriptor, data, offset=offset)

    def close(self) -> None:
        """Close the file; on some file systems only this tells that there was no room.

        Raises:
            DiskFull, StorageFailed: The disk refuses; the file is closed.
        """
        with storage_errors(self._path):
            os.close(self._descriptor)

    def _write_directly(self, data: memoryview, offset: int) -> bool:
        """Return False if it cannot be done here, so that it is not tried again."""
        try:
            write_all_at(self._descriptor, data, offset=offset)
        except OSError as err:
            if err.errno != errno.EINVAL:
                raise
            # the file system, or a disk with larger blocks than pages
            self._stay_in_memory()
            return False
        return True

    def _write_to_memory(self, data: memoryview, offset: int) -> None:
        # one at a time: the system would let the others spin, on a processor that can do something else meanwhile
        with self._writing:
            write_all_at(self._descriptor, data, offset=offset)
        if self._is_due(len(data)):
            os.fdatasync(self._descriptor)

    def _is_due(self, size_bytes: int) -> bool:
        with self._counting:
            self._unsynced_bytes += size_bytes
            if self._unsynced_bytes < FLUSH_BYTES:
                return False
            self._unsynced_bytes = 0
            return True

    def _pass_memory(self) -> bool:
        if not _DIRECT:
            return False
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, _DIRECT)
        except OSError:
            return False  # a file system that is memory itself
        return True

    def _reserve(self, size_bytes: int) -> None:
        try:
            os.posix_fallocate(self._descriptor, 0, size_bytes)
        except OSError as err:
            if err.errno not in {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}:
                raise  # what cannot be reserved is found out when it is written

    def _stay_in_memory(self) -> None:
        self._direct = False
        fcntl.fcntl(self._descriptor, fcntl.F_SETFL, 0)
