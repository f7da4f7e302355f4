"""A broken connection is made anew by itself: when, for how long, and when not; and a real transfer that is cut."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import trio
import trio.testing

from ddtp.agent.persisting import LONGEST_PAUSE_SECONDS, MAX_TAKEOVERS, Persistence, persist
from ddtp.errors import (
    DdtpError,
    DiskFull,
    PeerAborted,
    PeerRefused,
    PeerStalled,
    PeerUnreachable,
    PeerVanished,
    ProtocolViolation,
)
from ddtp.store.records import TransferState
from ddtp.transfer.ports import Phase, Progress
from ddtp.transfer.receiver import SYNC_BYTES
from tests.daemons import Relay, free_port, open_relay
from tests.town import PATIENCE_SECONDS, Town, read_files

PATIENCE = 600.0
CONNECTING, SENDING = Progress(Phase.CONNECTING), Progress(Phase.SENDING, 5, 10)


def persistence(patience_seconds: float = PATIENCE) -> Persistence:
    return Persistence(patience_seconds=patience_seconds, clock=trio.current_time, jitter=lambda: 1.0)


class Script:
    """An exchange that goes as written: each line is what it tells, and how it ends."""

    def __init__(self, *lines: tuple[list[Progress], DdtpError | None]) -> None:
        self.lines = list(lines)
        self.times: list[float] = []
        self.told: list[Progress] = []

    async def attempt(self, tell: Callable[[Progress], None]) -> str:
        self.times.append(trio.current_time())
        steps, error = self.lines.pop(0) if len(self.lines) > 1 else self.lines[0]
        for step in steps:
            tell(step)
        if error is not None:
            raise error
        return "receipt"

    async def run(self, patience_seconds: float = PATIENCE) -> str:
        return await persist(self.attempt, persistence=persistence(patience_seconds), tell=self.told.append)

    def pauses(self) -> list[float]:
        return [after - before for before, after in pairwise(self.times)]


def test_patience_begins_when_the_exchange_breaks() -> None:
    """However long it has worked, or rested, without anything that shows."""
    now = [0.0]
    persistence = Persistence(patience_seconds=10, clock=lambda: now[0], jitter=lambda: 1.0)
    persistence.note(Progress(Phase.VERIFYING, 5, 5))
    now[0] = 1000
    assert persistence.pause_after(PeerVanished("gone")) is not None
    now[0] = 2000
    assert persistence.pause_after(PeerVanished("gone")) is None
    persistence.begin_again()
    # it was reached before the rest
    assert persistence.pause_after(PeerUnreachable("away")) is not None


@pytest.mark.parametrize(
    "error",
    [
        PeerVanished("gone"),
        PeerStalled("silent"),
        PeerUnreachable("nobody"),
        PeerAborted("no answer", reason_code="stalled"),
        PeerAborted("cut", reason_code="vanished"),
        PeerAborted("stopping", reason_code="cancelled"),
    ],
)
async def test_what_passes_is_tried_again(error: DdtpError, autojump_clock: trio.testing.MockClock) -> None:
    """A person sees that the connection was lost, how far they were, and nothing else until it moves again."""
    script = Script(([CONNECTING, SENDING], error), ([CONNECTING, SENDING], None))
    assert await script.run() == "receipt"
    lost = replace(SENDING, phase=Phase.RECONNECTING)
    assert script.told == [CONNECTING, SENDING, lost, lost, SENDING]
    assert script.pauses() == [1.0]


@pytest.mark.parametrize(
    "error",
    [
        PeerRefused("no", reason_code="policy-refused"),
        PeerRefused("busy", reason_code="overloaded"),
        PeerAborted("no room", reason_code="disk-full"),
        ProtocolViolation("nonsense"),
        DiskFull("here"),
    ],
)
async def test_what_somebody_decided_is_not_asked_again(error: DdtpError) -> None:
    """A refusal, a violation or a problem of this machine is the last word."""
    script = Script(([SENDING], error))
    with pytest.raises(type(error)):
        await script.run()
    assert len(script.times) == 1


async def test_whom_nobody_reached_is_not_there() -> None:
    """A first dial that fails says so at once; and without patience one try is all."""
    script = Script(([], PeerUnreachable("nobody")))
    with pytest.raises(PeerUnreachable):
        await script.run()
    once = Script(([SENDING], PeerVanished("gone")))
    with pytest.raises(PeerVanished):
        await once.run(patience_seconds=0)
    assert len(script.times) == len(once.times) == 1


async def test_pauses_grow_and_have_an_end(autojump_clock: trio.testing.MockClock) -> None:
    """Twice as long each time, to a bound; after the patience the last failure comes out, also when it is silence."""
    script = Script(([SENDING], PeerVanished("gone")), ([], PeerUnreachable("nobody")))
    with pytest.raises(PeerUnreachable):
        await script.run()
    assert script.pauses()[:5] == [1, 2, 4, 8, LONGEST_PAUSE_SECONDS]
    assert max(script.pauses()) == LONGEST_PAUSE_SECONDS
    assert script.times[-1] - script.times[0] == PATIENCE


async def test_whoever_gets_on_may_go_on(autojump_clock: trio.testing.MockClock) -> None:
    """Every new byte gives the whole patience again, and short pauses; the same bytes again do not."""
    far = [([CONNECTING, Progress(Phase.SENDING, n, 100)], PeerVanished("gone")) for n in range(100)]
    script = Script(*far, ([], PeerUnreachable("nobody")))
    with pytest.raises(PeerUnreachable):
        await script.run(patience_seconds=30)
    assert script.pauses()[:100] == [1.0] * 100
    assert script.times[-1] - script.times[99] == 30


async def test_two_programs_do_not_take_a_transfer_from_each_other_for_ever(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A receiver that was told to stop may be started anew; the fourth time it is believed."""
    news = [
        ([Progress(Phase.SENDING, n, 100)], PeerAborted("stopping", reason_code="cancelled"))
        for n in range(MAX_TAKEOVERS + 5)
    ]
    script = Script(*news)
    with pytest.raises(PeerAborted):
        await script.run()
    assert len(script.times) == MAX_TAKEOVERS + 1


