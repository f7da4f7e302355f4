"""What is remembered about writers is bounded; what they may is tested with the service."""

import pytest

from ddtp.chain.allowance import ADDRESS_RATE, MAX_BUCKETS, PEER_RATE, Allowance
from ddtp.errors import Overloaded


def test_a_refusal_costs_nothing() -> None:
    """Who asks for too much may still append less."""
    allowance = Allowance()
    with pytest.raises(Overloaded):
        allowance.spend(PEER_RATE.burst + 1, peer_id="a", address="x", now=0.0)
    allowance.spend(PEER_RATE.burst, peer_id="a", address="x", now=0.0)
    assert PEER_RATE.burst < ADDRESS_RATE.burst


def test_memory_is_bounded() -> None:
    """Of too many peers the one unused for longest is forgotten, not the one that is busy."""
    allowance = Allowance()
    allowance.spend(PEER_RATE.burst, peer_id="busy", address="home", now=0.0)
    for number in range(MAX_BUCKETS + 10):
        allowance.spend(1, peer_id=f"peer {number}", address=f"address {number}", now=0.0)
        if number % 1000 == 0:
            allowance.spend(0, peer_id="busy", address="home", now=0.0)
    assert len(allowance._peers._used) == len(allowance._addresses._used) == MAX_BUCKETS
    with pytest.raises(Overloaded):
        allowance.spend(1, peer_id="busy", address="home", now=0.0)
