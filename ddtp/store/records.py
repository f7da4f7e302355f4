"""What one home remembers, in SQLite: cards, ledger heads, packages, transfers, receipts, used grants.

Every method is one transaction: it is durable when it returns, or nothing has changed.
"""

import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import final

from ddtp.database import Database, Transaction, open_database
from ddtp.errors import EnvironmentProblem, NotFound, PolicyRefused, StoreDamaged
from ddtp.identity.document import Card
from ddtp.protocol.envelope import verify
from ddtp.store.durable import make_directory
from ddtp.store.schema import MIGRATIONS

DATABASE_FILE = "records.db"

LIST_LIMIT = 1000
"""Most rows that one list returns: what a person can read, and a bound for memory."""


class Direction(Enum):
    """Whether a transfer came in or went out."""

    IN = "in"
    OUT = "out"


class TransferState(Enum):
    """How far a transfer is, as each side remembers it (spec/08 s.4)."""

    OFFERED = "offered"
    RECEIVED = "received"
    KEYED = "keyed"
    VERIFIED = "verified"
    REJECTED = "rejected"
    DECLINED = "declined"
    FAILED = "failed"


FINAL_STATES = frozenset({TransferState.VERIFIED, TransferState.REJECTED, TransferState.DECLINED})
"""States that a repeated offer cannot leave."""


@dataclass(frozen=True, slots=True)
class TransferRow:
    """One transfer.

    Attributes:
        transfer_id: 16 bytes.
        direction: In or out.
        state: How far it is.
        peer: DID of the other side.
        peer_name: Its name for people.
        package_id: 16 bytes.
        schema: Schema of the package.
        offer: The encoded offer, enough to resume.
        secret: The content key of an outgoing transfer; None once it is destroyed, and for incoming ones.
        created: Seconds since the epoch.
        updated: Seconds since the epoch.
        failed_step: Verification step that failed.
        reason: Why it was declined, rejected or failed.
        done_bytes: Content of an outgoing transfer that the receiver has acknowledged, as it was last noted.
        paused: A person wants an outgoing transfer to rest; nothing else about it changes.
    """

    transfer_id: bytes
    direction: Direction
    state: TransferState
    peer: str
    peer_name: str
    package_id: bytes
    schema: str
    offer: bytes
    secret: bytes | None
    created: int
    updated: int
    failed_step: int | None = None
    reason: str | None = None
    done_bytes: int = 0
    paused: bool = False


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """A signed receipt of a transfer, with the proof of its ledger entry if it was anchored."""

    stage: str
    envelope: bytes
    anchor: bytes | None


@dataclass(frozen=True, slots=True)
class PackageRow:
    """A package in the vault: where its file lies, and its signed manifest."""

    package_id: bytes
    path: Path
    manifest: bytes
    added: int


KEY_RELEASE_STAGE = "key-release"
"""Under this name a released key and its anchor are kept beside the receipts of a transfer (spec/08 s.5)."""

_HEXADECIMAL = re.compile("[0-9a-fA-F]+", re.ASCII)

_FINAL_NAMES = ", ".join(sorted(f"'{state.value}'" for state in FINAL_STATES))
_TRANSFER_COLUMNS = (
    "transfer_id, direction, state, peer, peer_name, package_id, schema, offer, secret, created, updated, "
    "failed_step, reason, done_bytes, paused"
)


