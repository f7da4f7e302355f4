"""What a receiver does between exchanges: give up what nobody resumes, and clean up after a crash."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from ddtp.agent import reception
from ddtp.agent.claims import Claims
from ddtp.agent.opening import TransferContent
from ddtp.agent.tidying import IDLE_SECONDS, clean_up, give_up_idle
from ddtp.config import ReceiverSettings
from ddtp.errors import NotFound, PeerAborted, PeerRefused, PeerVanished, PolicyRefused
from ddtp.protocol.chunks import SealedRun
from ddtp.store import blobs as blobs_module
from ddtp.store.leaf_log import LeafLog
from ddtp.store.records import Records, TransferRow, TransferState
from tests.attacks import quiet
from tests.town import DAY, REQUEST, USE_SECONDS, Town, names, open_town, write_files

LONG_REQUEST = REQUEST.replace(f"use_seconds = {USE_SECONDS}", f"use_seconds = {60 * DAY}")


async def break_off(town: Town, *, sends: int = 3) -> TransferRow:
    """Send a part of a transfer, all but the key with 4 writes; return it as the holder knows it."""
    return await quiet.break_off(town, await town.person(), sends=sends, valid_seconds=90 * DAY)


async def there(town: Town) -> TransferRow:
    (row,) = await town.receiver.agent.transfers()
    return row


def blobs(town: Town) -> list[str]:
    return names(town.receiver.config.vault / "incoming")


async def test_a_transfer_waits_for_its_holder_for_a_week(tmp_path: Path) -> None:
    """Then its room is freed and its key destroyed, and a later resume is told so."""
    async with open_town(tmp_path) as town:
        write_files(town.folder, {"receiver-settings/requests/mortgage.toml": LONG_REQUEST.encode()})
        row = await break_off(town)
        context = town.receiver.agent.context
        assert len(blobs(town)) == 2
        town.clock.now += IDLE_SECONDS - 1
        await give_up_idle(context, claims=Claims())
        assert len(blobs(town)) == 2
        town.clock.now += 1
        busy = Claims()
        await busy.take(row.transfer_id, row.peer, trio.CancelScope())
        await give_up_idle(context, claims=busy)
        assert len(blobs(town)) == 2, "an exchange that runs is not idle"
        await give_up_idle(context, claims=Claims())
        assert blobs(town) == []
        assert ((await there(town)).state, (await there(town)).secret) == (TransferState.DECLINED, None)
        person = town.held["person"].thing
        with pytest.raises(PeerRefused) as caught:
            await person.resume(row.transfer_id)
        assert caught.value.reason_code == "policy-refused"


async def test_a_transfer_with_which_somebody_goes_on_is_not_given_up(tmp_path: Path) -> None:
    """A bad link takes weeks for a large package: the week begins with the last exchange, not with the first."""
    async with open_town(tmp_path) as town:
        write_files(town.folder, {"receiver-settings/requests/mortgage.toml": LONG_REQUEST.encode()})
        row = await break_off(town)
        person = town.held["person"].thing
        for _ in range(3):
            town.clock.now += IDLE_SECONDS - 1
            await give_up_idle(town.receiver.agent.context, claims=Claims())
            with pytest.raises(PeerVanished):
                await quiet.leaving_holder(person, sends=3, leaving=quiet.Leaving(quiet.Way.GONE)).resume(
                    row.transfer_id
                )
            await quiet.until(lambda: not town.receiver.service._streams)
        assert (await person.resume(row.transfer_id)).verified


async def test_a_transfer_does_not_outlive_its_consent(town: Town) -> None:
    """When the consent has ended, nothing may be kept for it."""
    await break_off(town)
    context = town.receiver.agent.context
    town.clock.now += USE_SECONDS - 1
    await give_up_idle(context, claims=Claims())
    assert len(blobs(town)) == 2
    town.clock.now += 1
    await give_up_idle(context, claims=Claims())
    assert blobs(town) == []


async def test_what_a_crash_left_is_deleted_at_the_next_start(town: Town) -> None:
    """Plaintext in quarantine and chunks of unknown transfers go; files of others, and what can be resumed, stay."""
    row = await break_off(town)
    kept = blobs(town)
    inbox, incoming = town.receiver.inbox, town.receiver.config.vault / "incoming"
    write_files(inbox, {f".{row.transfer_id.hex()}.part/files/secret.txt": b"plain", "note.txt": b"ours"})
    unknown = "ab" * 16
    write_files(incoming, {f"{unknown}.sealed": b"", f"{unknown}.journal": b"", "readme.txt": b"not ours"})
    await clean_up(town.receiver.agent.context)
    assert names(inbox) == ["note.txt"]
    assert blobs(town) == sorted([*kept, "readme.txt"])
    person = town.held["person"].thing
    assert (await person.resume(row.transfer_id)).verified


async def test_chunks_that_the_disk_lost_are_asked_for_again(town: Town) -> None:
    """A damaged blob costs a second transmission, not the transfer."""
    row = await break_off(town)
    (sealed,) = (town.receiver.config.vault / "incoming").glob("*.sealed")
    sealed.write_bytes(bytes(100))
    person = town.held["person"].thing
    assert (await person.resume(row.transfer_id)).verified


async def test_damage_that_shows_when_the_key_comes_costs_one_attempt(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks that were signed for and rotted since are asked for again; the receipt for them stays the same."""
    # so that an early chunk is not looked at again at once
    monkeypatch.setattr(blobs_module, "UNSYNCED_BYTES", 0)
    monkeypatch.setattr(blobs_module, "run_chunks", lambda _chunk_size: 1)
    row = await break_off(town, sends=4)
    (sealed,) = (town.receiver.config.vault / "incoming").glob("*.sealed")
    sealed.write_bytes(b"\xff" + sealed.read_bytes()[1:])
    person = town.held["person"].thing
    with pytest.raises(PeerAborted) as caught:
        await person.resume(row.transfer_id)
    assert caught.value.reason_code == "store-damaged"
    assert names(town.receiver.inbox) == []
    before = await town.receiver.agent.records.receipts(row.transfer_id)
    assert (await person.resume(row.transfer_id)).verified
    after = await town.receiver.agent.records.receipts(row.transfer_id)
    assert after["cipher"] == before["cipher"]


