"""Writes that survive a power cut, and the translation of disk errors.

After `write_file` returns, the file has the new content and its name is on the disk; before it returns, a crash leaves
the old content or none, never a part. Functions here block and are called in worker threads.
"""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from ddtp.errors import DdtpError, DiskFull, NotFound, StorageFailed

PRIVATE_FILE_MODE = 0o600
PRIVATE_DIRECTORY_MODE = 0o700

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_TEMPORARY_SUFFIX = ".part"


def translate(error: OSError, path: Path) -> DdtpError:
    """Return our error for what the system said about a path."""
    if error.errno in _NO_ROOM:
        return DiskFull(f"no room to write {path.name}", hint=f"free space on the disk that holds {path.parent}")
    if error.errno == errno.ENOENT:
        return NotFound(f"expected a file at {path}, found none")
    return StorageFailed(f"{os.strerror(error.errno or 0).lower()}: {path}")


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Raise our errors for any `OSError` of the block.

    Raises:
        DiskFull: There is no room.
        NotFound: There is no such file.
        StorageFailed: Any other refusal of the disk.
    """
    try:
        yield
    except OSError as err:
        raise translate(err, path) from err


def make_directory(path: Path) -> Path:
    """Create a directory that only this user may enter, with its parents; return it."""
    with storage_errors(path):
        path.mkdir(mode=PRIVATE_DIRECTORY_MODE, parents=True, exist_ok=True)
    return path


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    with storage_errors(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def replacing(path: Path, *, overwrite: bool = True) -> Iterator[int]:
    """Give a file descriptor whose content becomes `path` when the block ends without an error.

    Args:
        path: The final name; its directory must exist.
        overwrite: False refuses to replace an existing file.

    Raises:
        StorageFailed: The file exists and must not be replaced, or the disk refuses.
        DiskFull: There is no room; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_TEMPORARY_SUFFIX}")
    with storage_errors(path):
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE_MODE)
        try:
            yield descriptor
            os.fsync(descriptor)
            if overwrite:
                temporary.replace(path)
            else:
                os.link(temporary, path)
        finally:
            os.close(descriptor)
            temporary.unlink(missing_ok=True)
        # Now the content is durable under its name; after a crash before this line the old name may still be found.
        sync_directory(path.parent)


def write_file(path: Path, data: bytes, *, overwrite: bool = True) -> None:
    """Write a whole file durably, readable by this user only.

    Raises:
        DiskFull: There is no room; the old content stays.
        StorageFailed: The disk refuses, or the file exists and `overwrite` is false.
    """
    with replacing(path, overwrite=overwrite) as descriptor:
        write_all(descriptor, data)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all bytes at the current position of a descriptor."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def read_file(path: Path, *, max_bytes: int) -> bytes:
    """Read a whole small file.

    Raises:
        NotFound: There is no such file.
        StorageFailed: The disk refuses, or the file is larger than `max_bytes`.
    """
    with storage_errors(path), path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise StorageFailed(f"expected at most {max_bytes} bytes in {path}, found more")
    return data
