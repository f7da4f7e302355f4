"""Blobs: what is acknowledged survives, what is not is sent again, and damage is found."""

import os
import random
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from ddtp.errors import DiskFull, ProtocolViolation, StorageFailed, StoreDamaged
from ddtp.protocol.chunks import (
    SealHeader,
    chunk_count,
    run_chunks,
    sealed_bytes,
    sealed_leaves,
    sealed_offset,
    sealed_size,
)
from ddtp.protocol.merkle import root
from ddtp.store import blobs
from ddtp.store.blobs import SealedBlob
from tests.disks import DiskFaults, PowerCut, fill_up, names, small_disk
from tests.sessions import leaf_of

CHUNK = 64 << 10
NAME = "0123"


def make_header(content_bytes: int) -> SealHeader:
    return SealHeader(
        chunk_size=CHUNK,
        content_bytes=content_bytes,
        openings_offset=0,
        openings_bytes=0,
        salt=bytes(24),
        commitment=bytes(32),
    )


HEADER = make_header(6 * CHUNK + 100)
COUNT = chunk_count(HEADER.content_bytes, CHUNK)
CHUNKS = [random.Random(index).randbytes(sealed_size(index, HEADER)) for index in range(COUNT)]
ROOT = root([leaf_of(index, chunk) for index, chunk in enumerate(CHUNKS)])


def opened(directory: Path, header: SealHeader = HEADER) -> SealedBlob:
    return SealedBlob(directory, NAME, header=header)


def write(blob: SealedBlob, index: int, *chunks: bytes) -> None:
    leaves = b"".join(leaf_of(index + number, chunk) for number, chunk in enumerate(chunks))
    blob.write(index, b"".join(chunks), leaves)


def fill(blob: SealedBlob, start: int, stop: int = COUNT) -> None:
    for index in range(start, stop):
        write(blob, index, CHUNKS[index])


def complete(directory: Path) -> None:
    """Send what is missing, and check the whole blob."""
    blob = opened(directory)
    fill(blob, blob.durable_chunks)
    assert blob.finish() == (COUNT, ROOT)
    assert [blob.read(index, 1) for index in range(COUNT)] == CHUNKS
    blob.close()


def test_a_restarted_blob_keeps_its_room_and_asks_for_all_chunks(tmp_path: Path) -> None:
    """Other chunks take the place of those that were forgotten."""
    blob = opened(tmp_path)
    fill(blob, 0)
    blob.finish()
    blob.restart()
    blob.close()
    assert blob.path.stat().st_size == sealed_bytes(HEADER)
    again = opened(tmp_path)
    assert again.durable_chunks == 0
    again.close()
    complete(tmp_path)


def test_chunks_come_back_as_they_were_written(tmp_path: Path) -> None:
    """A whole blob gives count and root, and each chunk; the two files are private."""
    blob = opened(tmp_path / "incoming")
    assert blob.durable_chunks == 0
    fill(blob, 0, 1)
    write(blob, 1, *CHUNKS[1:4])
    write(blob, 4, *CHUNKS[4:])
    assert blob.durable_chunks == 0
    assert blob.finish() == (COUNT, ROOT)
    assert [blob.read(index, 1) for index in range(COUNT)] == CHUNKS
    blob.close()
    assert names(tmp_path / "incoming") == [f"{NAME}.journal", f"{NAME}.sealed"]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "incoming").iterdir()}
    assert (modes, stat.S_IMODE((tmp_path / "incoming").stat().st_mode)) == ({0o600}, 0o700)


@pytest.mark.parametrize("content_bytes", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1])
def test_contents_of_every_kind_of_length(tmp_path: Path, content_bytes: int) -> None:
    """Empty and whole contents end with a short chunk, as all do."""
    header = make_header(content_bytes)
    count = chunk_count(content_bytes, CHUNK)
    chunks = [bytes([index + 1]) * sealed_size(index, header) for index in range(count)]
    blob = opened(tmp_path, header)
    for index, chunk in enumerate(chunks):
        write(blob, index, chunk)
    assert blob.finish() == (count, root([leaf_of(index, chunk) for index, chunk in enumerate(chunks)]))
    assert blob.path.stat().st_size == sealed_bytes(header)
    blob.close()
    again = opened(tmp_path, header)
    assert (again.durable_chunks, [again.read(index, 1) for index in range(count)]) == (count, chunks)
    again.close()


