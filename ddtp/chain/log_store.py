"""A log in SQLite: bundles of 256 entries, tiles of 256 hashes, and the rest in rows (spec/09-ledger s.9).

Full bundles and tiles are written once and never change. What does not fill a bundle yet is the tail. Everything here
runs in the database thread, inside a transaction; nothing is kept between calls.
"""

import functools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ddtp.chain.ledger import check_same_digest
from ddtp.chain.proof import entry_hash
from ddtp.chain.statement import Entry
from ddtp.chain.tiles import HASH_SIZE, TILE_HEIGHT, TILE_WIDTH, FullTile, Tile, TileKey, TileTree
from ddtp.database import Transaction
from ddtp.errors import AlreadyRunning, ConfigInvalid, DecodeError, PolicyRefused, StoreDamaged
from ddtp.protocol import merkle

MIGRATIONS: Final = (
    """
    CREATE TABLE head (
        one INTEGER PRIMARY KEY CHECK (one = 0),
        origin TEXT NOT NULL,
        public_key BLOB NOT NULL,
        size INTEGER NOT NULL,
        root BLOB NOT NULL,
        time INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE bundle (number INTEGER PRIMARY KEY, entries BLOB NOT NULL) STRICT;
    CREATE TABLE tile (id INTEGER PRIMARY KEY, hashes BLOB NOT NULL) STRICT;
    CREATE TABLE tail (position INTEGER PRIMARY KEY, entry BLOB NOT NULL) STRICT;
    CREATE TABLE lookup (key INTEGER, position INTEGER, PRIMARY KEY (key, position)) STRICT, WITHOUT ROWID;
    """,
)

_LENGTH_BYTES: Final = 2
"""Length before each entry of a bundle, as C2SP tlog-tiles; an entry has at most 8 KiB."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An entry with its digest, which is looked up.

    Attributes:
        encoded: The encoded entry.
        digest: Its blinded digest.
    """

    encoded: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class LogState:
    """What the database holds, as far as growing and proving need it; never changed, only replaced.

    Attributes:
        tree: Right edge of the tree.
        tail: The entries after the last full bundle.
        time: Time of the last commit, in seconds.
    """

    tree: TileTree
    tail: tuple[LogEntry, ...]
    time: int

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.tree.size


@dataclass(frozen=True, slots=True)
class Grown:
    """The result of one commit.

    Attributes:
        state: The new state.
        outcomes: For each request the positions of its entries, or why it was refused.
        tiles: The tiles that were written.
    """

    state: LogState
    outcomes: tuple[tuple[int, ...] | PolicyRefused, ...]
    tiles: tuple[FullTile, ...]


def load(transaction: Transaction, *, origin: str, public_key: bytes) -> LogState:
    """Read the state of a log, creating it if the database is new, and check it against the stored root.

    Raises:
        StoreDamaged: The parts do not fit together.
        ConfigInvalid: The database holds another log.
    """
    empty = TileTree()
    transaction.execute(
        "INSERT INTO head VALUES (0, ?, ?, 0, ?, 0) ON CONFLICT DO NOTHING", (origin, public_key, empty.root())
    )
    ((stored_origin, stored_key, size, root, time),) = transaction.fetch_all(
        "SELECT origin, public_key, size, root, time FROM head"
    )
    if stored_origin != origin:
        raise ConfigInvalid(
            f"expected the log {origin!r} in the database, found {stored_origin!r}",
            hint="[ledger] origin in config.toml cannot change once ledger.db exists",
        )
    if stored_key != public_key:
        raise ConfigInvalid(
            f"expected the log {origin!r} under the key of this home, found it under another one",
            hint="ledger.db belongs to another identity; restore that one from its 24 words",
        )
    tail = _load_tail(transaction, size)
    tree = TileTree.restore(size, _load_edge(transaction, size, tail))
    if tree.root() != root:
        raise StoreDamaged(f"expected the stored root over {size} entries, found that the tree has another one")
    return LogState(tree, tail, time)


def find_log(transaction: Transaction) -> tuple[str, bytes] | None:
    """Return origin and public key of the log in a database, or None if nobody has opened one in it yet."""
    rows = transaction.fetch_all("SELECT origin, public_key FROM head")
    return rows[0] if rows else None


def append(transaction: Transaction, state: LogState, requests: Sequence[Sequence[LogEntry]], *, now: int) -> Grown:
    """Append the entries of some requests that are not in the log yet.

    Args:
        transaction: Commits what this writes.
        state: The state that the database has.
        requests: Each is appended as a whole or refused.
        now: The time in seconds; a clock that went back does not take the log with it.

    Raises:
        AlreadyRunning: The database has another state, so somebody else writes to it.
    """
    growth = _Growth(state, _stored_positions(transaction, state, requests), transaction)
    outcomes = tuple(growth.place(request) for request in requests)
    grown = LogState(growth.tree, tuple(growth.tail), max(now, state.time))
    # The head goes first and only if it is the one we know: a second writer, were there one, changes nothing.
    changed = transaction.execute(
        "UPDATE head SET size = ?, root = ?, time = ? WHERE one = 0 AND size = ? AND root = ?",
        (grown.size, grown.tree.root(), grown.time, state.size, state.tree.root()),
    )
    if changed != 1:
        raise AlreadyRunning(f"expected a log of {state.size} entries in the database, found that another one wrote")
    growth.write(transaction, old_size=state.size)
    return Grown(grown, outcomes, tuple(growth.tiles))


