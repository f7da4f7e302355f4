"""The log in a file: what survives, what is noticed, and what is refused."""

import functools
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from ddtp.chain.proof import entry_hash, verify_inclusion
from ddtp.chain.sqlite_ledger import SqliteLedger, audit_file, open_sqlite_ledger
from ddtp.chain.statement import Entry, EntryKind
from ddtp.database import Connection
from ddtp.errors import AlreadyRunning, ConfigInvalid, DiskFull, PolicyRefused, StorageFailed, StoreDamaged
from ddtp.protocol import merkle
from tests.faults import Faults
from tests.ledgers import HOUR, NOW, Clock, Key, make_entry, make_key

LOG = make_key("log")
ORIGIN = "log.example/2026"
ROOT = Path(__file__).parents[2]
KINDS = (EntryKind.GRANT, EntryKind.RECEIPT, EntryKind.USE, EntryKind.ERASURE, EntryKind.WITHDRAWAL)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@asynccontextmanager
async def opened(
    path: Path, *, clock: Clock | None = None, origin: str = ORIGIN, signer: Key = LOG, faults: Faults | None = None
) -> AsyncIterator[SqliteLedger]:
    factory = faults.factory() if faults else Connection
    async with open_sqlite_ledger(
        path, origin=origin, signer=signer, clock=clock or Clock(), connection_factory=factory
    ) as ledger:
        yield ledger


def some(start: int, stop: int) -> list[bytes]:
    return [make_entry(number) for number in range(start, stop)]


def content(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


async def check(ledger: SqliteLedger, count: int) -> None:
    """Check the whole log, which holds the entries 0 to `count`."""
    await ledger.audit()
    head = (await ledger.head()).body
    assert (head.size, head.root) == (count, merkle.root([entry_hash(entry) for entry in some(0, count)]))
    for index in {0, count // 2, count - 1} & set(range(count)):
        verify_inclusion(make_entry(index), await ledger.prove(index), log_key=LOG.public_key, origin=ORIGIN)


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 1000])
async def test_log_is_the_same_after_opening_again(path: Path, count: int) -> None:
    """A log goes on where it was."""
    async with opened(path) as ledger:
        await ledger.append(some(0, count))
    async with opened(path) as ledger:
        await check(ledger, count)
        assert await ledger.append(some(count, count + 2)) == (count, count + 1)
        await check(ledger, count + 2)


@pytest.mark.slow
async def test_second_level_of_tiles_is_restored(path: Path) -> None:
    """A log above 65,536 entries restores its edge from tiles, and a proof reads few of them."""
    async with opened(path) as ledger:
        for start in range(0, 66_000, 11_000):
            await ledger.append(some(start, start + 11_000))
        root = (await ledger.head()).body.root
    async with opened(path) as ledger:
        assert (await ledger.head()).body.root == root
        proof = await ledger.prove(12_345)
        assert len(ledger._tiles) <= 2
        verify_inclusion(make_entry(12_345), proof, log_key=LOG.public_key, origin=ORIGIN)
        await ledger.prove_growth(300, 66_000)
        assert len(ledger._tiles) <= 5


@pytest.mark.parametrize("change", [{"origin": "other.example/2026"}, {"signer": make_key("other")}])
async def test_file_of_another_log_is_refused(path: Path, change: dict[str, Any]) -> None:
    """A file is never continued under another name or key."""
    async with opened(path):
        pass
    with pytest.raises(ConfigInvalid):
        async with opened(path, **change):
            pass


@pytest.mark.slow
async def test_second_process_is_refused(path: Path) -> None:
    """Only one process can have a log open."""
    async with opened(path) as ledger:
        await ledger.append(some(0, 3))
        with pytest.raises(AlreadyRunning):
            async with opened(path):
                pass
        await ledger.append(some(3, 4))
        await check(ledger, 4)


