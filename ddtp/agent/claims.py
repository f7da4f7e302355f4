"""Which exchange receives which transfer: one at a time, and the newest of its holder wins (spec/08 s.5)."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, final

import trio

from ddtp.errors import Overloaded

TAKEOVER_SECONDS: Final = 15.0
"""For an older exchange to end: one sync of a slow disk, and a goodbye that nobody hears."""

_NOBODY: Final = ""
"""Stands for the holder where it is we who keep a transfer: no DID is empty."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
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


@final
class Claims:
    """All claims of one receiving institution."""

    def __init__(self) -> None:
        self._held: dict[bytes, Claim] = {}
        self._next: dict[bytes, Claim] = {}

    async def take(self, transfer_id: bytes, holder: str, scope: trio.CancelScope) -> Claim:
        """Make an exchange the only one of a transfer, until it is released.

        The holder's newest connection wins: older ones may be dead without either system having noticed.

        Args:
            transfer_id: The transfer.
            holder: Who proved to be its holder in the new exchange.
            scope: What the new exchange runs in.

        Raises:
            Overloaded: Another exchange has the transfer and does not let go of it, or a newer one wants it.
        """
        claim = Claim(transfer_id, holder, scope)
        older = self._held.get(transfer_id)
        if older is not None and older.holder in {holder, _NOBODY}:
            if older.holder == holder:
                _logger.info("a newer connection takes over", extra={"transfer": transfer_id.hex()})
            await self._wait_for(older, claim)
        if transfer_id in self._held:
            raise Overloaded("expected one exchange per transfer at a time, found another one running")
        self._held[transfer_id] = claim
        return claim

    async def _wait_for(self, older: Claim, claim: Claim) -> None:
        self._next[claim.transfer_id] = claim
        try:
            older.scope.cancel()
            with trio.move_on_after(TAKEOVER_SECONDS):
                await older.ended.wait()
            if self._next.get(claim.transfer_id, claim) is not claim:
                raise Overloaded("expected the newest connection of a holder, found that a newer one takes over")
        finally:
            if self._next.get(claim.transfer_id) is claim:
                del self._next[claim.transfer_id]

    def release(self, claim: Claim) -> None:
        """Let go of a transfer; the exchange must have closed all its files."""
        del self._held[claim.transfer_id]
        claim.ended.set()

    @contextmanager
    def keeping(self, transfer_id: bytes) -> Iterator[bool]:
        """Keep exchanges away from a transfer while the block runs; gives False if one receives it now."""
        if transfer_id in self._held:
            yield False
            return
        claim = self._held[transfer_id] = Claim(transfer_id, _NOBODY, trio.CancelScope())
        try:
            yield True
        finally:
            self.release(claim)