@final
class Records:
    """The records of one home; made by `open_records`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save_card(self, did: str, envelope: bytes, *, now: int) -> None:
        """Remember a card, replacing one of the same DID that is not newer.

        Raises:
            PolicyRefused: A newer one is remembered and stays: the institution has given up what the older one says.
        """
        if not await self._database.transaction(partial(_replace_older_card, did=did, envelope=envelope, now=now)):
            raise PolicyRefused(
                "expected a card that is not older than the one remembered, found an older one",
                hint="ask the institution for its present card",
            )

    async def cards(self) -> list[bytes]:
        """Return the envelopes of the newest `LIST_LIMIT` cards, oldest first."""
        rows = await self._database.fetch_all(
            "SELECT envelope FROM (SELECT envelope, added, rowid AS number FROM card ORDER BY added DESC, rowid DESC "
            "LIMIT ?) ORDER BY added, number",
            (LIST_LIMIT,),
        )
        return [envelope for (envelope,) in rows]

    async def load(self, origin: str) -> bytes | None:
        """Return the last checkpoint that was accepted from a log, or None (the `HeadStore` of chain)."""
        row = await self._database.fetch_one("SELECT checkpoint FROM head WHERE origin = ?", (origin,))
        return row[0] if row else None

    async def save(self, origin: str, checkpoint: bytes) -> None:
        """Remember the newest checkpoint of a log (the `HeadStore` of chain)."""
        await self._database.execute(
            "INSERT INTO head VALUES (?, ?) ON CONFLICT (origin) DO UPDATE SET checkpoint = excluded.checkpoint",
            (origin, checkpoint),
        )

    async def heads(self) -> list[bytes]:
        """Return the last accepted checkpoint of every log, at most `LIST_LIMIT`, by origin."""
        rows = await self._database.fetch_all("SELECT checkpoint FROM head ORDER BY origin LIMIT ?", (LIST_LIMIT,))
        return [checkpoint for (checkpoint,) in rows]

    async def save_package(self, package: PackageRow) -> None:
        """Remember where a package lies, replacing an older place.

        Raises:
            PolicyRefused: Another package has this id: somebody uses the id of a package that is not his.
        """
        changed = await self._database.execute(
            "INSERT INTO package VALUES (?, ?, ?, ?) ON CONFLICT (package_id) DO UPDATE SET path = excluded.path "
            "WHERE package.manifest = excluded.manifest",
            (package.package_id, str(package.path), package.manifest, package.added),
        )
        if not changed:
            raise PolicyRefused("expected a package with an id of its own, found one with the id of another package")

    async def find_package(self, package_id: bytes) -> PackageRow | None:
        """Return a package of the vault, or None."""
        row = await self._database.fetch_one(
            "SELECT package_id, path, manifest, added FROM package WHERE package_id = ?", (package_id,)
        )
        return PackageRow(row[0], Path(row[1]), row[2], row[3]) if row else None

    async def find_card(self, did: str) -> bytes | None:
        """Return the envelope of the card of a DID, or None."""
        row = await self._database.fetch_one("SELECT envelope FROM card WHERE did = ?", (did,))
        return row[0] if row else None

    async def packages(self) -> list[PackageRow]:
        """Return the newest `LIST_LIMIT` packages of the vault, newest first."""
        rows = await self._database.fetch_all(
            "SELECT package_id, path, manifest, added FROM package ORDER BY added DESC, package_id LIMIT ?",
            (LIST_LIMIT,),
        )
        return [PackageRow(package_id, Path(path), manifest, added) for package_id, path, manifest, added in rows]

    async def package_places(self) -> dict[bytes, Path]:
        """Return where every package of the vault lies, by package id, however many there are."""
        rows = await self._database.fetch_all("SELECT package_id, path FROM package")
        return {package_id: Path(path) for package_id, path in rows}

    async def move_packages(self, places: Mapping[bytes, Path]) -> None:
        """Remember new places of packages, all or none."""
        rows = [(str(path), package_id) for package_id, path in places.items()]

        def move(transaction: Transaction) -> None:
            for row in rows:
                transaction.execute("UPDATE package SET path = ? WHERE package_id = ?", row)

        await self._database.transaction(move)

    async def add_transfer(self, row: TransferRow) -> bool:
        """Remember a new transfer; return False if its id is known already, and change nothing."""
        places = ", ".join("?" * 15)
        changed = await self._database.execute(
            f"INSERT INTO transfer ({_TRANSFER_COLUMNS}) VALUES ({places}) ON CONFLICT DO NOTHING",  # noqa: S608 - constants
            _transfer_values(row),
        )
        return changed == 1

    async def find_transfer(self, transfer_id: bytes) -> TransferRow | None:
        """Return a transfer, or None."""
        row = await self._database.fetch_one(
            f"SELECT {_TRANSFER_COLUMNS} FROM transfer WHERE transfer_id = ?",  # noqa: S608 - constants
            (transfer_id,),
        )
        return _transfer(row) if row else None

    async def transfer_by_prefix(self, prefix: str) -> TransferRow:
        """Return the one transfer whose id in hexadecimal starts with `prefix`.

        Raises:
            NotFound: There is none, or more than one.
        """
        if not _HEXADECIMAL.fullmatch(prefix):
            # it could mean something to LIKE
            raise NotFound(f"expected the first digits of a transfer in hexadecimal, found {prefix!r}")
        rows = await self._database.fetch_all(
            f"SELECT {_TRANSFER_COLUMNS} FROM transfer WHERE hex(transfer_id) LIKE ? LIMIT 2",  # noqa: S608 - constants
            (f"{prefix}%",),
        )
        if len(rows) != 1:
            raise NotFound(f"expected one transfer that starts with {prefix!r}, found {len(rows) or 'none'}")
        return _transfer(rows[0])

    async def transfers(self, *, direction: Direction | None = None) -> list[TransferRow]:
        """Return the newest `LIST_LIMIT` transfers, newest first."""
        rows = await self._database.fetch_all(
            f"SELECT {_TRANSFER_COLUMNS} FROM transfer WHERE ?1 IS NULL OR direction = ?1 "  # noqa: S608 - constants
            "ORDER BY created DESC, transfer_id LIMIT ?2",
            (direction.value if direction else None, LIST_LIMIT),
        )
        return [_transfer(row) for row in rows]

    async def unfinished_from(self, peer: str) -> list[TransferRow]:
        """Return the incoming transfers of one person that have not come to an end, at most `LIST_LIMIT`."""
        rows = await self._database.fetch_all(
            f"SELECT {_TRANSFER_COLUMNS} FROM transfer WHERE direction = 'in' AND peer = ? "  # noqa: S608 - constants
            f"AND state NOT IN ({_FINAL_NAMES}) LIMIT ?",
            (peer, LIST_LIMIT),
        )
        return [_transfer(row) for row in rows]

    async def set_state(
        self,
        transfer_id: bytes,
        state: TransferState,
        *,
        now: int,
        failed_step: int | None = None,
        reason: str | None = None,
        forget_secret: bool = False,
    ) -> None:
        """Move a transfer to another state; a final state stays (`FINAL_STATES`).

        With `forget_secret` its key is destroyed in the same transaction: its bytes are overwritten in the database,
        and as soon as nobody else reads it, cut off the log beside it.

        Raises:
            NotFound: There is no such transfer.
        """
        changed = await self._database.execute(
            "UPDATE transfer SET state = ?, updated = ?, failed_step = ?, reason = ?, "  # noqa: S608 - constants
            "secret = CASE WHEN ? THEN NULL ELSE secret END "
            f"WHERE transfer_id = ? AND state NOT IN ({_FINAL_NAMES})",
            (state.value, now, failed_step, reason, forget_secret, transfer_id),
        )
        if not changed and await self.find_transfer(transfer_id) is None:
            raise NotFound(f"expected a transfer {transfer_id.hex()}, found none")
        if forget_secret:
            await self._forget_old_bytes()

    async def touch(self, transfer_id: bytes, *, now: int) -> None:
        """Note that somebody goes on with a transfer."""
        await self._database.execute("UPDATE transfer SET updated = ? WHERE transfer_id = ?", (now, transfer_id))

    async def set_paused(self, transfer_id: bytes, *, paused: bool) -> None:
        """Note that a person wants a transfer to rest, or to go on; whoever sends it looks here."""
        await self._database.execute("UPDATE transfer SET paused = ? WHERE transfer_id = ?", (paused, transfer_id))

    async def is_paused(self, transfer_id: bytes) -> bool:
        """Tell whether a person wants a transfer to rest."""
        row = await self._database.fetch_one("SELECT paused FROM transfer WHERE transfer_id = ?", (transfer_id,))
        return row is not None and bool(row[0])

    async def note_done(self, transfer_id: bytes, done_bytes: int) -> None:
        """Note how much content the receiver has acknowledged."""
        await self._database.execute(
            "UPDATE transfer SET done_bytes = ? WHERE transfer_id = ?", (done_bytes, transfer_id)
        )

    async def release(self, transfer_id: bytes, release: bytes, *, now: int) -> None:
        """Note, all or nothing, that a key is about to be released, and how.

        Raises:
            PolicyRefused: The transfer has ended; nothing changed, and no key may leave.
        """

        def note(transaction: Transaction) -> None:
            # each exchange wraps the key anew; the ledger entry, if there is one, is about the receipt and stays
            transaction.execute(
                "INSERT INTO receipt VALUES (?, ?, ?, NULL) ON CONFLICT (transfer_id, stage) DO UPDATE "
                "SET envelope = excluded.envelope",
                (transfer_id, KEY_RELEASE_STAGE, release),
            )
            changed = transaction.execute(
                "UPDATE transfer SET state = ?, updated = ?, failed_step = NULL, reason = NULL "  # noqa: S608 - constants
                f"WHERE transfer_id = ? AND state NOT IN ({_FINAL_NAMES})",
                (TransferState.KEYED.value, now, transfer_id),
            )
            if not changed:
                raise PolicyRefused("expected a transfer that is still open, found one that has ended")

        await self._database.transaction(note)

    async def conclude(
        self,
        transfer_id: bytes,
        state: TransferState,
        *,
        receipt: ReceiptRow,
        now: int,
        failed_step: int | None = None,
        reason: str | None = None,
    ) -> None:
        """End a transfer: keep its last receipt, set its final state and destroy its key, all or nothing.

        Raises:
            PolicyRefused: It has ended in another way; nothing changed.
        """

        def end(transaction: Transaction) -> None:
            transaction.execute(
                "UPDATE transfer SET state = ?, updated = ?, failed_step = ?, reason = ?, secret = NULL "  # noqa: S608 - constants
                f"WHERE transfer_id = ? AND state NOT IN ({_FINAL_NAMES})",
                (state.value, now, failed_step, reason, transfer_id),
            )
            query = "SELECT state FROM transfer WHERE transfer_id = ?"
            if transaction.fetch_all(query, (transfer_id,)) != [(state.value,)]:
                raise PolicyRefused("expected a transfer that is still open, found one that has ended")
            transaction.execute(
                "INSERT INTO receipt VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (transfer_id, receipt.stage, receipt.envelope, receipt.anchor),
            )

        await self._database.transaction(end)
        await self._forget_old_bytes()

    async def unanchored_receipts(self) -> list[tuple[bytes, ReceiptRow]]:
        """Return the last receipts that we signed and that are not on a ledger yet, with their transfers."""
        rows = await self._database.fetch_all(
            "SELECT transfer_id, stage, envelope FROM receipt JOIN transfer USING (transfer_id) "
            "WHERE anchor IS NULL AND direction = 'in' AND stage IN ('verified', 'rejected') LIMIT ?",
            (LIST_LIMIT,),
        )
        return [(transfer_id, ReceiptRow(stage, envelope, anchor=None)) for transfer_id, stage, envelope in rows]

    async def _forget_old_bytes(self) -> None:
        # The new state is durable; a disk that refuses now keeps the old bytes until the log is written over.
        with contextlib.suppress(EnvironmentProblem):
            await self._database.fetch_all("PRAGMA wal_checkpoint(TRUNCATE)")

    async def save_receipt(self, transfer_id: bytes, receipt: ReceiptRow) -> None:
        """Remember a receipt; the first one of a stage stays, so a repeated question gets the same answer.

        Raises:
            StorageFailed: There is no such transfer.
        """
        await self._database.execute(
            "INSERT INTO receipt VALUES (?, ?, ?, ?) ON CONFLICT (transfer_id, stage) DO UPDATE "
            "SET anchor = coalesce(receipt.anchor, excluded.anchor)",
            (transfer_id, receipt.stage, receipt.envelope, receipt.anchor),
        )

    async def receipts(self, transfer_id: bytes) -> dict[str, ReceiptRow]:
        """Return the receipts of a transfer by stage."""
        rows = await self._database.fetch_all(
            "SELECT stage, envelope, anchor FROM receipt WHERE transfer_id = ?", (transfer_id,)
        )
        return {stage: ReceiptRow(stage, envelope, anchor) for stage, envelope, anchor in rows}

    async def consume_grant(self, grant_digest: bytes, transfer_id: bytes) -> bool:
        """Use up a one-time grant for one transfer.

        Returns:
            True if it was unused, or used by this same transfer; False if another transfer has used it.
        """

        def consume(transaction: Transaction) -> bool:
            transaction.execute(
                "INSERT INTO consumed_grant VALUES (?, ?) ON CONFLICT DO NOTHING", (grant_digest, transfer_id)
            )
            query = "SELECT transfer_id FROM consumed_grant WHERE grant_digest = ?"
            return bool(transaction.fetch_all(query, (grant_digest,)) == [(transfer_id,)])

        return await self._database.transaction(consume)


def _replace_older_card(transaction: Transaction, *, did: str, envelope: bytes, now: int) -> bool:
    issued = _issued(envelope)
    known = transaction.fetch_all("SELECT envelope FROM card WHERE did = ?", (did,))
    if any(_issued(each) > issued for (each,) in known):
        return False
    transaction.execute(
        "INSERT INTO card VALUES (?, ?, ?) ON CONFLICT (did) DO UPDATE SET envelope = excluded.envelope",
        (did, envelope, now),
    )
    return True


def _issued(card: bytes) -> int:
    return verify(Card, card).body.issued


@asynccontextmanager
async def open_records(home: Path) -> AsyncIterator[Records]:
    """Open the records of a home, creating or migrating them.

    Raises:
        StoreDamaged: The database is corrupt.
        AlreadyRunning: Another process holds it for longer than the busy limit.
    """
    async with open_database(make_directory(home) / DATABASE_FILE, migrations=MIGRATIONS) as database:
        # set_state promises that a destroyed key is gone, not only unlinked from its row
        await database.fetch_all("PRAGMA secure_delete = ON")
        yield Records(database)


def _transfer_values(row: TransferRow) -> tuple[object, ...]:
    return (
        row.transfer_id,
        row.direction.value,
        row.state.value,
        row.peer,
        row.peer_name,
        row.package_id,
        row.schema,
        row.offer,
        row.secret,
        row.created,
        row.updated,
        row.failed_step,
        row.reason,
        row.done_bytes,
        row.paused,
    )


def _transfer(row: tuple[object, ...]) -> TransferRow:
    transfer_id, direction, state, *rest, paused = row
    try:
        return TransferRow(
            transfer_id,  # type: ignore[arg-type]
            Direction(direction),
            TransferState(state),
            *rest,  # type: ignore[arg-type]
            paused=bool(paused),  # type: ignore[misc]
        )
    except ValueError as err:
        raise StoreDamaged(f"expected a known direction and state of a transfer, found {direction}, {state}") from err