async def test_the_bytes_done_never_fall(autojump_clock: trio.testing.MockClock) -> None:
    """A new exchange starts at nothing; a person who was told of five bytes does not see them vanish."""
    script = Script(([SENDING], PeerVanished("gone")), ([CONNECTING, Progress(Phase.WAITING), SENDING], None))
    await script.run()
    assert {progress.bytes_done for progress in script.told} == {5}


# --- a real transfer ---

LARGE = {"archive.bin": bytes(range(256)) * (SYNC_BYTES // 64)}
"""Four times what the receiver makes durable at once."""


@pytest.fixture
async def far(town: Town) -> AsyncIterator["Far"]:
    """A town whose receiver is behind a way that can be cut."""
    port, target = free_port(), free_port()
    await town.close("receiver")
    await town.open_receiver(listen=(f"/ip4/127.0.0.1/tcp/{target}",), announce=(f"/ip4/127.0.0.1/tcp/{port}",))
    async with trio.open_nursery() as nursery:
        yield Far(town, nursery, port, target)
        nursery.cancel_scope.cancel()


class Far:
    """The way to the receiver: it is cut by closing all connections and the port, as a lost network is."""

    def __init__(self, town: Town, nursery: trio.Nursery, port: int, target: int) -> None:
        self.town, self.nursery, self.port, self.target = town, nursery, port, target
        self.relay: Relay | None = None
        self.cut = trio.CancelScope()
        self.forth_bytes = 0

    async def join(self) -> None:
        self.cut = await self.nursery.start(self._carry)

    async def _carry(self, *, task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.CancelScope() as scope:
            async with open_relay(self.port, self.target) as self.relay:
                task_status.started(scope)
                try:
                    await trio.sleep_forever()
                finally:
                    self.forth_bytes += self.relay.forth_bytes


@pytest.mark.slow
async def test_a_transfer_goes_on_by_itself_after_every_cut(far: Far) -> None:
    """Two cuts, each of more than a second without any way: same transfer, little is sent twice, all arrives."""
    person = await far.town.person()
    package = await far.town.issue(person, files=LARGE)
    await far.join()
    prepared = await person.prepare(package.path, card=far.town.receiver.card)
    marks, seen = [SYNC_BYTES, 2 * SYNC_BYTES], list[Progress]()

    async def rejoin() -> None:
        await trio.sleep(1.5)
        await far.join()

    def watch(progress: Progress) -> None:
        seen.append(progress)
        if marks and progress.bytes_done >= marks[0]:
            del marks[0]
            far.cut.cancel()
            far.nursery.start_soon(rejoin)

    with trio.fail_after(PATIENCE_SECONDS):
        sent = await person.send(prepared, progress=watch, patience_seconds=PATIENCE)
    assert sent.verified
    assert marks == []
    (row,) = await person.transfers()
    assert (row.transfer_id, row.state) == (prepared.transfer_id, TransferState.VERIFIED)
    assert read_files(far.town.receiver.inbox / row.transfer_id.hex() / "files") == LARGE
    lost = [progress for progress in seen if progress.phase is Phase.RECONNECTING]
    assert lost
    assert min(progress.bytes_done for progress in lost) >= SYNC_BYTES
    # while it is looked at again what the receiver has, that is counted
    done = [progress.bytes_done for progress in seen if progress.phase is not Phase.SEALING]
    assert done == sorted(done)


@pytest.mark.slow
@pytest.mark.parametrize("phase", [Phase.RECEIPT, Phase.KEY, Phase.VERIFYING])
async def test_a_cut_near_the_end_costs_nothing(far: Far, phase: Phase) -> None:
    """Whatever of receipt, key and verdict was under way: there is one verdict, and the receiver has the data once."""
    person = await far.town.person()
    package = await far.town.issue(person)
    await far.join()
    prepared = await person.prepare(package.path, card=far.town.receiver.card)
    cuts: list[Progress] = []

    async def rejoin() -> None:
        await trio.sleep(0.5)
        await far.join()

    def watch(progress: Progress) -> None:
        if progress.phase is phase and not cuts:
            cuts.append(progress)
            far.cut.cancel()
            far.nursery.start_soon(rejoin)

    with trio.fail_after(PATIENCE_SECONDS):
        sent = await person.send(prepared, progress=watch, patience_seconds=PATIENCE)
    assert sent.verified
    assert cuts
    (row,) = await person.transfers()
    assert row.state is TransferState.VERIFIED
    assert [row.state for row in await far.town.receiver.agent.transfers()] == [TransferState.VERIFIED]


@pytest.mark.slow
async def test_an_interrupt_ends_the_waiting_at_once(far: Far) -> None:
    """While it waits for a network that does not come back; the transfer can be resumed later."""
    person = await far.town.person()
    package = await far.town.issue(person, files=LARGE)
    await far.join()
    prepared = await person.prepare(package.path, card=far.town.receiver.card)
    with trio.CancelScope() as interrupt, trio.fail_after(PATIENCE_SECONDS):

        def watch(progress: Progress) -> None:
            if progress.bytes_done >= SYNC_BYTES:
                far.cut.cancel()
            if progress.phase is Phase.RECONNECTING and not interrupt.cancel_called:
                interrupt.cancel()

        await person.send(prepared, progress=watch, patience_seconds=PATIENCE)
    assert interrupt.cancelled_caught
    (row,) = await person.transfers()
    assert row.state is TransferState.FAILED
    await far.join()
    assert (await person.resume(row.transfer_id)).verified


@pytest.mark.slow
async def test_a_receiver_that_never_comes_back_is_given_up(far: Far) -> None:
    """After the patience the failure is told as it was, and the transfer is kept."""
    person = await far.town.person()
    package = await far.town.issue(person, files=LARGE)
    await far.join()
    prepared = await person.prepare(package.path, card=far.town.receiver.card)

    def watch(progress: Progress) -> None:
        if progress.bytes_done >= SYNC_BYTES:
            far.cut.cancel()

    with trio.fail_after(PATIENCE_SECONDS), pytest.raises((PeerVanished, PeerUnreachable)):
        await person.send(prepared, progress=watch, patience_seconds=2)
    (row,) = await person.transfers()
    assert row.state is TransferState.FAILED
