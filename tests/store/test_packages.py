"""Package files: whole or not there, never replaced, and every damage is a typed error."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ddtp.errors import AuthenticationFailed, DdtpError, DecodeError, DiskFull, NotFound, StorageFailed, StoreDamaged
from ddtp.protocol.chunks import ChunkCipher, SealContext, SealHeader, SealPurpose
from ddtp.protocol.container import TAIL_SIZE, PackageHeader, encode_footer
from ddtp.store.packages import PackageReader, PackageWriter
from tests.disks import ROOM_BYTES, DiskFaults, names
from tests.worlds import HOLDER, ISSUER

CHUNK = 64 << 10
CONTENT = bytes(range(256)) * 256 + b"the last, short chunk"
KEY = b"\x21" * 32
SALT = b"\x22" * 24
CONTEXT = SealContext(SealPurpose.PACKAGE, b"\x23" * 16, ISSUER.did, HOLDER.did, CHUNK)
CIPHER = ChunkCipher(KEY, salt=SALT, context=CONTEXT)
SEALED = [CIPHER.seal(0, CONTENT[:CHUNK]), CIPHER.seal(1, CONTENT[CHUNK:])]
HEADER = PackageHeader(
    manifest=b"an envelope",
    seal=SealHeader(
        chunk_size=CHUNK,
        content_bytes=len(CONTENT),
        openings_offset=CHUNK,
        openings_bytes=4,
        salt=SALT,
        commitment=CIPHER.commitment,
    ),
    wrapped_key=b"a wrapped key",
    holder_agreement=HOLDER.public_key,
)
ANCHORED = replace(HEADER, anchor=b"a proof")


def write(path: Path, header: PackageHeader = ANCHORED) -> None:
    writer = PackageWriter(path)
    try:
        for sealed in SEALED:
            writer.append(sealed)
        writer.finish(header)
    finally:
        writer.abort()


@contextmanager
def opened(path: Path) -> Iterator[PackageReader]:
    reader = PackageReader(path)
    try:
        yield reader
    finally:
        reader.close()


def read_all(path: Path) -> bytes:
    with opened(path) as reader:
        reader.unlock(KEY, CONTEXT)
        return reader.read(0, reader.seal.content_bytes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "package.ddtp"


def test_package_comes_back_as_it_was_written(path: Path) -> None:
    """Header and content are read again, from any place; the file is private and alone."""
    write(path)
    with opened(path) as reader:
        assert reader.header == ANCHORED
        reader.unlock(KEY, CONTEXT)
        for offset, length in [(0, len(CONTENT)), (CHUNK - 1, 2), (CHUNK, 5), (7, 0), (len(CONTENT), 0), (0, 1)]:
            assert reader.read(offset, length) == CONTENT[offset : offset + length]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert names(path.parent) == ["package.ddtp"]


def test_folder_is_made(path: Path) -> None:
    """A missing folder is made for this user only."""
    write(path.parent / "vault" / "a" / "package.ddtp")
    assert stat.S_IMODE((path.parent / "vault").stat().st_mode) == 0o700


def test_name_appears_at_the_end(path: Path) -> None:
    """Before finish there is no file under the name."""
    writer = PackageWriter(path)
    writer.append(SEALED[0])
    writer.append(SEALED[1])
    assert not path.exists()
    writer.finish(HEADER)
    assert read_all(path) == CONTENT


def test_abort_leaves_nothing(path: Path) -> None:
    """An aborted file is gone; aborting twice, or after finish, does nothing."""
    writer = PackageWriter(path)
    writer.append(SEALED[0])
    writer.abort()
    writer.abort()
    assert names(path.parent) == []
    with pytest.raises(StorageFailed):
        writer.append(SEALED[1])
    write(path)
    assert names(path.parent) == ["package.ddtp"]


def test_existing_file_is_never_replaced(path: Path) -> None:
    """A name that is taken is refused before packing, or at the end if it was taken meanwhile; also by a dead link."""
    writer = PackageWriter(path)
    for sealed in SEALED:
        writer.append(sealed)
    path.write_bytes(b"theirs")
    with pytest.raises(StorageFailed, match="file exists"):
        writer.finish(HEADER)
    writer.abort()
    with pytest.raises(StorageFailed, match="found one"):
        PackageWriter(path)
    assert path.read_bytes() == b"theirs"
    (path.parent / "link.ddtp").symlink_to("nowhere")
    with pytest.raises(StorageFailed, match="found one"):
        PackageWriter(path.parent / "link.ddtp")
    assert names(path.parent) == ["link.ddtp", "package.ddtp"]


def test_two_writers_of_one_name(path: Path) -> None:
    """The first to finish has the name; the other is refused and leaves nothing."""
    first, second = PackageWriter(path), PackageWriter(path)
    for writer in (first, second):
        for sealed in SEALED:
            writer.append(sealed)
    second.finish(ANCHORED)
    with pytest.raises(StorageFailed):
        first.finish(HEADER)
    first.abort()
    with opened(path) as reader:
        assert reader.header == ANCHORED
    assert names(path.parent) == ["package.ddtp"]


def test_killed_writer_leaves_nothing_for_long(path: Path) -> None:
    """What a killed process left is deleted when the same package is written again."""
    writer = PackageWriter(path)
    writer.append(SEALED[0])
    os.close(writer._descriptor)
    assert len(names(path.parent)) == 1
    write(path)
    assert names(path.parent) == ["package.ddtp"]


def test_full_disk_leaves_nothing(disk: Path) -> None:
    """A package that does not fit is an error that says so, and the room is free again."""
    for _ in range(2):
        writer = PackageWriter(disk / "package.ddtp")
        writer.append(SEALED[0])
        with pytest.raises(DiskFull):
            writer.append(bytes(ROOM_BYTES))
        writer.abort()
        assert names(disk) == []
    write(disk / "package.ddtp")


@pytest.mark.parametrize("persisted", [False, True])
def test_every_failing_call_gives_all_or_nothing(path: Path, faults: DiskFaults, *, persisted: bool) -> None:
    """Whichever call fails, having had its effect or not, there is a whole package or none, and nothing beside it."""
    faults.arm(None)
    write(path)
    calls = faults.seen
    assert calls == ["write", "write", "write", "fsync", "link", "fsync"]
    for number, _name in enumerate(calls):
        path.unlink()
        faults.arm(number, persisted=persisted)
        with pytest.raises(StorageFailed):
            write(path)
        faults.arm(None)
        assert set(names(path.parent)) <= {"package.ddtp"}
        if not path.exists():
            write(path)
        assert read_all(path) == CONTENT


def test_other_keys_do_not_open_it(path: Path) -> None:
    """Another key or context is found out before anything is decrypted."""
    write(path)
    with opened(path) as reader:
        for key, context in [(bytes(32), CONTEXT), (KEY, replace(CONTEXT, identifier=bytes(16)))]:
            with pytest.raises(AuthenticationFailed):
                reader.unlock(key, context)


def test_reading_beyond_the_content(path: Path) -> None:
    """More than the content holds cannot be read."""
    write(path)
    with opened(path) as reader:
        reader.unlock(KEY, CONTEXT)
        for offset, length in [(0, len(CONTENT) + 1), (len(CONTENT), 1), (3 * CHUNK, 1)]:
            with pytest.raises(StoreDamaged):
                reader.read(offset, length)


def test_what_is_no_package_file(path: Path) -> None:
    """Missing, empty and short files, folders, devices and pipes are refused at once."""
    with pytest.raises(NotFound):
        PackageReader(path)
    for content in (b"", b"x", b"DDTPPKG1", bytes(500), b"\x00\x00\x01\x00DDTPPKG1"):
        path.write_bytes(content)
        with pytest.raises(DecodeError, match=f"^{path.name}: ") as caught:
            PackageReader(path)
        assert caught.value.hint is not None
        assert "ddtp collect NAME" in caught.value.hint
    os.mkfifo(path.parent / "pipe")
    for other in (path.parent, path.parent / "pipe", Path("/dev/zero")):
        with pytest.raises(DecodeError, match="folder or device"):
            PackageReader(other)


def test_no_file_stays_open(path: Path) -> None:
    """Refused files, closed readers and finished writers hold no descriptor."""
    before = len(names(Path("/proc/self/fd")))
    write(path)
    with opened(path) as reader:
        reader.close()
    path.write_bytes(path.read_bytes()[:-1])
    for _ in range(3):
        with pytest.raises(DecodeError):
            PackageReader(path)
    assert len(names(Path("/proc/self/fd"))) == before


def test_every_truncation_is_refused(path: Path) -> None:
    """A file that is cut, or longer, is no package file."""
    write(path)
    whole = path.read_bytes()
    footer = len(encode_footer(ANCHORED))
    lengths = {*range(0, len(whole), 97), *range(len(whole) - footer, len(whole), 7)}
    for length in sorted(lengths, reverse=True):
        os.truncate(path, length)
        with pytest.raises(DecodeError):
            PackageReader(path)
    for longer in (b"x" + whole, whole + b"x", whole[:100] + b"x" + whole[100:], whole + whole[-TAIL_SIZE:]):
        path.write_bytes(longer)
        with pytest.raises(DecodeError):
            PackageReader(path)


@pytest.mark.slow
def test_every_flipped_bit_is_refused(path: Path) -> None:
    """A bit that flips in a chunk fails its tag; one in the footer is malformed, or leads to an error of its own."""
    write(path)
    whole = path.read_bytes()
    footer = len(whole) - len(encode_footer(ANCHORED))
    with path.open("r+b", buffering=0) as file:
        for position in (*range(0, footer, 97), *range(footer, len(whole))):
            os.pwrite(file.fileno(), bytes([whole[position] ^ 1 << position % 8]), position)
            with pytest.raises(DdtpError) as caught:
                read_all(path)
            expected = AuthenticationFailed if position < footer else DecodeError
            assert isinstance(caught.value, expected), position
            os.pwrite(file.fileno(), whole[position : position + 1], position)
    assert read_all(path) == CONTENT


def test_file_that_shrinks_while_it_is_read(path: Path) -> None:
    """A file that loses its end while it is open is damage."""
    write(path)
    with opened(path) as reader:
        reader.unlock(KEY, CONTEXT)
        os.truncate(path, CHUNK)
        with pytest.raises(StoreDamaged):
            reader.read(0, 1)
