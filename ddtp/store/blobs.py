"""Sealed chunks as they arrive, durable before they are acknowledged (spec/07 s.4).

A blob is two files: `<name>.sealed`, the sealed chunks one after the other, and `<name>.journal`, the hash of each
sealed chunk that is safely on the disk. The journal is written after the data is synced, so its length says exactly how
many chunks survive a crash, and the ciphertext root never needs the data to be read again. Chunks come in order.
Methods block; the agent calls them in worker threads, one at a time per blob.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import final

from ddtp.errors import NotFound, ProtocolViolation, StorageFailed, StoreDamaged
from ddtp.protocol.chunks import (
    RUN_CHUNKS,
    SealHeader,
    chunk_count,
    sealed_bytes,
    sealed_leaf,
    sealed_leaves,
    sealed_offset,
    sealed_range,
    sealed_size,
)
from ddtp.protocol.codec import Buffer
from ddtp.protocol.merkle import RootBuilder
from ddtp.store.durable import PRIVATE_FILE_MODE, make_directory, storage_errors, sync_directory, write_all_at

SYNC_BYTES = 8 << 20
"""Bytes written between two syncs: small enough that a crash costs little, large enough that syncing costs little."""

_SUFFIXES = (".sealed", ".journal")
_LEAF_BYTES = 32
_LEAVES_AT_ONCE = 1 << 15
"""Hashes of the journal that are read at once: 1 MiB, whatever the size of the blob."""


@final
class SealedBlob:
    """The sealed chunks of one transfer on the disk.

    Args:
        directory: Where the two files lie; made if missing.
        name: Their name without suffix.
        header: Sizes of the sealed content.

    Raises:
        DiskFull: There is no room for the whole content, which is reserved at once; nothing is left behind.
        StoreDamaged: The files of an earlier session do not fit each other or the header.
        StorageFailed: The disk refuses.
    """

    def __init__(self, directory: Path, name: str, *, header: SealHeader) -> None:
        self.path, self._journal_path = _paths(make_directory(directory), name)
        self._header = header
        self._count = chunk_count(header.content_bytes, header.chunk_size)
        self._unhashed: list[Buffer] = []
        self._pending = bytearray()
        self._pending_bytes = 0
        self._tree = RootBuilder()
        self._sync_failed = False
        self._data = self._journal = -1
        try:
            self._data, self._journal = _open(self.path), _open(self._journal_path)
            self._recover(self._reserve())
        except BaseException:
            self.close()
            raise

    def _reserve(self) -> int:
        """Check the sizes of both files, reserve room for a new blob; return how many hashes are in the journal."""
        total = sealed_bytes(self._header)
        with storage_errors(self.path):
            found = os.fstat(self._data).st_size
            leaves = os.fstat(self._journal).st_size // _LEAF_BYTES
        if leaves > self._count:
            raise self._damaged(f"expected at most {self._count} chunks in {self._journal_path.name}, found {leaves}")
        if found > total or (leaves and found < total):
            raise self._damaged(f"expected {total} bytes in {self.path.name}, found {found}")
        if found < total:
            try:
                with storage_errors(self.path):
                    os.posix_fallocate(self._data, 0, total)
                    os.fsync(self._data)
            except BaseException:
                self.discard()
                raise
        sync_directory(self.path.parent)
        # Both names and all the room are durable; a crash before this line leaves a blob without chunks.
        return leaves

    def _recover(self, leaves: int) -> None:
        # The last batch may have been written in any order when the power went. What came before it was synced.
        batch = max(leaves - SYNC_BYTES // self._header.chunk_size, 0)
        kept = batch
        for leaf in self._journaled(batch, leaves):
            if sealed_leaf(kept, self._pread(kept, 1)) != leaf:
                break
            kept += 1
        for leaf in self._journaled(0, kept):
            self._tree.add(leaf)
        with storage_errors(self._journal_path):
            # written once more, because a process that died before its sync left them in memory only
            write_all_at(self._journal, b"".join(self._journaled(batch, kept)), offset=batch * _LEAF_BYTES)
            os.ftruncate(self._journal, kept * _LEAF_BYTES)
            os.fsync(self._journal)
            # Journal and data agree; what followed was never acknowledged, or is lost, and the sender sends it again.

    @property
    def durable_chunks(self) -> int:
        """Number of chunks, from the first, that survive a crash now."""
        return self._tree.size - len(self._pending) // _LEAF_BYTES

    @property
    def _written(self) -> int:
        return self._tree.size + len(self._unhashed)

    def write(self, index: int, sealed: Buffer) -> int | None:
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
        if index != self._written or index >= self._count:
            raise ProtocolViolation(f"expected chunk {self._written} of {self._count}, found chunk {index}")
        if len(sealed) != sealed_size(index, self._header):
            raise ProtocolViolation(f"expected {sealed_size(index, self._header)} bytes in chunk {index}")
        with storage_errors(self.path):
            write_all_at(self._data, sealed, offset=sealed_offset(index, self._header.chunk_size))
        self._unhashed.append(sealed)
        self._pending_bytes += len(sealed)
        if len(self._unhashed) == RUN_CHUNKS:
            self._hash()
        if self._pending_bytes < SYNC_BYTES and self._written < self._count:
            return None
        return self.sync()

    def _hash(self) -> None:
        """Hash the chunks that wait for it, side by side."""
        count = len(self._unhashed)
        if count:
            data = b"".join(self._unhashed)
            leaves = sealed_leaves(self._tree.size, data, count=count, chunk_size=self._header.chunk_size)
            self._tree.extend(leaves)
            self._pending += leaves
            self._unhashed.clear()

    def sync(self) -> int:
        """Make all chunks so far durable; return how many there are.

        Raises:
            DiskFull, StorageFailed: The disk refuses, or did so before: the blob must be opened again.
        """
        if self._sync_failed:
            # a second fsync succeeds although the system may have thrown away what the first could not write
            raise StorageFailed(f"the disk refused {self.path.name} before", hint="send it again; it is resumed")
        self._hash()
        if not self._pending:
            return self._tree.size
        self._sync_failed = True
        with storage_errors(self.path):
            os.fdatasync(self._data)
            # The data is durable; if we crash now, the journal does not know it, and the sender sends it again.
            write_all_at(self._journal, bytes(self._pending), offset=self.durable_chunks * _LEAF_BYTES)
            os.fdatasync(self._journal)
            # Journal and data agree: these chunks may be acknowledged.
        self._sync_failed = False
        self._pending.clear()
        self._pending_bytes = 0
        return self._tree.size

    def finish(self) -> tuple[int, bytes]:
        """Return the number of chunks and the root over them, all durable.

        Raises:
            ProtocolViolation: Chunks are missing.
            DiskFull, StorageFailed: The disk refuses; durable chunks stay.
        """
        if self._written != self._count:
            raise ProtocolViolation(f"expected {self._count} chunks before the end, found {self._written}")
        self.sync()
        return self._count, self._tree.root()

    def read(self, first: int, count: int) -> bytes:
        """Return neighbouring durable sealed chunks; `check` tells whether they are those that were acknowledged.

        Raises:
            StoreDamaged: The file is shorter than it was, or the journal does not have all of these chunks.
            StorageFailed: The disk refuses.
        """
        if first + count > self.durable_chunks:
            raise self._damaged(f"expected {first + count} durable chunks in {self.path.name}, found fewer")
        return self._pread(first, count)

    def _pread(self, first: int, count: int) -> bytes:
        start, size = sealed_range(first, count, self._header)
        with storage_errors(self.path):
            data = os.pread(self._data, size, start)
        if len(data) != size:
            raise self._damaged(f"expected {size} bytes from chunk {first} in {self.path.name}, found {len(data)}")
        return data

    def check(self, first: int, leaves: bytes) -> None:
        """Check the leaves of chunks that were read.

        Raises:
            StoreDamaged: The disk gave other bytes than were written, which is not the sender's fault.
        """
        count = len(leaves) // _LEAF_BYTES
        if leaves != b"".join(self._journaled(first, first + count)):
            raise self._damaged(
                f"expected {count} chunks from {first} in {self.path.name} as they were written, found other bytes"
            )

    def close(self) -> None:
        """Close the files; what is not synced may be lost."""
        descriptors, self._data, self._journal = (self._data, self._journal), -1, -1
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)

    def restart(self) -> None:
        """Forget all chunks, but keep their room, and close; who opens the blob again starts with the first chunk.

        Raises:
            StorageFailed: The disk refuses.
        """
        try:
            with storage_errors(self._journal_path):
                os.ftruncate(self._journal, 0)
                os.fsync(self._journal)
                # No chunk is durable any more; a crash before this line leaves the chunks as they were.
        finally:
            self.close()

    def discard(self) -> None:
        """Close and delete the blob.

        Raises:
            StorageFailed: The disk refuses.
        """
        self.close()
        delete_blob(self.path.parent, self.path.stem)

    def _journaled(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the hashes of some chunks from the journal, as many as it holds."""
        for first in range(start, stop, _LEAVES_AT_ONCE):
            with storage_errors(self._journal_path):
                length = min(stop - first, _LEAVES_AT_ONCE) * _LEAF_BYTES
                hashes = os.pread(self._journal, length, first * _LEAF_BYTES)
            for position in range(0, len(hashes), _LEAF_BYTES):
                yield hashes[position : position + _LEAF_BYTES]

    def _damaged(self, message: str) -> StoreDamaged:
        return StoreDamaged(message, hint=f"delete {self.path} and its journal; the sender sends it again")


