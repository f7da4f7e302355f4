"""Use case: what a receiver puts in order between exchanges: room, keys and receipts of transfers that went nowhere."""

import logging
from dataclasses import replace
from pathlib import Path

import trio

from ddtp.agent.anchoring import anchor, configured_ledger
from ddtp.agent.claims import Claims
from ddtp.agent.context import Context
from ddtp.agent.inbox import withdraw
from ddtp.chain.statement import EntryKind
from ddtp.consent.grant import Grant
from ddtp.errors import EnvironmentProblem, EvidenceError, InputError, PeerError
from ddtp.protocol import envelope
from ddtp.protocol.messages import Offer
from ddtp.store.blobs import blob_names, delete_blob
from ddtp.store.durable import delete_tree, storage_errors
from ddtp.store.records import FINAL_STATES, TransferState
from ddtp.verify.receipt import Receipt

INCOMING = "incoming"
RELEASED_PATTERN = "[0-9a-f]" * 32
"""Folders of released files have the name of their transfer."""
QUARANTINE_PATTERN = f".{RELEASED_PATTERN}.part"
"""Quarantine lies in the inbox, because only a rename on one disk releases all files at once."""
IDLE_SECONDS = 7 * 86400
"""An unfinished transfer that nobody resumes for a week is given up, and its room is free again."""

_logger = logging.getLogger(__name__)


async def clean_up(context: Context) -> None:
    """Delete what has no future: quarantine, files that nobody has signed for, chunks of transfers that ended.

    To be called when no exchange runs, or with exchanges running only through `give_up_idle`.
    """
    settings = context.config.receiver
    await delete_quarantine(context, claims=Claims())
    if settings is not None:
        for folder in await trio.to_thread.run_sync(_folders, settings.inbox, RELEASED_PATTERN):
            row = await context.records.find_transfer(bytes.fromhex(folder.name))
            if row is not None and row.state is not TransferState.VERIFIED:
                await trio.to_thread.run_sync(withdraw, settings, row.transfer_id)
    await give_up_idle(context, claims=Claims())
    await anchor_receipts(context)


async def delete_quarantine(context: Context, *, claims: Claims) -> None:
    """Delete what was opened and not released, where a process ended or the disk refused to delete it.

    Args:
        context: Surroundings.
        claims: Of the transfers that are being received now, whose quarantine stays.

    Raises:
        StorageFailed: The inbox cannot be read.
    """
    settings = context.config.receiver
    if settings is None:
        return
    for folder in await trio.to_thread.run_sync(_folders, settings.inbox, QUARANTINE_PATTERN):
        with claims.keeping(bytes.fromhex(folder.name[1 : -len(".part")])) as ours:
            if not ours:
                continue
            try:
                await trio.to_thread.run_sync(delete_tree, folder)
            except EnvironmentProblem as err:
                _logger.warning("opened data cannot be deleted", extra={"folder": str(folder), "reason": err.message})


def _folders(inbox: Path, pattern: str) -> list[Path]:
    with storage_errors(inbox):
        return list(inbox.glob(pattern))


async def give_up_idle(context: Context, *, claims: Claims) -> None:
    """Free the room of transfers that ended, or that nobody has gone on with for a week or within their consent.

    Args:
        context: Surroundings.
        claims: Of the transfers that are being received now, which stay.
    """
    directory = context.config.vault / INCOMING
    for name in await trio.to_thread.run_sync(blob_names, directory):
        try:
            transfer_id = bytes.fromhex(name)
        except ValueError:
            continue  # not ours
        with claims.keeping(transfer_id) as ours:
            if ours and await _is_over(context, transfer_id):
                await trio.to_thread.run_sync(delete_blob, directory, name)


async def _is_over(context: Context, transfer_id: bytes) -> bool:
    """Tell whether nobody needs the chunks of a transfer any more; give it up if it is time."""
    row = await context.records.find_transfer(transfer_id)
    if row is None or row.state in FINAL_STATES:
        return True
    now = context.clock()
    expires = envelope.verify(Grant, Offer.parse(row.offer).grant).body.when.expires
    if now < min(row.updated + IDLE_SECONDS, expires):
        return False
    reason = "nobody went on with it in time"
    await context.records.set_state(transfer_id, TransferState.DECLINED, now=now, reason=reason)
    return True


async def anchor_receipts(context: Context) -> None:
    """Put every last receipt on the ledger that is not there yet; a ledger that does not answer is asked later."""
    pending = await context.records.unanchored_receipts()
    if not pending:
        return
    try:
        async with configured_ledger(context) as ledger:
            for transfer_id, receipt in pending:
                digest = envelope.verify(Receipt, receipt.envelope).digest
                proof = await anchor(context, ledger, kind=EntryKind.RECEIPT, subject=digest)
                await context.records.save_receipt(transfer_id, replace(receipt, anchor=proof.encode()))
    except (EnvironmentProblem, PeerError, EvidenceError, InputError) as err:
        _logger.warning("receipts wait for the ledger", extra={"code": err.code, "waiting": len(pending)})
