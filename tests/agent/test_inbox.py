"""Verified data, as a program of the receiver reads it."""

import pytest

from ddtp.errors import NotFound
from ddtp.protocol.leaves import FieldKind
from tests.town import FIELDS, FILES, Town, read_files


async def test_a_receiver_reads_fields_and_files(town: Town) -> None:
    """Values come typed, files by the names that the issuer gave them; the same is there for those who read JSON."""
    person = await town.person()
    package = await town.issue(person)
    sent = await person.send(await person.prepare(package.path, card=town.receiver.card))
    (row,) = await town.receiver.agent.transfers()
    received = await town.receiver.agent.received(row)
    assert received.fields == FIELDS
    assert {head.path for head in received.files} == set(FILES)
    assert read_files(received.folder) == FILES
    table = (town.receiver.inbox / sent.transfer_id.hex() / "fields.json").read_text()
    assert table.startswith('{\n  "age": {\n    "kind": "integer",\n    "value": "18"')
    assert received.fields[0].kind is FieldKind.INTEGER


async def test_only_what_was_shown_is_there(town: Town) -> None:
    """Files alone bring no table of fields."""
    person = await town.person()
    package = await town.issue(person)
    sent = await person.send(await person.prepare(package.path, card=town.receiver.card, items=["papers"]))
    (row,) = await town.receiver.agent.transfers()
    assert (await town.receiver.agent.received(row)).fields == ()
    assert not (town.receiver.inbox / sent.transfer_id.hex() / "fields.json").exists()


async def test_there_is_nothing_to_read_of_what_was_sent(town: Town) -> None:
    """The holder has the package; a receiver whose inbox was emptied is told so."""
    person = await town.person()
    package = await town.issue(person)
    await person.send(await person.prepare(package.path, card=town.receiver.card))
    with pytest.raises(NotFound):
        await person.received((await person.transfers())[0])
    (row,) = await town.receiver.agent.transfers()
    (town.receiver.inbox / row.transfer_id.hex() / "openings.cbor").unlink()
    with pytest.raises(NotFound):
        await town.receiver.agent.received(row)