async def test_one_person_cannot_take_the_room_of_all_others(tmp_path: Path) -> None:
    """Beyond a fourth of the room, a second unfinished transfer of a person is told "not now"; others are served."""
    async with open_town(tmp_path) as town:
        config = town.receiver.config
        assert config.receiver is not None
        await town.close("receiver")
        row = await reopen_and_break_off(town, replace(config.receiver, max_incoming_bytes=1 << 20))
        person, other = town.held["person"].thing, await town.person("other")
        second, theirs = await town.issue(person), await town.issue(other)
        with pytest.raises(PeerRefused) as caught:
            await person.send(await person.prepare(second.path, card=town.receiver.card))
        assert caught.value.reason_code == "overloaded"
        assert (await other.send(await other.prepare(theirs.path, card=town.receiver.card))).verified
        assert (await person.resume(row.transfer_id)).verified
        (refused,) = [each for each in await person.transfers() if each.transfer_id != row.transfer_id]
        assert (await person.resume(refused.transfer_id)).verified


async def reopen_and_break_off(town: Town, settings: ReceiverSettings) -> TransferRow:
    """Open the receiver anew with other settings, and leave a transfer unfinished there."""
    await town.open("receiver", replace(town.receiver.config, receiver=settings))
    return await break_off(town)


async def test_one_person_has_only_so_many_unfinished_transfers(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones count too, because each of them keeps files open and rows waiting."""
    monkeypatch.setattr(reception, "MAX_UNFINISHED_PER_HOLDER", 1)
    row = await break_off(town)
    person = town.held["person"].thing
    second = await town.issue(person)
    with pytest.raises(PeerRefused) as caught:
        await person.send(await person.prepare(second.path, card=town.receiver.card))
    assert caught.value.reason_code == "overloaded"
    assert (await person.resume(row.transfer_id)).verified


async def test_what_the_receiver_holds_is_not_sealed_again(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed transfer takes the leaves of held chunks from its memory; without it, or if it lies, it still ends."""
    sealed: list[int] = []
    real = TransferContent.sealed

    def counting(content: TransferContent, first: int, count: int) -> SealedRun:
        sealed.extend(range(first, first + count))
        return real(content, first, count)

    monkeypatch.setattr(TransferContent, "sealed", counting)
    row = await break_off(town, sends=4)
    person = town.held["person"].thing
    assert sealed
    (leaves,) = (person.context.config.vault / "outgoing").glob("*.leaves")
    # everything was sent, but for the finish
    sealed.clear()
    log = LeafLog(leaves)
    log.keep(0, bytes(32))
    log.close()
    with pytest.raises(PeerAborted) as caught:
        await person.resume(row.transfer_id)
    assert (caught.value.reason_code, sealed) == ("content-mismatch", [])
    assert not leaves.exists()
    assert (await person.resume(row.transfer_id)).verified
    assert sealed
    assert not leaves.exists()


async def test_a_moved_package_is_named_again_and_another_one_is_refused(town: Town) -> None:
    """Where the file went is asked once and remembered; a file that is another package is told apart."""
    row = await break_off(town, sends=3)
    person = town.held["person"].thing
    known = await person.records.find_package(row.package_id)
    assert known is not None
    moved = known.path.with_name("moved.ddtp")
    known.path.rename(moved)
    with pytest.raises(NotFound) as caught:
        await person.resume(row.transfer_id)
    assert "--package" in str(caught.value.hint)
    other = await town.issue(person)
    with pytest.raises(PolicyRefused, match="found another one"):
        await person.resume(row.transfer_id, package=other.path)
    assert (await person.resume(row.transfer_id, package=moved)).verified
    again = await person.records.find_package(row.package_id)
    assert again is not None
    assert again.path == moved


async def test_an_outcome_is_told_although_a_newer_connection_takes_over(
    town: Town, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The newer exchange is only given the receipt again, so whoever keeps it tells of it."""
    service, real = town.receiver.service, Records.conclude

    async def conclude(self: Records, transfer_id: bytes, state: TransferState, **rest: object) -> None:
        await real(self, transfer_id, state, **rest)  # type: ignore[arg-type]
        if self is town.receiver.agent.context.records:
            service._claims._held[transfer_id].scope.cancel()

    monkeypatch.setattr(Records, "conclude", conclude)
    person = await town.person()
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    with caplog.at_level(logging.INFO), pytest.raises(PeerAborted):
        await person.send(prepared)
    await quiet.until(lambda: not service._streams)
    assert [each.message for each in caplog.records].count("transfer finished") == 1
    assert (await person.resume(prepared.transfer_id)).verified
