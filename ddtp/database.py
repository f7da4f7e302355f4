"""SQLite under trio: the one bridge to aiosqlite, which needs asyncio and gets it from trio-asyncio.

A database is a file that only this user may read, in WAL mode with `synchronous=FULL`: what was committed survives loss
of power. Every call of aiosqlite costs two thread switches, about 0.2 ms, so `transaction` takes a function and runs it
in the database thread in one call. Third-party exceptions end here.
"""

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, final

import aiosqlite
import trio
import trio_asyncio

from ddtp.errors import AlreadyRunning, DiskFull, StorageFailed, StoreDamaged

BUSY_SECONDS: Final = 5.0
"""How long to wait for another process of ours that writes: its transactions end within milliseconds."""

EXCLUSIVE_BUSY_SECONDS: Final = 0.25
"""The same for a database that one process holds as long as it lives: waiting only covers its very end."""

HEADER_BYTES: Final = 100
"""Length of the header of every SQLite file (https://www.sqlite.org/fileformat2.html s.1.3)."""

Row = tuple[Any, ...]
Result = TypeVar("Result")

_SETTINGS: Final = (
    "PRAGMA journal_mode = WAL",
    # each commit is on the disk when it returns, not only safe against a crash of this process
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA cell_size_check = ON",
    "PRAGMA trusted_schema = OFF",
)

# our statements are fixed, so one that SQLite does not understand (SQLITE_ERROR) means that the schema is not ours
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR}
_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class Connection(sqlite3.Connection):
    """A connection that can run a whole transaction in one call; subclassed only to inject faults."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Run one statement, or the work that is given instead of parameters."""
        if isinstance(parameters, _Work):
            self._transact(sql, parameters)
            return self.cursor()
        return super().execute(sql, parameters)

    def _transact(self, begin: str, work: "_Work[Any]") -> None:
        try:
            self.execute(begin)
            work.result = work.function(Transaction(self))
            self.execute("COMMIT")
        except BaseException:
            # A full disk makes SQLite roll back by itself. If rolling back fails as well, the first reason counts, and
            # SQLite rolls back when the file is opened next.
            if self.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self.execute("ROLLBACK")
            raise


@final
class Transaction:
    """What the function of `Database.transaction` may do; it lives in the database thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run one statement; return the number of rows it changed."""
        return self._connection.execute(sql, parameters).rowcount

    def execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run one statement for each row of parameters."""
        self._connection.executemany(sql, rows)

    def fetch_all(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Run a query; return its rows."""
        return self._connection.execute(sql, parameters).fetchall()


class _Work(Generic[Result]):
    """A function that takes the place of parameters on its way through aiosqlite, and its result on the way back."""

    def __init__(self, function: Callable[[Transaction], Result]) -> None:
        self.function = function
        self.result: Result

    def __iter__(self) -> Iterator[object]:
        return iter(())


@final
class Database:
    """An open database, usable from any task; made by `open_database`.

    A call that has started is finished even when its task is cancelled: SQLite ends it by itself, within the busy limit
    or as fast as the disk is, and an unfinished statement would block every later one.
    """

    def __init__(self, connection: aiosqlite.Connection, loop: asyncio.AbstractEventLoop, *, name: str) -> None:
        self._connection = connection
        self._loop = loop
        self._name = name
        self._lock = trio.Lock()

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run one statement in a transaction of its own; return the number of rows it changed.

        Raises:
            DiskFull: There is no room; nothing changed.
            StorageFailed: The disk refused, or a constraint.
            StoreDamaged: The file is corrupt.
            AlreadyRunning: Another process holds the database.
        """
        return await self.transaction(lambda transaction: transaction.execute(sql, parameters))

    async def fetch_one(self, sql: str, parameters: Sequence[object] = ()) -> Row | None:
        """Run a query; return its first row, or None. Raises as `fetch_all`."""
        rows = await self.fetch_all(sql, parameters)
        return rows[0] if rows else None

    async def fetch_all(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Run a query; return its rows.

        Raises:
            StorageFailed: The disk refused.
            StoreDamaged: The file is corrupt.
            AlreadyRunning: Another process holds the database.
        """
        rows = await self._call(self._connection.execute_fetchall, sql, parameters)
        return [tuple(row) for row in rows]

    async def transaction(self, function: Callable[[Transaction], Result]) -> Result:
        """Run a function inside one transaction: it commits when the function returns, and nothing changes otherwise.

        Args:
            function: Runs in the database thread; must touch nothing that other threads change.

        Returns:
            What the function returns; then everything it wrote is durable.

        Raises:
            DiskFull: There is no room; nothing changed.
            StorageFailed: The disk refused, or a constraint. If the commit itself failed, the changes may be there.
            StoreDamaged: The file is corrupt.
            AlreadyRunning: Another process holds the database.
        """
        work = _Work(function)
        await self._call(self._connection.execute_fetchall, "BEGIN IMMEDIATE", work)
        return work.result

    async def _call(self, method: Callable[..., Awaitable[Result]], *arguments: object) -> Result:
        async with self._lock:
            with trio.CancelScope(shield=True), _database_errors(self._name):
                # the loop is named because the caller's task need not descend from the one that opened the database
                result: Result = await trio_asyncio.aio_as_trio(method, loop=self._loop)(*arguments)
                return result


