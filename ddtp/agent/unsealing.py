"""Use case: open received chunks in quarantine, check every file, and release them by rename (spec/10 steps 13 and 14).

Blocking; called in worker threads. Nothing leaves quarantine before `check_content` has passed; a
failure leaves nothing.
"""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import final

import trio

from ddtp.agent.checking import finish_hash
from ddtp.agent.inbox import FIELDS_FILE, FILES, OPENINGS_FILE, encode_fields
from ddtp.agent.workers import in_order
from ddtp.crypto.sm3 import DIGEST_SIZE
from ddtp.crypto.sm4 import Leaves
from ddtp.errors import AuthenticationFailed
from ddtp.protocol.chunks import ChunkCipher, SealHeader, run_chunks, sealed_leaves
from ddtp.protocol.codec import Buffer
from ddtp.protocol.fingerprint import FileHasher
from ddtp.protocol.layout import Layout, read_layout
from ddtp.protocol.leaves import FileHead, chunk_heads
from ddtp.protocol.openings import FileOpening, Openings, parse_openings
from ddtp.store.blobs import SealedBlob
from ddtp.store.contents import ContentReader
from ddtp.store.durable import make_directory, storage_errors, sync_directory, write_all_at, write_file
from ddtp.verify.steps import Step, checking
from ddtp.verify.verified import VerifiedEvidence, VerifiedPackage
from ddtp.verify.verifier import check_content

FLUSH_BYTES = 32 << 20
"""Plain bytes written between two syncs: the last one then has little left to do, and memory is not full of them."""


@final
class Unsealer:
    """Opens one received content.

    Args:
        blob: The sealed chunks.
        header: Their sizes.
        cipher: Opens them.
        quarantine: Directory on the disk of the inbox, because files are released by rename; emptied first.
    """

    def __init__(self, blob: SealedBlob, header: SealHeader, cipher: ChunkCipher, *, quarantine: Path) -> None:
        self._header = header
        self._blob = blob
        self._cipher = cipher
        self._content = ContentReader(self._open_run, chunk_size=header.chunk_size, content_bytes=header.content_bytes)
        self._quarantine = quarantine

    def release(self, evidence: VerifiedEvidence, destination: Path) -> VerifiedPackage:
        """Open and check everything, then give it its place.

        Args:
            evidence: The verified evidence of this transfer.
            destination: Directory that appears with all files, or not at all. If it is there, an earlier process has
                released these files and ended before it could say so; they are replaced.

        Raises:
            VerificationFailed: Step 13 or 14 failed; quarantine is empty again.
            DiskFull, StorageFailed: The disk refuses; quarantine is empty again.
        """
        shutil.rmtree(self._quarantine, ignore_errors=True)
        make_directory(self._quarantine / FILES)
        try:
            with checking(Step.OPENINGS):
                encoded = self._content.read(self._header.openings_offset, self._header.openings_bytes)
                openings = parse_openings(encoded, evidence.disclosure)
                layout = read_layout(self._header, openings)
            with checking(Step.CONTENT):
                heads = list(self._open_files(openings, layout))
            package = check_content(evidence, openings, files={head.path: head for head in heads})
            write_file(self._quarantine / OPENINGS_FILE, openings.encode())
            if openings.fields:
                write_file(self._quarantine / FIELDS_FILE, encode_fields(openings))
            self._move(destination)
        finally:
            shutil.rmtree(self._quarantine, ignore_errors=True)
        return package

    def _open_run(self, first: int, count: int, plain: Leaves | None = None) -> bytes:
        """Open neighbouring chunks; damage of our disk is told apart from chunks that their sender did not seal so.

        Raises:
            StoreDamaged: The disk gives other bytes than were acknowledged.
            AuthenticationFailed: The chunks are not what the key opens.
        """
        sealed = self._blob.read(first, count)
        try:
            return self._cipher.open_run(first, sealed, count=count, plain=plain)
        except AuthenticationFailed:
            size = self._header.chunk_size
            self._blob.check(first, sealed_leaves(first, sealed, count=count, chunk_size=size))
            raise

    def _open_files(self, openings: Openings, layout: Layout) -> Iterator[FileHead]:
        """Open several small files at a time, because each waits for the disk, or several runs of a large one."""
        size = self._header.chunk_size
        parts = list(enumerate(openings.files))
        small = [part for part in parts if part[1].head.size_bytes < size]
        yield from in_order(
            lambda part: self._open_file(part[1], layout, part[0]), small, between=trio.from_thread.check_cancelled
        )
        for number, opening in parts:
            if opening.head.size_bytes >= size:
                yield self._open_file(opening, layout, number)

    def _open_file(self, opening: FileOpening, layout: Layout, part: int) -> FileHead:
        head = opening.head
        hasher = FileHasher(head.path, head.media_type, chunk_size=head.chunk_size, file_key=opening.file_key)
        target = self._quarantine / FILES / head.path
        make_directory(target.parent)
        with storage_errors(target):
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            (start, whole), (tail, rest) = layout.file_extents(part)
            self._open_chunks(opening, start, hasher, _Target(descriptor, target))
            if rest:
                data = self._content.read(tail, rest)
                hasher.add(data)
                with storage_errors(target):
                    write_all_at(descriptor, data, offset=whole)
            with storage_errors(target):
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return finish_hash(hasher, target, expected=head)

    def _open_chunks(self, opening: FileOpening, start: int, hasher: FileHasher, target: "_Target") -> None:
        """Open, hash and write the whole chunks of one file, several runs at a time.

        Args:
            opening: The file.
            start: Where its chunks start in the content.
            hasher: Given their leaves, in order.
            target: Where its bytes go.
        """
        size = self._header.chunk_size
        first, total, step = start // size, opening.head.size_bytes // size, run_chunks(size)

        def open_run(index: int) -> bytearray:
            count = min(step, total - index)
            heads = chunk_heads(opening.file_key, index, size_bytes=count * size, chunk_size=size)
            leaves = Leaves(heads, bytearray(count * DIGEST_SIZE))
            target.write(self._open_run(first + index, count, leaves), offset=index * size)
            return leaves.digests

        for digests in in_order(open_run, range(0, total, step), between=trio.from_thread.check_cancelled):
            hasher.append(digests, size_bytes=len(digests) // DIGEST_SIZE * size)

    def _move(self, destination: Path) -> None:
        make_directory(destination.parent)
        # only a process that crashed between here and the receipt leaves a destination; nobody has relied on it
        shutil.rmtree(destination, ignore_errors=True)
        for folder, _folders, _files in os.walk(self._quarantine):
            sync_directory(Path(folder))
        with storage_errors(destination):
            self._quarantine.rename(destination)
        # The files are durable under their place; a crash before this line leaves them in quarantine, which is
        # emptied at the next attempt.
        sync_directory(destination.parent)


@final
class _Target:
    """A file that several threads write, and that is on its way to the disk meanwhile."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path
        self._writing = threading.Lock()
        self._counting = threading.Lock()
        self._unsynced_bytes = 0

    def write(self, data: Buffer, *, offset: int) -> None:
        with storage_errors(self._path):
            # one at a time: the system would let the others spin, on a processor that can open chunks meanwhile
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
