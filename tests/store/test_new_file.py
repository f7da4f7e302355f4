"""Files that are written past the memory of the system where that is possible, and all the same where it is not."""

import errno
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ddtp.errors import DiskFull, StorageFailed
from ddtp.store.durable import sync_file
from ddtp.store.new_file import DIRECT_LEAST_BYTES, FLUSH_BYTES, NewFile, direct_buffer

PIECE = 1 << 20
LARGE = DIRECT_LEAST_BYTES + 3 * PIECE + 12345


@pytest.fixture(params=["disk", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk, and one on a file system in memory, which old systems do not write directly."""
    if request.param == "disk":
        yield tmp_path
        return
    folder = Path(f"/dev/shm/ddtp-test-{os.getpid()}")
    try:
        folder.mkdir(mode=0o700)
    except OSError as err:
        pytest.skip(f"needs a file system in memory at /dev/shm: {err}")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "size", [0, 1, PIECE, PIECE + 1, DIRECT_LEAST_BYTES - 1, DIRECT_LEAST_BYTES, DIRECT_LEAST_BYTES + 1, LARGE]
)
def test_what_several_threads_write_is_there(place: Path, size: int) -> None:
    """Each at its place, in any order, and a rest of any size."""
    content, path = os.urandom(size), place / "file"
    whole = size // PIECE
    file = NewFile(path, size_bytes=size)

    def write(number: int) -> None:
        room = direct_buffer(PIECE)
        room[:] = content[number * PIECE : (number + 1) * PIECE]
        file.write(room, offset=number * PIECE)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write, reversed(range(whole)))) == [None] * whole
    file.write_rest(content[whole * PIECE :], offset=whole * PIECE)
    file.close()
    sync_file(path)
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_disk_that_wants_larger_blocks_is_written_all_the_same(tmp_path: Path) -> None:
    """What it refuses as too odd goes the usual way, and so does all that follows."""
    content, path = os.urandom(2 * PIECE), tmp_path / "file"
    file = NewFile(path, size_bytes=DIRECT_LEAST_BYTES)
    odd = memoryview(bytearray(PIECE + 1))[1:]  # no disk takes memory at an odd address
    odd[:] = content[:PIECE]
    file.write(odd, offset=0)
    file.write(memoryview(content)[PIECE:], offset=PIECE)
    file.close()
    assert path.read_bytes()[: 2 * PIECE] == content


def test_a_file_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    """It stays as it is."""
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(StorageFailed):
        NewFile(tmp_path / "file", size_bytes=3)
    assert (tmp_path / "file").read_bytes() == b"old"


def test_no_room_is_told_before_anything_is_written(tmp_path: Path) -> None:
    """More than any disk of the tests holds."""
    with pytest.raises(DiskFull):
        NewFile(tmp_path / "file", size_bytes=1 << 62)


def test_memory_is_kept_free_of_what_does_not_pass_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is on its way to the disk long before the end, also if it is more than was said."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    file = NewFile(tmp_path / "file", size_bytes=0)
    for number in range(2 * FLUSH_BYTES // PIECE):
        file.write(direct_buffer(PIECE), offset=number * PIECE)
    file.close()
    assert len(synced) == 2


def test_no_room_that_only_the_close_tells_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network file systems count what a user may store when a file is closed; the file is closed all the same."""
    real, closed = os.close, []

    def close(descriptor: int) -> None:
        closed.append(descriptor)
        real(descriptor)
        raise OSError(errno.EDQUOT, "over quota")

    file = NewFile(tmp_path / "file", size_bytes=0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "close", close)
        with pytest.raises(DiskFull):
            file.close()
    assert len(closed) == 1
