"""Exports: whole, or not at all."""

import json
from pathlib import Path

import pytest

from ddtp.agent.facade import Agent
from ddtp.errors import NotFound, StorageFailed
from ddtp.store.records import TransferRow
from tests.attacks.quiet import Leaving, Way, leaving_holder
from tests.town import FILES, Town, names, read_files


async def transfer(town: Town, person: Agent) -> TransferRow:
    package = await town.issue(person)
    sent = await person.send(await person.prepare(package.path, card=town.receiver.card))
    row = await town.receiver.agent.records.find_transfer(sent.transfer_id)
    assert row is not None
    return row


async def test_a_receiver_exports_files_and_proof(town: Town, tmp_path: Path) -> None:
    """The folder holds the files under their names, and one bundle."""
    row = await transfer(town, await town.person())
    exported = await town.receiver.agent.export(row, tmp_path / "export")
    assert read_files(exported.folder / "files") == FILES
    assert exported.files == len(FILES)
    assert exported.fields == 2
    assert names(exported.folder) == [exported.bundle.name, "fields.json", "files"]
    values = json.loads((exported.folder / "fields.json").read_text())
    assert values["name"] == {"kind": "text", "value": "小明"}


async def test_a_holder_exports_the_proof_only(town: Town, tmp_path: Path) -> None:
    """The files are in the holder's package anyway."""
    person = await town.person()
    await transfer(town, person)
    (row,) = await person.transfers()
    exported = await person.export(row, tmp_path / "export")
    assert (exported.files, names(exported.folder)) == (0, [exported.bundle.name])


async def test_a_folder_that_is_there_is_left_alone(town: Town, tmp_path: Path) -> None:
    """An export never mixes with what somebody else put there."""
    row = await transfer(town, await town.person())
    (tmp_path / "export").mkdir()
    with pytest.raises(StorageFailed):
        await town.receiver.agent.export(row, tmp_path / "export")
    assert names(tmp_path / "export") == []


async def test_an_export_that_fails_leaves_nothing(town: Town, tmp_path: Path) -> None:
    """If a released file is gone, there is no folder that looks like an export."""
    row = await transfer(town, await town.person())
    (town.receiver.inbox / row.transfer_id.hex() / "openings.cbor").unlink()
    with pytest.raises(NotFound):
        await town.receiver.agent.export(row, tmp_path / "out" / "export")
    assert names(tmp_path / "out") == []


async def test_a_transfer_that_nobody_signed_for_proves_nothing(town: Town, tmp_path: Path) -> None:
    """Without a receipt there is no bundle."""
    person = await town.person()
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    with pytest.raises(Exception, match="stream"):
        await leaving_holder(person, sends=1, leaving=Leaving(Way.GONE)).send(prepared)
    (row,) = await person.transfers()
    with pytest.raises(NotFound):
        await person.export(row, tmp_path / "export")
