"""Writes that survive a power cut, and the translation of disk errors.

After `write_file` returns, the file has the new content and its name is on the disk; before it returns, a crash leaves
the old content or none, never a part. What a killed writer leaves behind is deleted by the next one that writes the
same name. Functions here block and are called in worker threads.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from ddtp.errors import DdtpError, DiskFull, NotFound, StorageFailed

PRIVATE_FILE_MODE = 0o600
PRIVATE_DIRECTORY_MODE = 0o700

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_TEMPORARY_SUFFIX = ".part"
_KEPT_CHARACTERS = 60
"""Of a name, in that of its temporary file: with 15 bytes more it fits NAME_MAX (255 bytes) in any script."""


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
    """Create a directory durably, with its parents, all of which only this user may enter; return it.

    Directories that exist stay as they are.

    Raises:
        DiskFull, StorageFailed: The disk refuses, or there is a file of that name.
    """
    with storage_errors(path):
        missing = [directory for directory in (path, *path.parents) if not directory.is_dir()]
        for directory in reversed(missing):
            # not mkdir(parents=True), which leaves the parents open to everybody
            directory.mkdir(mode=PRIVATE_DIRECTORY_MODE, exist_ok=True)
            sync_directory(directory.parent)
    return path


def delete_tree(path: Path) -> None:
    """Delete a directory with all that is in it, whatever its depth; one that is gone is no error.

    Raises:
        StorageFailed: The disk refuses; what could not be deleted is still there.
    """
    with storage_errors(path):
        # from below, and one directory at a time: shutil.rmtree has all of a deep tree open, and its errors are many
        for folder, folders, files in os.walk(path, topdown=False, onerror=_raise_unless_gone):
            for name in files:
                Path(folder, name).unlink(missing_ok=True)
            for name in folders:
                inner = Path(folder, name)
                if inner.is_symlink():
                    inner.unlink()
                else:
                    inner.rmdir()
        with contextlib.suppress(FileNotFoundError):
            path.rmdir()


def _raise_unless_gone(error: OSError) -> None:
    if error.errno != errno.ENOENT:
        raise error


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable.

    Raises:
        NotFound: There is no such directory.
        StorageFailed: The disk refuses.
    """
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """Make a file durable that was written and closed; what the disk refused since is told here.

    Raises:
        NotFound: There is no such file.
        DiskFull, StorageFailed: The disk refuses.
    """
    _sync(path, os.O_WRONLY)  # other systems than Linux sync nothing else


def _sync(path: Path, flags: int) -> None:
    with storage_errors(path):
        descriptor = os.open(path, flags | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def open_temporary(path: Path) -> tuple[int, Path]:
    """Create a private file that is to become `path` when it is whole.

    Its descriptor holds a lock; a file of this kind without one is what a killed writer left, and is deleted here.

    Returns:
        Descriptor and name of the file, which lies in the directory of `path`.

    Raises:
        NotFound: The directory does not exist.
        DiskFull, StorageFailed: The disk refuses.
    """
    with storage_errors(path):
        _remove_leftovers(path)
        while True:
            temporary = path.with_name(f"{_temporary_prefix(path)}{secrets.token_hex(4)}{_TEMPORARY_SUFFIX}")
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE_MODE)
            with contextlib.suppress(OSError):
                # a file system without locks leaves leftovers, which is no reason to refuse to write
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return descriptor, temporary
            # another writer of the same name took it for a leftover before it was locked
            os.close(descriptor)


def _temporary_prefix(path: Path) -> str:
    return f".{path.name[:_KEPT_CHARACTERS]}."


def _remove_leftovers(path: Path) -> None:
    temporary_name = re.compile(re.escape(_temporary_prefix(path)) + "[0-9a-f]{8}" + re.escape(_TEMPORARY_SUFFIX))
    with os.scandir(path.parent) as entries:
        leftovers = [path.with_name(entry.name) for entry in entries if temporary_name.fullmatch(entry.name)]
    for leftover in leftovers:
        # locked by a living writer, gone meanwhile, or not ours: it is in nobody's way
        with contextlib.suppress(OSError):
            descriptor = os.open(leftover, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                leftover.unlink()
            finally:
                os.close(descriptor)


@contextlib.contextmanager
def replacing(path: Path, *, overwrite: bool = True) -> Iterator[int]:
    """Give a file descriptor whose content becomes `path` when the block ends without an error.

    Args:
        path: The final name; its directory must exist.
        overwrite: False refuses to replace an existing file.

    Raises:
        NotFound: The directory does not exist.
        StorageFailed: The file exists and must not be replaced, or the disk refuses. If it refused to make the name
            durable, the content may be there under it.
        DiskFull: There is no room; nothing is left behind.
    """
    descriptor, temporary = open_temporary(path)
    with storage_errors(path):
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


def write_all(descriptor: int, data: bytes | bytearray | memoryview) -> None:
    """Write all bytes at the current position of a descriptor.

    Raises:
        OSError: The disk refuses; the caller knows the path, and translates.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_all_at(descriptor: int, data: bytes | bytearray | memoryview, *, offset: int) -> None:
    """Write all bytes at some position of a descriptor.

    Raises:
        OSError: The disk refuses; the caller knows the path, and translates.
    """
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset += written


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
