"""Package files in the vault: sealed content with a footer (spec/03 s.7), written once and durably.

Methods block; the agent calls them in worker threads, one at a time per file unless they say more.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import final

from ddtp.errors import (
    AuthenticationFailed,
    ContentMismatch,
    DecodeError,
    SignatureInvalid,
    StorageFailed,
    StoreDamaged,
)
from ddtp.protocol import container
from ddtp.protocol.chunks import ChunkCipher, SealContext, SealHeader, sealed_range
from ddtp.protocol.codec import Buffer
from ddtp.protocol.container import PackageHeader
from ddtp.store.contents import ContentReader
from ddtp.store.durable import make_directory, open_temporary, storage_errors, sync_directory, write_all

PACKAGE_SUFFIX = ".ddtp"

_DAMAGED_HINT = "it is damaged, or was not copied to its end; copy it again, or fetch it again: ddtp collect NAME"


@final
class PackageWriter:
    """Writes one package file: chunks, then the footer, then its name.

    Args:
        path: The final name; an existing file is never replaced.

    Raises:
        DiskFull: There is no room.
        StorageFailed: The file exists, or the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        make_directory(path.parent)
        # known now, not after hours of packing; link() in finish() decides
        if os.path.lexists(path):
            raise StorageFailed(f"expected no file at {path}, found one", hint="choose another name")
        self._descriptor, self._temporary = open_temporary(path)

    def append(self, sealed: Buffer) -> None:
        """Write the next sealed chunks.

        Raises:
            DiskFull: There is no room.
            StorageFailed: The disk refuses.
        """
        with storage_errors(self.path):
            write_all(self._descriptor, sealed)

    def finish(self, header: PackageHeader) -> None:
        """Write the footer and give the file its name; then it is durable.

        Raises:
            DiskFull: There is no room.
            StorageFailed: The disk refuses, or the name was taken meanwhile. If it refused to make the name durable,
                the whole package may be there under it.
        """
        with storage_errors(self.path):
            write_all(self._descriptor, container.encode_footer(header))
            os.fsync(self._descriptor)
            os.link(self._temporary, self.path)
            # A crash from here on leaves the whole package under its name.
        self.abort()
        sync_directory(self.path.parent)

    def abort(self) -> None:
        """Delete the unfinished file; does nothing to a finished one."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            with storage_errors(self.path):
                self._temporary.unlink(missing_ok=True)


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Say which package file is damaged, before what is wrong with it, and what its holder can do.

    Raises:
        DecodeError, SignatureInvalid, ContentMismatch, AuthenticationFailed: As the block raised it.
    """
    try:
        yield
    except (DecodeError, SignatureInvalid, ContentMismatch, AuthenticationFailed) as err:
        raise type(err)(f"{path.name}: {err.message}", hint=_DAMAGED_HINT) from err


@final
class PackageReader:
    """Reads the content of one package file.

    Args:
        path: The file.

    Raises:
        NotFound: There is no such file.
        DecodeError: It is not a whole package file.
        StorageFailed: The disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage_errors(path):
            # a pipe would keep a blocking open waiting for its writer
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._content: ContentReader | None = None
        try:
            with naming_damage(path):
                self.header = self._read_header()
        except BaseException:
            self.close()
            raise

    @property
    def seal(self) -> SealHeader:
        """Sizes and salts of the sealed content."""
        return self.header.seal

    def unlock(self, content_key: bytes, context: SealContext) -> None:
        """Check the key commitment and make the content readable.

        Raises:
            AuthenticationFailed: The key is another one.
        """
        cipher, seal = ChunkCipher.open_with(content_key, self.seal, context=context), self.seal

        def open_run(first: int, count: int) -> Buffer:
            start, size = sealed_range(first, count, seal)
            return cipher.open_run(first, self._pread(size, start), count=count)

        self._content = ContentReader(open_run, chunk_size=seal.chunk_size, content_bytes=seal.content_bytes)

    def read(self, offset: int, length: int) -> Buffer:
        """Return `length` bytes of the content from `offset`; the package must be unlocked.

        Several threads may read at once.

        Raises:
            AuthenticationFailed: A chunk does not open.
            StoreDamaged: The file is shorter than it was.
        """
        assert self._content is not None, "unlock comes first"
        return self._content.read(offset, length)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _read_header(self) -> PackageHeader:
        with storage_errors(self.path):
            status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise DecodeError(f"expected a package file at {self.path}, found a folder or device")
        size = status.st_size
        tail_size = min(size, container.TAIL_SIZE)
        length = container.parse_footer_size(self._pread(tail_size, size - tail_size))
        start = size - container.TAIL_SIZE - length
        if start < 0:
            raise DecodeError(f"expected a header of {length} bytes in {self.path.name}, found a shorter file")
        header = container.parse_header(self._pread(length, start))
        container.check_file_size(header, size)
        return header

    def _pread(self, length: int, offset: int) -> bytes:
        with storage_errors(self.path):
            data = os.pread(self._descriptor, length, offset)
        if len(data) != length:
            raise StoreDamaged(f"expected {length} bytes at {offset} in {self.path.name}, found {len(data)}")
        return data
