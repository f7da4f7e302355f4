"""The ledger of one agent or institution: a log in an SQLite file, without a server (spec/09-ledger s.6 and s.9).

Callers that append at the same time share one transaction. A checkpoint is signed when somebody asks for one and the
log has moved, never over a state that is not durable.
"""

import shutil
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar, final

import trio

from ddtp.chain import log_store
from ddtp.chain.admission import AdmissionPolicy, admit
from ddtp.chain.checkpoint import Checkpoint
from ddtp.chain.group_commit import GroupCommit
from ddtp.chain.ledger import check_page, check_sizes
from ddtp.chain.log_store import MIGRATIONS, LogEntry, LogState
from ddtp.chain.proof import LedgerProof, entry_hash
from ddtp.chain.statement import Entry
from ddtp.chain.tiles import TILE_WIDTH, Tile, TileKey
from ddtp.database import Connection, Database, Transaction, open_database
from ddtp.errors import (
    AlreadyRunning,
    DdtpError,
    DiskFull,
    EnvironmentProblem,
    ProofInvalid,
    StorageFailed,
    StoreDamaged,
)
from ddtp.protocol import envelope, merkle
from ddtp.protocol.envelope import Signed, Signer

REFRESH_SECONDS: Final = 10
"""How old the checkpoint of a log that does not move may get: the fineness of "was still there then"."""

CACHED_TILES: Final = 128
"""Full tiles kept in memory, about 35 KiB each: the tiles above a million entries, and the newest below."""

MIN_FREE_BYTES: Final = 512 << 20
"""Left on the disk when appending stops: room for keys, records and checkpoints, since nobody may prune a log."""

INLINE_ENTRIES: Final = 16
"""Batches up to this are checked at once; longer ones in a thread, since a statement takes half a millisecond."""

Result = TypeVar("Result")


