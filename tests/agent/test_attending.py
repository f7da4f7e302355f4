"""Pausing a transfer: from this program and from another process, shortly and for long."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from ddtp.agent import attending
from ddtp.agent.attending import Attendance, is_being_sent, sending_alone
from ddtp.errors import AlreadyRunning, PeerRefused, PeerVanished
from ddtp.store.records import Direction, Records, TransferRow, TransferState, open_records
from ddtp.transfer.pacing import Pace
from ddtp.transfer.ports import Deadlines, Phase, Progress
from tests.town import Town

ID = b"\x07" * 16
ROW = TransferRow(ID, Direction.OUT, TransferState.OFFERED, "did:b", "B", bytes(16), "s/1", b"", b"key", 1, 1)
BIG = {"big.bin": bytes(range(256)) * 4096 * 12}


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[Records]:
    async with open_records(tmp_path) as records:
        await records.add_transfer(ROW)
        yield records


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause breaks an exchange off after half a second; records are asked often."""
    monkeypatch.setattr(attending, "HOLD_SECONDS", 0.5)
    monkeypatch.setattr(attending, "POLL_SECONDS", 0.02)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    with trio.fail_after(20):
        while not await condition():  # noqa: ASYNC110 - what is waited for is in a database
            await trio.sleep(0.02)


async def test_a_wish_of_another_process_reaches_the_pace_and_back(records: Records) -> None:
    """What is noted in the records pauses here; what is paused here is noted in the records; each is shown once."""
    pace, told = Pace(), list[Progress]()
    attendance = Attendance(records, ID, pace=pace, progress=told.append)

    async def exchange(tell: Callable[[Progress], None], passed: Pace) -> str:
        tell(Progress(Phase.SENDING, 5, 10))
        await records.set_paused(ID, paused=True)
        await eventually(lambda: _is(pace.paused))
        pace.resume()
        await eventually(lambda: _not(records.is_paused(ID)))
        return "done"

    assert await attendance.attend(exchange) == "done"
    assert list(dict.fromkeys(each.phase for each in told)) == [Phase.SENDING, Phase.PAUSED]
    assert told[-1].phase is Phase.SENDING
    row = await records.find_transfer(ID)
    assert row is not None
    assert (row.done_bytes, row.paused) == (5, False)


async def test_a_long_pause_breaks_off_and_runs_again(records: Records, impatient: None) -> None:
    """The exchange is cancelled within its hold, and started anew as soon as the pause ends; nothing is raised."""
    pace, runs = Pace(), 0

    async def exchange(tell: Callable[[Progress], None], passed: Pace) -> str:
        nonlocal runs
        runs += 1
        tell(Progress(Phase.SENDING, 1, 10))
        await passed.take(1)
        if runs == 1:
            pace.pause()
            await trio.sleep_forever()
        return "done"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_resume_when_it_rests, records)
        result = await Attendance(records, ID, pace=pace, progress=lambda _progress: None).attend(exchange)
    assert (result, runs) == ("done", 2)


async def test_what_moves_no_payload_comes_to_its_end(records: Records, impatient: None) -> None:
    """A pause during the last steps changes nothing: the receiver has all of it, and a receipt is worth having."""
    pace = Pace()

    async def exchange(tell: Callable[[Progress], None], passed: Pace) -> str:
        tell(Progress(Phase.VERIFYING, 10, 10))
        pace.pause()
        await trio.sleep(1)
        return "done"

    told: list[Progress] = []
    assert await Attendance(records, ID, pace=pace, progress=told.append).attend(exchange) == "done"
    assert Phase.PAUSED not in {each.phase for each in told}


async def test_a_receiver_that_ends_meanwhile_is_no_error(records: Records, impatient: None) -> None:
    """Its connection is needed again only after the pause; a refusal is an answer at any time."""
    pace, runs = Pace(), 0

    async def exchange(tell: Callable[[Progress], None], passed: Pace) -> str:
        nonlocal runs
        runs += 1
        tell(Progress(Phase.SENDING, 1, 10))
        if runs == 2:
            raise PeerRefused("no", reason_code="policy-refused")
        pace.pause()
        raise PeerVanished("gone")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_resume_when_it_rests, records)
        with pytest.raises(PeerRefused):
            await Attendance(records, ID, pace=pace, progress=lambda _progress: None).attend(exchange)
    assert runs == 2


def test_one_process_sends_a_transfer(tmp_path: Path) -> None:
    """Another one is refused; the lock goes with its holder, and its file when all went well."""
    assert not is_being_sent(tmp_path, ID)
    with sending_alone(tmp_path, ID):
        assert is_being_sent(tmp_path, ID)
        with pytest.raises(AlreadyRunning) as caught, sending_alone(tmp_path, ID):
            pass
        assert caught.value.hint == (
            "pause it with: ddtp transfers pause 07070707; or end it there with Ctrl-C, and then: ddtp resume 07070707"
        )
    assert not list((tmp_path / attending.SENDING).iterdir())
    with pytest.raises(PeerVanished), sending_alone(tmp_path, ID):
        raise PeerVanished("gone")
    assert not is_being_sent(tmp_path, ID)