@contextlib.asynccontextmanager
async def open_database(
    path: Path,
    *,
    migrations: Sequence[str],
    exclusive: bool = False,
    connection_factory: type[Connection] = Connection,
) -> AsyncIterator[Database]:
    """Open a database, creating it or bringing its schema up to date.

    Args:
        path: The file; its directory must exist.
        migrations: SQL scripts; script n leads from schema version n to n + 1. Released scripts never change.
        exclusive: Keep every other process out as long as the database is open.
        connection_factory: A subclass that injects faults.

    Raises:
        StoreDamaged: The file is no database, is corrupt, or was written by a later version of DDTP.
        AlreadyRunning: Another process holds it.
        DiskFull: There is no room.
        StorageFailed: The disk refused.
    """
    _prepare_file(path)
    # aiosqlite logs statements with their parameters at the level DEBUG; ours hold keys
    logging.getLogger("aiosqlite").setLevel(logging.INFO)
    busy_seconds = EXCLUSIVE_BUSY_SECONDS if exclusive else BUSY_SECONDS
    async with _asyncio_loop() as loop:
        connection = aiosqlite.connect(path, isolation_level=None, timeout=busy_seconds, factory=connection_factory)
        database = Database(connection, loop, name=path.name)
        with trio.CancelScope(shield=True), _database_errors(path.name):
            await trio_asyncio.aio_as_trio(connection.__aenter__, loop=loop)()
        try:
            await _configure(database, exclusive=exclusive)
            await _check(database, path.name)
            await _migrate(database, migrations, path.name)
            yield database
        finally:
            with trio.CancelScope(shield=True), _database_errors(path.name):
                await trio_asyncio.aio_as_trio(connection.close, loop=loop)()


@contextlib.asynccontextmanager
async def _asyncio_loop() -> AsyncIterator[asyncio.AbstractEventLoop]:
    """Give an asyncio loop that errors of the block pass by.

    As a plain `async with`, the nurseries inside the loop would wrap every error of the block into exception groups.
    """
    manager = trio_asyncio.open_loop()
    loop = await manager.__aenter__()
    try:
        yield loop
    finally:
        await manager.__aexit__(None, None, None)


def _prepare_file(path: Path) -> None:
    try:
        with contextlib.suppress(FileExistsError):
            # before SQLite creates it with the permissions of the umask
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            return
        if path.stat().st_size < HEADER_BYTES:
            # SQLite would take it for a new database, and a ledger would begin again under its old name
            raise StoreDamaged(
                f"expected a database in {path.name}, found an empty or cut file",
                hint="restore it from a backup; if it was never used, delete it",
            )
    except OSError as err:
        raise StorageFailed(f"{os.strerror(err.errno or 0).lower()}: {path.name}") from err


async def _configure(database: Database, *, exclusive: bool) -> None:
    if exclusive:
        await database.fetch_all("PRAGMA locking_mode = EXCLUSIVE")
    for setting in _SETTINGS:
        await database.fetch_all(setting)


async def _check(database: Database, name: str) -> None:
    rows = await database.fetch_all("PRAGMA quick_check(1)")
    if rows != [("ok",)]:
        raise StoreDamaged(f"expected a sound database in {name}, found a corrupt one")


async def _migrate(database: Database, migrations: Sequence[str], name: str) -> None:
    def migrate(transaction: Transaction) -> None:
        # read inside the transaction, because another process may be migrating the same file
        ((version,),) = transaction.fetch_all("PRAGMA user_version")
        if version > len(migrations):
            raise StoreDamaged(
                f"expected schema version {len(migrations)} or less in {name}, found {version}",
                hint="it was written by a later version of DDTP",
            )
        for script in migrations[version:]:
            for statement in _statements(script):
                transaction.execute(statement)
        if version < len(migrations):
            transaction.execute(f"PRAGMA user_version = {len(migrations)}")

    await database.transaction(migrate)


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for part in script.split(";"):
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextlib.contextmanager
def _database_errors(name: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as err:
        code = getattr(err, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise DiskFull(f"no room to write {name}", hint="free space on the disk that holds it") from err
        if code in _DAMAGED:
            raise StoreDamaged(f"expected a sound database in {name}: {err}") from err
        if code in _BUSY:
            raise AlreadyRunning(f"another process holds {name}") from err
        raise StorageFailed(f"{name}: {err}") from err
