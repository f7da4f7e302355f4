"""The bridge to SQLite: durability, isolation, and the translation of every failure."""

import logging
import os
import sqlite3
import stat
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from ddtp.database import Database, Transaction, open_database
from ddtp.errors import AlreadyRunning, DiskFull, NotFound, StorageFailed, StoreDamaged
from tests.faults import Faults

SCHEMA = ("CREATE TABLE pair (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;",)
INSERT = "INSERT INTO pair VALUES (?, ?)"
SELECT = "SELECT name FROM pair ORDER BY name"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.db"


def spoil(path: Path, damage: str) -> None:
    data = path.read_bytes()
    spoilt = {
        "text": b"not a database" * 500,
        "empty": b"",
        "truncated": data[: len(data) // 2],
        "page": data[:8192] + os.urandom(4096) + data[12288:],
    }
    path.write_bytes(spoilt[damage])


async def names(database: Database) -> list[str]:
    return [name for (name,) in await database.fetch_all(SELECT)]


def insert_two(transaction: Transaction) -> int:
    transaction.execute(INSERT, ("a", b"1"))
    return transaction.execute(INSERT, ("b", b"2"))


async def test_what_was_written_is_read_again(path: Path) -> None:
    """Rows survive closing and opening."""
    async with open_database(path, migrations=SCHEMA) as database:
        assert await database.execute(INSERT, ("a", b"1")) == 1
    async with open_database(path, migrations=SCHEMA) as database:
        assert await database.fetch_one("SELECT value FROM pair WHERE name = ?", ("a",)) == (b"1",)
        assert await database.fetch_one("SELECT value FROM pair WHERE name = ?", ("z",)) is None


async def test_file_is_private_and_durable(path: Path) -> None:
    """Only this user may read the file, and commits wait for the disk."""
    async with open_database(path, migrations=SCHEMA) as database:
        await database.execute(INSERT, ("a", b"1"))
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        settings = [await database.fetch_one(f"PRAGMA {name}") for name in ("journal_mode", "synchronous")]
        assert settings == [("wal",), (2,)]
        assert await database.fetch_one("PRAGMA foreign_keys") == (1,)


async def test_transaction_returns_what_its_function_returns(path: Path) -> None:
    """A function runs as one transaction and its result comes back."""
    async with open_database(path, migrations=SCHEMA) as database:
        assert await database.transaction(insert_two) == 1
        assert await names(database) == ["a", "b"]


async def test_transaction_whose_function_fails_changes_nothing(path: Path) -> None:
    """An error of the function comes out as it is, and takes its writes with it."""

    def fail(transaction: Transaction) -> None:
        insert_two(transaction)
        raise NotFound("expected something else")

    async with open_database(path, migrations=SCHEMA) as database:
        with pytest.raises(NotFound, match="something else"):
            await database.transaction(fail)
        assert await names(database) == []
        await database.transaction(insert_two)


async def test_constraint_fails_as_a_whole(path: Path) -> None:
    """A row that breaks a constraint takes the whole transaction with it."""
    async with open_database(path, migrations=SCHEMA) as database:
        with pytest.raises(StorageFailed, match="UNIQUE"):
            await database.transaction(
                lambda transaction: transaction.execute_many(INSERT, [("a", b"1"), ("b", b"2"), ("a", b"3")])
            )
        assert await names(database) == []


async def test_cancelled_call_is_finished(path: Path) -> None:
    """Cancelling a writer does not tear a transaction apart, nor block the next one."""
    async with open_database(path, migrations=SCHEMA) as database:
        with trio.CancelScope() as scope:
            scope.cancel()
            await database.transaction(insert_two)
        assert await names(database) in ([], ["a", "b"])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.execute, INSERT, ("c", b"3"))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert "c" in await names(database)


async def test_any_task_may_use_it(path: Path) -> None:
    """A task that was started before the database was opened can use it, and tasks do not get into each other's way."""
    async with trio.open_nursery() as nursery, open_database(path, migrations=SCHEMA) as database:

        async def add(number: int) -> None:
            await database.execute(INSERT, (str(number), b""))

        async with trio.open_nursery() as inner:
            for number in range(20):
                inner.start_soon(add, number)
        done = trio.Event()

        async def outside() -> None:
            await add(100)
            done.set()

        nursery.start_soon(outside)
        await done.wait()
        assert len(await names(database)) == 21


async def test_error_of_the_block_comes_out_as_it_is(path: Path) -> None:
    """Nurseries inside the bridge do not wrap the caller's errors into groups."""
    with pytest.raises(NotFound):
        async with open_database(path, migrations=SCHEMA):
            raise NotFound("mine")


async def test_migrations_run_once_and_in_order(path: Path) -> None:
    """An old file is brought up to date; scripts may hold triggers."""
    async with open_database(path, migrations=SCHEMA) as database:
        await database.execute(INSERT, ("a", b"1"))
    second = """
        CREATE TABLE trace (name TEXT) STRICT;
        CREATE TRIGGER t AFTER INSERT ON pair BEGIN INSERT INTO trace VALUES (new.name); SELECT 1; END;
    """
    for name in ("b", "c"):
        async with open_database(path, migrations=(*SCHEMA, second)) as database:
            await database.execute(INSERT, (name, b""))
    async with open_database(path, migrations=(*SCHEMA, second)) as database:
        assert await database.fetch_all("SELECT name FROM trace") == [("b",), ("c",)]
        assert await names(database) == ["a", "b", "c"]