async def test_second_writer_changes_nothing(path: Path) -> None:
    """If the lock of the file does not work, the head is compared before anything is written, and the ledger stops."""
    async with opened(path) as ledger:
        await ledger.append(some(0, 3))
        await ledger.head()
        await ledger._database.execute("UPDATE head SET size = 4")
        before = await ledger._database.fetch_all("SELECT * FROM tail")
        for _ in range(2):
            with pytest.raises(AlreadyRunning):
                await ledger.append(some(3, 5))
        with pytest.raises(AlreadyRunning):
            await ledger.head()
        with pytest.raises(AlreadyRunning):
            await ledger.prove(0)
        assert await ledger._database.fetch_all("SELECT * FROM tail") == before


async def statements_of_an_append(path: Path, start: int, stop: int) -> int:
    faults = Faults()
    async with opened(path, faults=faults) as ledger:
        await ledger.append(some(0, start))
        faults.arm(None)
        await ledger.append(some(start, stop))
        return len(faults.seen)


@pytest.mark.slow
@pytest.mark.parametrize("persisted", [False, True])
@pytest.mark.parametrize(("start", "stop"), [(3, 5), (250, 600)])
async def test_every_write_that_fails(tmp_path: Path, start: int, stop: int, *, persisted: bool) -> None:
    """Whichever statement of an append fails, lost or not, asking again appends once, and the log stays sound."""
    count = await statements_of_an_append(tmp_path / "measure.db", start, stop)
    assert count >= 4
    for at in range(count):
        path, faults = tmp_path / f"{at}.db", Faults()
        async with opened(path, faults=faults) as ledger:
            await ledger.append(some(0, start))
            faults.arm(at, persisted=persisted)
            with pytest.raises(StorageFailed):
                await ledger.append(some(start, stop))
            faults.arm(None)
            head = await ledger.head()
            assert head.body.size == start
            assert await ledger.append(some(start, stop)) == tuple(range(start, stop))
            await check(ledger, stop)
        async with opened(path) as ledger:
            await check(ledger, stop)


@pytest.mark.parametrize("persisted", [False, True])
async def test_opening_after_a_commit_that_failed(path: Path, *, persisted: bool) -> None:
    """A process that ends after a failed commit finds the log before it or after it, never in between."""
    faults = Faults()
    async with opened(path, faults=faults) as ledger:
        await ledger.append(some(0, 250))
        faults.arm(await statements_of_an_append(path.with_name("measure.db"), 250, 600) - 1, persisted=persisted)
        with pytest.raises(StorageFailed):
            await ledger.append(some(250, 600))
    async with opened(path) as ledger:
        await check(ledger, 600 if persisted else 250)


async def test_failure_while_resolving_doubt_keeps_the_doubt(path: Path) -> None:
    """As long as the disk does not answer, nothing is appended; then everything goes on."""
    faults = Faults()
    async with opened(path, faults=faults) as ledger:
        await ledger.append(some(0, 3))
        faults.arm(3, persisted=True)
        with pytest.raises(StorageFailed):
            await ledger.append(some(3, 5))
        for at in range(3):
            faults.arm(at)
            with pytest.raises(StorageFailed):
                await ledger.append(some(3, 5))
        faults.arm(None)
        assert await ledger.append(some(3, 5)) == (3, 4)
        await check(ledger, 5)


@pytest.mark.slow
async def test_a_log_leaves_room_on_its_disk(path: Path) -> None:
    """Below the floor nothing is appended, while the log still answers and signs."""
    async with opened(path) as ledger:
        await ledger.append(some(0, 3))
    clock = Clock()
    async with open_sqlite_ledger(path, origin=ORIGIN, signer=LOG, clock=clock, min_free_bytes=1 << 62) as ledger:
        with pytest.raises(DiskFull):
            await ledger.append(some(3, 4))
        clock.now += 100
        head = await ledger.head()
        assert (head.body.size, head.body.time) == (3, clock.now)
        await ledger.prove(2)


