"""Durable writes: the old content or the new one, private, and nothing beside it."""

import errno
import fcntl
import os
import resource
import stat
from pathlib import Path

import pytest

from ddtp.errors import DdtpError, DiskFull, NotFound, StorageFailed
from ddtp.store.durable import (
    delete_tree,
    make_directory,
    open_temporary,
    read_file,
    replacing,
    storage_errors,
    sync_directory,
    write_all,
    write_all_at,
    write_file,
)
from tests.disks import ROOM_BYTES, DiskFaults, names


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_file_is_written_and_private(tmp_path: Path) -> None:
    """A written file is read back, whatever the umask allows only this user to use it, and nothing lies beside it."""
    previous = os.umask(0)
    try:
        write_file(tmp_path / "file", b"content")
    finally:
        os.umask(previous)
    assert read_file(tmp_path / "file", max_bytes=7) == b"content"
    assert mode(tmp_path / "file") == 0o600
    assert names(tmp_path) == ["file"]


def test_replaced_file_is_private_again(tmp_path: Path) -> None:
    """Replacing a file that others could read gives one that they cannot."""
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "file").chmod(0o644)
    write_file(tmp_path / "file", b"new")
    assert (read_file(tmp_path / "file", max_bytes=10), mode(tmp_path / "file")) == (b"new", 0o600)


def test_existing_file_is_kept(tmp_path: Path) -> None:
    """Without overwrite an existing file, and even a link to nowhere, stays, and nothing is left beside it."""
    write_file(tmp_path / "file", b"old")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "link"):
        with pytest.raises(StorageFailed, match="file exists"):
            write_file(tmp_path / name, b"new", overwrite=False)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file", "link"]
    write_file(tmp_path / "other", b"new", overwrite=False)
    assert (tmp_path / "other").read_bytes() == b"new"


def test_link_is_replaced_not_followed(tmp_path: Path) -> None:
    """A link under the name is replaced; what it leads to stays."""
    (tmp_path / "target").write_bytes(b"theirs")
    (tmp_path / "link").symlink_to("target")
    write_file(tmp_path / "link", b"ours")
    assert (tmp_path / "target").read_bytes() == b"theirs"
    assert not (tmp_path / "link").is_symlink()


def test_error_in_the_block_leaves_the_old_content(tmp_path: Path) -> None:
    """If the block fails half-way, nothing has happened."""
    write_file(tmp_path / "file", b"old")

    def fail() -> None:
        with replacing(tmp_path / "file") as descriptor:
            write_all(descriptor, b"ne")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_readers_see_no_part(tmp_path: Path) -> None:
    """Until the block ends, whoever opens the file finds the old content."""
    write_file(tmp_path / "file", b"old")
    with replacing(tmp_path / "file") as descriptor:
        write_all(descriptor, b"new")
        assert (tmp_path / "file").read_bytes() == b"old"
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("persisted", [False, True])
def test_every_failing_call_leaves_old_or_new(
    tmp_path: Path, faults: DiskFaults, *, overwrite: bool, persisted: bool
) -> None:
    """Whichever call fails, having had its effect or not: old or new content, no leftovers, and a retry works."""
    path = tmp_path / "file"
    old = b"old" if overwrite else None

    def reset() -> None:
        path.unlink(missing_ok=True)
        if old is not None:
            path.write_bytes(old)

    reset()
    faults.arm(None)
    write_file(path, b"new", overwrite=overwrite)
    calls = faults.seen
    assert len(calls) == 4
    for number, _name in enumerate(calls):
        reset()
        faults.arm(number, persisted=persisted)
        with pytest.raises(StorageFailed, match="input/output error"):
            write_file(path, b"new", overwrite=overwrite)
        faults.arm(None)
        found = path.read_bytes() if path.exists() else None
        assert found in (old, b"new")
        assert set(names(tmp_path)) <= {"file"}
        if found != b"new":
            write_file(path, b"new", overwrite=overwrite)
        assert (path.read_bytes(), names(tmp_path)) == (b"new", ["file"])


def test_content_is_synced_before_it_has_its_name(tmp_path: Path, faults: DiskFaults) -> None:
    """A power cut never finds the name with half the content: sync, name, then sync of the name."""
    faults.arm(None)
    write_file(tmp_path / "file", b"content")
    assert faults.seen == ["write", "fsync", "replace", "fsync"]


