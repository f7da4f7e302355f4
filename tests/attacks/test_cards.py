"""Cards and requests of somebody else than the institution that a person believes to deal with."""

from dataclasses import replace

import pytest

from ddtp.errors import DdtpError, EvidenceError, PeerUnreachable, SignatureInvalid
from ddtp.identity.document import encode_card_text
from ddtp.protocol import envelope
from tests.town import Town


async def test_a_card_that_is_changed_anywhere_is_refused(town: Town) -> None:
    """One wrong bit, in whatever part, and it is nobody's card; nothing of it is remembered."""
    person = await town.person()
    card = town.receiver.card.envelope
    for position in range(0, len(card), 7):
        damaged = bytearray(card)
        damaged[position] ^= 1
        with pytest.raises(EvidenceError):
            await person.remember_card(bytes(damaged))
    assert await person.records.cards() == []


async def test_a_card_signed_by_somebody_else_is_refused(town: Town) -> None:
    """Nobody can make a card in the name of another institution."""
    person = await town.person()
    forged = envelope.sign(town.receiver.card.body, town.issuer.agent.context.institution_key)
    for form in (forged.envelope, encode_card_text(forged)):
        with pytest.raises(SignatureInvalid):
            await person.remember_card(form)


async def test_a_card_that_has_expired_is_refused(town: Town) -> None:
    """Addresses and keys of years ago are not trusted."""
    person = await town.person()
    town.clock.now = town.receiver.card.body.expires + 1
    with pytest.raises(EvidenceError):
        await person.remember_card(town.receiver.card.envelope)


async def test_a_request_of_another_institution_is_refused(town: Town) -> None:
    """Who answers at the address of the card must sign with the key of the card."""
    other = await town.open_receiver("other")
    person = await town.person()
    package = await town.issue(person)
    body = replace(town.receiver.card.body, addresses=other.card.body.addresses)
    mixed = envelope.sign(body, town.receiver.agent.context.institution_key)
    with pytest.raises(EvidenceError):
        await person.prepare(package.path, card=mixed)


async def test_another_institution_at_the_address_never_learns_who_the_holder_is(town: Town) -> None:
    """The receiver proves its identity first; a stranger who sits at its address sees no offer."""
    other = await town.open_receiver("other")
    person = await town.person()
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    body = replace(town.receiver.card.body, addresses=other.card.body.addresses)
    mixed = envelope.sign(body, town.receiver.agent.context.institution_key)
    with pytest.raises(EvidenceError):
        await person.send(replace(prepared, card=mixed))
    assert await other.agent.transfers() == []
    assert other.remains() == []


async def test_another_peer_at_the_port_is_not_spoken_to(town: Town) -> None:
    """The address of a card names the network identity; whoever else listens there is taken for nobody."""
    other = await town.open_receiver("other")
    person = await town.person()
    package = await town.issue(person)
    theirs = other.card.body.addresses[0].rpartition("/p2p/")[0]
    address = f"{theirs}/p2p/{town.receiver.agent.host.peer_id}"
    mixed = envelope.sign(
        replace(town.receiver.card.body, addresses=(address,)), town.receiver.agent.context.institution_key
    )
    with pytest.raises(PeerUnreachable):
        await person.prepare(package.path, card=mixed)


async def test_an_institution_that_is_away_is_unreachable(town: Town) -> None:
    """A typed error that names what was tried, and nothing is left behind."""
    person = await town.person()
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    await town.close("receiver")
    with pytest.raises(PeerUnreachable, match=r"^Receiver does not answer: .*127\.0\.0\.1"):
        await person.prepare(package.path, card=town.receiver.card)
    with pytest.raises(PeerUnreachable, match=r"^Receiver does not answer: "):
        await person.send(prepared)
    (row,) = await person.transfers()
    assert row.secret is not None, "it can be resumed when the institution is back"


async def test_a_package_made_out_to_somebody_else_is_not_opened(town: Town) -> None:
    """Neither kept nor sent: its content is sealed to another key."""
    person, other = await town.person(), await town.person("other")
    package = await town.issue(person)
    with pytest.raises(DdtpError) as caught:
        await other.keep(package.path)
    assert caught.value.code == "policy-refused"
    assert await other.packages() == []