def test_other_chunks_are_refused(tmp_path: Path) -> None:
    """A gap, a repetition, another size, and a chunk after the last change nothing."""
    blob = opened(tmp_path)
    fill(blob, 0, 2)
    for index, sealed in [(1, CHUNKS[1]), (3, CHUNKS[3]), (-1, CHUNKS[0]), (2, CHUNKS[2][:-1]), (2, CHUNKS[2] + b"x")]:
        with pytest.raises(ProtocolViolation):
            blob.write(index, sealed, bytes(32))
    with pytest.raises(ProtocolViolation, match="before the end, found 2"):
        blob.finish()
    fill(blob, 2)
    with pytest.raises(ProtocolViolation):
        write(blob, COUNT, CHUNKS[-1])
    assert blob.finish() == (COUNT, ROOT)
    with pytest.raises(StoreDamaged):
        blob.read(COUNT, 1)
    blob.close()


def test_no_more_than_a_bound_is_ever_unsynced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever forgets to sync is synced for: what opening looks at again covers all that the power can take."""
    monkeypatch.setattr(blobs, "UNSYNCED_BYTES", 3 * CHUNK)
    blob = opened(tmp_path)
    seen = []
    for index in range(COUNT):
        fill(blob, index, index + 1)
        seen.append(blob.durable_chunks)
    assert seen == [0, 0, 3, 3, 3, 6, 6]
    blob.close()


def test_stored_chunks_survive_the_process(tmp_path: Path) -> None:
    """Opening again finds all that was written, makes it durable, and the root is right at the end."""
    blob = opened(tmp_path)
    fill(blob, 0, 3)
    assert (blob.durable_chunks, blob.sync(), blob.durable_chunks) == (0, 3, 3)
    fill(blob, 3, 5)
    assert blob.durable_chunks == 3
    blob.close()
    again = opened(tmp_path)
    assert again.durable_chunks == 5
    again.close()
    complete(tmp_path)
    complete(tmp_path)


@pytest.mark.parametrize("lost", [3, 4])
def test_chunks_that_the_power_took_are_sent_again(tmp_path: Path, lost: int) -> None:
    """The journal names chunks that never reached the disk: opening compares, and keeps what came before them."""
    blob = opened(tmp_path)
    fill(blob, 0, 3)
    blob.sync()
    fill(blob, 3, 5)
    blob.close()
    with blob.path.open("r+b") as data:
        data.seek(sealed_offset(lost, CHUNK))
        data.write(bytes(100))
    again = opened(tmp_path)
    assert again.durable_chunks == lost
    again.close()
    complete(tmp_path)


CHILD = """
import sys
from collections.abc import Callable
from pathlib import Path
from tests.store.test_blobs import fill, opened
blob = opened(Path(sys.argv[1]))
fill(blob, 0, 3)
blob.sync()
fill(blob, 3, 5)
print(blob.durable_chunks, flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_killed_process_keeps_what_it_stored(tmp_path: Path) -> None:
    """After SIGKILL also the two chunks are there that were not synced."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"3\n"
        child.send_signal(signal.SIGKILL)
        assert child.wait(timeout=10) == -signal.SIGKILL
    blob = opened(tmp_path)
    assert blob.durable_chunks == 5
    blob.close()
    complete(tmp_path)


@pytest.mark.parametrize("torn_bytes", [1, 31])
def test_torn_journal_tail_is_cut(tmp_path: Path, torn_bytes: int) -> None:
    """A hash that is half written belongs to a chunk that nobody acknowledged."""
    blob = opened(tmp_path)
    fill(blob, 0, 3)
    blob.sync()
    blob.close()
    with (tmp_path / f"{NAME}.journal").open("ab") as journal:
        journal.write(bytes(torn_bytes))
    again = opened(tmp_path)
    assert again.durable_chunks == 3
    assert (tmp_path / f"{NAME}.journal").stat().st_size == 96
    again.close()
    complete(tmp_path)


@pytest.mark.parametrize("block", [b"\0" * 32, b"\xff" * 32])
def test_journal_that_the_power_cut_garbled_is_cut(tmp_path: Path, block: bytes) -> None:
    """Hashes of the last batch that do not fit the data are not believed, nor is what follows them."""
    blob = opened(tmp_path)
    fill(blob, 0, 5)
    blob.sync()
    blob.close()
    journal = tmp_path / f"{NAME}.journal"
    hashes = journal.read_bytes()
    journal.write_bytes(hashes[:64] + block + hashes[96:])
    again = opened(tmp_path)
    assert again.durable_chunks == 2
    again.close()
    assert journal.read_bytes() == hashes[:64]
    complete(tmp_path)


def test_only_the_last_batch_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a large blob costs one batch; damage before it is found when the chunk is read."""
    monkeypatch.setattr(blobs, "UNSYNCED_BYTES", 2 * CHUNK)
    monkeypatch.setattr(blobs, "run_chunks", lambda _chunk_size: 1)
    blob = opened(tmp_path)
    fill(blob, 0, 6)
    os.pwrite(blob._data, b"spoilt", sealed_offset(1, CHUNK))
    blob.close()
    again = opened(tmp_path)
    assert again.durable_chunks == 6
    again.check(0, leaf_of(0, again.read(0, 1)))
    with pytest.raises(StoreDamaged, match="found other bytes"):
        again.check(0, sealed_leaves(0, again.read(0, 2), count=2, chunk_size=CHUNK))
    again.close()


def test_what_this_process_synced_is_not_read_again(tmp_path: Path) -> None:
    """A blob that is opened again and again costs nothing; what came after the sync is looked at as always."""
    blob = opened(tmp_path)
    fill(blob, 0, 4)
    assert blob.sync() == 4
    fill(blob, 4, 6)
    for index in (1, 5):
        os.pwrite(blob._data, b"spoilt", sealed_offset(index, CHUNK))
    blob.close()
    again = SealedBlob(tmp_path, NAME, header=HEADER, synced_chunks=4)
    assert again.durable_chunks == 5
    again.close()
    fresh = opened(tmp_path)
    assert fresh.durable_chunks == 1
    fresh.close()


def test_journal_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal larger than what is read at once gives the same root."""
    monkeypatch.setattr(blobs, "_LEAVES_AT_ONCE", 2)
    complete(tmp_path)
    complete(tmp_path)


def damage_longer_journal(directory: Path) -> None:
    with (directory / f"{NAME}.journal").open("ab") as journal:
        journal.write(bytes(32 * COUNT))


def damage_shorter_data(directory: Path) -> None:
    os.truncate(directory / f"{NAME}.sealed", sealed_offset(2, CHUNK))


def damage_longer_data(directory: Path) -> None:
    os.truncate(directory / f"{NAME}.sealed", sealed_bytes(HEADER) + 1)


def damage_lost_data(directory: Path) -> None:
    (directory / f"{NAME}.sealed").unlink()


@pytest.mark.parametrize("damage", [damage_longer_journal, damage_shorter_data, damage_longer_data, damage_lost_data])
def test_files_that_do_not_fit_are_damage(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """A journal that promises more than there is, and data of another length, are never taken for a blob."""
    blob = opened(tmp_path)
    fill(blob, 0, 3)
    blob.sync()
    blob.close()
    damage(tmp_path)
    for _ in range(2):
        with pytest.raises(StoreDamaged) as caught:
            opened(tmp_path)
        assert "delete" in str(caught.value.hint)


def test_read_of_a_shortened_file(tmp_path: Path) -> None:
    """A file that loses its end while it is open is damage."""
    blob = opened(tmp_path)
    fill(blob, 0)
    os.truncate(blob.path, sealed_bytes(HEADER) - 1)
    with pytest.raises(StoreDamaged, match="found"):
        blob.read(COUNT - 1, 1)
    blob.close()


def test_chunk_that_is_not_durable_cannot_be_read(tmp_path: Path) -> None:
    """Reading ahead of the journal gives an error, not the zeros of the reservation."""
    blob = opened(tmp_path)
    fill(blob, 0, 1)
    with pytest.raises(StoreDamaged):
        blob.read(0, 2)
    blob.close()


def test_room_is_reserved_at_once(disk: Path) -> None:
    """A blob that does not fit is refused before the first byte, and leaves nothing; one that fits is not."""
    for _ in range(2):
        with pytest.raises(DiskFull):
            opened(disk)
        assert names(disk) == []
    small = make_header(2 * CHUNK)
    blob = opened(disk, small)
    assert blob.path.stat().st_blocks * 512 >= sealed_bytes(small)
    blob.discard()
    assert names(disk) == []


def test_reserved_room_is_not_taken_by_others(tmp_path: Path) -> None:
    """Whatever fills the disk meanwhile, the data fits; if the journal does not, nothing is acknowledged or lost."""
    header = make_header(CHUNK)
    with small_disk("tmpfs", tmp_path) as disk:
        blob = opened(disk, header)
        filling = fill_up(disk)
        with pytest.raises(DiskFull):
            fill(blob, 0, 1)
        assert blob.durable_chunks == 0
        blob.close()
        filling.unlink()
        again = opened(disk, header)
        assert again.durable_chunks == 0
        write(again, 0, CHUNKS[0], bytes(16))
        assert again.sync() == 2
        again.close()


def test_discard_leaves_nothing(tmp_path: Path) -> None:
    """A discarded blob is gone, however often, and its name can begin again."""
    blob = opened(tmp_path)
    fill(blob, 0, 3)
    blob.sync()
    blob.discard()
    blob.discard()
    assert names(tmp_path) == []
    complete(tmp_path)


def test_discard_that_is_interrupted(tmp_path: Path) -> None:
    """The journal goes first: data without a journal is a blob that begins anew."""
    blob = opened(tmp_path)
    fill(blob, 0, 3)
    blob.sync()
    blob.close()
    (tmp_path / f"{NAME}.journal").unlink()
    again = opened(tmp_path)
    assert again.durable_chunks == 0
    again.close()
    complete(tmp_path)


def test_closed_blob_takes_nothing(tmp_path: Path) -> None:
    """After close, which may be repeated, writing fails as the disk does."""
    blob = opened(tmp_path)
    blob.close()
    blob.close()
    with pytest.raises(StorageFailed):
        write(blob, 0, CHUNKS[0])


def test_failed_sync_is_not_repeated(tmp_path: Path, faults: DiskFaults) -> None:
    """A second sync would succeed although the data may be gone: the blob has to be opened again."""
    blob = opened(tmp_path)
    fill(blob, 0, 3)
    faults.arm(0)
    with pytest.raises(StorageFailed, match="input/output"):
        blob.sync()
    faults.arm(None)
    for attempt in (blob.sync, lambda: fill(blob, 3)):
        with pytest.raises(StorageFailed, match="before"):
            attempt()
    assert blob.durable_chunks == 0
    blob.close()
    complete(tmp_path)


def attempt(directory: Path) -> int:
    """Receive the whole blob with two syncs; return how many chunks were acknowledged before the disk failed."""
    acknowledged = 0
    blob = None
    try:
        blob = opened(directory)
        acknowledged = blob.durable_chunks
        for stop in (3, 5, COUNT):
            fill(blob, blob.durable_chunks, stop)
            acknowledged = blob.sync()
        blob.finish()
    except (StorageFailed, PowerCut):
        pass
    finally:
        if blob is not None:
            blob.close()
    return acknowledged


@pytest.mark.parametrize("persisted", [False, True])
def test_every_failing_call_keeps_what_was_acknowledged(tmp_path: Path, faults: DiskFaults, *, persisted: bool) -> None:
    """Whichever call fails: acknowledged chunks stay, others are lost or not, and the blob is completed."""
    faults.arm(None)
    assert attempt(tmp_path / "good") == COUNT
    calls = len(faults.seen)
    assert calls > 20
    for number in range(calls):
        directory = tmp_path / str(number)
        faults.arm(number, persisted=persisted)
        acknowledged = attempt(directory)
        assert len(faults.seen) <= calls + 1  # a sync that fails forgets what it did not sync
        faults.arm(None)
        if not persisted:
            # the power goes as well, and takes what was in memory only
            faults.platter.cut_power(directory)
        again = opened(directory)
        assert again.durable_chunks >= acknowledged
        again.close()
        complete(directory)


@pytest.mark.parametrize("persisted", [False, True])
def test_every_failing_call_of_an_opening_loses_nothing(tmp_path: Path, faults: DiskFaults, *, persisted: bool) -> None:
    """A process died with chunks in memory only: no opening acknowledges what it did not write and sync itself."""
    faults.arm(None)
    leave_unsynced(tmp_path / "good")
    faults.arm(None)
    opened(tmp_path / "good").close()
    calls = len(faults.seen)
    assert {"pwrite", "fdatasync", "ftruncate", "fsync"} <= set(faults.seen)
    for number in range(calls):
        directory = tmp_path / str(number)
        faults.arm(None)
        leave_unsynced(directory)
        faults.arm(number, persisted=persisted)
        with suppress(StorageFailed):
            opened(directory).close()
        faults.arm(None)
        again = opened(directory)
        assert again.durable_chunks == 5
        # all that it names was written before it was synced
        assert faults.seen.index("pwrite") < faults.seen.index("fdatasync")
        again.close()
        complete(directory)


JOURNAL, SEALED = frozenset({".journal"}), frozenset({".sealed"})


@pytest.mark.parametrize("written_back", [frozenset(), JOURNAL, SEALED, JOURNAL | SEALED])
def test_every_power_cut_keeps_what_was_acknowledged(
    tmp_path: Path, faults: DiskFaults, written_back: frozenset[str]
) -> None:
    """Wherever the machine stops, and whatever the system had written by itself: acknowledged chunks are there."""
    faults.arm(None)
    assert attempt(tmp_path / "good") == COUNT
    calls = len(faults.seen)
    for number in range(calls + 1):
        directory = tmp_path / str(number)
        faults.arm(number, power=True)
        acknowledged = attempt(directory)
        assert (acknowledged == COUNT) or number < calls
        faults.arm(None)
        faults.platter.cut_power(directory, written_back=written_back)
        again = opened(directory)
        assert again.durable_chunks >= acknowledged
        again.close()
        complete(directory)


def leave_unsynced(directory: Path) -> None:
    """Store five chunks, of which the last two may be in memory only."""
    blob = opened(directory)
    fill(blob, 0, 3)
    blob.sync()
    fill(blob, 3, 5)
    blob.close()


def open_and_close(directory: Path) -> None:
    with suppress(StorageFailed):
        opened(directory).close()


@pytest.mark.parametrize("failing", [attempt, open_and_close])
def test_what_an_opening_finds_after_a_failure_is_durable(
    tmp_path: Path, faults: DiskFaults, failing: Callable[[Path], object]
) -> None:
    """A sync that failed leaves bytes in memory that no later sync writes: they are not mistaken for durable ones."""
    leave_unsynced(tmp_path / "good")
    faults.arm(None)
    failing(tmp_path / "good")
    for number in range(len(faults.seen)):
        directory = tmp_path / str(number)
        faults.arm(None)
        leave_unsynced(directory)
        faults.arm(number)
        failing(directory)
        faults.arm(None)
        again = opened(directory)
        durable = again.durable_chunks
        again.close()
        faults.platter.cut_power(directory)
        after = opened(directory)
        assert after.durable_chunks == durable >= 3
        after.close()
        complete(directory)


def test_chunks_that_were_forgotten_stay_forgotten(tmp_path: Path, faults: DiskFaults) -> None:
    """No power cut brings them back, to be mistaken for what is asked for again."""
    blob = opened(tmp_path / NAME)
    fill(blob, 0)
    blob.finish()
    blob.restart()
    faults.platter.cut_power(tmp_path / NAME)
    again = opened(tmp_path / NAME)
    assert again.durable_chunks == 0
    again.close()


def test_a_run_that_reaches_the_bound_is_looked_at_whole(
    tmp_path: Path, faults: DiskFaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks come in runs, so more than the bound may be stored before they are synced; the power may take all."""
    monkeypatch.setattr(blobs, "UNSYNCED_BYTES", 2 * CHUNK)
    run = run_chunks(CHUNK)
    header = make_header(2 * run * CHUNK)
    chunks = [bytes([index + 1]) * sealed_size(index, header) for index in range(run + 3)]
    blob = opened(tmp_path / NAME, header)
    write(blob, 0, *chunks[:2])
    assert blob.sync() == 2
    write(blob, 2, chunks[2])
    faults.arm(2, power=True)  # data and journal are written, and not synced
    with pytest.raises(PowerCut):
        write(blob, 3, *chunks[3:])
    blob.close()
    faults.arm(None)
    faults.platter.cut_power(tmp_path / NAME, written_back=JOURNAL)
    again = opened(tmp_path / NAME, header)
    assert again.durable_chunks == 2
    again.close()
