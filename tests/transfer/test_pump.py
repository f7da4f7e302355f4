"""The messages of one session on one stream: how long a side waits for the other, and how it parts from it."""

from contextlib import suppress
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from ddtp.errors import DiskFull, PeerStalled
from ddtp.protocol.states import Role, State
from ddtp.transfer.pump import Pump, open_pump
from tests.sessions import PATHS, SMALL_OFFER
from tests.transfer.exchange import DEADLINES, MemoryStream, Puppet, stream_pair

SLOWEST = 8 << 10
"""Bytes per second at which deadlines are extended (spec/08 s.6)."""
LARGE_OFFER = replace(SMALL_OFFER, disclosure=bytes(2 << 20))


async def play(pump: Pump, puppet: Puppet, *, role: Role, state: State) -> None:
    """Say on both sides what is said until the session is in a state."""
    for speaker, message in PATHS[state]:
        if speaker is role:
            await pump.send(message, seconds=1)  # type: ignore[arg-type]
            assert await puppet.hear() == message
        else:
            await puppet.say(message)
            assert await pump.receive_any(seconds=1) == message


# --- the peer takes what is written ---


async def offer(*, bytes_per_second: int) -> bool:
    """Send a large offer to a receiver that reads at some rate; return whether it was sent."""
    ours, theirs = stream_pair()
    sent = False

    async def read() -> None:
        while await theirs.receive_some(bytes_per_second):  # noqa: ASYNC110 - so slow is the link
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        with suppress(PeerStalled):
            async with open_pump(ours, Role.HOLDER) as pump:
                await play(pump, Puppet(theirs, Role.RECEIVER), role=Role.HOLDER, state=State.READY)
                nursery.start_soon(read)
                await pump.send(LARGE_OFFER, seconds=DEADLINES.decision_seconds)
                sent = True
        nursery.cancel_scope.cancel()
    return sent


async def test_a_peer_that_reads_slowly_is_waited_for(autojump_clock: MockClock) -> None:
    """A message that takes several times its deadline is fine at the rate of a poor link."""
    assert await offer(bytes_per_second=SLOWEST)
    assert trio.current_time() > 3 * DEADLINES.decision_seconds


async def test_a_peer_that_drips_is_left(autojump_clock: MockClock) -> None:
    """The bytes extend the deadline at that rate and no further."""
    assert not await offer(bytes_per_second=SLOWEST // 4)
    patience = DEADLINES.decision_seconds + len(LARGE_OFFER.encode()) / SLOWEST
    assert patience <= trio.current_time() <= patience + 2


# --- the end ---


class Unhurried:
    """A stream whose peer confirms its end after some time."""

    def __init__(self, inner: MemoryStream, seconds: float) -> None:
        self.remote_peer_id, self.bulk_dialer, self.bulk_desk = inner.remote_peer_id, None, None
        self.receive_some, self.send_all = inner.receive_some, inner.send_all
        self.confirmed = False
        self._inner, self._seconds = inner, seconds

    async def aclose(self) -> None:
        """End the stream and wait."""
        await self._inner.aclose()
        if not self.confirmed:
            await trio.sleep(self._seconds)
            self.confirmed = True


async def part(role: Role, state: State, *, seconds: float, failure: DiskFull | None = None) -> bool:
    """Leave a session in a state; return whether a peer could still confirm the end that takes some seconds for it."""
    holder, receiver = stream_pair()
    inner, theirs = (holder, receiver) if role is Role.HOLDER else (receiver, holder)
    ours = Unhurried(inner, seconds)
    with suppress(DiskFull):
        async with open_pump(ours, role) as pump:
            await play(pump, Puppet(theirs, role.other), role=role, state=state)
            if failure is not None:
                raise failure
    return ours.confirmed


@pytest.mark.parametrize("state", [State.DONE, State.DECLINED])
async def test_after_its_last_message_a_receiver_waits_for_the_holder(state: State, autojump_clock: MockClock) -> None:
    """For 30 seconds (spec/08 s.5): what it has said last is what the holder has come for."""
    assert await part(Role.RECEIVER, state, seconds=29)
    start = trio.current_time()
    assert not await part(Role.RECEIVER, state, seconds=1000)
    assert trio.current_time() - start == pytest.approx(30)


@pytest.mark.parametrize("state", [State.START, State.SENDING, State.KEYED])
async def test_who_gives_up_waits_for_nobody(state: State, autojump_clock: MockClock) -> None:
    """A second at most (spec/08 s.5): nothing can be won any more."""
    assert not await part(Role.RECEIVER, state, seconds=1000, failure=DiskFull("no room"))
    assert trio.current_time() == pytest.approx(1)
