"""Finds the files that a person names, and reads them so that a change in between is noticed.

Blocking; called in worker threads.
"""

import mimetypes
import os
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ddtp.errors import DecodeError, SourceChanged, UsageError
from ddtp.protocol.paths import check_distinct, check_path
from ddtp.store.durable import storage_errors, translate

MAX_FILES = 50_000
"""Files in one package: their heads fit the 64 MiB bound of openings (spec/03 s.4) with room."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to pack.

    Attributes:
        location: Where it lies.
        path: Its name in the package, with '/' between folders.
        media_type: By its ending.
        size_bytes: When it was found.
        modified_ns: When it was found.
    """

    location: Path
    path: str
    media_type: str
    size_bytes: int
    modified_ns: int


def scan(paths: Sequence[Path]) -> tuple[SourceFile, ...]:
    """Return the files that some paths name; folders are walked, and keep their own name as first part.

    Raises:
        NotFound: A path does not exist.
        UsageError: Two files would have the same name, or there are too many, or one is no regular file, or its name
            cannot stand in a package (spec/03 s.2).
        StorageFailed: A folder cannot be read.
    """
    found: dict[str, SourceFile] = {}
    for path in paths:
        for location, name in _walk(path):
            source = _source(location, name)
            if source.path.casefold() in found:
                raise UsageError(f"expected different names, found {source.path!r} twice")
            found[source.path.casefold()] = source
            if len(found) > MAX_FILES:
                raise UsageError(f"expected at most {MAX_FILES} files, found more", hint="send folders one by one")
    sources = tuple(sorted(found.values(), key=lambda source: source.path.encode()))
    try:
        check_distinct(source.path for source in sources)
    except DecodeError as err:
        raise UsageError(err.message, hint="rename one of them") from err
    return sources


def _walk(path: Path) -> Iterator[tuple[Path, str]]:
    top = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow the links that we refuse
    with storage_errors(path):
        status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        yield path, top.name
        return
    for folder, folders, files in os.walk(top, onerror=_refuse):
        folders.sort()
        # walk() lists links to folders among the folders, and passes them by
        for name in files + [name for name in folders if (Path(folder) / name).is_symlink()]:
            location = Path(folder) / name
            yield location, str(PurePosixPath(top.name, location.relative_to(top)))


def _refuse(error: OSError) -> None:
    """Stop at a folder that cannot be read; walk() would leave out what is in it."""
    raise translate(error, Path(error.filename)) from error


def _source(location: Path, name: str) -> SourceFile:
    # some systems keep names decomposed; in a package they are composed (spec/01 s.4)
    name = unicodedata.normalize("NFC", name)
    try:
        check_path(name)
    except DecodeError as err:
        raise UsageError(f"{err.message}: {str(location)!r}", hint="rename it") from err
    with storage_errors(location):
        status = location.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"expected a regular file at {location}, found a link or device")
    media_type, encoding = mimetypes.guess_type(name)
    if media_type is None or encoding is not None:
        # what is compressed is not of the type that its inner ending tells
        media_type = "application/octet-stream"
    return SourceFile(location, name, media_type, status.st_size, status.st_mtime_ns)


@contextmanager
def reading(source: SourceFile) -> Iterator[int]:
    """Open a source for reading; at the end it must be as it was found.

    Raises:
        SourceChanged: Size or time of change differ from when it was found.
        StorageFailed: The disk refuses.
    """
    with storage_errors(source.location):
        # a pipe in its place would keep a blocking open waiting for its writer
        descriptor = os.open(source.location, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_unchanged(source, descriptor)
        yield descriptor
        _check_unchanged(source, descriptor)
    finally:
        os.close(descriptor)


def read_exactly(descriptor: int, length: int, *, source: SourceFile, offset: int) -> bytes:
    """Read `length` bytes from `offset`.

    Raises:
        SourceChanged: The file ended early.
    """
    parts = []
    while length:
        with storage_errors(source.location):
            part = os.pread(descriptor, length, offset)
        if not part:
            raise SourceChanged(f"expected {source.size_bytes} bytes in {source.location}, it became shorter")
        parts.append(part)
        length -= len(part)
        offset += len(part)
    return b"".join(parts)


def _check_unchanged(source: SourceFile, descriptor: int) -> None:
    with storage_errors(source.location):
        status = os.fstat(descriptor)
    if (status.st_size, status.st_mtime_ns) != (source.size_bytes, source.modified_ns):
        raise SourceChanged(f"{source.location} changed while it was read", hint="send it again when it is finished")
