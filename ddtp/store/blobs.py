"""Sealed chunks as they arrive, durable before they are acknowledged (spec/07 s.6).

A blob is two files: `<name>.sealed`, the sealed chunks one after the other, and `<name>.journal`, the hash of each
sealed chunk that is safely on the disk. The journal is written after the data is synced, so its length says exactly how
many chunks survive a crash, and the ciphertext root never needs the data to be read again. Chunks come in order.
Methods block; the agent calls them in worker threads, one at a time per blob.
"""

import os
from pathlib import Path
from typing import final

from ddtp.errors import ProtocolViolation, StorageFailed, StoreDamaged
from ddtp.protocol.chunks import (
    SealHeader,
    chunk_count,
    sealed_bytes,
    sealed_leaf,
    sealed_offset,
    sealed_size,
)
from ddtp.protocol.merkle import RootBuilder
from ddtp.store.durable import make_directory, storage_errors, sync_directory

SYNC_BYTES = 8 << 20
"""Bytes written between two syncs: small enough that a crash costs little, large enough that syncing costs little."""

_LEAF_BYTES = 32


@final
class SealedBlob:
    """The sealed chunks of one transfer on the disk.

    Args:
        directory: Where the two files lie; made if missing.
        name: Their name without suffix.
        header: Sizes of the sealed content.

    Raises:
        DiskFull: There is no room for the whole content, which is reserved at once.
        StoreDamaged: The journal of an earlier session is broken.
        StorageFailed: The disk refuses.
    """

    def __init__(self, directory: Path, name: str, *, header: SealHeader) -> None:
        self.path = make_directory(directory) / f"{name}.sealed"
        self._journal_path = directory / f"{name}.journal"
        self._header = header
        self._count = chunk_count(header.content_bytes, header.chunk_size)
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._tree = RootBuilder()
        with storage_errors(self.path):
            self._data = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                self._journal = os.open(self._journal_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError:
                os.close(self._data)
                raise
        try:
            self._reserve()
            self._recover()
        except BaseException:
            self.close()
            raise

    def _reserve(self) -> None:
        total = sealed_bytes(self._header)
        with storage_errors(self.path):
            if os.fstat(self._data).st_size < total:
                os.posix_fallocate(self._data, 0, total)
                os.fsync(self._data)
        sync_directory(self.path.parent)

    def _recover(self) -> None:
        with storage_errors(self._journal_path):
            size = os.fstat(self._journal).st_size
            # a torn last hash belongs to a chunk that was never acknowledged
            os.ftruncate(self._journal, size - size % _LEAF_BYTES)
            hashes = os.pread(self._journal, size - size % _LEAF_BYTES, 0)
        if len(hashes) > self._count * _LEAF_BYTES:
            raise StoreDamaged(f"expected at most {self._count} chunks in {self._journal_path.name}, found more")
        for start in range(0, len(hashes), _LEAF_BYTES):
            self._tree.add(hashes[start : start + _LEAF_BYTES])

    @property
    def durable_chunks(self) -> int:
        """Number of chunks, from the first, that survive a crash now."""
        return self._tree.size - len(self._pending)

    def write(self, index: int, sealed: bytes) -> int | None:
        """Store the next chunk.

        Args:
            index: Position of the chunk; must follow the last one.
            sealed: Ciphertext and tag.

        Returns:
            The number of durable chunks if it grew, else None.

        Raises:
            ProtocolViolation: Another chunk, or another size, was expected.
            DiskFull, StorageFailed: The disk refuses; durable chunks stay.
        """
        if index != self._tree.size or index >= self._count:
            raise ProtocolViolation(f"expected chunk {self._tree.size} of {self._count}, found chunk {index}")
        if len(sealed) != sealed_size(index, self._header):
            raise ProtocolViolation(f"expected {sealed_size(index, self._header)} bytes in chunk {index}")
        offset = sealed_offset(index, self._header.chunk_size)
        with storage_errors(self.path):
            if os.pwrite(self._data, sealed, offset) != len(sealed):
                raise StorageFailed(f"the disk took only a part of chunk {index}")
        leaf = sealed_leaf(index, sealed)
        self._tree.add(leaf)
        self._pending.append(leaf)
        self._pending_bytes += len(sealed)
        if self._pending_bytes < SYNC_BYTES and self._tree.size < self._count:
            return None
        return self.sync()

    def sync(self) -> int:
        """Make all chunks so far durable; return how many there are.

        Raises:
            DiskFull, StorageFailed: The disk refuses.
        """
        with storage_errors(self.path):
            os.fdatasync(self._data)
            # The data is durable; if we crash now, the journal does not know it, and the sender sends it again.
            os.pwrite(self._journal, b"".join(self._pending), self.durable_chunks * _LEAF_BYTES)
            os.fdatasync(self._journal)
            # Journal and data agree: these chunks may be acknowledged.
        self._pending.clear()
        self._pending_bytes = 0
        return self._tree.size

    def finish(self) -> tuple[int, bytes]:
        """Return the number of chunks and the root over them, all durable.

        Raises:
            ProtocolViolation: Chunks are missing.
        """
        if self._tree.size != self._count:
            raise ProtocolViolation(f"expected {self._count} chunks before the end, found {self._tree.size}")
        self.sync()
        return self._count, self._tree.root()

    def read(self, index: int) -> bytes:
        """Return one stored sealed chunk.

        Raises:
            StoreDamaged: The file is shorter than it was.
        """
        size = sealed_size(index, self._header)
        with storage_errors(self.path):
            data = os.pread(self._data, size, sealed_offset(index, self._header.chunk_size))
        if len(data) != size:
            raise StoreDamaged(f"expected {size} bytes of chunk {index} in {self.path.name}, found {len(data)}")
        return data

    def close(self) -> None:
        """Close the files; what is not synced may be lost."""
        for descriptor in (self._data, getattr(self, "_journal", -1)):
            if descriptor >= 0:
                os.close(descriptor)
        self._data = self._journal = -1

    def discard(self) -> None:
        """Close and delete the blob."""
        self.close()
        with storage_errors(self.path):
            self.path.unlink(missing_ok=True)
            self._journal_path.unlink(missing_ok=True)
