"""Coming back to a peer that had no place free."""

import pytest
import trio
from trio.testing import MockClock

from ddtp.errors import PeerUnreachable
from ddtp.transfer.crowd import TRIES, TurnedAway, again_if_turned_away


class Peer:
    """Turns away the first visits."""

    def __init__(self, *, full_for: int, failure: Exception | None = None) -> None:
        self.full_for = full_for
        self.failure = failure or TurnedAway("full")
        self.visits: list[float] = []

    async def dial(self) -> str:
        await trio.lowlevel.checkpoint()
        self.visits.append(trio.current_time())
        if len(self.visits) <= self.full_for:
            raise self.failure
        return "open"


async def test_pauses_double(autojump_clock: MockClock) -> None:
    """Each is drawn up to a bound that doubles, so that a crowd spreads."""
    peer, chances = Peer(full_for=4), iter([1.0, 0.5, 1.0, 0.25])
    assert await again_if_turned_away(peer.dial, chance=lambda: next(chances)) == "open"
    pauses = [after - before for before, after in zip(peer.visits, peer.visits[1:], strict=False)]
    assert pauses == pytest.approx([0.1, 0.1, 0.4, 0.2])


async def test_in_the_end_it_is_said(autojump_clock: MockClock) -> None:
    """A peer that is full all the time, or no peer at all, does not answer."""
    peer = Peer(full_for=100)
    with pytest.raises(PeerUnreachable, match=r"^full$"):
        await again_if_turned_away(peer.dial, chance=lambda: 1.0)
    assert len(peer.visits) == TRIES
    assert peer.visits[-1] - peer.visits[0] == pytest.approx(12.7)


async def test_other_failures_are_final(autojump_clock: MockClock) -> None:
    """Where nobody listens, or somebody else, a second dial finds the same."""
    peer = Peer(full_for=1, failure=PeerUnreachable("another identity"))
    with pytest.raises(PeerUnreachable, match="another identity"):
        await again_if_turned_away(peer.dial)
    assert len(peer.visits) == 1
