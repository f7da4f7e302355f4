"""Holders who lie in an exchange: the receiver signs only for what it has, and releases only what it has verified."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from ddtp.agent.facade import Agent
from ddtp.chain.checkpoint import Checkpoint
from ddtp.chain.proof import LedgerProof, OfferAnchors
from ddtp.errors import PeerAborted, PeerRefused, PeerVanished
from ddtp.protocol import envelope
from ddtp.protocol.messages import KeyRelease, Offer, Stage
from ddtp.store.records import TransferRow, TransferState
from ddtp.verify import Receipt, Step
from tests.attacks.imposter import Imposter
from tests.attacks.liars import flip, go_on
from tests.attacks.quiet import break_off, until
from tests.ledgers import NOW
from tests.town import FILES, ORIGIN, USE_SECONDS, House, Town, read_files, write_files

OFFER_ONLY, ALL_BUT_KEY = 2, 4
"""Writes of a holder before leaving: hello and offer; chunks and finish as well."""


async def there(house: House) -> TransferRow:
    """What the receiver knows of its one transfer."""
    (row,) = await house.agent.transfers()
    return row


async def signed(house: House, row: TransferRow) -> dict[str, bytes]:
    """The receipts that the receiver has signed, by stage."""
    receipts = await house.agent.records.receipts(row.transfer_id)
    return {stage: receipt.envelope for stage, receipt in receipts.items()}


async def check_resume(town: Town, person: Agent, row: TransferRow) -> None:
    """The honest holder brings the transfer to its good end."""
    await until(lambda: not town.receiver.service._streams)
    assert read_files(town.receiver.inbox) == {}
    assert (await person.resume(row.transfer_id)).verified
    assert read_files(town.receiver.inbox / row.transfer_id.hex() / "files") == FILES
    assert town.receiver.remains() == [row.transfer_id.hex()]


async def test_a_finish_with_another_root_is_not_signed_for(town: Town) -> None:
    """What the two sides see differently is aborted; the receiver owes nobody a receipt, and the holder may go on."""
    person = await town.person()
    row = await break_off(town, person, sends=OFFER_ONLY)
    lies = {"finish": lambda finish: replace(finish, ciphertext_root=bytes(32))}
    with pytest.raises(PeerAborted) as caught:
        await go_on(person, row, town.receiver.card, lies=lies)
    assert caught.value.reason_code == "content-mismatch"
    assert await signed(town.receiver, row) == {}
    assert (await there(town.receiver)).state is TransferState.OFFERED
    await check_resume(town, person, row)


async def test_chunks_that_differ_on_the_way_are_sent_again(town: Town) -> None:
    """After a difference in the root nobody can tell which chunk it was: the next attempt brings all of them."""
    person = await town.person()
    row = await break_off(town, person, sends=OFFER_ONLY)
    lies = {"finish": lambda finish: replace(finish, ciphertext_root=bytes(32))}
    with pytest.raises(PeerAborted) as caught:
        await go_on(person, row, town.receiver.card, forgery="content", lies=lies)
    assert caught.value.reason_code == "content-mismatch"
    await check_resume(town, person, row)


async def test_other_chunks_than_those_signed_for_are_refused(town: Town) -> None:
    """When the disk lost the chunks after the receipt, only the same chunks take their place."""
    person = await town.person()
    row = await break_off(town, person, sends=ALL_BUT_KEY)
    before = await signed(town.receiver, row)
    assert set(before) == {Stage.CIPHER.value}
    (sealed,) = (town.receiver.config.vault / "incoming").glob("*.sealed")
    sealed.write_bytes(bytes(100))
    with pytest.raises(PeerAborted) as caught:
        await go_on(person, row, town.receiver.card, forgery="content")
    assert caught.value.reason_code == "content-mismatch"
    assert await signed(town.receiver, row) == before
    await check_resume(town, person, row)


async def test_a_lie_about_the_root_does_not_lose_chunks_that_were_signed_for(town: Town) -> None:
    """What the receiver has signed for it keeps, whatever the holder says later."""
    person = await town.person()
    row = await break_off(town, person, sends=ALL_BUT_KEY)
    lies = {"finish": lambda finish: replace(finish, ciphertext_root=bytes(32))}
    with pytest.raises(PeerAborted):
        await go_on(person, row, town.receiver.card, lies=lies)
    await until(lambda: not town.receiver.service._streams)
    (journal,) = (town.receiver.config.vault / "incoming").glob("*.journal")
    assert journal.stat().st_size
    await check_resume(town, person, row)


async def test_an_offer_from_another_history_of_a_log_is_refused(town: Town) -> None:
    """A log that has shown the two sides different entries is found out by the receiver, before any data arrives."""
    person = await town.person()
    row = await break_off(town, person, sends=OFFER_ONLY)
    offer, records = Offer.parse(row.offer), town.receiver.agent.records
    checkpoint = LedgerProof.parse(OfferAnchors.parse(offer.anchors).grant.proof).checkpoint
    seen = envelope.verify(Checkpoint, checkpoint).body
    before = await records.load(ORIGIN)
    other = envelope.sign(replace(seen, root=bytes(32)), town.ledger.agent.context.seed.log_key())
    await records.save(ORIGIN, other.envelope)
    with pytest.raises(PeerRefused) as caught:
        await Imposter(person, person.context.seed.holder_key(town.issuer.did), offer).run(town.receiver.card)
    assert caught.value.reason_code == "ledger-inconsistent"
    await records.save(ORIGIN, before or checkpoint)
    await check_resume(town, person, row)


async def test_a_key_that_comes_after_the_end_of_the_consent_opens_nothing(town: Town) -> None:
    """The receiver checks the consent again before it uses the key, though a holder may not care."""
    person = await town.person()
    row = await break_off(town, person, sends=OFFER_ONLY)

    def dawdle(release: KeyRelease) -> KeyRelease:
        town.clock.now = NOW + USE_SECONDS + 1
        return release

    answer = await go_on(person, row, town.receiver.card, lies={"release_key": dawdle})
    assert (answer.stage, rejected_at(town, answer.receipt)) == (Stage.REJECTED, Step.GRANT_TIME)
    assert town.receiver.remains() == []
    assert ((await there(town.receiver)).state, (await there(town.receiver)).secret) == (TransferState.REJECTED, None)


def rejected_at(town: Town, receipt: bytes) -> int | None:
    return envelope.verify(Receipt, receipt, signer=town.receiver.card.signer).body.step


@pytest.mark.parametrize(
    "spoil",
    [
        lambda wrapped: flip(wrapped, len(wrapped) - 1),
        lambda wrapped: flip(wrapped, 0),
        lambda wrapped: wrapped[:-1],
        lambda wrapped: wrapped + b"\x00",
        lambda wrapped: bytes(len(wrapped)),
    ],
    ids=["tag", "no point", "short", "long", "zeros"],
)
async def test_a_wrapped_key_that_does_not_open_is_rejected(town: Town, spoil: Callable[[bytes], bytes]) -> None:
    """The holder gets a signed rejection that names the step, and the inbox stays empty."""
    person = await town.person()
    row = await break_off(town, person, sends=OFFER_ONLY)
    lies = {"release_key": lambda release: replace(release, wrapped_key=spoil(release.wrapped_key))}
    answer = await go_on(person, row, town.receiver.card, lies=lies)
    assert (answer.stage, rejected_at(town, answer.receipt)) == (Stage.REJECTED, Step.OPENINGS)
    assert town.receiver.remains() == []
    assert (await there(town.receiver)).failed_step == Step.OPENINGS


async def test_a_key_that_was_released_in_an_earlier_exchange_opens_nothing(town: Town) -> None:
    """A one-time key is for one session: what was wrapped to the last one, and got lost, is of no use to anybody."""
    person = await town.person()
    row = await break_off(town, person, sends=OFFER_ONLY)
    lost: list[KeyRelease] = []

    def lose(release: KeyRelease) -> KeyRelease:
        lost.append(release)
        raise PeerVanished("expected the key to arrive, found a broken stream")

    with pytest.raises(PeerVanished):
        await go_on(person, row, town.receiver.card, lies={"release_key": lose})
    await until(lambda: not town.receiver.service._streams)
    answer = await go_on(person, row, town.receiver.card, lies={"release_key": lambda _release: lost[0]})
    assert (answer.stage, rejected_at(town, answer.receipt)) == (Stage.REJECTED, Step.OPENINGS)
    assert town.receiver.remains() == []


async def test_files_that_a_crash_had_released_go_with_the_rejection(town: Town) -> None:
    """A process may have ended between the release and the receipt; a transfer that is then rejected leaves nothing."""
    person = await town.person()
    row = await break_off(town, person, sends=OFFER_ONLY)
    write_files(town.receiver.inbox, {f"{row.transfer_id.hex()}/files/transactions.json": b"released before"})
    answer = await go_on(person, row, town.receiver.card, forgery="content")
    assert answer.stage is Stage.REJECTED
    assert town.receiver.remains() == []


async def test_unfinished_transfers_of_all_persons_share_one_room(town: Town) -> None:
    """Who finds no room is told "not now", nothing is kept, and it works when there is room again."""
    person, other = await town.person(), await town.person("other")
    config = town.receiver.config
    assert config.receiver is not None
    await town.close("receiver")
    size = sum(len(content) for content in FILES.values())
    await town.open("receiver", replace(config, receiver=replace(config.receiver, max_incoming_bytes=size * 3 // 2)))
    row = await break_off(town, person, sends=OFFER_ONLY)
    package = await town.issue(other)
    with pytest.raises(PeerRefused) as caught:
        await other.send(await other.prepare(package.path, card=town.receiver.card))
    assert caught.value.reason_code == "overloaded"
    (refused,) = await other.transfers()
    assert refused.state is TransferState.FAILED
    assert await there(town.receiver)
    assert (await person.resume(row.transfer_id)).verified
    assert (await other.resume(refused.transfer_id)).verified
