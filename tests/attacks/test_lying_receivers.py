"""Institutions that lie in an exchange: the holder's key stays with the holder, and an honest answer still ends it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from ddtp.agent.facade import Agent
from ddtp.agent.sending import PreparedTransfer
from ddtp.consent.grant import Grant
from ddtp.errors import (
    ConsentInvalid,
    DdtpError,
    EvidenceError,
    LedgerInconsistent,
    PeerRefused,
    PeerStalled,
    ProtocolViolation,
    SignatureInvalid,
)
from ddtp.identity.keys import PrivateKey
from ddtp.protocol import envelope
from ddtp.protocol.messages import Accept, KeyOffer, ReceiptMessage, Stage
from ddtp.store.records import FINAL_STATES, TransferRow, TransferState
from ddtp.verify import Receipt
from ddtp.verify.receipt import ReceiptStage, cipher_receipt
from tests.attacks.liars import Heard, Lies, make_receiver_lie, other_key_offer, other_receipt
from tests.ledgers import NOW
from tests.town import DAY, FILES, ORIGIN, USE_SECONDS, House, Town, read_files

CIPHER, VERIFIED = Stage.CIPHER.value, Stage.VERIFIED.value
STRANGER = PrivateKey(bytes(31) + b"\x07")
Lie = Callable[[House, Any], Any]
"""Changes one answer of an institution."""


@dataclass
class Victim:
    """A person who has confirmed a transfer to an institution."""

    town: Town
    person: Agent
    prepared: PreparedTransfer

    async def meets(self, error: type[DdtpError], lies: Lies) -> Heard:
        """Send to an institution that lies; it comes to exactly this error."""
        heard = make_receiver_lie(self.town.receiver, lies)
        with pytest.raises(error) as caught:
            await self.person.send(self.prepared)
        assert type(caught.value) is error
        return heard

    async def row(self) -> TransferRow:
        (row,) = await self.person.transfers()
        return row

    async def kept(self) -> set[str]:
        """The receipts that the person keeps."""
        return set(await self.person.records.receipts((await self.row()).transfer_id))

    async def check_resume(self) -> None:
        """The transfer waits with its key, and an honest institution brings it to its good end."""
        row = await self.row()
        assert row.state is TransferState.FAILED
        assert row.secret is not None
        assert read_files(self.town.receiver.inbox) == {}
        self.town.receiver.service.register()
        assert (await self.person.resume(row.transfer_id)).verified
        assert read_files(self.town.receiver.inbox / row.transfer_id.hex() / "files") == FILES


@pytest.fixture
async def victim(town: Town) -> Victim:
    """Somebody who does not know yet."""
    person = await town.person()
    package = await town.issue(person)
    return Victim(town, person, await person.prepare(package.path, card=town.receiver.card))


async def test_a_receiver_that_has_seen_another_history_of_a_log_gets_no_offer(victim: Victim) -> None:
    """The log may have shown either of the two a lie; who the holder is and what they have is not said before that."""
    town = victim.town
    log, records = town.ledger.agent.context, town.receiver.agent.records
    head = (await log.own_ledger.head()).body
    other = envelope.sign(replace(head, root=bytes(32)), log.seed.log_key()).envelope
    before = await records.load(ORIGIN)
    await records.save(ORIGIN, other)
    heard = await victim.meets(LedgerInconsistent, {})
    assert heard.offers == []
    await records.save(ORIGIN, before or (await log.own_ledger.head()).envelope)
    await victim.check_resume()


def by_a_stranger(_house: House, accept: Accept) -> Accept:
    body = envelope.verify(KeyOffer, accept.key_offer).body
    return replace(accept, key_offer=envelope.sign(body, STRANGER).envelope)


@pytest.mark.parametrize(
    ("lie", "error"),
    [
        (by_a_stranger, SignatureInvalid),
        (lambda house, accept: other_key_offer(house, accept, transfer_id=bytes(16)), ProtocolViolation),
        (lambda house, accept: other_key_offer(house, accept, expires=NOW), ProtocolViolation),
    ],
    ids=["signer", "transfer id", "expiry"],
)
async def test_a_key_offer_that_is_not_for_this_transfer_gets_no_chunk(
    victim: Victim, lie: Lie, error: type[DdtpError]
) -> None:
    """Whoever made the one-time key could read the content: it is the institution's, for this transfer, and fresh."""
    heard = await victim.meets(error, {"admit": lambda accept: lie(victim.town.receiver, accept)})
    assert (heard.chunks, heard.keys) == (0, [])
    await victim.check_resume()


async def test_a_key_offer_is_good_until_the_second_before_its_expiry(victim: Victim) -> None:
    """An institution may give its key a short life."""
    house = victim.town.receiver
    make_receiver_lie(house, {"admit": lambda accept: other_key_offer(house, accept, expires=NOW + 1)})
    assert (await victim.person.send(victim.prepared)).verified


def signed_by_a_stranger(_house: House, message: ReceiptMessage) -> ReceiptMessage:
    body = envelope.verify(Receipt, message.receipt).body
    return replace(message, receipt=envelope.sign(body, STRANGER).envelope)


def signed_as_rejection(house: House, message: ReceiptMessage) -> ReceiptMessage:
    return other_receipt(house, message, stage=ReceiptStage.REJECTED, step=14, reason="no", previous=bytes(32))


