"""A place at a relay is held: made anew in time, and after the relay has gone."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ddtp.errors import PeerUnreachable, UsageError
from ddtp.transfer.circuit import HopType, Message, encode_hop
from ddtp.transfer.host import peer_id_of
from ddtp.transfer.reservation import LONGEST_PAUSE_SECONDS, Reservations

RELAY = f"/ip4/192.0.2.1/tcp/4001/p2p/{peer_id_of(bytes(32))}"


class Line:
    """A connection to a relay that grants a place for some time, and is lost after some."""

    def __init__(self, lasts_seconds: float, grants_seconds: int) -> None:
        self.over = trio.Event()
        self.asked: list[float] = []
        self.resets = 0
        self._lasts_seconds, self._grants_seconds = lasts_seconds, grants_seconds

    async def end(self) -> None:
        await trio.sleep(self._lasts_seconds)
        self.over.set()

    async def open_stream(self, _protocol: str) -> "Line":
        return self

    async def reset(self) -> None:
        self.resets += 1

    async def write(self, _data: bytes) -> None:
        self.asked.append(trio.current_time())

    async def read(self, max_bytes: int) -> bytes:
        if not getattr(self, "_answer", b""):
            expires = max(0, int(trio.current_time()) + self._grants_seconds)
            self._answer = encode_hop(Message(HopType.STATUS, expires=expires, status=100))
        taken, self._answer = self._answer[:max_bytes], self._answer[max_bytes:]
        return taken


class World:
    """A host whose relays answer as a test says: each entry is a connection, or None where nobody answers."""

    peer_id = peer_id_of(os.urandom(32))

    def __init__(self, *lines: Line | None) -> None:
        self.lines = list(lines)
        self.tried: list[float] = []

    def serve_raw(self, protocol: str, _handler: Callable[..., object], *, window_bytes: int) -> None:  # noqa: ARG002
        self.served = protocol

    @asynccontextmanager
    async def attached(self, _relay: object) -> AsyncIterator[Line]:
        self.tried.append(trio.current_time())
        line = self.lines.pop(0) if self.lines else None
        if line is None:
            raise PeerUnreachable("nobody")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.end)
            yield line
            nursery.cancel_scope.cancel()


async def run(world: World, seconds: float, *relays: str) -> Reservations:
    reservations = Reservations(world, relays, clock=lambda: int(trio.current_time()))  # type: ignore[arg-type]
    with trio.move_on_after(seconds):
        await reservations.run()
    return reservations


async def test_a_place_is_made_anew_after_half_of_its_time(autojump_clock: MockClock) -> None:
    """On the same connection, for as long as it lasts."""
    line = Line(lasts_seconds=10_000, grants_seconds=1200)
    await run(World(line), 1900, RELAY)
    assert line.asked == [0, 600, 1200, 1800]
    assert line.resets == 3, "the stream of each place but the last is given back"


async def test_a_relay_does_not_make_us_ask_all_the_time(autojump_clock: MockClock) -> None:
    """However little time it grants, or however wrong its clock is."""
    for grants_seconds in (0, -10_000):
        line = Line(lasts_seconds=10_000, grants_seconds=grants_seconds)
        begin = trio.current_time()
        await run(World(line), 100, RELAY)
        assert [moment - begin for moment in line.asked] == [0, 30, 60, 90]


async def test_a_lost_relay_is_tried_again(autojump_clock: MockClock) -> None:
    """After a moment, then less and less often; a place that lasted long starts this anew."""
    world = World(Line(1000, 3600), None, None, Line(1000, 3600))
    await run(world, 2100, RELAY)
    assert world.tried[:5] == [0, 1001, 1003, 1007, 2008]
    lonely = World()
    begin = trio.current_time()
    await run(lonely, 1000, RELAY)
    pauses = [after - before for before, after in zip(lonely.tried, lonely.tried[1:], strict=False)]
    assert pauses[:7] == [1, 2, 4, 8, 16, 32, LONGEST_PAUSE_SECONDS]
    assert lonely.tried[0] == begin


async def test_each_relay_by_itself(autojump_clock: MockClock) -> None:
    """One that is away does not keep us from the other; who waits for a place waits for any."""
    other = RELAY.replace("192.0.2.1", "192.0.2.2")
    world = World(None, Line(10_000, 3600), None)
    reservations = Reservations(world, [RELAY, other], clock=lambda: 0)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reservations.run)
        with trio.fail_after(1):
            await reservations.wait_any()
        nursery.cancel_scope.cancel()
    assert reservations.addresses == tuple(f"{relay}/p2p-circuit/p2p/{world.peer_id}" for relay in (RELAY, other))


class Steps(trio.abc.Instrument):
    """Counts how often each task of a name has its turn."""

    def __init__(self, name: str) -> None:
        self.count = 0
        self._name = name

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += task.name.endswith(self._name)


async def test_who_waits_after_a_place_was_lost_is_at_rest(mock_clock: MockClock) -> None:
    """Several may wait; none keeps the processor busy, and all go on when there is a place again."""
    world = World(Line(10, 3600), None, Line(1000, 3600))
    reservations = Reservations(world, [RELAY], clock=lambda: 0)  # type: ignore[arg-type]
    there: list[float] = []

    async def wait() -> None:
        await reservations.wait_any()
        there.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reservations.run)
        await wait_all_tasks_blocked()
        mock_clock.jump(10)
        await wait_all_tasks_blocked()
        nursery.start_soon(wait, name="waiting")
        steps = Steps("waiting")
        trio.lowlevel.add_instrument(steps)
        for _ in range(100):
            await trio.lowlevel.checkpoint()
        trio.lowlevel.remove_instrument(steps)
        assert steps.count < 10
        nursery.start_soon(wait)
        for seconds in (1, 2):
            await wait_all_tasks_blocked()
            assert there == []
            mock_clock.jump(seconds)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert there == [13, 13]


async def test_without_relays_there_is_nothing_to_do(autojump_clock: MockClock) -> None:
    """Nothing is served, and nobody waits; an address of no relay is refused at once."""
    world = World()
    reservations = await run(world, 5)
    with trio.fail_after(1):
        await reservations.wait_any()
    assert not hasattr(world, "served")
    with pytest.raises(UsageError):
        Reservations(world, ["/ip4/192.0.2.1/tcp/1"], clock=lambda: 0)  # type: ignore[arg-type]