@final
class SqliteLedger:
    """A `Ledger` in a file; made by `open_sqlite_ledger`."""

    def __init__(
        self,
        database: Database,
        state: LogState,
        *,
        origin: str,
        signer: Signer,
        clock: Callable[[], int],
        policy: AdmissionPolicy,
        folder: Path,
        min_free_bytes: int,
    ) -> None:
        self.origin = origin
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._database = database
        self._state = state
        self._signer = signer
        self._clock = clock
        self._policy = policy
        self._tiles: OrderedDict[TileKey, Tile] = OrderedDict()
        self._signed: tuple[Signed[Checkpoint], LogState] | None = None
        self._in_doubt = False
        self._displaced = False
        self._commits: GroupCommit[tuple[LogEntry, ...], tuple[int, ...]] = GroupCommit(self._commit)

    @property
    def public_key(self) -> bytes:
        """Key that signs its checkpoints, 33 bytes."""
        return self._signer.public_key

    async def append(self, entries: Sequence[bytes]) -> tuple[int, ...]:
        """Append encoded entries, all or none; durable when it returns."""
        self._check_room()
        if len(entries) <= INLINE_ENTRIES:
            parsed = self._admit(entries)
        else:
            parsed = await trio.to_thread.run_sync(self._admit, entries)
        request = tuple(LogEntry(encoded, entry.digest) for encoded, entry in zip(entries, parsed, strict=True))
        return await self._commits.submit(request, size_bytes=sum(map(len, entries)))

    async def lookup(self, digest: bytes) -> tuple[int, ...]:
        """Return the positions of the entries with a blinded digest."""
        return await self._read(lambda transaction, state: log_store.find(transaction, state, digest))

    async def head(self) -> Signed[Checkpoint]:
        """Return the newest checkpoint."""
        signed, _ = await self._signed_state()
        return signed

    async def prove(self, index: int) -> LedgerProof:
        """Prove one entry under the newest checkpoint."""
        signed, state = await self._signed_state()
        size = signed.body.size
        check_sizes(index, index + 1, size)
        leaf, path = await self._walk(
            state, lambda subtree: (subtree(index, index + 1), merkle.inclusion_path(index, size, subtree))
        )
        if merkle.root_from_inclusion(leaf, index, size=size, path=path) != signed.body.root:
            raise StoreDamaged(f"expected tiles that lead entry {index} to the root, found others")
        return LedgerProof(checkpoint=signed.envelope, index=index, path=path)

    async def prove_growth(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """Return the consistency path between two sizes."""
        state = self._state
        check_sizes(old_size, new_size, state.size)
        if old_size in {0, new_size}:
            return ()
        old_root, new_root, path = await self._walk(
            state,
            lambda subtree: (
                subtree(0, old_size),
                subtree(0, new_size),
                merkle.consistency_path(old_size, new_size, subtree),
            ),
        )
        try:
            merkle.check_consistency(old_size, old_root, new_size=new_size, new_root=new_root, path=path)
        except ProofInvalid as err:
            raise StoreDamaged(f"expected tiles that prove growth from {old_size}, found others") from err
        return path

    async def entries(self, start: int, stop: int) -> tuple[bytes, ...]:
        """Return the encoded entries from `start` up to `stop`."""
        check_page(start, stop, self._state.size)
        return await self._read(lambda transaction, state: log_store.read_entries(transaction, state, start, stop))

    async def audit(self) -> None:
        """Read the whole log and check it against its root; takes about 15 microseconds for each entry.

        Raises:
            StoreDamaged: Something is missing or is not what was hashed.
        """
        await _audit(self._database, self._state)

    def _admit(self, entries: Sequence[bytes]) -> tuple[Entry, ...]:
        return admit(entries, self._policy, now=self._clock())

    async def _commit(self, requests: Sequence[tuple[LogEntry, ...]]) -> Sequence[tuple[int, ...] | DdtpError]:
        self._check_alone()
        await self._resolve_doubt()
        state, now = self._state, self._clock()
        try:
            grown = await self._database.transaction(
                lambda transaction: log_store.append(transaction, state, requests, now=now)
            )
        except AlreadyRunning:
            # Whoever wrote signs checkpoints of its own; ours would contradict them from now on.
            self._displaced = True
            raise
        except EnvironmentProblem:
            self._in_doubt = True
            raise
        # The entries are durable. A crash before the callers hear of it makes them ask again, and find them.
        self._state = grown.state
        self._keep({full.key: full.tile for full in grown.tiles})
        return grown.outcomes

    async def _resolve_doubt(self) -> None:
        """After a failed commit, find out whether the disk has it."""
        if not self._in_doubt:
            return
        # Copies the write-ahead log into the file and syncs that: what is read next is on the disk, not only in memory.
        await self._database.fetch_all("PRAGMA wal_checkpoint(TRUNCATE)")
        self._state = await self._database.transaction(
            lambda transaction: log_store.load(transaction, origin=self.origin, public_key=self.public_key)
        )
        self._in_doubt = False

    async def _signed_state(self) -> tuple[Signed[Checkpoint], LogState]:
        """Return the newest checkpoint and the state it was signed over."""
        self._check_alone()
        if self._clock() - self._state.time >= REFRESH_SECONDS:
            await self._refresh()
        state = self._state
        if self._signed is None or (self._signed[1].size, self._signed[1].time) != (state.size, state.time):
            checkpoint = Checkpoint(origin=self.origin, size=state.size, root=state.tree.root(), time=state.time)
            self._signed = envelope.sign(checkpoint, self._signer), state
        return self._signed

    async def _refresh(self) -> None:
        """Write the time down before a checkpoint carries it, so that it never goes back, not even after a crash."""
        try:
            await self._commits.submit((), size_bytes=0)
        except (DiskFull, StorageFailed):
            # a log that cannot be written can still be read; its checkpoint is as old as its last commit
            return

    async def _walk(self, state: LogState, walk: Callable[[merkle.Subtree], Result]) -> Result:
        """Compute something over the hashes of the tree, reading the tiles it needs."""
        keys = state.tree.tiles_for(walk)
        missing = [key for key in keys if key not in self._tiles]
        tiles = {key: self._tiles[key] for key in keys if key in self._tiles}
        if missing:
            read = await self._database.transaction(lambda transaction: log_store.read_tiles(transaction, missing))
            self._keep(read)
            tiles |= read
        for key in tiles:
            self._tiles.move_to_end(key)
        return walk(state.tree.subtree(tiles))

    async def _read(self, function: Callable[[Transaction, LogState], Result]) -> Result:
        """Run a function over the database and a state; bundles never change, so a later commit is not in its way."""
        state = self._state
        return await self._database.transaction(lambda transaction: function(transaction, state))

    def _keep(self, tiles: dict[TileKey, Tile]) -> None:
        self._tiles.update(tiles)
        while len(self._tiles) > CACHED_TILES:
            self._tiles.popitem(last=False)

    def _check_room(self) -> None:
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError as err:
            raise StorageFailed(f"cannot ask the disk of the log for its room: {err.strerror}") from err
        if free < self._min_free_bytes:
            raise DiskFull(f"expected {self._min_free_bytes} free bytes beside the log, found {free}")

    def _check_alone(self) -> None:
        if self._displaced:
            raise AlreadyRunning(f"another process wrote to the log {self.origin!r}", hint="stop one of the two")


@asynccontextmanager
async def open_sqlite_ledger(
    path: Path,
    *,
    origin: str,
    signer: Signer,
    clock: Callable[[], int],
    policy: AdmissionPolicy | None = None,
    min_free_bytes: int = MIN_FREE_BYTES,
    connection_factory: type[Connection] = Connection,
) -> AsyncIterator[SqliteLedger]:
    """Open a log, creating it if the file does not exist.

    Args:
        path: The file; its directory must exist. No other process can open it meanwhile.
        origin: Name of the log.
        signer: Key that signs checkpoints.
        clock: Returns the time in seconds.
        policy: Which entries it accepts; None accepts all kinds from anybody.
        min_free_bytes: With less on the disk, appending is refused.
        connection_factory: A subclass that injects faults.

    Raises:
        AlreadyRunning: Another process has it open.
        StoreDamaged: The file is corrupt, or its entries do not lead to its root.
        ConfigInvalid: The file holds a log of another origin or key.
        DiskFull, StorageFailed: The disk refuses.
    """
    async with open_database(
        path, migrations=MIGRATIONS, exclusive=True, connection_factory=connection_factory
    ) as database:
        state = await database.transaction(
            lambda transaction: log_store.load(transaction, origin=origin, public_key=signer.public_key)
        )
        yield SqliteLedger(
            database,
            state,
            origin=origin,
            signer=signer,
            clock=clock,
            policy=policy or AdmissionPolicy(),
            folder=path.parent,
            min_free_bytes=min_free_bytes,
        )


async def audit_file(path: Path) -> tuple[str, int] | None:
    """Check the log in a file that no process has open, as `SqliteLedger.audit` does; no key is needed.

    Returns:
        Its origin and number of entries; None if the file holds no log yet.

    Raises:
        AlreadyRunning: Another process has it open.
        StoreDamaged: The file is corrupt, or something in it is not what was hashed.
    """
    async with open_database(path, migrations=MIGRATIONS, exclusive=True) as database:
        found = await database.transaction(log_store.find_log)
        if found is None:
            return None
        origin, public_key = found
        state = await database.transaction(
            lambda transaction: log_store.load(transaction, origin=origin, public_key=public_key)
        )
        await _audit(database, state)
        return origin, state.size


async def _audit(database: Database, state: LogState) -> None:
    builder = merkle.RootBuilder()
    for number in range(state.size // TILE_WIDTH):
        await database.transaction(partial(log_store.audit_bundle, number=number, builder=builder))
    for entry in state.tail:
        builder.add(entry_hash(entry.encoded))
    if builder.root() != state.tree.root():
        raise StoreDamaged("expected entries that lead to the root of the log, found others")