@pytest.mark.parametrize(
    ("lie", "error"),
    [
        (lambda house, message: other_receipt(house, message, ciphertext_root=bytes(32)), ProtocolViolation),
        (lambda house, message: other_receipt(house, message, transfer_id=bytes(16)), EvidenceError),
        (lambda house, message: other_receipt(house, message, grant=bytes(32)), EvidenceError),
        (lambda house, message: other_receipt(house, message, at=NOW + 121), EvidenceError),
        (lambda house, message: other_receipt(house, message, at=NOW - NOW % 3600 - 121), EvidenceError),
        (signed_as_rejection, EvidenceError),
        (signed_by_a_stranger, SignatureInvalid),
    ],
    ids=["ciphertext root", "transfer id", "grant", "in the future", "before the consent", "stage", "signer"],
)
async def test_a_receipt_for_something_else_gets_no_key(victim: Victim, lie: Lie, error: type[DdtpError]) -> None:
    """Who does not sign for exactly the chunks that were sent, under this consent and now, cannot read them."""
    heard = await victim.meets(error, {"complete": lambda message: lie(victim.town.receiver, message)})
    assert heard.chunks
    assert heard.keys == []
    assert await victim.kept() == set()
    await victim.check_resume()


def expire_before_the_key(victim: Victim) -> Lies:
    """The institution's one-time key has one minute, and that passes while the chunks move."""
    house, clock = victim.town.receiver, victim.town.clock

    def wait(message: ReceiptMessage) -> ReceiptMessage:
        clock.now += 60
        return message

    return {"admit": lambda accept: other_key_offer(house, accept, expires=clock.now + 60), "complete": wait}


async def test_a_one_time_key_that_expires_on_the_way_gets_no_key(victim: Victim) -> None:
    """The signed receipt is kept for a dispute, but nothing is wrapped to a key that should be destroyed by now."""
    heard = await victim.meets(PeerStalled, expire_before_the_key(victim))
    assert heard.keys == []
    assert await victim.kept() == {CIPHER}
    await victim.check_resume()


async def test_a_second_receipt_for_the_ciphertext_gets_no_key(victim: Victim) -> None:
    """An institution signs once per stage: another receipt on a resume is refused, and the first one stays."""
    house = victim.town.receiver
    await victim.meets(PeerStalled, expire_before_the_key(victim))
    row = await victim.row()
    before = await victim.person.records.receipts(row.transfer_id)
    heard = make_receiver_lie(
        house, {"complete": lambda message: other_receipt(house, message, at=victim.town.clock.now)}
    )
    with pytest.raises(ProtocolViolation):
        await victim.person.resume(row.transfer_id)
    assert heard.keys == []
    assert await victim.person.records.receipts(row.transfer_id) == before
    await victim.check_resume()


@pytest.mark.parametrize("moment", ["store", "complete"])
async def test_a_consent_that_ends_while_chunks_move_gets_no_key(victim: Victim, moment: str) -> None:
    """What was agreed for a day is not readable after it; the receiver refuses the resume, which destroys the key."""
    house, clock = victim.town.receiver, victim.town.clock

    def wait(truth: Any) -> Any:
        clock.now = NOW + USE_SECONDS + 1
        return truth

    lies = {"admit": lambda accept: other_key_offer(house, accept, expires=NOW + 10 * DAY), moment: wait}
    heard = await victim.meets(ConsentInvalid, lies)
    assert heard.chunks
    assert heard.keys == []
    assert await victim.kept() == {CIPHER}
    row = await victim.row()
    assert row.state is TransferState.FAILED
    house.service.register()
    with pytest.raises(PeerRefused) as caught:
        await victim.person.resume(row.transfer_id)
    assert caught.value.reason_code == "verification-failed"
    assert ((await victim.row()).state, (await victim.row()).secret) == (TransferState.DECLINED, None)
    assert read_files(house.inbox) == {}


async def test_a_verdict_is_the_one_that_is_signed(victim: Victim) -> None:
    """A message that calls a verified receipt a rejection ends nothing; the receipt can be fetched later."""
    lies = {"conclude": lambda message: replace(message, stage=Stage.REJECTED)}
    heard = await victim.meets(ProtocolViolation, lies)
    assert len(heard.keys) == 1
    row = await victim.row()
    assert row.state not in FINAL_STATES
    assert row.secret is not None
    assert VERIFIED not in await victim.kept()
    victim.town.receiver.service.register()
    assert (await victim.person.resume(row.transfer_id)).verified


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, ProtocolViolation),
        ({"stage": ReceiptStage.VERIFIED, "previous": bytes(32)}, EvidenceError),
    ],
    ids=["cipher", "verified"],
)
async def test_a_verdict_follows_a_receipt_for_the_ciphertext(
    victim: Victim, changes: dict[str, Any], error: type[DdtpError]
) -> None:
    """A transfer of which nothing was sent cannot be called verified in answer to its offer, by no receipt."""
    house = victim.town.receiver

    def verified_at_once(accept: Accept) -> ReceiptMessage:
        grant = envelope.verify(Grant, heard[0].offers[-1].grant).digest
        body = cipher_receipt(transfer_id=accept.transfer_id, grant=grant, ciphertext_root=bytes(32), at=NOW)
        root = victim.prepared.manifest.body.root if changes else None
        receipt = envelope.sign(replace(body, package_root=root, **changes), house.agent.context.institution_key)
        return ReceiptMessage(Stage.VERIFIED, receipt.envelope)

    heard: list[Heard] = []
    heard.append(make_receiver_lie(house, {"admit": verified_at_once}))
    with pytest.raises(error) as caught:
        await victim.person.send(victim.prepared)
    assert type(caught.value) is error
    assert await victim.kept() == set()
    await victim.check_resume()