def read_tiles(transaction: Transaction, keys: Iterable[TileKey]) -> dict[TileKey, Tile]:
    """Read full tiles.

    Raises:
        StoreDamaged: One is missing or has another size.
    """
    wanted = {_tile_id(key): key for key in keys}
    rows = transaction.fetch_all(
        "SELECT id, hashes FROM tile WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(sorted(wanted)),)
    )
    if len(rows) != len(wanted) or any(len(hashes) != TILE_WIDTH * HASH_SIZE for _, hashes in rows):
        raise StoreDamaged(f"expected {len(wanted)} tiles of {TILE_WIDTH} hashes in the database, found others")
    return {wanted[tile_id]: Tile.unpack(hashes) for tile_id, hashes in rows}


def read_bundle(transaction: Transaction, number: int) -> tuple[bytes, ...]:
    """Read the 256 entries of a full bundle, and check them against their tile.

    Raises:
        StoreDamaged: The bundle is missing, or is not what was hashed.
    """
    rows = transaction.fetch_all("SELECT entries FROM bundle WHERE number = ?", (number,))
    entries = unpack_bundle(rows[0][0]) if rows else ()
    hashes = b"".join(map(entry_hash, entries))
    if len(entries) != TILE_WIDTH or hashes != read_tiles(transaction, [(0, number)])[0, number].pack():
        raise StoreDamaged(f"expected bundle {number} as it was hashed, found another one")
    return entries


