"""Scanning: every file that a person names, under a name that may travel, and nothing that is no file."""

import errno
import os
import socket
import unicodedata
from pathlib import Path

import pytest

from ddtp.agent import scanning
from ddtp.agent.scanning import SourceFile, read_exactly, reading, scan
from ddtp.errors import DdtpError, NotFound, SourceChanged, StorageFailed, UsageError


def put(path: Path, content: bytes = b"content") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def paths(*found: Path) -> list[str]:
    return [source.path for source in scan(found)]


def test_file_is_found_under_its_own_name(tmp_path: Path) -> None:
    """A file stands in a package under its name alone, with its format, length and time."""
    path = put(tmp_path / "deep" / "成绩.json", b"{}")
    assert scan([path]) == (SourceFile(path, "成绩.json", "application/json", 2, path.stat().st_mtime_ns),)


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.csv", "text/csv"),
        ("a.csv.gz", "application/octet-stream"),
        ("a.PDF", "application/pdf"),
        ("a.jpg", "image/jpeg"),
        ("a", "application/octet-stream"),
        ("a.unknown-ending", "application/octet-stream"),
    ],
)
def test_format_follows_from_the_ending(tmp_path: Path, name: str, media_type: str) -> None:
    """The ending tells the format; what is unknown is bytes."""
    assert [source.media_type for source in scan([put(tmp_path / name)])] == [media_type]


def test_folders_are_walked_and_keep_their_name(tmp_path: Path) -> None:
    """A folder gives all its files, hidden and empty ones too, in the order of their names; empty folders give none."""
    for name in ("b/z.txt", "b/a/x.txt", "b/a.txt", "b/.hidden", "b/字.txt"):
        put(tmp_path / name)
    put(tmp_path / "b" / "empty", b"")
    (tmp_path / "b" / "nothing" / "nothing").mkdir(parents=True)
    assert paths(tmp_path / "b") == ["b/.hidden", "b/a.txt", "b/a/x.txt", "b/empty", "b/z.txt", "b/字.txt"]
    assert paths(tmp_path / "b" / "nothing") == []
    assert scan([]) == ()


def test_files_and_folders_together(tmp_path: Path) -> None:
    """Several names give one sorted list."""
    put(tmp_path / "one" / "z.txt")
    assert paths(put(tmp_path / "two" / "a.txt"), tmp_path / "one") == ["a.txt", "one/z.txt"]


def test_relative_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where we stand has its own name, and a way that goes up and down again does not show."""
    put(tmp_path / "here" / "a.txt")
    monkeypatch.chdir(tmp_path / "here")
    assert paths(Path()) == ["here/a.txt"]
    assert paths(Path("a.txt")) == ["a.txt"]
    assert paths(Path("../here")) == ["here/a.txt"]


def test_what_is_not_there(tmp_path: Path) -> None:
    """A name that leads to nothing is not found, even beside one that does."""
    put(tmp_path / "a.txt")
    (tmp_path / "dead").symlink_to("nowhere")
    with pytest.raises(NotFound):
        scan([tmp_path / "a.txt", tmp_path / "no"])
    with pytest.raises(StorageFailed):
        scan([tmp_path / "a.txt" / "below"])
    with pytest.raises(UsageError, match="link"):
        scan([tmp_path / "dead"])


def test_link_to_a_file_is_refused(tmp_path: Path) -> None:
    """A link is never followed, whether it is named or found, and wherever it leads."""
    put(tmp_path / "a.txt")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link.txt").symlink_to(tmp_path / "a.txt")
    for named in (tmp_path / "folder" / "link.txt", tmp_path / "folder"):
        with pytest.raises(UsageError, match="link"):
            scan([named])


def test_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    """A link to a folder is refused, named or found; leaving out what it leads to would be silent."""
    put(tmp_path / "real" / "a.txt")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(tmp_path / "real")
    for named in (tmp_path / "folder" / "link", tmp_path / "folder"):
        with pytest.raises(UsageError, match="link"):
            scan([named])


def test_devices_pipes_and_sockets_are_refused(tmp_path: Path) -> None:
    """What is no regular file is refused without being opened."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for path in (Path("/dev/null"), Path("/dev/zero"), tmp_path / "pipe", tmp_path / "socket", tmp_path):
            with pytest.raises(UsageError, match="regular file"):
                scan([path])


def test_names_that_differ_in_case_only_are_refused(tmp_path: Path) -> None:
    """Two files that are one on some systems are refused, named twice or found."""
    put(tmp_path / "a" / "Report.txt")
    put(tmp_path / "b" / "report.TXT")
    with pytest.raises(UsageError, match="twice"):
        scan([tmp_path / "a" / "Report.txt", tmp_path / "b" / "report.TXT"])
    put(tmp_path / "a" / "REPORT.txt")
    with pytest.raises(UsageError, match="twice"):
        scan([tmp_path / "a"])
    with pytest.raises(UsageError, match="twice"):
        scan([tmp_path / "b", tmp_path / "b"])


@pytest.mark.parametrize(
    "name",
    ["nul.txt", "COM1", "a:b", "what?.txt", "back\\slash", " leading", "trailing ", "dot.", "new\nline", "tab\t"],
)
def test_names_that_may_not_travel_are_refused(tmp_path: Path, name: str) -> None:
    """A name that some system reads in another way is refused before anything is packed."""
    put(tmp_path / "folder" / name)
    for named in (tmp_path / "folder", tmp_path / "folder" / name):
        with pytest.raises(UsageError):
            scan([named])