@pytest.mark.slow
@pytest.mark.parametrize("hold_seconds", [0.3, 60.0])
async def test_a_real_transfer_rests_and_goes_on(
    town: Town, monkeypatch: pytest.MonkeyPatch, hold_seconds: float
) -> None:
    """Paused by another process in the middle: nothing moves, then it is verified; with the exchange kept or broken."""
    monkeypatch.setattr(attending, "HOLD_SECONDS", hold_seconds)
    person = await town.person()
    package = await town.issue(person, files=BIG)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    told: list[Progress] = []
    pace = Pace(limit_bytes_per_second=6 << 20)

    async def pause() -> None:
        await eventually(lambda: _is(any(each.phase is Phase.SENDING and each.bytes_done for each in told)))
        await person.records.set_paused(prepared.transfer_id, paused=True)
        await eventually(lambda: _is(told[-1].phase is Phase.PAUSED))
        await trio.sleep(1)  # what was on its way has arrived, and a short hold has passed
        (row,) = await person.transfers()
        assert row.paused
        assert row.state is TransferState.OFFERED
        assert is_being_sent(person.context.config.home, prepared.transfer_id)
        with pytest.raises(AlreadyRunning):
            await person.resume(prepared.transfer_id)
        await person.records.set_paused(prepared.transfer_id, paused=False)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pause)
        sent = await person.send(prepared, progress=told.append, pace=pace)
    assert sent.verified
    phases = [each.phase for each in told]
    assert phases.count(Phase.CONNECTING) == (4 if hold_seconds < 1 else 2)
    assert (Phase.SEALING in phases) is (hold_seconds < 1)
    if hold_seconds < 1:
        again = told[phases.index(Phase.SEALING) :]
        sending = [each for each in again if each.phase is Phase.SENDING]
        assert all(each.bytes_done <= each.bytes_sent for each in sending)
        assert any(each.bytes_done < each.bytes_sent < each.bytes_total for each in sending)
    (row,) = await person.transfers()
    assert (row.state, row.paused) == (TransferState.VERIFIED, False)


async def _resume_when_it_rests(records: Records) -> None:
    await eventually(lambda: records.is_paused(ID))
    await trio.sleep(0.7)
    await records.set_paused(ID, paused=False)


async def _is(value: object) -> bool:
    return bool(value)


async def _not(value: Awaitable[bool]) -> bool:
    return not await value


# --- in the time of a clock that jumps ---


class Notes:
    """Records of one transfer in memory; whatever else is asked of them is asked of real ones."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self.paused = False
        self.done: list[tuple[float, int]] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._records, name)

    async def is_paused(self, _transfer_id: bytes) -> bool:
        """See `Records`."""
        await trio.lowlevel.checkpoint()
        return self.paused

    async def set_paused(self, _transfer_id: bytes, *, paused: bool) -> None:
        """See `Records`."""
        await trio.lowlevel.checkpoint()
        self.paused = paused

    async def note_done(self, _transfer_id: bytes, done_bytes: int) -> None:
        """See `Records`."""
        await trio.lowlevel.checkpoint()
        self.done.append((trio.current_time(), done_bytes))


async def test_a_long_pause_breaks_off_who_waits_for_an_answer(records: Records, autojump_clock: MockClock) -> None:
    """Whoever paused before the receiver has accepted finds the transfer going on when the pause ends."""
    pace, told, runs = Pace(), list[Progress](), 0
    pause_seconds = 2 * Deadlines().chunk_seconds

    async def exchange(tell: Callable[[Progress], None], passed: Pace) -> str:
        nonlocal runs
        runs += 1
        tell(Progress(Phase.WAITING))
        if runs == 1:
            pace.pause()
            await trio.sleep_forever()
        return "done"

    async def resume() -> None:
        await trio.sleep(pause_seconds)
        pace.resume()

    attendance = Attendance(Notes(records), ID, pace=pace, progress=told.append)  # type: ignore[arg-type]
    with trio.fail_after(10 * pause_seconds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(resume)
            assert await attendance.attend(exchange) == "done"
    assert (runs, told[-1].phase) == (2, Phase.WAITING)
    assert Phase.PAUSED in {each.phase for each in told}


async def test_how_far_a_transfer_is_is_noted_now_and_then(records: Records, autojump_clock: MockClock) -> None:
    """Often enough that a program which dies has said it, and not so often that a disk is kept busy."""
    notes = Notes(records)

    async def exchange(tell: Callable[[Progress], None], passed: Pace) -> str:
        for number in range(1, 101):
            tell(Progress(Phase.SENDING, number, 1000))
            await trio.sleep(0.2)
        died_at.append(len(notes.done))
        return "done"

    died_at: list[int] = []
    attendance = Attendance(notes, ID, pace=Pace(), progress=lambda _progress: None)  # type: ignore[arg-type]
    assert await attendance.attend(exchange) == "done"
    before = notes.done[: died_at[0]]
    assert 8 <= len(before) <= 11
    assert all(1.9 <= later - earlier <= 2.6 for (earlier, _), (later, _) in itertools.pairwise(before))
    assert notes.done[-1][1] == 100
