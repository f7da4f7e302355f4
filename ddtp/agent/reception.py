"""What all exchanges of one receiving institution share: who receives which transfer now, and how much room is left."""

import logging
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from ddtp.agent.claims import Claims
from ddtp.agent.context import Context
from ddtp.agent.judging import Judge
from ddtp.agent.tidying import INCOMING
from ddtp.agent.workers import WORKERS
from ddtp.config import ReceiverSettings
from ddtp.errors import DiskFull, Overloaded, PolicyRefused, StoreDamaged
from ddtp.protocol.chunks import sealed_bytes
from ddtp.protocol.messages import Offer
from ddtp.store.blobs import SealedBlob, blob_names, delete_blob, stored_bytes
from ddtp.store.durable import storage_errors
from ddtp.store.records import TransferRow
from ddtp.transfer.pacing import Pace, is_small

MAX_UNFINISHED_PER_HOLDER = 16
"""Unfinished transfers of one person: more than anybody sends at a time."""
HOLDER_SHARE = 4
"""One person's unfinished transfers may take a fourth of the room for all; a single one may take what is free."""
KEPT_FREE_BYTES = 64 << 20
"""Never promised to transfers, if it is no more than a twentieth of the disk: the records of all need it."""

SMALL_OPENINGS_BYTES = 1 << 20
"""Openings that are read in a moment and in few megabytes: some thousand names."""
LARGE_BYTES = 1 << 30
"""Content that keeps the processors busy for longer than a person likes to wait for another one."""
OPENED_AT_A_TIME = 2
"""Packages of one of the two larger kinds: they take all processors as it is."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Promise:
    """Room that a transfer is being given, of which its row and its blob do not tell yet."""

    holder: str
    sealed_bytes: int


@dataclass(frozen=True, slots=True)
class Reception:
    """What all exchanges of one receiving institution share.

    Attributes:
        context: Surroundings.
        settings: Settings of the role.
        judge: Verifies evidence.
        notify: Told of every finished transfer.
        claims: The transfers that are being received now.
        pace: How fast all of them together may bring payload.
        reserving: Held while room is counted and promised, so that parallel offers cannot pass the bound together.
        promised: For the transfers for which room is being reserved now.
        being_opened: Transfers that are being opened now.
        synced: How many chunks of a transfer this process has made durable when it closed its blob.
        opening: Held while a package is opened that is not small: those below `LARGE_BYTES`, and the others.
        storing: Held while chunks are written of a package that is not small.
    """

    context: Context
    settings: ReceiverSettings
    judge: Judge
    notify: Callable[[TransferRow], None]
    claims: Claims
    pace: Pace = field(default_factory=Pace)
    reserving: trio.Lock = field(default_factory=trio.Lock)
    promised: dict[bytes, Promise] = field(default_factory=dict)
    being_opened: set[bytes] = field(default_factory=set)
    synced: dict[bytes, int] = field(default_factory=dict)
    opening: tuple[trio.CapacityLimiter, trio.CapacityLimiter] = field(
        default_factory=lambda: (trio.CapacityLimiter(OPENED_AT_A_TIME), trio.CapacityLimiter(OPENED_AT_A_TIME))
    )
    storing: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(WORKERS))

    @asynccontextmanager
    async def turn_to_open(self, offer: Offer) -> AsyncIterator[None]:
        """Wait until a package may be opened, and hold its place; a small one never waits."""
        size = offer.seal.content_bytes
        async with AsyncExitStack() as stack:
            if not is_small(size) or offer.seal.openings_bytes > SMALL_OPENINGS_BYTES:
                await stack.enter_async_context(self.opening[size >= LARGE_BYTES])
            self.being_opened.add(offer.transfer_id)
            stack.callback(self.being_opened.discard, offer.transfer_id)
            yield

    def storing_for(self, offer: Offer) -> trio.CapacityLimiter | None:
        """Return what bounds the writing of chunks; None for a small package, which never waits behind large ones."""
        return None if is_small(offer.seal.content_bytes) else self.storing

    @asynccontextmanager
    async def reserved(self, offer: Offer, holder: str, *, known: bool) -> AsyncIterator[SealedBlob]:
        """Take the room for a transfer, or open what there is of it; the room counts until the block ends.

        Args:
            offer: The offer.
            holder: Who proved to be its holder.
            known: Whether the transfer has a row. If it has none, the block makes it; if the block fails, the room is
                free again.

        Raises:
            PolicyRefused: It is larger than any transfer may be.
            Overloaded: There is no room now, or this person has taken their share of it.
            DiskFull: The disk has no room for what arrives and for what is opened of it.
            StorageFailed: The disk refuses.
        """
        most = self.settings.max_package_bytes
        if offer.seal.content_bytes > most:
            raise PolicyRefused(f"expected at most {most} bytes of content, found {offer.seal.content_bytes}")
        async with self.reserving:
            await self._check_share(offer, holder)
            await trio.to_thread.run_sync(self._check_room, offer)
            self.promised[offer.transfer_id] = Promise(holder, sealed_bytes(offer.seal))
        blob, kept = None, False
        try:
            # the disk may take long to reserve a large one; others need not wait for that
            blob = await trio.to_thread.run_sync(self._open_blob, offer)
            yield blob
            kept = True
        finally:
            del self.promised[offer.transfer_id]
            if blob is not None and not kept:
                with trio.CancelScope(shield=True):  # until it is closed nobody else may open it
                    await trio.to_thread.run_sync(blob.close if known else blob.discard)

    async def _check_share(self, offer: Offer, holder: str) -> None:
        """Keep one person's unfinished transfers from taking the room of all others."""
        rows = await self.context.records.unfinished_from(holder)
        others = {row.transfer_id: sealed_bytes(Offer.parse(row.offer).seal) for row in rows}
        others |= {name: each.sealed_bytes for name, each in self.promised.items() if each.holder == holder}
        others.pop(offer.transfer_id, None)
        if len(others) >= MAX_UNFINISHED_PER_HOLDER:
            raise Overloaded(
                f"expected at most {MAX_UNFINISHED_PER_HOLDER} unfinished transfers of one person, found them already"
            )
        most = self.settings.max_incoming_bytes // HOLDER_SHARE
        if others and sum(others.values()) + sealed_bytes(offer.seal) > most:
            raise Overloaded(f"expected at most {most} bytes in the unfinished transfers of one person, found more")

    def _check_room(self, offer: Offer) -> None:
        directory = self.context.vault_folder(INCOMING)
        name, promised = offer.transfer_id.hex(), dict(self.promised)
        stored = {other: stored_bytes(directory, other) for other in blob_names(directory)}
        own = stored.pop(name, 0)
        # a blob grows while its room is reserved
        coming = sum(max(0, each.sealed_bytes - stored.get(other.hex(), 0)) for other, each in promised.items())
        taken = sum(stored.values()) + coming
        if taken + sealed_bytes(offer.seal) > self.settings.max_incoming_bytes:
            raise Overloaded("expected room for unfinished transfers, found none")
        # whoever has sent everything must not find that it cannot be opened
        arriving = coming + max(0, sealed_bytes(offer.seal) - own)
        # what is being opened has its room already, or takes it now
        taken_again = sum(stored.get(other.hex(), 0) for other in frozenset(self.being_opened))
        opened = taken - taken_again + offer.seal.content_bytes
        if _disk_of(directory) == _disk_of(self.settings.inbox):
            _check_free(directory, arriving + opened)
        else:
            _check_free(directory, arriving)
            _check_free(self.settings.inbox, opened)

    def _open_blob(self, offer: Offer) -> SealedBlob:
        directory = self.context.vault_folder(INCOMING)
        name = offer.transfer_id.hex()
        try:
            synced_chunks = self.synced.pop(offer.transfer_id, 0)
            return SealedBlob(directory, name, header=offer.seal, synced_chunks=synced_chunks)
        except StoreDamaged:
            # our disk lost what we had acknowledged; the holder still has it and sends everything again
            _logger.warning("stored chunks are damaged and asked for again", extra={"transfer": name})
            delete_blob(directory, name)
            return SealedBlob(directory, name, header=offer.seal)


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.is_dir())


def _disk_of(folder: Path) -> int:
    with storage_errors(folder):
        return _existing(folder).stat().st_dev


def _check_free(folder: Path, size_bytes: int) -> None:
    """Check that a disk has room, and some is left for the records of all."""
    with storage_errors(folder):
        disk = shutil.disk_usage(_existing(folder))
    expected = size_bytes + min(KEPT_FREE_BYTES, disk.total // 20)
    if disk.free < expected:
        raise DiskFull(f"expected {expected} free bytes for what arrives and is opened, found {disk.free}")
