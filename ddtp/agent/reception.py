"""What all exchanges of one receiving institution share: who receives which transfer now, and how much room is left."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from ddtp.agent.context import Context
from ddtp.agent.judging import Judge
from ddtp.agent.tidying import INCOMING
from ddtp.agent.workers import WORKERS
from ddtp.config import ReceiverSettings
from ddtp.errors import Overloaded, PolicyRefused, StoreDamaged
from ddtp.protocol.chunks import sealed_bytes
from ddtp.protocol.messages import Offer
from ddtp.store.blobs import SealedBlob, blob_names, delete_blob, stored_bytes
from ddtp.store.records import TransferRow
from ddtp.transfer.pacing import Pace

TAKEOVER_SECONDS = 15.0
"""For an older exchange to end: one sync of a slow disk, and a goodbye that nobody hears."""
MAX_UNFINISHED_PER_HOLDER = 16
"""Unfinished transfers of one person: more than anybody sends at a time."""
HOLDER_SHARE = 4
"""One person's unfinished transfers may take a fourth of the room for all; a single one may take what is free."""

SMALL_BYTES = 32 << 20
"""Content that is opened in a moment, so nothing waits for it."""
LARGE_BYTES = 1 << 30
"""Content that keeps the processors busy for longer than a person likes to wait for another one."""
OPENED_AT_A_TIME = 2
"""Packages of one of the two larger kinds: they take all processors as it is."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """An exchange's hold on its transfer.

    Attributes:
        transfer_id: The transfer.
        holder: Who proved to be its holder.
        scope: Cancelled when the holder offers the transfer on a newer connection.
        ended: Set when the exchange has let go of everything.
    """

    transfer_id: bytes
    holder: str
    scope: trio.CancelScope
    ended: trio.Event = field(default_factory=trio.Event)


@dataclass(frozen=True, slots=True)
class Reception:
    """What all exchanges of one receiving institution share.

    Attributes:
        context: Surroundings.
        settings: Settings of the role.
        judge: Verifies evidence.
        notify: Told of every finished transfer.
        active: The transfers that are being received now.
        pace: How fast all of them together may bring payload.
        reserving: Held while room is counted and promised, so that parallel offers cannot pass the bound together.
        promised: Sealed bytes of the transfers for which room is being reserved now.
        opening: Held while a package is opened that is not small: those below `LARGE_BYTES`, and the others.
        storing: Held while chunks are written of a package that is not small.
    """

    context: Context
    settings: ReceiverSettings
    judge: Judge
    notify: Callable[[TransferRow], None]
    active: dict[bytes, Claim]
    pace: Pace = field(default_factory=Pace)
    reserving: trio.Lock = field(default_factory=trio.Lock)
    promised: dict[str, int] = field(default_factory=dict)
    opening: tuple[trio.CapacityLimiter, trio.CapacityLimiter] = field(
        default_factory=lambda: (trio.CapacityLimiter(OPENED_AT_A_TIME), trio.CapacityLimiter(OPENED_AT_A_TIME))
    )
    storing: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(WORKERS))

    @asynccontextmanager
    async def turn_to_open(self, offer: Offer) -> AsyncIterator[None]:
        """Wait until a package may be opened, and hold its place; a small one never waits."""
        size = offer.seal.content_bytes
        if size < SMALL_BYTES:
            yield
            return
        async with self.opening[size >= LARGE_BYTES]:
            yield

    def storing_for(self, offer: Offer) -> trio.CapacityLimiter | None:
        """Return what bounds the writing of chunks; None for a small package, which never waits behind large ones."""
        return self.storing if offer.seal.content_bytes >= SMALL_BYTES else None

    async def claim(self, transfer_id: bytes, holder: str, scope: trio.CancelScope) -> Claim:
        """Make an exchange the only one of a transfer, until it is released.

        The holder's newer connection wins: the older one may be dead without either system having noticed.

        Args:
            transfer_id: The transfer.
            holder: Who proved to be its holder in the new exchange.
            scope: What the new exchange runs in.

        Raises:
            Overloaded: Another exchange has the transfer, and does not let go of it.
        """
        older = self.active.get(transfer_id)
        if older is not None and older.holder == holder:
            _logger.info("a newer connection takes over", extra={"transfer": transfer_id.hex()})
            older.scope.cancel()
            with trio.move_on_after(TAKEOVER_SECONDS):
                await older.ended.wait()
        if transfer_id in self.active:
            raise Overloaded("expected one exchange per transfer at a time, found another one running")
        self.active[transfer_id] = Claim(transfer_id, holder, scope)
        return self.active[transfer_id]

    def release(self, claim: Claim) -> None:
        """Let go of a transfer; the exchange must have closed all its files."""
        del self.active[claim.transfer_id]
        claim.ended.set()

    async def reserve(self, offer: Offer, holder: str) -> SealedBlob:
        """Take the room for a transfer, or open what there is of it.

        Raises:
            PolicyRefused: It is larger than any transfer may be.
            Overloaded: There is no room now, or this person has taken their share of it.
            DiskFull, StorageFailed: The disk refuses.
        """
        most = self.settings.max_package_bytes
        if offer.seal.content_bytes > most:
            raise PolicyRefused(f"expected at most {most} bytes of content, found {offer.seal.content_bytes}")
        name = offer.transfer_id.hex()
        async with self.reserving:
            await self._check_share(offer, holder)
            await trio.to_thread.run_sync(self._check_room, offer)
            self.promised[name] = sealed_bytes(offer.seal)
        try:
            # the disk may take long to reserve a large one; others need not wait for that
            return await trio.to_thread.run_sync(self._open_blob, offer)
        finally:
            del self.promised[name]

    async def _check_share(self, offer: Offer, holder: str) -> None:
        """Keep one person's unfinished transfers from taking the room of all others."""
        rows = await self.context.records.unfinished_from(holder)
        others = [row for row in rows if row.transfer_id != offer.transfer_id]
        if len(others) >= MAX_UNFINISHED_PER_HOLDER:
            raise Overloaded(
                f"expected at most {MAX_UNFINISHED_PER_HOLDER} unfinished transfers of one person, found them already"
            )
        taken = sum(sealed_bytes(Offer.parse(row.offer).seal) for row in others)
        most = self.settings.max_incoming_bytes // HOLDER_SHARE
        if others and taken + sealed_bytes(offer.seal) > most:
            raise Overloaded(f"expected at most {most} bytes in the unfinished transfers of one person, found more")

    def _check_room(self, offer: Offer) -> None:
        directory = self.context.vault_folder(INCOMING)
        promised = dict(self.promised)
        others = (blob_names(directory) | promised.keys()) - {offer.transfer_id.hex()}
        taken = sum(max(stored_bytes(directory, other), promised.get(other, 0)) for other in others)
        if taken + sealed_bytes(offer.seal) > self.settings.max_incoming_bytes:
            raise Overloaded("expected room for unfinished transfers, found none")

    def _open_blob(self, offer: Offer) -> SealedBlob:
        directory = self.context.vault_folder(INCOMING)
        name = offer.transfer_id.hex()
        try:
            return SealedBlob(directory, name, header=offer.seal)
        except StoreDamaged:
            # our disk lost what we had acknowledged; the holder still has it and sends everything again
            _logger.warning("stored chunks are damaged and asked for again", extra={"transfer": name})
            delete_blob(directory, name)
            return SealedBlob(directory, name, header=offer.seal)
