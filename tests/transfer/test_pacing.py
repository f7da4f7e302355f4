"""A pace: what passes in a second, who comes first, and what a pause holds back."""

import threading
from functools import partial

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from ddtp.protocol.chunks import RUN_CHUNKS
from ddtp.transfer.pacing import CREDIT_SECONDS, SMALL_SHARE, STEP_SECONDS, Pace
from ddtp.transfer.ports import Phase
from ddtp.transfer.pump import SLOWEST_BYTES_PER_SECOND
from ddtp.transfer.receiver import receive_transfer
from ddtp.transfer.sender import send_transfer
from tests.sessions import make_offer
from tests.transfer.exchange import DEADLINES, HolderSide, ReceiverSide, bulk_pair, stream_pair

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


async def move_for_ever(pace: Pace, passed: list[int], *, piece_bytes: int = 1 << 20, small: bool = False) -> None:
    while True:
        await pace.take(piece_bytes, small=small)
        passed.append(piece_bytes)


async def test_a_small_package_never_waits_for_large_ones(autojump_clock: MockClock) -> None:
    """However many they are; what it takes makes them wait longer, so that the limit holds for all together."""
    pace, large, small = Pace(limit_bytes_per_second=MB), [], []
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(move_for_ever, pace, large)
        for seconds in range(5, 50, 5):
            await trio.sleep_until(start + seconds)
            asked = trio.current_time()
            await pace.take(MB, small=True)
            assert trio.current_time() == asked
            small.append(MB)
        await trio.sleep_until(start + 50)
        nursery.cancel_scope.cancel()
    assert len(small) == 9
    assert sum(large) + sum(small) == pytest.approx(50 * MB, abs=3 * MB)


async def test_small_packages_keep_the_limit_among_themselves(autojump_clock: MockClock) -> None:
    """Else a limit would be none where most packages are small."""
    pace, passed = Pace(limit_bytes_per_second=MB), []
    with trio.move_on_after(20):
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(lambda: move_for_ever(pace, passed, piece_bytes=100_000, small=True))
    assert sum(passed) == pytest.approx(20 * MB, abs=0.5 * MB)


async def test_a_small_package_rests_in_a_pause_too(autojump_clock: MockClock) -> None:
    """Whoever pauses wants nothing to pass; also where one pace is within another."""
    pace, passed = Pace(), []
    pace.pause()
    with trio.move_on_after(10):
        await move_for_ever(Pace(within=pace), passed, small=True)
    assert not passed


async def test_who_gathers_pieces_is_told_when_the_next_one_waits(autojump_clock: MockClock) -> None:
    """For the limit, for a pause, for others that wait already; of this pace or of the one that it is within."""
    outer = Pace(limit_bytes_per_second=MB)
    pace = Pace(within=outer)
    assert pace.is_open()
    await pace.take(MB)
    assert not pace.is_open()
    assert pace.is_open(small=True)
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


@pytest.mark.slow
@pytest.mark.parametrize("side", ["holder", "receiver"])
async def test_a_small_transfer_ends_while_large_ones_share_the_limit(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    """At whoever is busy with many, whether chunks move on the stream or on bulk connections."""
    monkeypatch.setattr("ddtp.transfer.pacing.SMALL_BYTES", 6 << 20)
    shared, start = Pace(limit_bytes_per_second=1 << 20), trio.current_time()
    took: dict[int, float] = {}

    async def transfer(content_bytes: int, channels: int) -> None:
        near, far = bulk_pair(channels) if channels else stream_pair()
        async with trio.open_nursery() as nursery:
            paces = {side: shared}
            receive = partial(receive_transfer, deadlines=DEADLINES, pace=paces.get("receiver"))
            nursery.start_soon(receive, far, ReceiverSide())
            port, pace = HolderSide(make_offer(content_bytes)), paces.get("holder")
            await send_transfer(near, port, progress=port.progress.append, deadlines=DEADLINES, pace=pace)
        took[content_bytes] = trio.current_time() - start

    async with trio.open_nursery() as nursery:
        for channels in (0, 1, 0, 1):
            nursery.start_soon(transfer, (6 << 20) + channels, channels)
        nursery.start_soon(transfer, 100_000, 0)
        nursery.start_soon(transfer, 5 << 20, 1)
    assert took[100_000] < 1
    assert took[5 << 20] < 5 / SMALL_SHARE + 1
    assert min(took[6 << 20], took[(6 << 20) + 1]) > 10
    # all together as the limit says, but for the last piece of each
    assert max(took.values()) == pytest.approx(29, abs=2)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [0, 1, 4])
async def test_large_transfers_share_a_limit_down_to_the_slowest_rate(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, channels: int
) -> None:
    """Each of them waits long for its turn, and no holder takes that for silence."""
    monkeypatch.setattr("ddtp.transfer.pacing.SMALL_BYTES", 0)
    shared, start = Pace(limit_bytes_per_second=4 * (SLOWEST_BYTES_PER_SECOND + 512)), trio.current_time()

    async def transfer() -> None:
        near, far = bulk_pair(channels) if channels else stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(receive_transfer, far, ReceiverSide(), deadlines=DEADLINES, pace=shared))
            port = HolderSide(make_offer(8 << 20), longest_run=RUN_CHUNKS)
            await send_transfer(near, port, progress=port.progress.append, deadlines=DEADLINES)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(transfer)
    assert trio.current_time() - start > (8 << 20) / (SLOWEST_BYTES_PER_SECOND + 512) - 150


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


async def test_large_packages_get_a_share_beside_any_number_of_small_ones(autojump_clock: MockClock) -> None:
    """Small ones that could use up the whole limit leave a quarter of it to whoever waits."""
    pace, moved = Pace(limit_bytes_per_second=1 << 20), {True: 0, False: 0}

    async def move(*, small: bool) -> None:
        while True:
            await pace.take(256 << 10, small=small)
            moved[small] += 256 << 10

    with trio.move_on_after(1000):
        async with trio.open_nursery() as nursery:
            for small in (True, True, False):
                nursery.start_soon(partial(move, small=small))
    megabytes = {small: size / (1 << 20) for small, size in moved.items()}
    assert megabytes[False] == pytest.approx(1000 * (1 - SMALL_SHARE), rel=0.05)
    assert sum(megabytes.values()) == pytest.approx(1000, rel=0.01)
