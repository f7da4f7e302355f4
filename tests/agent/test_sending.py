"""What a person may choose to send, and what is refused before anything is signed."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import trio

from ddtp.agent import persisting
from ddtp.agent.dropping import drop
from ddtp.agent.facade import Agent
from ddtp.agent.receiving import KEY_OFFER_SECONDS
from ddtp.consent.grant import HOW_PROGRAM, Grant
from ddtp.errors import NotFound, PeerUnreachable, PolicyRefused, UsageError
from ddtp.protocol import envelope
from ddtp.protocol.messages import Offer
from ddtp.store.records import FINAL_STATES, TransferRow, TransferState
from ddtp.transfer.ports import Phase, Progress
from tests.attacks.quiet import break_off
from tests.daemons import free_port
from tests.town import DAY, REQUEST, SCHEMA, USE_SECONDS, Town, write_files

TWO_PURPOSES = (
    REQUEST
    + """
[[purposes]]
code = "dpv:DirectMarketing"
text = "Send you offers"
basis = "consent"
required = false
"""
)
NAME_ONLY = REQUEST.replace('items = ["*"]\nlevel = 1', 'items = ["name"]\nlevel = 2')


def ask_for(town: Town, request: str) -> None:
    """Change what the receiver asks for."""
    write_files(town.folder, {"receiver-settings/requests/mortgage.toml": request.encode()})


async def test_purposes_are_chosen_by_the_numbers_of_the_request(town: Town) -> None:
    """The first number is the position from 0; one that does not exist, or none at all, is an error of the person."""
    ask_for(town, TWO_PURPOSES)
    person = await town.person()
    package = await town.issue(person)

    async def choose(*purposes: int) -> tuple[int, ...]:
        return (await person.prepare(package.path, card=town.receiver.card, purposes=purposes)).choice.purposes

    assert await choose(0, 1) == (0, 1)
    with pytest.raises(UsageError, match="from 1 to 2, found purpose 3"):
        await choose(0, 2)
    with pytest.raises(UsageError, match="found none"):
        await choose()


async def test_a_required_purpose_cannot_be_left_out(town: Town) -> None:
    """The person is told which one it is, in the words of the request."""
    ask_for(town, TWO_PURPOSES)
    person = await town.person()
    package = await town.issue(person)
    with pytest.raises(UsageError, match=r"purpose 1 .* Decide on your mortgage"):
        await person.prepare(package.path, card=town.receiver.card, purposes=[1])


async def test_an_item_that_the_package_lacks_is_answered_with_what_it_has(town: Town) -> None:
    """A misspelt name is found without opening the package by hand."""
    person = await town.person()
    package = await town.issue(person)
    with pytest.raises(PolicyRefused) as caught:
        await person.prepare(package.path, card=town.receiver.card, items=["nam"])
    assert caught.value.hint == "it has: age, name, papers/deed.pdf, papers/empty.txt, transactions.json"


async def test_what_was_not_asked_for_is_not_sent(town: Town) -> None:
    """Also when the person names it: the receiver would reject it, and would have seen it by then."""
    ask_for(town, NAME_ONLY)
    person = await town.person()
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    assert prepared.item_names == ("name",)
    with pytest.raises(PolicyRefused, match="asked for: name"):
        await person.prepare(package.path, card=town.receiver.card, items=["name", "papers"])
    assert await person.transfers() == []


async def test_a_ledger_that_the_request_does_not_accept_is_not_written_to(town: Town) -> None:
    """The screen says where the consent is recorded; if the card has no such ledger, nothing is signed."""
    ask_for(town, REQUEST.replace("logs = []", 'logs = ["other.example/1"]'))
    person = await town.person()
    package = await town.issue(person)
    with pytest.raises(PolicyRefused, match=r"other\.example/1"):
        await person.prepare(package.path, card=town.receiver.card)


async def test_the_consent_says_by_what_act_it_was_given(town: Town) -> None:
    """In the words of the program that asked, or in ours that claim no more than we know."""
    person = await town.person()
    package = await town.issue(person)
    for how in ("pressed Send in the app of Bank C", None):
        prepared = await person.prepare(package.path, card=town.receiver.card)
        sent = await (person.send(prepared, how=how) if how else person.send(prepared))
        row = await person.records.find_transfer(sent.transfer_id)
        assert row is not None
        grant = envelope.verify(Grant, Offer.parse(row.offer).grant).body
        assert grant.how == (how or HOW_PROGRAM)


async def test_one_confirmation_is_good_for_one_transfer(town: Town) -> None:
    """Sending again what was confirmed once goes on with the same transfer, and signs nothing new."""
    person = await town.person()
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    first = await person.send(prepared)
    assert await person.send(prepared) == first
    assert len(await person.transfers()) == len(await town.receiver.agent.transfers()) == 1


async def test_names_of_items_are_a_list(town: Town) -> None:
    """A single text would be taken apart into letters."""
    person = await town.person()
    package = await town.issue(person)
    with pytest.raises(UsageError, match="list"):
        await person.prepare(package.path, card=town.receiver.card, items="name")


async def test_an_interrupted_transfer_says_so(town: Town) -> None:
    """Whoever looks later sees why it did not come to an end, and can go on."""
    person = await town.person()
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    with trio.CancelScope() as scope:

        def interrupt(progress: Progress) -> None:
            if progress.phase is Phase.SENDING:
                scope.cancel()

        await person.send(prepared, progress=interrupt)
    (row,) = await person.transfers()
    assert (row.state, row.reason) == (TransferState.FAILED, "interrupted on this side")
    assert (await person.resume(row.transfer_id)).verified


async def test_an_exchange_that_outlives_its_key_is_made_again(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """A one-time key lives for a day; content that takes longer arrives all the same, and nobody has to come back."""
    monkeypatch.setattr(persisting, "FIRST_PAUSE_SECONDS", 0)
    ask_for(town, REQUEST.replace(f"use_seconds = {USE_SECONDS}", f"use_seconds = {9 * DAY}"))
    person = await town.person()
    package = await town.issue(person, valid_seconds=30 * DAY)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    seen: list[Phase] = []

    def watch(progress: Progress) -> None:
        if progress.phase is Phase.RECEIPT and Phase.RECEIPT not in seen:
            town.clock.now += KEY_OFFER_SECONDS
        seen.append(progress.phase)

    assert (await person.send(prepared, progress=watch, patience_seconds=60)).verified
    assert Phase.RECONNECTING in seen


async def test_a_resume_waits_for_a_receiver_that_comes_back_elsewhere(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was reached before, so it is tried again; and the address of each try is that of the newest card."""
    monkeypatch.setattr(persisting, "FIRST_PAUSE_SECONDS", 0)
    person = await town.person()
    row = await break_off(town, person, sends=3)
    key, true = town.receiver.agent.context.institution_key, town.receiver.card.body

    async def remember(*, issued: int, **changes: Any) -> None:
        card = envelope.sign(replace(true, issued=issued, **changes), key)
        await person.records.save_card(row.peer, card.envelope, now=town.clock.now)

    nowhere = f"/ip4/127.0.0.1/tcp/{free_port()}/p2p/{true.addresses[0].rpartition('/')[2]}"
    await remember(issued=true.issued + 1, addresses=(nowhere,))
    with pytest.raises(PeerUnreachable):
        await person.resume(row.transfer_id)
    tries = 0

    async with trio.open_nursery() as nursery:

        def watch(progress: Progress) -> None:
            nonlocal tries
            tries += progress.phase is Phase.RECONNECTING
            if tries == 2:
                nursery.start_soon(partial(remember, issued=true.issued + 2))

        assert (await person.resume(row.transfer_id, progress=watch, patience_seconds=60)).verified
    assert tries >= 2


