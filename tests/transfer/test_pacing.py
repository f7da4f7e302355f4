"""A pace: what passes in a second, who comes first, and what a pause holds back."""

import threading

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from ddtp.transfer.pacing import CREDIT_SECONDS, STEP_SECONDS, Pace
from ddtp.transfer.ports import Phase
from ddtp.transfer.receiver import receive_transfer
from ddtp.transfer.sender import send_transfer
from tests.sessions import make_offer
from tests.transfer.exchange import DEADLINES, HolderSide, ReceiverSide, stream_pair

MB = 1_000_000


async def test_without_a_limit_nothing_waits(autojump_clock: MockClock) -> None:
    """However much passes, no time does; and it is not held against a limit that is set later."""
    pace, start = Pace(), trio.current_time()
    for _ in range(100):
        await pace.take(100 * MB)
    pace.limit_bytes_per_second = MB
    await pace.take(1)
    assert trio.current_time() == start


@pytest.mark.parametrize("piece_bytes", [65_536, 262_144, MB])
async def test_a_limit_holds_over_time(autojump_clock: MockClock, piece_bytes: int) -> None:
    """Twenty megabytes at two a second take ten seconds, whatever the pieces."""
    pace, start = Pace(limit_bytes_per_second=2 * MB), trio.current_time()
    moved = 0
    while moved < 20 * MB:
        await pace.take(piece_bytes)
        moved += piece_bytes
    assert trio.current_time() - start == pytest.approx(10, abs=piece_bytes / (2 * MB) + 0.01)


async def test_time_that_was_lost_elsewhere_is_made_up_for_a_little(autojump_clock: MockClock) -> None:
    """A slow write does not slow the whole; a long rest does not allow a burst."""
    pace, start = Pace(limit_bytes_per_second=MB), trio.current_time()
    for _ in range(100):
        await pace.take(100_000)
        await trio.sleep(0.09)  # of the tenth of a second that the piece is worth
    assert trio.current_time() - start == pytest.approx(10, abs=0.2)
    await trio.sleep(3600)
    start = trio.current_time()
    for _ in range(10):
        await pace.take(100_000)
    assert trio.current_time() - start == pytest.approx(0.9 - CREDIT_SECONDS, abs=0.01)


async def test_several_share_one_limit_fairly(autojump_clock: MockClock) -> None:
    """Whoever asks first passes first, so nobody starves."""
    pace, passed = Pace(limit_bytes_per_second=MB), [0, 0, 0]

    async def move(number: int) -> None:
        while True:
            await pace.take(50_000)
            passed[number] += 50_000

    with trio.move_on_after(9):
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(move, number)
    assert all(each == pytest.approx(3 * MB, abs=100_000) for each in passed)


async def test_who_gathers_pieces_is_told_when_the_next_one_waits(autojump_clock: MockClock) -> None:
    """For the limit, for a pause, for others that wait already; of this pace or of the one that it is within."""
    outer = Pace(limit_bytes_per_second=MB)
    pace = Pace(within=outer)
    assert pace.is_open()
    await pace.take(MB)
    assert not pace.is_open()
    await trio.sleep(1)
    assert pace.is_open()
    outer.pause()
    assert not pace.is_open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outer.take, 1)
        await trio.testing.wait_all_tasks_blocked()
        outer.resume()
        assert not pace.is_open()
    assert pace.is_open()


async def test_a_pause_holds_everything_back(autojump_clock: MockClock) -> None:
    """Nothing passes while it lasts, and what waits passes when it ends; it may come from another thread."""
    pace, passed = Pace(), []
    thread = threading.Thread(target=pace.pause)
    thread.start()
    thread.join()
    assert pace.paused

    async def move() -> None:
        await pace.take(1)
        passed.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(move)
        await trio.sleep(1000)
        assert passed == []
        pace.resume()
        resumed = trio.current_time()
    assert passed[0] - resumed <= STEP_SECONDS


async def test_whoever_waits_can_be_cancelled(autojump_clock: MockClock) -> None:
    """The next one gets the turn, and nothing was counted."""
    pace = Pace(limit_bytes_per_second=MB)
    pace.pause()
    with trio.move_on_after(1) as scope:
        await pace.take(10 * MB)
    assert scope.cancelled_caught
    pace.resume()
    start = trio.current_time()
    await pace.take(1)
    assert trio.current_time() == start


async def test_a_lower_limit_holds_at_once(autojump_clock: MockClock) -> None:
    """Also for a piece that waits already."""
    pace, start = Pace(limit_bytes_per_second=MB), trio.current_time()
    await pace.take(2 * MB)
    pace.limit_bytes_per_second = 2 * MB
    await pace.take(1)
    assert trio.current_time() - start == pytest.approx(1)


@pytest.mark.parametrize("slow", ["holder", "receiver"])
async def test_either_side_may_be_the_slow_one(autojump_clock: MockClock, slow: str) -> None:
    """The exchange takes as long as the limit says, within all deadlines, and ends as any other."""
    limited = Pace(limit_bytes_per_second=64 << 10)
    start = trio.current_time()
    near, far = stream_pair()
    content = 10 << 20
    port, keeper = HolderSide(make_offer(content)), ReceiverSide()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            lambda: receive_transfer(far, keeper, deadlines=DEADLINES, pace=limited if slow == "receiver" else None)
        )
        await send_transfer(
            near,
            port,
            progress=port.progress.append,
            deadlines=DEADLINES,
            pace=limited if slow == "holder" else None,
        )
    assert port.progress[-1].phase is Phase.DONE
    # nobody waits after the last run, of up to a mebibyte
    assert 160 - 16 <= trio.current_time() - start <= 160 + 8
