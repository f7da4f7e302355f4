"""Holders who send other content than their issuer signed: the receiver rejects it by a signed receipt."""

import errno
import os

import pytest

from ddtp.agent.claims import Claims
from ddtp.agent.facade import Agent
from ddtp.agent.tidying import delete_quarantine
from ddtp.errors import PeerAborted, PeerVanished, StorageFailed
from ddtp.identity.document import Card
from ddtp.protocol import envelope
from ddtp.protocol.envelope import Signed
from ddtp.protocol.messages import ReceiptMessage, Stage
from ddtp.store.records import TransferRow, TransferState
from ddtp.verify import Receipt, Step
from tests.attacks.liars import flip, go_on
from tests.attacks.quiet import Leaving, Way, leaving_holder
from tests.town import Town, names


async def broken_off(town: Town, person: Agent) -> TransferRow:
    """A transfer that was offered, and of which nothing was sent."""
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    with pytest.raises(PeerVanished):
        await leaving_holder(person, sends=2, leaving=Leaving(Way.GONE)).send(prepared)
    (row,) = await person.transfers()
    return row


async def deliver(person: Agent, row: TransferRow, card: Signed[Card], how: str) -> ReceiptMessage:
    """Go on with a transfer, with forged content or another key."""
    if how == "key":
        assert row.secret is not None
        return await go_on(person, row, card, key=flip(row.secret, 0))
    return await go_on(person, row, card, forgery=how)


@pytest.mark.parametrize(
    ("how", "step"),
    [
        ("content", Step.CONTENT),
        ("ciphertext", Step.CONTENT),
        ("tag", Step.CONTENT),
        ("order", Step.CONTENT),
        ("openings", Step.OPENINGS),
        ("key", Step.OPENINGS),
    ],
)
async def test_forged_content_is_rejected_and_never_released(town: Town, how: str, step: Step) -> None:
    """The receipt names the step that failed; the inbox stays empty, and an honest repetition does not help."""
    person = await town.person()
    row = await broken_off(town, person)
    answer = await deliver(person, row, town.receiver.card, how)
    assert answer.stage is Stage.REJECTED
    receipt = envelope.verify(Receipt, answer.receipt, signer=town.receiver.card.signer)
    assert receipt.body.step == step
    assert town.receiver.remains() == []
    (there,) = await town.receiver.agent.transfers()
    assert (there.state, there.failed_step, there.secret) == (TransferState.REJECTED, step, None)


async def test_a_rejection_is_final(town: Town) -> None:
    """The holder who comes back with the true content gets the signed rejection again, and keeps it."""
    person = await town.person()
    row = await broken_off(town, person)
    answer = await deliver(person, row, town.receiver.card, "content")
    sent = await person.resume(row.transfer_id)
    assert not sent.verified
    assert sent.failed_step == Step.CONTENT
    assert sent.receipt.envelope == answer.receipt
    (kept,) = await person.transfers()
    assert (kept.state, kept.secret) == (TransferState.REJECTED, None)


async def test_nothing_is_signed_while_what_was_opened_cannot_be_deleted(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk refuses to delete rejected plaintext: no receipt is signed, and it goes when it can."""
    person = await town.person()
    row = await broken_off(town, person)
    real = os.unlink

    def refuse(path: object, *arguments: object, **named: object) -> None:
        if ".part" in str(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(path, *arguments, **named)  # type: ignore[call-overload]

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        with pytest.raises(PeerAborted) as caught:
            await deliver(person, row, town.receiver.card, "content")
    assert caught.value.reason_code == StorageFailed.code
    (there,) = await town.receiver.agent.transfers()
    assert there.state is TransferState.RECEIVED
    assert len(names(town.receiver.inbox)) == 1
    claims = Claims()
    with claims.keeping(row.transfer_id):
        await delete_quarantine(town.receiver.agent.context, claims=claims)
    assert len(names(town.receiver.inbox)) == 1, "an exchange that runs has its quarantine"
    await delete_quarantine(town.receiver.agent.context, claims=claims)
    assert names(town.receiver.inbox) == []