async def test_full_disk_is_told_and_passes(path: Path) -> None:
    """Without room nothing is appended but everything can be read; with room again the ledger goes on."""
    clock = Clock()
    async with opened(path, clock=clock) as ledger:
        await ledger.append(some(0, 300))
        ((pages,),) = await ledger._database.fetch_all("PRAGMA page_count")
        await ledger._database.fetch_all(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(DiskFull):
            await ledger.append(some(300, 3000))
        await check(ledger, 300)
        await ledger._database.fetch_all(f"PRAGMA max_page_count = {pages + 10_000}")
        assert await ledger.append(some(300, 3000)) == tuple(range(300, 3000))
        await check(ledger, 3000)


async def test_log_that_cannot_be_written_can_be_read(path: Path) -> None:
    """When the time cannot be written down, the head is as old as the last commit."""
    faults, clock = Faults(), Clock()
    async with opened(path, clock=clock, faults=faults) as ledger:
        await ledger.append(some(0, 3))
        clock.now += 3600
        faults.arm(0)
        assert (await ledger.head()).body.time == NOW
        faults.arm(None)
        assert (await ledger.head()).body.time == NOW + 3600


async def test_time_does_not_go_back_when_opened_again(path: Path) -> None:
    """A clock that was set back while the log was closed does not show in its checkpoints."""
    clock = Clock()
    async with opened(path, clock=clock) as ledger:
        await ledger.append(some(0, 3))
        clock.now += 100
        assert (await ledger.head()).body.time == NOW + 100
    clock.now -= 5000
    async with opened(path, clock=clock) as ledger:
        assert (await ledger.head()).body.time == NOW + 100


async def test_callers_share_commits(path: Path) -> None:
    """Fifty callers wait for a few commits, not for fifty."""
    faults = Faults()
    async with opened(path, faults=faults) as ledger:
        faults.arm(None)
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(ledger.append, [make_entry(number)])
        assert faults.seen.count("COMMIT") <= 3
        assert (await ledger.head()).body.size == 50


async def test_refused_caller_does_not_harm_others(path: Path) -> None:
    """Of callers that share a commit, one that is refused is refused alone."""
    crowd = [make_entry(0, hour=HOUR - 3600 * (number % 16), kind=KINDS[number // 16]) for number in range(65)]
    refused = []
    async with opened(path) as ledger:
        await ledger.append(crowd[:64])

        async def append_too_many() -> None:
            with pytest.raises(PolicyRefused):
                await ledger.append(crowd[64:])
            refused.append(crowd[64])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ledger.append, [make_entry(1)])
            nursery.start_soon(append_too_many)
            nursery.start_soon(ledger.append, [make_entry(2)])
        assert refused
        assert (await ledger.head()).body.size == 66
        await ledger.audit()


@pytest.mark.slow
async def test_killed_process_loses_nothing_it_acknowledged(path: Path) -> None:
    """After SIGKILL in the middle of writing, every acknowledged head is in the log that is opened next."""
    acknowledged: dict[int, str] = {}
    for lines in (3, 8, 14):
        async with trio.open_nursery() as nursery:
            child = await nursery.start(
                functools.partial(
                    trio.run_process,
                    [sys.executable, str(Path(__file__).with_name("appender.py")), str(path)],
                    stdout=subprocess.PIPE,
                    check=False,
                    env={"PYTHONPATH": str(ROOT)},
                )
            )
            assert child.stdout is not None
            output = bytearray()
            with trio.fail_after(30):
                while output.count(b"\n") < lines:
                    output += await child.stdout.receive_some(4096)
            child.kill()
            async for data in child.stdout:
                output += data
        whole = output[: output.rfind(b"\n")].decode().splitlines()
        acknowledged |= {int(size): root for size, root in map(str.split, whole)}
        async with opened(path) as ledger:
            size = (await ledger.head()).body.size
            assert size >= max(acknowledged)
            await check(ledger, size)
    hashes = [entry_hash(entry) for entry in some(0, max(acknowledged))]
    assert {size: merkle.root(hashes[:size]).hex() for size in acknowledged} == acknowledged


async def state_of(path: Path) -> tuple[int, bytes]:
    """Open and audit a log, and read all of it."""
    async with opened(path) as ledger:
        await ledger.audit()
        head = (await ledger.head()).body
        for number in range(0, head.size, 97):
            assert await ledger.lookup(Entry.parse(make_entry(number)).digest) in ((), (number,))
            await ledger.prove(number)
        return head.size, head.root


async def test_a_file_is_audited_without_its_key(path: Path) -> None:
    """Who keeps a log can check it without its passphrase; a file that was never a log has nothing to check."""
    assert await audit_file(path) is None
    async with opened(path) as ledger:
        await ledger.append(some(0, 300))
    before = content(path)
    assert await audit_file(path) == (ORIGIN, 300)
    assert content(path) == before
    database = sqlite3.connect(path)
    with database:
        database.execute("DELETE FROM lookup WHERE position = 7")
    database.close()
    with pytest.raises(StoreDamaged):
        await audit_file(path)


@pytest.mark.slow
async def test_flipped_bits_are_noticed(path: Path, tmp_path: Path) -> None:
    """A damaged file is refused, or the damage is where nothing is stored; it never gives another log."""
    async with opened(path) as ledger:
        await ledger.append(some(0, 900))
    sound = await state_of(path)
    good, chance = content(path), random.Random(1)
    positions = [*range(0, 100, 3), *chance.sample(range(100, len(good)), 60)]
    noticed = 0
    for position in positions:
        bad = bytearray(good)
        bad[position] ^= 1 << chance.randrange(8)
        copy = write(tmp_path / f"flipped-{position}.db", bytes(bad))
        try:
            assert await state_of(copy) == sound
        except (StoreDamaged, StorageFailed, ConfigInvalid):
            noticed += 1
    assert noticed > len(positions) // 2


async def test_truncated_file_is_noticed(path: Path, tmp_path: Path) -> None:
    """A file that lost its end, or all of it, is refused."""
    async with opened(path) as ledger:
        await ledger.append(some(0, 900))
    good = content(path)
    for size in (0, 1, 100, 4096, len(good) // 2, len(good) - 4096, len(good) - 1):
        copy = write(tmp_path / f"cut-{size}.db", good[:size])
        with pytest.raises(StoreDamaged):
            await state_of(copy)


@pytest.mark.parametrize(
    ("table", "column"), [("tail", "position"), ("tile", "id"), ("bundle", "number"), ("lookup", "position")]
)
async def test_missing_rows_are_noticed(path: Path, table: str, column: str) -> None:
    """A file that SQLite finds sound but that lacks rows of the log is refused."""
    async with opened(path) as ledger:
        await ledger.append(some(0, 600))
        await ledger._database.execute(f"DELETE FROM {table} WHERE {column} IN (SELECT max({column}) FROM {table})")
    with pytest.raises(StoreDamaged):
        await state_of(path)


async def test_changed_entry_is_noticed(path: Path) -> None:
    """An entry that was changed behind the log's back is not served."""
    async with opened(path) as ledger:
        await ledger.append(some(0, 300))
        ((data,),) = await ledger._database.fetch_all("SELECT entries FROM bundle")
        await ledger._database.execute("UPDATE bundle SET entries = ?", (data[:-1] + bytes([data[-1] ^ 1]),))
        with pytest.raises(StoreDamaged):
            await ledger.entries(0, 1)
        with pytest.raises(StoreDamaged):
            await ledger.audit()


async def test_changed_tile_is_not_used_for_a_proof(path: Path) -> None:
    """A proof that would not lead to the root is not given away."""
    async with opened(path) as ledger:
        await ledger.append(some(0, 700))
    async with opened(path) as ledger:
        await ledger._database.execute("UPDATE tile SET hashes = zeroblob(8192) WHERE id = 0")
        with pytest.raises(StoreDamaged):
            await ledger.prove(5)
        with pytest.raises(StoreDamaged):
            await ledger.prove_growth(100, 700)


async def test_copy_of_a_closed_file_is_the_log(path: Path, tmp_path: Path) -> None:
    """A log moves by copying its file."""
    async with opened(path) as ledger:
        await ledger.append(some(0, 300))
    shutil.copy(path, tmp_path / "copy.db")
    async with opened(tmp_path / "copy.db") as ledger:
        await check(ledger, 300)
