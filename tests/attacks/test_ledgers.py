"""Ledgers that forget, lie, or are away."""

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from ddtp.agent.facade import LEDGER_FILE, Agent
from ddtp.agent.tidying import anchor_receipts
from ddtp.chain.proof import AnchorProof
from ddtp.chain.statement import EntryKind
from ddtp.errors import LedgerInconsistent, NotAnchored, PeerUnreachable
from ddtp.protocol import container
from ddtp.store.packages import PackageReader
from ddtp.transfer.ports import Phase, Progress
from tests.daemons import free_port
from tests.ledgers import verify_anchor
from tests.town import Town, names, open_town


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    """A town whose ledger is found at the same place after a restart."""
    async with open_town(tmp_path, listen=(f"/ip4/127.0.0.1/tcp/{free_port()}",)) as town:
        yield town


async def restart_ledger_from(town: Town, backup: Path) -> None:
    """Bring the ledger back as it was, as an operator does who restores a backup or wants to undo something."""
    home = town.ledger.config.home
    config = town.ledger.config
    await town.close("ledger")
    for path in home.glob(f"{LEDGER_FILE}*"):
        path.unlink()
    shutil.copytree(backup, home, dirs_exist_ok=True)
    await town.open("ledger", config)


async def back_up_ledger(town: Town) -> Path:
    """Copy the database of the ledger while it is closed."""
    config, backup = town.ledger.config, town.folder / "backup"
    await town.close("ledger")
    backup.mkdir()
    for path in config.home.glob(f"{LEDGER_FILE}*"):
        shutil.copy(path, backup / path.name)
    await town.open("ledger", config)
    return backup


async def send(town: Town, person: Agent) -> None:
    package = await town.issue(person)
    sent = await person.send(await person.prepare(package.path, card=town.receiver.card))
    assert sent.verified


async def test_a_ledger_that_rolled_back_is_found_out_by_everybody_who_saw_more(town: Town) -> None:
    """Neither the holder nor the issuer nor the receiver goes on with a log that is shorter than before."""
    person = await town.person()
    backup = await back_up_ledger(town)
    await send(town, person)
    unsent = await town.issue(person)
    prepared = await person.prepare(unsent.path, card=town.receiver.card)
    await restart_ledger_from(town, backup)
    inbox = names(town.receiver.inbox)
    with pytest.raises(LedgerInconsistent):
        await person.send(prepared)
    assert len(await person.transfers()) == 1
    before = names(person.context.config.vault / "packages")
    with pytest.raises(LedgerInconsistent):
        await town.issue(person)
    assert names(person.context.config.vault / "packages") == before
    assert names(town.receiver.inbox) == inbox


async def test_a_ledger_that_forked_is_found_out_by_everybody_who_saw_the_other_history(town: Town) -> None:
    """A log that grew past the forgotten entries, in another way, does not prove that it extends what was seen."""
    person = await town.person()
    backup = await back_up_ledger(town)
    await send(town, person)
    unsent = await town.issue(person)
    prepared = await person.prepare(unsent.path, card=town.receiver.card)
    await restart_ledger_from(town, backup)
    newcomer = await town.open_issuer("newcomer")
    for _ in range(8):
        await town.issue(person, issuer=newcomer)
    with pytest.raises(LedgerInconsistent):
        await person.send(prepared)
    assert len(await person.transfers()) == 1


async def test_a_holder_whose_ledger_is_away_sends_nothing(town: Town) -> None:
    """No consent goes out that is not on the ledger; when it is back, the same prepared transfer is sent."""
    person = await town.person()
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    config = town.ledger.config
    await town.close("ledger")
    with pytest.raises(PeerUnreachable):
        await person.send(prepared)
    assert await person.transfers() == []
    assert await town.receiver.agent.transfers() == []
    await town.open("ledger", config)
    sent = await person.send(prepared)
    assert sent.verified


async def test_an_issuer_whose_ledger_is_away_issues_nothing(town: Town) -> None:
    """A package without an anchor is never written."""
    person = await town.person()
    await town.close("ledger")
    with pytest.raises(PeerUnreachable):
        await town.issue(person)
    assert names(person.context.config.vault / "packages") == []


async def test_a_receiver_whose_ledger_goes_away_anchors_its_receipt_later(town: Town) -> None:
    """A verified transfer is concluded without the ledger; the receipt waits, and goes there when it is back."""
    person = await town.person()
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    config = town.ledger.config

    def leave_at_key(progress: Progress) -> None:
        if progress.phase is Phase.KEY:
            town.held["ledger"].leave.set()

    sent = await person.send(prepared, progress=leave_at_key)
    assert sent.verified
    records = town.receiver.agent.records
    assert (await records.receipts(sent.transfer_id))["verified"].anchor is None
    await town.close("ledger")
    await anchor_receipts(town.receiver.agent.context)
    assert (await records.receipts(sent.transfer_id))["verified"].anchor is None
    await town.open("ledger", config)
    await anchor_receipts(town.receiver.agent.context)
    kept = (await records.receipts(sent.transfer_id))["verified"]
    log = town.ledger.card.body.logs[0]
    assert kept.anchor is not None
    verify_anchor(
        AnchorProof.parse(kept.anchor), sent.receipt.digest, kind=EntryKind.RECEIPT, logs={log.origin: log.public_key}
    )


async def test_a_package_that_is_on_no_ledger_is_not_sent(town: Town) -> None:
    """A package file whose anchor was taken out is refused by its holder's own agent."""
    person = await town.person()
    package = await town.issue(person)
    strip_anchor(package.path)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    with pytest.raises(NotAnchored):
        await person.send(prepared)
    assert await person.transfers() == []


def strip_anchor(path: Path) -> None:
    """Write the footer of a package file anew, without anchor."""
    reader = PackageReader(path)
    header = reader.header
    reader.close()
    data = path.read_bytes()
    content = data[: -len(container.encode_footer(header))]
    path.write_bytes(content + container.encode_footer(replace(header, anchor=None)))
