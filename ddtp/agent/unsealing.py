"""Use case: open received chunks in quarantine, check every file, and release them by rename (spec/10 steps 13 and 14).

Blocking; called in worker threads. Nothing leaves quarantine before `check_content` has passed; a
failure leaves nothing.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import final

import trio

from ddtp.agent.checking import finish_hash
from ddtp.agent.inbox import FIELDS_FILE, FILES, OPENINGS_FILE, encode_fields
from ddtp.errors import AuthenticationFailed
from ddtp.protocol.chunks import RUN_CHUNKS, ChunkCipher, SealHeader, sealed_leaves
from ddtp.protocol.codec import Buffer
from ddtp.protocol.fingerprint import FileHasher
from ddtp.protocol.layout import Layout, read_layout
from ddtp.protocol.leaves import FileHead
from ddtp.protocol.openings import FileOpening, parse_openings
from ddtp.store.blobs import SealedBlob
from ddtp.store.contents import ContentReader
from ddtp.store.durable import make_directory, storage_errors, sync_directory, write_all, write_file
from ddtp.verify.steps import Step, checking
from ddtp.verify.verified import VerifiedEvidence, VerifiedPackage
from ddtp.verify.verifier import check_content


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
                files = {
                    opening.head.path: self._open_file(opening, layout, part)
                    for part, opening in enumerate(openings.files)
                }
            package = check_content(evidence, openings, files=files)
            write_file(self._quarantine / OPENINGS_FILE, openings.encode())
            if openings.fields:
                write_file(self._quarantine / FIELDS_FILE, encode_fields(openings))
            self._move(destination)
        finally:
            shutil.rmtree(self._quarantine, ignore_errors=True)
        return package

    def _open_run(self, first: int, count: int) -> Buffer:
        """Open neighbouring chunks; damage of our disk is told apart from chunks that their sender did not seal so.

        Raises:
            StoreDamaged: The disk gives other bytes than were acknowledged.
            AuthenticationFailed: The chunks are not what the key opens.
        """
        sealed = self._blob.read(first, count)
        try:
            opened = self._cipher.open_run(first, sealed, count=count)
        except AuthenticationFailed:
            size = self._header.chunk_size
            self._blob.check(first, sealed_leaves(first, sealed, count=count, chunk_size=size))
            raise
        self._blob.check(first, opened.leaves)
        return opened.content

    def _open_file(self, opening: FileOpening, layout: Layout, part: int) -> FileHead:
        head = opening.head
        hasher = FileHasher(head.path, head.media_type, chunk_size=head.chunk_size, file_key=opening.file_key)
        target = self._quarantine / FILES / head.path
        make_directory(target.parent)
        with storage_errors(target):
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            for offset, length in _runs(head):
                trio.from_thread.check_cancelled()
                data = self._content.read(layout.locate(part, offset), length)
                hasher.add(data)
                with storage_errors(target):
                    write_all(descriptor, data)
            with storage_errors(target):
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return finish_hash(hasher, target, expected=head)

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


def _runs(head: FileHead) -> Iterator[tuple[int, int]]:
    """Yield offset and length of what is opened at a time: whole chunks together, the tail by itself.

    A tail lies elsewhere in the content than the chunks before it (spec/03 s.5).
    """
    whole = head.size_bytes - head.size_bytes % head.chunk_size
    for offset in range(0, whole, RUN_CHUNKS * head.chunk_size):
        yield offset, min(RUN_CHUNKS * head.chunk_size, whole - offset)
    if whole < head.size_bytes:
        yield whole, head.size_bytes - whole
