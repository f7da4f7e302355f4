"""After the key was released: it is never forgotten, and nobody keeps readable data without having signed for it."""

from pathlib import Path

import pytest

from ddtp.agent.claims import Claims
from ddtp.agent.facade import Agent
from ddtp.agent.tidying import clean_up, give_up_idle
from ddtp.errors import DiskFull, PeerAborted, PeerRefused, PeerVanished
from ddtp.store.records import KEY_RELEASE_STAGE, TransferRow, TransferState
from ddtp.transfer.ports import Phase, Progress
from tests.attacks.quiet import Leaving, Way, break_off, make_receiver_leave, until
from tests.daemons import free_port
from tests.town import USE_SECONDS, Town, names, open_town, write_files


async def release(town: Town, person: Agent) -> TransferRow:
    """Release a key to a receiver that falls silent; return the transfer."""
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    make_receiver_leave(town.receiver, "conclude", leaving=Leaving(Way.GONE))
    with pytest.raises(PeerVanished):
        await person.send(prepared)
    town.receiver.service.register()
    (row,) = await person.transfers()
    return row


async def test_a_refusal_after_the_key_does_not_end_the_transfer(town: Town) -> None:
    """The receiver may have read: the holder keeps the state, the receipt, and the release on the ledger."""
    person = await town.person()
    row = await release(town, person)
    await give_up(town)
    with pytest.raises(PeerRefused):
        await person.resume(row.transfer_id)
    (kept,) = await person.transfers()
    assert kept.state is TransferState.KEYED
    assert kept.reason is not None
    assert kept.secret == row.secret
    assert (await person.records.receipts(row.transfer_id))[KEY_RELEASE_STAGE].anchor is not None


async def give_up(town: Town) -> None:
    """Let the consent run out at the receiver."""
    town.clock.now += USE_SECONDS
    await give_up_idle(town.receiver.agent.context, claims=Claims())


async def test_a_release_waits_for_a_ledger_that_is_away(tmp_path: Path) -> None:
    """It is noted before the key leaves, and goes on the ledger at the next attempt that ends without a receipt."""
    async with open_town(tmp_path, listen=(f"/ip4/127.0.0.1/tcp/{free_port()}",)) as town:
        person = await town.person()
        package = await town.issue(person)
        prepared = await person.prepare(package.path, card=town.receiver.card)
        make_receiver_leave(town.receiver, "conclude", leaving=Leaving(Way.GONE))
        ledger = town.ledger.config

        def unplug(progress: Progress) -> None:
            if progress.phase is Phase.KEY:
                town.held["ledger"].leave.set()

        with pytest.raises(PeerVanished):
            await person.send(prepared, progress=unplug)
        (row,) = await person.transfers()
        assert row.state is TransferState.KEYED
        assert (await person.records.receipts(row.transfer_id))[KEY_RELEASE_STAGE].anchor is None
        await town.close("ledger")
        await town.open("ledger", ledger)
        with pytest.raises(PeerVanished):
            await person.resume(row.transfer_id)
        assert (await person.records.receipts(row.transfer_id))[KEY_RELEASE_STAGE].anchor is not None


async def test_the_state_of_a_released_key_ends_with_the_last_receipt(town: Town) -> None:
    """A resume after the silence brings the verdict."""
    person = await town.person()
    row = await release(town, person)
    assert row.state is TransferState.KEYED
    assert (await person.resume(row.transfer_id)).verified
    (ended,) = await person.transfers()
    assert (ended.state, ended.secret) == (TransferState.VERIFIED, None)


async def test_files_that_nobody_signed_for_do_not_stay(town: Town) -> None:
    """A process that died between releasing the files and its receipt leaves nothing readable at the next start."""
    person = await town.person()
    row = await break_off(town, person, sends=3)
    folder = row.transfer_id.hex()
    write_files(town.receiver.inbox, {f"{folder}/files/secret.txt": b"plain", "ab" * 16 + "/note.txt": b"not ours"})
    await clean_up(town.receiver.agent.context)
    assert names(town.receiver.inbox) == ["ab" * 16]
    assert (await person.resume(row.transfer_id)).verified
    await clean_up(town.receiver.agent.context)
    assert names(town.receiver.inbox) == sorted([folder, "ab" * 16])


async def test_files_whose_receipt_could_not_be_kept_are_taken_back(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the disk refuses the receipt, the exchange ends, the files go, and a resume verifies them again."""
    person = await town.person()
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    records = town.receiver.agent.records
    conclude = type(records).conclude

    async def refuse(self: object, *arguments: object, **options: object) -> None:
        if self is records:
            raise DiskFull("no room for the receipt")
        await conclude(self, *arguments, **options)

    monkeypatch.setattr(type(records), "conclude", refuse)
    with pytest.raises(PeerAborted) as caught:
        await person.send(prepared)
    assert caught.value.reason_code == "disk-full"
    await until(lambda: not town.receiver.service._streams)
    assert names(town.receiver.inbox) == []
    monkeypatch.undo()
    (row,) = await person.transfers()
    assert (await person.resume(row.transfer_id)).verified
