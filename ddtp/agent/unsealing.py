"""Use case: open received chunks in quarantine, check every file, and release them by rename (spec/10 steps 13 and 14).

Blocking; called in worker threads. Nothing leaves quarantine before `check_content` has passed; a
failure leaves nothing.
"""

import os
import shutil
from pathlib import Path
from typing import final

import trio

from ddtp.agent.checking import finish_hash
from ddtp.agent.inbox import FIELDS_FILE, FILES, OPENINGS_FILE, encode_fields
from ddtp.protocol.chunks import ChunkCipher, SealHeader
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
        self._content = ContentReader(lambda index: cipher.open(index, blob.read(index)), chunk_size=header.chunk_size)
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

    def _open_file(self, opening: FileOpening, layout: Layout, part: int) -> FileHead:
        head = opening.head
        hasher = FileHasher(head.path, head.media_type, chunk_size=head.chunk_size, file_key=opening.file_key)
        target = self._quarantine / FILES / head.path
        make_directory(target.parent)
        with storage_errors(target):
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            for offset in range(0, head.size_bytes, head.chunk_size):
                trio.from_thread.check_cancelled()
                length = min(head.chunk_size, head.size_bytes - offset)
                chunk = self._content.read(layout.locate(part, offset), length)
                hasher.add(chunk)
                with storage_errors(target):
                    write_all(descriptor, chunk)
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
