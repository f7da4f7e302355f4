"""Offers that are not what they seem: replayed, borrowed, used up, late, or by strangers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from ddtp.agent.facade import Agent
from ddtp.agent.issuing import IssuedPackage
from ddtp.agent.sending import SentTransfer
from ddtp.chain.proof import OfferAnchors
from ddtp.config import CARD_FILE
from ddtp.errors import ConsentInvalid, NotFound, PeerRefused
from ddtp.identity.document import Role
from ddtp.identity.keys import PrivateKey
from ddtp.protocol.messages import Offer, Stage
from ddtp.store.records import TransferRow, TransferState
from tests.attacks.imposter import Imposter
from tests.town import FILES, USE_SECONDS, VALID_SECONDS, House, Town, read_files


@contextmanager
def refused(code: str) -> Iterator[None]:
    """What happens inside is declined by the receiver for one reason."""
    with pytest.raises(PeerRefused) as caught:
        yield
    assert caught.value.reason_code == code


@dataclass
class Sent:
    """A transfer that came to a good end, and who sent it."""

    person: Agent
    holder: PrivateKey
    package: IssuedPackage
    outcome: SentTransfer
    row: TransferRow

    @property
    def offer(self) -> Offer:
        return Offer.parse(self.row.offer)


async def send(town: Town, name: str = "person", *, to: House | None = None) -> Sent:
    person = await town.person(name)
    package = await town.issue(person)
    outcome = await person.send(await person.prepare(package.path, card=(to or town.receiver).card))
    (row,) = await person.transfers()
    return Sent(person, person.context.seed.holder_key(town.issuer.did), package, outcome, row)


async def test_an_honest_transfer_is_verified_and_released_bit_for_bit(town: Town) -> None:
    """What the other tests attack does work when nobody attacks."""
    sent = await send(town)
    assert sent.outcome.verified
    assert read_files(town.receiver.inbox / sent.outcome.transfer_id.hex() / "files") == FILES
    assert town.receiver.remains() == [sent.outcome.transfer_id.hex()]


async def test_a_repeated_offer_gets_the_same_receipt_and_nothing_else_happens(town: Town) -> None:
    """The holder may ask again for ever: the answer is the receipt that was signed first, byte for byte."""
    sent = await send(town)
    await town.receiver.settled()
    before = (await town.ledger.agent.context.own_ledger.head()).body.size
    for _ in range(2):
        answer = await Imposter(sent.person, sent.holder, sent.offer).run(town.receiver.card)
        assert answer.stage is Stage.VERIFIED
        assert answer.receipt == sent.outcome.receipt.envelope
    assert (await town.ledger.agent.context.own_ledger.head()).body.size == before
    assert len(await town.receiver.agent.transfers()) == 1
    assert town.receiver.remains() == [sent.outcome.transfer_id.hex()]


async def test_an_offer_replayed_by_another_holder_under_its_id_is_refused(town: Town) -> None:
    """Who knows a transfer id learns nothing about it."""
    sent = await send(town)
    mallory = await town.person("mallory")
    with refused("policy-refused"):
        await Imposter(mallory, mallory.context.seed.holder_key(town.issuer.did), sent.offer).run(town.receiver.card)


async def test_an_offer_replayed_by_another_holder_under_a_new_id_is_refused(town: Town) -> None:
    """Evidence is only good in the hands of the person that it is about."""
    sent = await send(town)
    mallory = await town.person("mallory")
    offer = replace(sent.offer, transfer_id=os.urandom(16))
    with refused("bad-signature"):
        await Imposter(mallory, mallory.context.seed.holder_key(town.issuer.did), offer).run(town.receiver.card)
    assert len(await town.receiver.agent.transfers()) == 1


async def test_a_recorded_binding_does_not_open_another_connection(town: Town) -> None:
    """Whoever taped what the holder said cannot say it again."""
    sent = await send(town)
    taped = Imposter(sent.person, sent.holder, sent.offer)
    await taped.run(town.receiver.card)
    mallory = await town.person("mallory")
    with refused("evidence-invalid"):
        await Imposter(mallory, sent.holder, sent.offer, binding=taped.spoken).run(town.receiver.card)


async def test_a_consent_for_one_use_is_not_good_for_a_second_transfer(town: Town) -> None:
    """Even the holder cannot use a one-time grant twice."""
    sent = await send(town)
    offer = replace(sent.offer, transfer_id=os.urandom(16))
    with refused("consent-invalid"):
        await Imposter(sent.person, sent.holder, offer).run(town.receiver.card)


async def test_other_content_under_a_known_id_is_refused(town: Town) -> None:
    """A transfer id means one content for ever."""
    sent = await send(town)
    other = replace(sent.offer, seal=replace(sent.offer.seal, salt=os.urandom(24)))
    with refused("policy-refused"):
        await Imposter(sent.person, sent.holder, other).run(town.receiver.card)


async def test_a_grant_for_another_receiver_is_refused(town: Town) -> None:
    """What was granted to one institution does not open another."""
    sent = await send(town)
    other = await town.open_receiver("other")
    with refused("verification-failed"):
        await Imposter(sent.person, sent.holder, sent.offer).run(other.card)
    assert other.remains() == []
    assert await other.agent.transfers() == []


async def test_a_consent_that_is_not_on_the_ledger_is_refused(town: Town) -> None:
    """The proof of another entry does not stand for the consent."""
    sent = await send(town)
    anchors = OfferAnchors.parse(sent.offer.anchors)
    offer = replace(sent.offer, transfer_id=os.urandom(16), anchors=replace(anchors, grant=anchors.package).encode())
    with refused("verification-failed"):
        await Imposter(sent.person, sent.holder, offer).run(town.receiver.card)


async def test_evidence_about_another_package_is_refused(town: Town) -> None:
    """The manifest of one package does not go with the consent for another."""
    sent, other = await send(town), await send(town, "other")
    offer = replace(sent.offer, transfer_id=os.urandom(16), manifest=other.offer.manifest)
    with refused("verification-failed"):
        await Imposter(sent.person, sent.holder, offer).run(town.receiver.card)


async def test_a_package_of_an_issuer_that_nobody_trusts_is_refused(town: Town) -> None:
    """A package is as good as the issuer that the receiver's policy names."""
    stranger = await town.open_issuer("stranger")
    person = await town.person()
    package = await town.issue(person, issuer=stranger)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    with refused("verification-failed"):
        await person.send(prepared)
    (row,) = await person.transfers()
    assert (row.state, row.secret) == (TransferState.DECLINED, None)
    assert town.receiver.remains() == []
    assert await town.receiver.agent.transfers() == []