def test_decomposed_names_are_composed(tmp_path: Path) -> None:
    """A name that the system keeps decomposed, as Korean names on a Mac are, travels composed; two that meet clash."""
    decomposed, composed = unicodedata.normalize("NFD", "\ud55c\uad6d.txt"), "\ud55c\uad6d.txt"
    put(tmp_path / "a" / decomposed)
    assert paths(tmp_path / "a") == [f"a/{composed}"]
    put(tmp_path / "a" / composed)
    with pytest.raises(UsageError, match="twice"):
        scan([tmp_path / "a"])


def test_file_and_folder_of_one_name_are_refused(tmp_path: Path) -> None:
    """A name cannot be a file and a folder at once, in any case."""
    put(tmp_path / "one" / "a")
    put(tmp_path / "two" / "A" / "b")
    with pytest.raises(UsageError, match="below"):
        scan([tmp_path / "one" / "a", tmp_path / "two" / "A"])


def test_name_that_the_system_refuses(tmp_path: Path) -> None:
    """A name that is too long for the system is an error of ours."""
    with pytest.raises(DdtpError):
        scan([tmp_path / ("n" * 300)])


def test_folder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is closed to us is refused, not left out."""
    put(tmp_path / "folder" / "closed" / "a.txt")
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(StorageFailed, match=r"permission denied: .*closed"):
        scan([tmp_path / "folder"])


def test_name_that_is_no_text(tmp_path: Path) -> None:
    """A name that is not UTF-8 is refused."""
    with pytest.raises(UsageError):
        scan([put(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")))])


def test_names_are_bounded(tmp_path: Path) -> None:
    """A name that fits the system may be too long for a package."""
    deep = tmp_path
    for _ in range(5):
        deep = deep / ("n" * 120)
    put(deep / "file")
    with pytest.raises(UsageError):
        scan([tmp_path / ("n" * 120)])


def test_number_of_files_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many files as fit a package are found, one more is refused."""
    monkeypatch.setattr(scanning, "MAX_FILES", 3)
    for number in range(3):
        put(tmp_path / "folder" / str(number))
    assert len(scan([tmp_path / "folder"])) == 3
    put(tmp_path / "folder" / "3")
    with pytest.raises(UsageError, match="at most 3 files"):
        scan([tmp_path / "folder"])


def found(path: Path) -> SourceFile:
    (source,) = scan([path])
    return source


def rewrite(path: Path, content: bytes, *, modified_ns: int) -> None:
    path.write_bytes(content)
    os.utime(path, ns=(0, modified_ns))


def test_unchanged_file_is_read(tmp_path: Path) -> None:
    """Any part of an unchanged file is read."""
    source = found(put(tmp_path / "a", b"0123456789"))
    with reading(source) as descriptor:
        assert read_exactly(descriptor, 10, source=source, offset=0) == b"0123456789"
        assert read_exactly(descriptor, 3, source=source, offset=4) == b"456"
        assert read_exactly(descriptor, 0, source=source, offset=4) == b""


def test_short_reads_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that gives a few bytes at a time gives all of them."""
    source = found(put(tmp_path / "a", b"0123456789"))
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, length, offset: real(descriptor, min(length, 3), offset))
    with reading(source) as descriptor:
        assert read_exactly(descriptor, 8, source=source, offset=1) == b"12345678"


@pytest.mark.parametrize("content", [b"01234567890", b"012345678", b"9876543210", b""])
def test_file_that_changed_before_it_is_read(tmp_path: Path, content: bytes) -> None:
    """Another length or another time since the scan is refused before anything is read."""
    path = put(tmp_path / "a", b"0123456789")
    source = found(path)
    rewrite(path, content, modified_ns=source.modified_ns + 1)
    with pytest.raises(SourceChanged), reading(source):
        pytest.fail("the block must not run")


@pytest.mark.parametrize("content", [b"01234567890", b"012345678", b"9876543210"])
def test_file_that_changes_while_it_is_read(tmp_path: Path, content: bytes) -> None:
    """A change during the block is found at its end."""
    path = put(tmp_path / "a", b"0123456789")
    source = found(path)
    with pytest.raises(SourceChanged), reading(source):
        rewrite(path, content, modified_ns=source.modified_ns + 1)


def test_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    """A file that ends early is found out at the read."""
    path = put(tmp_path / "a", b"0123456789")
    source = found(path)
    with reading(source) as descriptor:
        os.truncate(path, 4)
        with pytest.raises(SourceChanged, match="shorter"):
            read_exactly(descriptor, 10, source=source, offset=0)
        rewrite(path, b"0123456789", modified_ns=source.modified_ns)


def test_file_that_becomes_something_else(tmp_path: Path) -> None:
    """A file that is gone, or a link since the scan, is not read."""
    path = put(tmp_path / "a")
    source = found(path)
    path.rename(tmp_path / "b")
    with pytest.raises(NotFound), reading(source):
        pytest.fail("the block must not run")
    path.symlink_to("b")
    with pytest.raises(StorageFailed), reading(source):
        pytest.fail("the block must not run")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SourceChanged), reading(source):
        pytest.fail("the block must not run")


def test_errors_of_the_block_come_out(tmp_path: Path) -> None:
    """An error of the reader is not hidden by the check at the end, and the file is closed."""
    path = put(tmp_path / "a")
    source = found(path)
    before = len(list(Path("/proc/self/fd").iterdir()))

    def fail() -> None:
        with reading(source):
            os.truncate(path, 0)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
