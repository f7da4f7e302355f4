"""Sealed chunks as they arrive, durable before they are acknowledged (spec/07 s.4).

A blob is two files: `<name>.sealed`, the sealed chunks one after the other, and `<name>.journal`, the leaf of each
stored chunk. The journal is written after the data, so its length says which chunks a process had stored when it died;
what the power took with it is found by comparing the last chunks with their leaves. The ciphertext root never needs the
data to be read again. Chunks come in order. Methods block; the agent calls them in worker threads, one at a time per
blob but for `sync`.
"""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import final

from ddtp.errors import NotFound, ProtocolViolation, StorageFailed, StoreDamaged
from ddtp.protocol.chunks import (
    SealHeader,
    chunk_count,
    run_chunks,
    sealed_bytes,
    sealed_leaves,
    sealed_range,
)
from ddtp.protocol.codec import Buffer
from ddtp.protocol.merkle import RootBuilder
from ddtp.store.durable import PRIVATE_FILE_MODE, make_directory, storage_errors, sync_directory, write_all_at

UNSYNCED_BYTES = 64 << 20
"""Content that may be stored and not durable: what a power cut costs, and what is read again when a blob is opened."""

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
        synced_chunks: So many, from the first, were durable when this process closed the blob the last time; they are
            not looked at again.

    Raises:
        DiskFull: There is no room for the whole content, which is reserved at once; nothing is left behind.
        StoreDamaged: The files of an earlier session do not fit each other or the header.
        StorageFailed: The disk refuses.
    """

    def __init__(self, directory: Path, name: str, *, header: SealHeader, synced_chunks: int = 0) -> None:
        self.path, self._journal_path = _paths(make_directory(directory), name)
        self._header = header
        self._count = chunk_count(header.content_bytes, header.chunk_size)
        self._durable = 0
        self._tree = RootBuilder()
        self._syncing = threading.Lock()
        self._disk_refused = False
        self._data = self._journal = -1
        try:
            self._data, self._journal = _open(self.path), _open(self._journal_path)
            self._recover(self._reserve(), synced_chunks)
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

    def _recover(self, leaves: int, synced_chunks: int) -> None:
        # What came before the last batch was synced; of that batch the power may have taken any part.
        step = run_chunks(self._header.chunk_size)
        batch = max(leaves - UNSYNCED_BYTES // self._header.chunk_size - step, min(synced_chunks, leaves), 0)
        kept = batch
        while kept < leaves:
            count = min(step, leaves - kept)
            same = self._restore(kept, count)
            kept += same
            if same < count:
                break
        for part in self._journaled(0, kept):
            self._tree.extend(part)
        with storage_errors(self._journal_path):
            os.fdatasync(self._data)
            # written once more, because a process that died before its sync left them in memory only
            write_all_at(self._journal, b"".join(self._journaled(batch, kept)), offset=batch * _LEAF_BYTES)
            os.ftruncate(self._journal, kept * _LEAF_BYTES)
            os.fsync(self._journal)
            # Journal and data agree; what followed was never acknowledged, or is lost, and the sender sends it again.
        self._durable = kept

    def _restore(self, first: int, count: int) -> int:
        """Return how many of some neighbouring chunks, from the first, are those of the journal; write these again.

        They may be in memory only. A sync that failed before, in a process that died since, has left them there as if
        they had been written; only what is written anew is certain to be part of the next sync.
        """
        data = self._pread(first, count)
        found = sealed_leaves(first, data, count=count, chunk_size=self._header.chunk_size)
        expected = b"".join(self._journaled(first, first + count))
        ends = range(_LEAF_BYTES, len(found) + 1, _LEAF_BYTES)
        same = next((number for number, end in enumerate(ends) if found[:end] != expected[:end]), count)
        if same:
            offset, size = sealed_range(first, same, self._header)
            with storage_errors(self.path):
                write_all_at(self._data, memoryview(data)[:size], offset=offset)
        return same

    @property
    def durable_chunks(self) -> int:
        """Number of chunks, from the first, that survive a crash of the machine now."""
        return self._durable

    def write(self, first: int, sealed: Buffer, leaves: Buffer) -> None:
        """Store the next chunks; `sync` makes them durable, and is done here when it falls too far behind.

        Args:
            first: Position of the first one; must follow the last one stored.
            sealed: Sealed chunks that lie one after the other.
            leaves: Their leaves in the ciphertext tree, 32 bytes each; at least one.

        Raises:
            ProtocolViolation: Other chunks, or another size, were expected.
            DiskFull, StorageFailed: The disk refuses, or did so at a sync; durable chunks stay.
        """
        self._check_disk()
        count = len(leaves) // _LEAF_BYTES
        if first != self._tree.size or first + count > self._count:
            raise ProtocolViolation(f"expected chunk {self._tree.size} of {self._count}, found chunk {first}")
        offset, size = sealed_range(first, count, self._header)
        if len(sealed) != size:
            raise ProtocolViolation(f"expected {size} bytes in {count} chunks from {first}, found {len(sealed)}")
        with storage_errors(self.path):
            write_all_at(self._data, sealed, offset=offset)
            # in this order: whoever reads the journal after a crash of this process finds these chunks
            write_all_at(self._journal, leaves, offset=first * _LEAF_BYTES)
        self._tree.extend(leaves)
        if (self._tree.size - self._durable) * self._header.chunk_size >= UNSYNCED_BYTES:
            self.sync()

    def sync(self) -> int:
        """Make all chunks so far durable; return how many there are. Another thread may store more meanwhile.

        Raises:
            DiskFull, StorageFailed: The disk refuses, or did so before: the blob must be opened again.
        """
        with self._syncing:
            self._check_disk()
            stored = self._tree.size
            if stored == self._durable:
                return stored
            with storage_errors(self.path):
                try:
                    os.fdatasync(self._data)
                    os.fdatasync(self._journal)
                    # These chunks may be acknowledged. If the power went before, the journal may name chunks that the
                    # disk does not have: whoever opens the blob looks at the last ones.
                except OSError:
                    self._disk_refused = True
                    # memory may still hold what never reached the disk: whoever opens the blob again writes it anew
                    raise
            self._durable = stored
            return stored

    def _check_disk(self) -> None:
        if self._disk_refused:
            # a second fsync succeeds although the system may have thrown away what the first could not write
            raise StorageFailed(f"the disk refused {self.path.name} before", hint="send it again; it is resumed")

    def finish(self) -> tuple[int, bytes]:
        """Return the number of chunks and the root over them, all durable.

        Raises:
            ProtocolViolation: Chunks are missing.
            DiskFull, StorageFailed: The disk refuses; durable chunks stay.
        """
        if self._tree.size != self._count:
            raise ProtocolViolation(f"expected {self._count} chunks before the end, found {self._tree.size}")
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
        """Close the files; what is not synced is lost if the power goes."""
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
        self.unlink()

    def unlink(self) -> None:
        """Delete the names of the blob; its room is free when it is closed.

        Raises:
            StorageFailed: The disk refuses.
        """
        delete_blob(self.path.parent, self.path.stem)

    def _journaled(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the hashes of some chunks from the journal, as many as it holds, many at a time."""
        for first in range(start, stop, _LEAVES_AT_ONCE):
            with storage_errors(self._journal_path):
                yield os.pread(self._journal, min(stop - first, _LEAVES_AT_ONCE) * _LEAF_BYTES, first * _LEAF_BYTES)

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
