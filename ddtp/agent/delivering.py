"""Use case: bring one outgoing transfer to its end, by as many exchanges as that takes (spec/08).

An exchange may be broken off by the network or by a long pause and is then run again: same transfer id, same sealed
bytes, same grant. However it ends, what is known of it is written down.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import trio

from ddtp.agent.anchoring import anchor, remote_ledger
from ddtp.agent.attending import Attendance, sending_alone
from ddtp.agent.context import TRANSFER_PROTOCOL, Context
from ddtp.agent.dialing import naming
from ddtp.agent.exchange import HolderSide, Material, leaf_path
from ddtp.agent.persisting import Persistence, persist
from ddtp.chain.statement import EntryKind
from ddtp.errors import (
    ContentMismatch,
    DdtpError,
    EnvironmentProblem,
    NotFound,
    PeerAborted,
    PeerRefused,
    PeerStalled,
    PeerVanished,
    StorageFailed,
)
from ddtp.identity.document import Card
from ddtp.protocol import envelope
from ddtp.protocol.envelope import Signed
from ddtp.protocol.messages import Stage
from ddtp.store.leaf_log import delete_leaf_log
from ddtp.store.records import FINAL_STATES, KEY_RELEASE_STAGE, ReceiptRow, TransferRow, TransferState
from ddtp.transfer.pacing import Pace
from ddtp.transfer.ports import Deadlines, Phase, Progress
from ddtp.transfer.sender import send_transfer
from ddtp.verify.receipt import Receipt, ReceiptStage

AFTERMATH_SECONDS = 20.0
"""For writing down how an exchange ended: one dial and two questions."""
INTERRUPTED_SECONDS = 2.0
"""For the same while somebody waits for the program to end: a ledger that answers does so in milliseconds."""
PASSING_REFUSALS = frozenset(
    {EnvironmentProblem.code, PeerStalled.code, PeerVanished.code}
    | {problem.code for problem in EnvironmentProblem.__subclasses__()}
)
"""Refusals that say "not now": the transfer can be resumed. Every other refusal is an answer to the offer."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SentTransfer:
    """The outcome of a transfer.

    Attributes:
        transfer_id: 16 bytes.
        receiver: DID.
        receiver_name: Name on the card.
        receipt: The receiver's signed last word, checked.
        verified: True if it says "verified".
        failed_step: Number of the verification step that failed at the receiver, if not verified.
        reason: The receiver's reason, if not verified.
        content_bytes: Bytes of content that were sealed.
    """

    transfer_id: bytes
    receiver: str
    receiver_name: str
    receipt: Signed[Receipt]
    verified: bool
    failed_step: int | None
    reason: str | None
    content_bytes: int


async def deliver(
    context: Context,
    material: Material,
    *,
    progress: Callable[[Progress], None],
    pace: Pace,
    patience_seconds: float,
    reached_before: bool,
) -> SentTransfer:
    """Run exchanges of one transfer until the receiver has given its last word.

    Args:
        context: Surroundings.
        material: The transfer.
        progress: Told of every step; must not block.
        pace: How fast, and whether it rests.
        patience_seconds: How long to try again what the network broke off, without anything new.
        reached_before: Whether the receiver has answered in an earlier attempt, so that one who does not answer now is
            tried again too.

    Raises:
        AlreadyRunning: Another process sends it now, or holds it paused.
        NotFound: It has come to its end, or was given up.
        DdtpError: As `sending.send`.
    """
    transfer_id = material.row.transfer_id
    with sending_alone(context.config.home, transfer_id):
        # it may have been given up, or ended, since it was read: another process was free to do so until now
        present = await context.records.find_transfer(transfer_id)
        if present is None or present.secret is None or present.state in FINAL_STATES:
            raise NotFound("expected an outgoing transfer that can go on, found none")
        attendance = Attendance(context.records, transfer_id, pace=pace, progress=progress)
        receipt, failure, seconds = None, DdtpError("interrupted on this side"), INTERRUPTED_SECONDS

        persistence = _persistence(context, patience_seconds, reached_before=reached_before)

        async def run(tell: Callable[[Progress], None], passed: Pace) -> Signed[Receipt]:
            persistence.begin_again()
            tell(Progress(Phase.CONNECTING))  # before the dial, which may take long
            return await persist(
                lambda noted: _exchange(context, material, progress=noted, pace=passed),
                persistence=persistence,
                tell=tell,
            )

        try:
            receipt = await attendance.attend(run)
        except DdtpError as err:
            failure, seconds = err, AFTERMATH_SECONDS
            raise
        finally:
            if receipt is None:
                with trio.CancelScope(deadline=trio.current_time() + seconds, shield=True):
                    await _record_failure(context, material.row, failure)
                    await _anchor_release(context, material)
        return await _conclude(context, material, receipt)