def read_entries(transaction: Transaction, state: LogState, start: int, stop: int) -> tuple[bytes, ...]:
    """Read the entries from `start` up to `stop`.

    Raises:
        StoreDamaged: A bundle is missing, or is not what was hashed.
    """
    tail_start = _tail_start(state.size)
    entries: list[bytes] = []
    for number in range(start // TILE_WIDTH, -(-min(stop, tail_start) // TILE_WIDTH)):
        first = number * TILE_WIDTH
        entries += read_bundle(transaction, number)[max(start - first, 0) : stop - first]
    entries += [entry.encoded for entry in state.tail[max(start - tail_start, 0) : max(stop - tail_start, 0)]]
    return tuple(entries)


def find(transaction: Transaction, state: LogState, digest: bytes) -> tuple[int, ...]:
    """Return the positions of the entries with a digest, rising.

    Raises:
        StoreDamaged: A bundle is missing, or is not what was hashed.
    """
    rows = transaction.fetch_all("SELECT position FROM lookup WHERE key = ? ORDER BY position", (_key(digest),))
    stored = [at for (at,) in rows if at < _tail_start(state.size) and _digest_at(transaction, at) == digest]
    tail = [at for at, entry in enumerate(state.tail, _tail_start(state.size)) if entry.digest == digest]
    return (*stored, *tail)


def audit_bundle(transaction: Transaction, *, number: int, builder: merkle.RootBuilder) -> None:
    """Check one full bundle, its tile and its lookups, and add its leaves to a root.

    Raises:
        StoreDamaged: Something is missing or is not what was hashed.
    """
    entries = read_bundle(transaction, number)
    for position, encoded in enumerate(entries, number * TILE_WIDTH):
        builder.add(entry_hash(encoded))
        key = _key(_parse(encoded).digest)
        if not transaction.fetch_all("SELECT 1 FROM lookup WHERE key = ? AND position = ?", (key, position)):
            raise StoreDamaged(f"expected entry {position} to be found by its digest, found that it is not")


def pack_bundle(entries: Iterable[bytes]) -> bytes:
    """Join entries, each after its length of two bytes."""
    return b"".join(len(entry).to_bytes(_LENGTH_BYTES, "big") + entry for entry in entries)


def unpack_bundle(data: bytes) -> tuple[bytes, ...]:
    """Split a bundle; one that is cut gives a short last entry, whose hash then differs."""
    entries, position = [], 0
    while position < len(data):
        start = position + _LENGTH_BYTES
        position = start + int.from_bytes(data[position:start], "big")
        entries.append(data[start:position])
    return tuple(entries)


class _Growth:
    """What one commit adds; entries that are known already are only found."""

    def __init__(self, state: LogState, stored: dict[int, list[int]], transaction: Transaction) -> None:
        self.tree = state.tree.copy()
        self.tail = list(state.tail)
        self.tiles: list[FullTile] = []
        self._bundles: list[tuple[int, list[LogEntry]]] = []
        self._stored = stored
        # a batch that is sent again lies in neighbouring bundles, each of which is read once
        self._bundle = functools.lru_cache(maxsize=4)(functools.partial(read_bundle, transaction))
        self._positions = {entry.encoded: at for at, entry in enumerate(state.tail, _tail_start(state.size))}
        self._counts = Counter(entry.digest for entry in state.tail)

    def place(self, request: Sequence[LogEntry]) -> tuple[int, ...] | PolicyRefused:
        """Give every entry of a request its position, or none."""
        new = {entry.encoded: entry for entry in request if self._find(entry) is None}
        try:
            for digest, added in Counter(entry.digest for entry in new.values()).items():
                check_same_digest(self._counts[digest] + len(self._stored.get(_key(digest), ())) + added)
        except PolicyRefused as err:
            return err
        for entry in new.values():
            self._add(entry)
        return tuple(self._positions[entry.encoded] for entry in request)

    def write(self, transaction: Transaction, *, old_size: int) -> None:
        """Write what was added, except the head."""
        if self._bundles:
            transaction.execute("DELETE FROM tail")
            transaction.execute_many(
                "INSERT INTO bundle VALUES (?, ?)",
                [(number, pack_bundle(entry.encoded for entry in entries)) for number, entries in self._bundles],
            )
            transaction.execute_many(
                "INSERT INTO tile VALUES (?, ?)", [(_tile_id(full.key), full.tile.pack()) for full in self.tiles]
            )
            transaction.execute_many("INSERT INTO lookup VALUES (?, ?)", sorted(self._lookups()))
        tail_start = _tail_start(self.tree.size)
        rows = [
            (at, entry.encoded) for at, entry in enumerate(self.tail, tail_start) if self._bundles or at >= old_size
        ]
        transaction.execute_many("INSERT INTO tail VALUES (?, ?)", rows)

    def _lookups(self) -> Iterable[tuple[int, int]]:
        for number, entries in self._bundles:
            for position, entry in enumerate(entries, number * TILE_WIDTH):
                yield _key(entry.digest), position

    def _find(self, entry: LogEntry) -> int | None:
        known = self._positions.get(entry.encoded)
        if known is None:
            for position in self._stored.get(_key(entry.digest), ()):
                if self._bundle(position // TILE_WIDTH)[position % TILE_WIDTH] == entry.encoded:
                    known = self._positions[entry.encoded] = position
        return known

    def _add(self, entry: LogEntry) -> None:
        self._positions[entry.encoded] = self.tree.size
        self._counts[entry.digest] += 1
        self.tail.append(entry)
        self.tiles += self.tree.add(entry_hash(entry.encoded))
        if len(self.tail) == TILE_WIDTH:
            self._bundles.append((self.tree.size // TILE_WIDTH - 1, self.tail))
            self.tail = []


def _load_tail(transaction: Transaction, size: int) -> tuple[LogEntry, ...]:
    rows = transaction.fetch_all("SELECT position, entry FROM tail ORDER BY position")
    if [at for at, _ in rows] != list(range(_tail_start(size), size)):
        raise StoreDamaged(f"expected the entries from {_tail_start(size)} to {size} in the tail, found others")
    return tuple(LogEntry(encoded, _parse(encoded).digest) for _, encoded in rows)


def _load_edge(transaction: Transaction, size: int, tail: Sequence[LogEntry]) -> list[Tile]:
    lowest = Tile()
    for entry in tail:
        lowest.add(entry_hash(entry.encoded))
    edge = [lowest]
    # the incomplete tile of each higher level holds the roots of the full tiles below it
    while count := size >> TILE_HEIGHT * len(edge):
        below, first = len(edge) - 1, _tail_start(count)
        keys = [(below, number) for number in range(first, count)]
        full, tile = read_tiles(transaction, keys), Tile()
        for key in keys:
            tile.add(full[key].top())
        edge.append(tile)
    return edge


def _stored_positions(
    transaction: Transaction, state: LogState, requests: Sequence[Sequence[LogEntry]]
) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    if state.size >= TILE_WIDTH:
        keys = {_key(entry.digest) for request in requests for entry in request}
        for key, position in transaction.fetch_all(
            "SELECT key, position FROM lookup WHERE key IN (SELECT value FROM json_each(?))", (json.dumps(list(keys)),)
        ):
            found.setdefault(key, []).append(position)
    return found


def _digest_at(transaction: Transaction, position: int) -> bytes:
    return _parse(read_bundle(transaction, position // TILE_WIDTH)[position % TILE_WIDTH]).digest


def _parse(encoded: bytes) -> Entry:
    try:
        return Entry.parse(encoded)
    except DecodeError as err:
        raise StoreDamaged(f"expected entries in the database: {err.message}") from err


def _tail_start(size: int) -> int:
    return size - size % TILE_WIDTH


def _tile_id(key: TileKey) -> int:
    level, number = key
    return level << 56 | number


def _key(digest: bytes) -> int:
    """Return the start of a digest as SQLite's integer: a short key keeps the index small, and hits are compared."""
    return int.from_bytes(digest[:8], "big", signed=True)