def test_full_disk(disk: Path) -> None:
    """On a full disk the old content stays, the error says so, and a smaller file still fits."""
    write_file(disk / "file", b"old")
    for _ in range(3):
        with pytest.raises(DiskFull) as caught:
            write_file(disk / "file", bytes(ROOM_BYTES + 4096))
        assert "free space" in str(caught.value.hint)
    assert (read_file(disk / "file", max_bytes=10), names(disk)) == (b"old", ["file"])
    write_file(disk / "file", bytes(ROOM_BYTES // 2))


def test_leftovers_of_a_killed_writer_are_deleted(tmp_path: Path) -> None:
    """A file that nobody writes any more is deleted by the next writer of that name; others stay."""
    leftover, other, theirs = (
        tmp_path / name for name in (".file.0a1b2c3d.part", ".no.0a1b2c3d.part", ".file.txt.part")
    )
    for path in (leftover, other, theirs):
        path.write_bytes(b"half")
    write_file(tmp_path / "file", b"content")
    assert names(tmp_path) == sorted(["file", other.name, theirs.name])


def test_living_writer_is_left_alone(tmp_path: Path) -> None:
    """Two writers of one name do not disturb each other; the last one wins."""
    with replacing(tmp_path / "file") as first:
        write_all(first, b"first")
        write_file(tmp_path / "file", b"second")
        assert (tmp_path / "file").read_bytes() == b"second"
    assert (tmp_path / "file").read_bytes() == b"first"
    assert names(tmp_path) == ["file"]


def test_writer_that_is_taken_for_a_leftover_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the file is deleted between its creation and its lock, another one is made."""
    real, taken = fcntl.flock, []

    def flock(descriptor: int, operation: int) -> None:
        if not taken:
            (leftover,) = tmp_path.iterdir()
            leftover.unlink()
            taken.append(leftover)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    descriptor, temporary = open_temporary(tmp_path / "file")
    os.close(descriptor)
    assert taken
    assert temporary not in taken
    assert names(tmp_path) == [temporary.name]


def test_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where files cannot be locked, they are written all the same, and nothing is taken for a leftover."""

    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / ".file.0a1b2c3d.part").touch()
    write_file(tmp_path / "file", b"content")
    assert names(tmp_path) == [".file.0a1b2c3d.part", "file"]


def test_longest_names_can_be_written(tmp_path: Path) -> None:
    """A name as long as the file system allows is no reason to fail."""
    for name in ("n" * 255, "\u5b57" * 85, "\U0001f600" * 63):
        write_file(tmp_path / name, b"content")
        assert read_file(tmp_path / name, max_bytes=7) == b"content"


def test_directories_are_private_with_their_parents(tmp_path: Path) -> None:
    """Every directory that is made is closed to others; one that exists stays as it is."""
    (tmp_path / "open").mkdir(mode=0o755)
    made = make_directory(tmp_path / "open" / "a" / "b")
    assert [mode(path) for path in (made, made.parent, tmp_path / "open")] == [0o700, 0o700, 0o755]
    assert make_directory(made) == made


def test_names_of_directories_are_durable(tmp_path: Path, faults: DiskFaults) -> None:
    """Each new directory is synced into its parent; making none costs nothing."""
    faults.arm(None)
    make_directory(tmp_path / "a" / "b")
    assert faults.seen == ["fsync", "fsync"]
    faults.arm(None)
    make_directory(tmp_path / "a" / "b")
    assert faults.seen == []


def test_file_in_the_place_of_a_directory(tmp_path: Path) -> None:
    """A file that stands where a directory should be is refused."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageFailed):
            make_directory(path)


def test_missing_places_are_not_found(tmp_path: Path) -> None:
    """What is not there is reported as that."""
    for attempt in (
        lambda: write_file(tmp_path / "no" / "file", b""),
        lambda: read_file(tmp_path / "no", max_bytes=1),
        lambda: sync_directory(tmp_path / "no"),
    ):
        with pytest.raises(NotFound):
            attempt()


def test_read_is_bounded(tmp_path: Path) -> None:
    """A file that is too large is refused after its bound, and a directory is no file."""
    (tmp_path / "file").write_bytes(bytes(11))
    assert read_file(tmp_path / "file", max_bytes=11) == bytes(11)
    with pytest.raises(StorageFailed, match="at most 10 bytes"):
        read_file(tmp_path / "file", max_bytes=10)
    with pytest.raises(StorageFailed, match="at most 10 bytes"):
        read_file(Path("/dev/zero"), max_bytes=10)
    with pytest.raises(StorageFailed, match="is a directory"):
        read_file(tmp_path, max_bytes=10)


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EFBIG, DiskFull),
        (errno.ENOENT, NotFound),
        (errno.EIO, StorageFailed),
        (errno.EACCES, StorageFailed),
        (errno.EROFS, StorageFailed),
    ],
)
def test_errors_of_the_system_are_translated(number: int, error: type[DdtpError]) -> None:
    """Each refusal of the system becomes one error of ours, caused by it; our own errors pass."""
    with pytest.raises(DdtpError) as caught, storage_errors(Path("/there/file")):
        raise OSError(number, os.strerror(number))
    assert type(caught.value) is error
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(NotFound, match="ours"), storage_errors(Path("/there/file")):
        raise NotFound("ours")


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that takes a few bytes at a time gets all of them, at the right place."""
    real_write, real_pwrite = os.write, os.pwrite
    monkeypatch.setattr(os, "write", lambda descriptor, data: real_write(descriptor, data[:3]))
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: real_pwrite(descriptor, data[:3], offset))
    with replacing(tmp_path / "file") as descriptor:
        write_all(descriptor, b"0123456789")
        write_all_at(descriptor, b"abcdefg", offset=2)
    assert (tmp_path / "file").read_bytes() == b"01abcdefg9"


def test_a_tree_is_deleted_with_few_descriptors(tmp_path: Path) -> None:
    """However deep it is; what a link leads to stays, and a second time is no error."""
    write_file(tmp_path / "outside", b"kept")
    (tmp_path / "outside folder").mkdir()
    deepest = tmp_path.joinpath("tree", *["d"] * 200)
    deepest.mkdir(parents=True)
    for folder in (deepest, *deepest.parents[:200]):
        write_file(folder / "file", b"content")
    (deepest / "link").symlink_to(tmp_path / "outside")
    (deepest / "folder link").symlink_to(tmp_path / "outside folder")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 10, limits[1]))
    try:
        delete_tree(tmp_path / "tree")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    delete_tree(tmp_path / "tree")
    assert names(tmp_path) == ["outside", "outside folder"]


def test_a_tree_that_cannot_be_deleted_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may believe that what was readable is gone."""
    write_file(make_directory(tmp_path / "tree" / "folder") / "file", b"content")

    def refuse(*_arguments: object, **_named: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        with pytest.raises(StorageFailed):
            delete_tree(tmp_path / "tree")
    assert names(tmp_path / "tree" / "folder") == ["file"]