def _persistence(context: Context, patience_seconds: float, *, reached_before: bool) -> Persistence:
    return Persistence(
        patience_seconds=patience_seconds,
        reached_before=reached_before,
        clock=trio.current_time,
        jitter=lambda: context.random_bytes(1)[0] / 255,
    )


async def _exchange(
    context: Context, material: Material, *, progress: Callable[[Progress], None], pace: Pace
) -> Signed[Receipt]:
    """Run the exchange once; return the receiver's last word, checked."""
    material = replace(material, card=await _newest_card(context, material))
    card = material.card.body
    kept = (await context.records.receipts(material.row.transfer_id)).get(Stage.CIPHER.value)
    port = HolderSide(context, material, cipher=kept, progress=progress)
    with naming(card.name):
        stream = await context.dial(card.addresses, TRANSFER_PROTOCOL)
    return port.check(await send_transfer(stream, port, progress=progress, deadlines=Deadlines(), pace=pace))


async def _newest_card(context: Context, material: Material) -> Signed[Card]:
    """Return a newer card of the receiver if there is one: a person may be given its new address meanwhile."""
    remembered = await context.records.find_card(material.card.body.did)
    card = envelope.verify(Card, remembered) if remembered else material.card
    return card if card.body.issued > material.card.body.issued else material.card


async def _conclude(context: Context, material: Material, receipt: Signed[Receipt]) -> SentTransfer:
    row = material.row
    with trio.CancelScope(shield=True):  # for no longer than the database takes, which has a limit of its own
        await context.records.conclude(
            row.transfer_id,
            TransferState(receipt.body.stage.value),
            receipt=ReceiptRow(receipt.body.stage.value, receipt.envelope, anchor=None),
            now=context.clock(),
            failed_step=receipt.body.step,
            reason=receipt.body.reason,
        )
    await _forget_leaves(context, row.transfer_id)
    return outcome_of(row, receipt, content_bytes=material.content.header.content_bytes)


def outcome_of(row: TransferRow, receipt: Signed[Receipt], *, content_bytes: int) -> SentTransfer:
    """Return the outcome of a transfer that the receiver has signed."""
    return SentTransfer(
        transfer_id=row.transfer_id,
        receiver=row.peer,
        receiver_name=row.peer_name,
        receipt=receipt,
        verified=receipt.body.stage is ReceiptStage.VERIFIED,
        failed_step=receipt.body.step,
        reason=receipt.body.reason,
        content_bytes=content_bytes,
    )


async def _record_failure(context: Context, row: TransferRow, error: DdtpError) -> None:
    """Keep why an exchange ended early; a refusal for good ends the transfer and destroys its key.

    After the key was released nothing is over until the receiver has signed its last word: the transfer stays "keyed".
    """
    now, reason = context.clock(), error.message[:500]
    if isinstance(error, PeerAborted) and error.reason_code == ContentMismatch.code:
        await _forget_leaves(context, row.transfer_id)  # what we remember of it may be wrong
    known = await context.records.find_transfer(row.transfer_id)
    if known is not None and known.state is TransferState.KEYED:
        await context.records.set_state(row.transfer_id, TransferState.KEYED, now=now, reason=reason)
        return
    declined = isinstance(error, PeerRefused) and error.reason_code not in PASSING_REFUSALS
    if declined:
        await _forget_leaves(context, row.transfer_id)
    state = TransferState.DECLINED if declined else TransferState.FAILED
    await context.records.set_state(row.transfer_id, state, now=now, reason=reason, forget_secret=declined)


async def _forget_leaves(context: Context, transfer_id: bytes) -> None:
    with suppress(StorageFailed):  # a few bytes that are of no use to anybody may stay
        await trio.to_thread.run_sync(delete_leaf_log, leaf_path(context, transfer_id))


async def _anchor_release(context: Context, material: Material) -> None:
    """Put on the ledger that the key was released, because the last receipt did not come (spec/08 s.5).

    If the ledger does not answer, the next exchange that ends without a receipt tries again.
    """
    transfer_id = material.row.transfer_id
    known = await context.records.find_transfer(transfer_id)
    kept = await context.records.receipts(transfer_id)
    release = kept.get(KEY_RELEASE_STAGE)
    if known is None or known.state is not TransferState.KEYED or release is None or release.anchor is not None:
        return
    receipt = envelope.verify(Receipt, kept[Stage.CIPHER.value].envelope)
    try:
        async with remote_ledger(context, material.log) as ledger:
            proof = await anchor(context, ledger, kind=EntryKind.KEY_RELEASE, subject=receipt.digest)
    except DdtpError as err:
        _logger.warning("the key release waits for the ledger", extra={"code": err.code})
        return
    await context.records.save_receipt(transfer_id, replace(release, anchor=proof.encode()))