async def test_failed_migration_leaves_the_old_schema(path: Path) -> None:
    """A migration is one transaction."""
    async with open_database(path, migrations=SCHEMA):
        pass
    with pytest.raises(StoreDamaged):
        async with open_database(path, migrations=(*SCHEMA, "CREATE TABLE x (a); CREATE TABLE x (b);")):
            pass
    async with open_database(path, migrations=SCHEMA) as database:
        assert await database.fetch_all("SELECT name FROM sqlite_master WHERE name = 'x'") == []


async def test_file_of_a_later_version_is_refused(path: Path) -> None:
    """An old program does not touch a file that it does not understand."""
    async with open_database(path, migrations=(*SCHEMA, "CREATE TABLE x (a);")):
        pass
    with pytest.raises(StoreDamaged, match="version") as caught:
        async with open_database(path, migrations=SCHEMA):
            pass
    assert "later version" in (caught.value.hint or "")


@pytest.mark.parametrize("damage", ["text", "empty", "truncated", "page"])
async def test_damaged_file_is_refused(path: Path, damage: str) -> None:
    """A file that is no sound database is refused when it is opened."""
    async with open_database(path, migrations=SCHEMA) as database:
        await database.transaction(lambda tx: tx.execute_many(INSERT, [(str(n), bytes(900)) for n in range(50)]))
    spoil(path, damage)
    with pytest.raises(StoreDamaged):
        async with open_database(path, migrations=SCHEMA):
            pass


async def test_missing_directory_is_a_storage_failure(tmp_path: Path) -> None:
    """A path that cannot be created says so, without the path of the home."""
    with pytest.raises(StorageFailed, match=r"no such file or directory: test\.db"):
        async with open_database(tmp_path / "missing" / "test.db", migrations=SCHEMA):
            pass


async def test_full_disk_is_told_and_passes(path: Path) -> None:
    """Without room nothing changes; with room again, writing goes on."""
    async with open_database(path, migrations=SCHEMA) as database:
        await database.fetch_all("PRAGMA max_page_count = 10")
        with pytest.raises(DiskFull):
            await database.transaction(lambda tx: tx.execute_many(INSERT, [(str(n), bytes(4000)) for n in range(50)]))
        assert await names(database) == []
        await database.execute(INSERT, ("small", b""))
        await database.fetch_all("PRAGMA max_page_count = 1000")
        await database.execute(INSERT, ("large", bytes(100_000)))
        assert await names(database) == ["large", "small"]


async def test_another_writer_is_told(path: Path) -> None:
    """Past the busy limit, a write says who is in the way."""
    async with open_database(path, migrations=SCHEMA) as database:
        await database.fetch_all("PRAGMA busy_timeout = 0")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(AlreadyRunning):
            await database.execute(INSERT, ("a", b""))
        other.close()
        await database.execute(INSERT, ("a", b""))


@pytest.mark.slow
async def test_exclusive_database_keeps_other_processes_out(path: Path) -> None:
    """While one process holds an exclusive database, another can neither open nor read it."""
    script = f"import sqlite3; sqlite3.connect({str(path)!r}, timeout=0).execute('SELECT * FROM pair')"
    async with open_database(path, migrations=SCHEMA, exclusive=True):
        with pytest.raises(AlreadyRunning):
            async with open_database(path, migrations=SCHEMA, exclusive=True):
                pass
        reader = await trio.run_process([sys.executable, "-c", script], check=False, capture_stderr=True)
        assert b"locked" in reader.stderr
    async with open_database(path, migrations=SCHEMA, exclusive=True):
        pass
    await trio.run_process([sys.executable, "-c", script])


@pytest.mark.parametrize("persisted", [False, True])
@pytest.mark.parametrize("at", range(4))
async def test_write_that_fails(path: Path, at: int, *, persisted: bool) -> None:
    """Whichever statement fails, the transaction is there as a whole or not at all, and the next one works."""
    faults = Faults()
    async with open_database(path, migrations=SCHEMA, connection_factory=faults.factory()) as database:
        faults.arm(at, persisted=persisted)
        with pytest.raises(StorageFailed):
            await database.transaction(insert_two)
        faults.arm(None)
        whole = ["a", "b"] if at == 3 and persisted else []
        assert await names(database) == whole
        await database.execute(INSERT, ("c", b""))
    async with open_database(path, migrations=SCHEMA) as database:
        assert await names(database) == [*whole, "c"]


async def test_statements_are_not_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Parameters, which may be keys, do not reach a log even when everything is logged."""
    with caplog.at_level(logging.DEBUG):
        async with open_database(path, migrations=SCHEMA) as database:
            await database.execute(INSERT, ("secret", b"key material"))
    assert "key material" not in caplog.text
