"""Places: taken, refused and given back."""

import pytest

from ddtp.errors import Overloaded
from ddtp.transfer.limits import Places


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