def blob_names(directory: Path) -> frozenset[str]:
    """Return the names of the blobs in a directory, also of those that lost one of their files."""
    with storage_errors(directory):
        return frozenset(path.stem for suffix in _SUFFIXES for path in directory.glob(f"*{suffix}"))


def stored_bytes(directory: Path, name: str) -> int:
    """Return how much room the sealed chunks of a blob take; none if it is gone."""
    path, _journal = _paths(directory, name)
    try:
        with storage_errors(path):
            return path.stat().st_size
    except NotFound:
        return 0


def journaled_chunks(directory: Path, name: str) -> int:
    """Return how many chunks of a blob, from the first, have been kept; none if it is gone. Another may be writing."""
    _path, journal = _paths(directory, name)
    try:
        with storage_errors(journal):
            return journal.stat().st_size // _LEAF_BYTES
    except NotFound:
        return 0


def delete_blob(directory: Path, name: str) -> None:
    """Delete a blob that nobody has open; one that is gone already is no error.

    Raises:
        StorageFailed: The disk refuses.
    """
    path, journal = _paths(directory, name)
    with storage_errors(path):
        # a journal without data would be damage, data without a journal is a new blob
        journal.unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _paths(directory: Path, name: str) -> tuple[Path, Path]:
    sealed, journal = (directory / f"{name}{suffix}" for suffix in _SUFFIXES)
    return sealed, journal


def _open(path: Path) -> int:
    with storage_errors(path):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE_MODE)
