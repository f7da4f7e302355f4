"""Use case: open received chunks in quarantine, check every file, and release them by rename (spec/10 steps 13 and 14).

Blocking; called in worker threads. Nothing leaves quarantine before `verify_files` has passed, and a failure leaves
nothing.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from queue import SimpleQueue
from typing import Final, final

import trio

from ddtp.agent.checking import finish_hash
from ddtp.agent.inbox import FIELDS_FILE, FILES, OPENINGS_FILE, encode_fields
from ddtp.agent.workers import THREADS, in_order
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
from ddtp.store.durable import (
    PRIVATE_DIRECTORY_MODE,
    delete_tree,
    make_directory,
    storage_errors,
    sync_directory,
    sync_file,
    write_file,
)
from ddtp.store.new_file import NewFile, direct_buffer
from ddtp.verify.steps import Step, checking
from ddtp.verify.verified import VerifiedEvidence, VerifiedPackage
from ddtp.verify.verifier import verify_files, verify_openings

SYNCED_TOGETHER: Final = 1024
"""Files that are written before they are synced, if they are small: a disk does that in little more time than it takes
for one."""
UNSYNCED_BYTES: Final = 64 << 20
"""Bytes in them at most, unless one file alone has more: what is in memory only, and what the last sync has to do."""


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
            DiskFull: There is no room; quarantine is empty again.
            StorageFailed: The disk refuses, maybe to delete what is in quarantine; then nothing may be signed.
        """
        delete_tree(self._quarantine)
        make_directory(self._quarantine / FILES)
        try:
            with checking(Step.OPENINGS):
                encoded = self._content.read(self._header.openings_offset, self._header.openings_bytes)
                openings = parse_openings(encoded, evidence.disclosure)
                layout = read_layout(self._header, openings)
            # before anything is made of what they say: names and sizes are then those that an issuer has signed
            verified = verify_openings(evidence, openings)
            with checking(Step.CONTENT):
                heads = list(self._open_files(openings, layout))
            package = verify_files(verified, {head.path: head for head in heads})
            write_file(self._quarantine / OPENINGS_FILE, bytes(encoded))
            if openings.fields:
                write_file(self._quarantine / FIELDS_FILE, encode_fields(openings))
            self._move(destination)
        finally:
            delete_tree(self._quarantine)
        return package

    def _open_run(self, first: int, count: int) -> bytes:
        sealed = self._blob.read(first, count)
        with self._damage_told(first, sealed, count):
            return self._cipher.open_run(first, sealed, count=count)

    @contextmanager
    def _damage_told(self, first: int, sealed: Buffer, count: int) -> Iterator[None]:
        """Tell damage of our disk apart from chunks that their sender did not seal so.

        Raises:
            StoreDamaged: The disk gives other bytes than were acknowledged.
            AuthenticationFailed: The chunks are not what the key opens.
        """
        try:
            yield
        except AuthenticationFailed:
            size = self._header.chunk_size
            self._blob.check(first, sealed_leaves(first, sealed, count=count, chunk_size=size))
            raise

    def _open_files(self, openings: Openings, layout: Layout) -> Iterator[FileHead]:
        folder = self._quarantine / FILES
        # not durable one by one: all of them are before the release
        names = [PurePosixPath(opening.head.path) for opening in openings.files]
        for inner in sorted({inner for name in names for inner in name.parents}):
            with storage_errors(folder):
                (folder / inner).mkdir(mode=PRIVATE_DIRECTORY_MODE, exist_ok=True)
            trio.from_thread.check_cancelled()
        # small ones first, together: a large one takes its time
        parts = sorted(enumerate(openings.files), key=lambda part: part[1].head.size_bytes >= self._header.chunk_size)
        for group in _groups(parts):
            heads = []
            for number, opening in group:
                heads.append(self._open_file(opening, layout, number))
                trio.from_thread.check_cancelled()
            # only now: while one file is synced, a file system may let nobody make another
            paths = [folder / head.path for head in heads]
            for _ in in_order(sync_file, paths, between=trio.from_thread.check_cancelled):
                pass
            # These files are on the disk, and their names are not; the names are made durable before the release.
            yield from heads

    def _open_file(self, opening: FileOpening, layout: Layout, part: int) -> FileHead:
        """Write a file from what was sealed of it; return its head, computed anew."""
        head = opening.head
        hasher = FileHasher(head.path, head.media_type, chunk_size=head.chunk_size, file_key=opening.file_key)
        target = self._quarantine / FILES / head.path
        file = NewFile(target, size_bytes=head.size_bytes)
        try:
            (start, whole), (tail, rest) = layout.file_extents(part)
            self._open_chunks(opening, start, hasher, file)
            if rest:
                data = self._content.read(tail, rest)
                hasher.add(data)
                file.write_rest(data, offset=whole)
        finally:
            file.close()
        return finish_hash(hasher, target, expected=head)

    def _open_chunks(self, opening: FileOpening, start: int, hasher: FileHasher, file: NewFile) -> None:
        """Open, hash and write the whole chunks of one file, several runs at a time.

        Args:
            opening: The file.
            start: Where its chunks start in the content.
            hasher: Given their leaves, in order.
            file: Where its bytes go.
        """
        size = self._header.chunk_size
        first, total, step = start // size, opening.head.size_bytes // size, run_chunks(size)
        if not total:
            return
        rooms: SimpleQueue[memoryview] = SimpleQueue()
        for _ in range(min(THREADS, -(-total // step))):
            rooms.put(direct_buffer(step * size))

        def open_run(index: int) -> bytearray:
            count = min(step, total - index)
            heads = chunk_heads(opening.file_key, index, size_bytes=count * size, chunk_size=size)
            leaves = Leaves(heads, bytearray(count * DIGEST_SIZE))
            sealed = self._blob.read(first + index, count)
            room = rooms.get()
            try:
                plain = room[: count * size]
                with self._damage_told(first + index, sealed, count):
                    self._cipher.open_run_into(first + index, sealed, plain, count=count, plain=leaves)
                file.write(plain, offset=index * size)
            finally:
                rooms.put(room)
            return leaves.digests

        try:
            for digests in in_order(open_run, range(0, total, step), between=trio.from_thread.check_cancelled):
                hasher.append(digests, size_bytes=len(digests) // DIGEST_SIZE * size)
        finally:
            while not rooms.empty():  # a failure holds this frame, and would hold what was opened
                rooms.get()

    def _move(self, destination: Path) -> None:
        make_directory(destination.parent)
        # only a process that crashed between here and the receipt leaves a destination; nobody has relied on it
        delete_tree(destination)
        folders = [Path(folder) for folder, _folders, _files in os.walk(self._quarantine)]
        for _ in in_order(sync_directory, folders, between=trio.from_thread.check_cancelled):
            pass
        with storage_errors(destination):
            self._quarantine.rename(destination)
        # The files are durable under their place; a crash before this line leaves them in quarantine, which is
        # emptied at the next attempt.
        sync_directory(destination.parent)


def _groups(parts: Iterable[tuple[int, FileOpening]]) -> Iterator[list[tuple[int, FileOpening]]]:
    """Yield the files that are synced together."""
    group: list[tuple[int, FileOpening]] = []
    size_bytes = 0
    for part in parts:
        size_bytes += part[1].head.size_bytes
        if group and (len(group) == SYNCED_TOGETHER or size_bytes > UNSYNCED_BYTES):
            yield group
            group, size_bytes = [], part[1].head.size_bytes
        group.append(part)
    if group:
        yield group
