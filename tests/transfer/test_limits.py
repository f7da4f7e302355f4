"""Places: taken, refused and given back."""

from contextlib import ExitStack

import pytest

from ddtp.errors import Overloaded
from ddtp.transfer.limits import Places, SharedPlaces


def test_places_are_bounded_per_key_and_in_all():
    """Neither one key nor all together get more than their bound, and a place left is free again."""
    places = Places(3, 2)
    with places.take("a"), places.take("a"):
        with pytest.raises(Overloaded), places.take("a"):
            pass
        with places.take("b"), pytest.raises(Overloaded), places.take("c"):
            pass
        with places.take("c"):
            pass


def test_a_place_is_given_back_by_an_error():
    """An exception inside leaves no place taken."""
    places = Places(1, 1)
    with pytest.raises(ValueError, match="x"), places.take("a"):
        raise ValueError("x")
    with places.take("a"):
        pass


def test_whoever_comes_gets_a_place_while_there_are_many():
    """One holder may take half of all places, whatever its share is; then it is refused and others are not."""
    places = SharedPlaces(8, 1)
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(places.take("greedy", "its address"))
        with pytest.raises(Overloaded), places.take("greedy", "another address"):
            pass
        with pytest.raises(Overloaded), places.take("another", "its address"):
            pass
        for name in "abcd":
            stack.enter_context(places.take(name, f"address of {name}"))
        with pytest.raises(Overloaded), places.take("e", "address of e"):
            pass


def test_a_shared_place_is_given_back():
    """Who leaves makes room, for itself as well."""
    places = SharedPlaces(2, 1)
    for _ in range(3):
        with places.take("a"), places.take("b"):
            pass
    with places.take("a"), pytest.raises(Overloaded), places.take("a"):
        pass