async def test_a_package_on_a_ledger_that_nobody_trusts_is_refused(town: Town) -> None:
    """An issuer cannot make up a ledger of its own."""
    private = await town.open("private", town.config("private", Role.LEDGER, ledger_origin="private.example/1"))
    issuer = await town.open_issuer("second", ledger=private.config.home / CARD_FILE)
    receiver = await town.open_receiver("careful", policy=town.policy(issuers=[issuer.did]))
    person = await town.person()
    package = await town.issue(person, issuer=issuer)
    prepared = await person.prepare(package.path, card=receiver.card)
    with refused("verification-failed"):
        await person.send(prepared)
    assert receiver.remains() == []


async def test_a_request_that_has_expired_cannot_be_answered(town: Town) -> None:
    """Who reads for too long has to ask again; nothing is sent and nothing is recorded."""
    person = await town.person()
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    town.clock.now += VALID_SECONDS + 1
    with pytest.raises(ConsentInvalid):
        await person.send(prepared)
    assert await person.transfers() == []
    assert await town.receiver.agent.transfers() == []


async def test_a_consent_that_has_expired_is_refused(town: Town) -> None:
    """An offer that comes after the end of its consent comes too late."""
    sent = await send(town)
    other = await town.open_receiver("other")
    late = await send(town, "late", to=other)
    town.clock.now += USE_SECONDS + 1
    offer = replace(late.offer, transfer_id=os.urandom(16))
    with refused("verification-failed"):
        await Imposter(late.person, late.holder, offer).run(other.card)
    # what was concluded in time stays concluded
    answer = await Imposter(sent.person, sent.holder, sent.offer).run(town.receiver.card)
    assert answer.receipt == sent.outcome.receipt.envelope


async def test_a_package_that_has_expired_is_refused(town: Town) -> None:
    """A manifest is only good until the day that it names."""
    person = await town.person()
    package = await town.issue(person, valid_seconds=60)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    town.clock.now += 61
    with refused("verification-failed"):
        await person.send(prepared)
    assert town.receiver.remains() == []


async def test_more_content_than_the_receiver_takes_is_refused(town: Town) -> None:
    """The bound of the settings holds before any data arrives."""
    small = await town.open_receiver("small", max_package_bytes=1000)
    person = await town.person()
    package = await town.issue(person)
    with refused("policy-refused"):
        await person.send(await person.prepare(package.path, card=small.card))
    assert small.remains() == []


async def test_an_ended_transfer_gives_its_outcome_again(town: Town) -> None:
    """A second resume returns the receipt that is kept; it works without the receiver, and there is no key any more."""
    sent = await send(town)
    assert sent.row.secret is None
    await town.close("receiver")
    for _ in range(2):
        again = await sent.person.resume(sent.outcome.transfer_id)
        assert again == sent.outcome


async def test_a_declined_transfer_is_not_run_again(town: Town) -> None:
    """A refusal of the offer is final; the consent that was signed for it is not shown again."""
    small = await town.open_receiver("small", max_package_bytes=1000)
    person = await town.person()
    package = await town.issue(person)
    with refused("policy-refused"):
        await person.send(await person.prepare(package.path, card=small.card))
    (row,) = await person.transfers()
    assert (row.state, row.secret) == (TransferState.DECLINED, None)
    with pytest.raises(NotFound):
        await person.resume(row.transfer_id)