class GivenUpMeanwhile:
    """The records of a home where another process gives a transfer up right after it was read."""

    def __init__(self, person: Agent) -> None:
        self._person = person

    def __getattr__(self, name: str) -> Any:
        return getattr(self._person.records, name)

    async def find_transfer(self, transfer_id: bytes) -> TransferRow | None:
        row = await self._person.records.find_transfer(transfer_id)
        if row is not None and row.state not in FINAL_STATES:
            await drop(self._person.context.config, self._person.records, row, now=row.updated, keyed=False)
        return row


async def test_what_was_given_up_meanwhile_is_not_sent(town: Town) -> None:
    """Whoever is told that the key is destroyed must not find it at the receiver."""
    person = await town.person()
    row = await break_off(town, person, sends=3)
    records: Any = GivenUpMeanwhile(person)
    with pytest.raises(NotFound):
        await Agent(replace(person.context, records=records), person.host).resume(row.transfer_id)
    (there,) = await town.receiver.agent.transfers()
    assert there.state is TransferState.OFFERED


async def test_the_issuer_is_named_as_on_the_card_that_the_person_has(town: Town) -> None:
    """Without a card there is no name, because the package cannot vouch for one."""
    person = await town.person()
    package = await town.issue(person)
    assert (await person.prepare(package.path, card=town.receiver.card)).issuer_name is None
    await person.remember_card(town.issuer.card.envelope)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    assert prepared.issuer_name == "Issuer"
    assert prepared.manifest.body.schema == SCHEMA
