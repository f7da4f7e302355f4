"""Groups: shown together or not at all; malformed tables are vectors of spec/03."""

import pytest

from ddtp.protocol.groups import find_split_group

GROUPS = ((0, 6), (4, 5, 7))


@pytest.mark.parametrize(
    ("shown", "split"),
    [({1, 2}, None), ({0, 6}, None), ({0, 4, 5, 6, 7}, None), ({0}, (0, 6)), ({0, 6, 4, 5}, (4, 5, 7))],
)
def test_a_group_is_split_when_a_part_of_it_is_shown(shown: set[int], split: tuple[int, ...] | None) -> None:
    """None and all of a group are allowed, everything between is found."""
    assert find_split_group(GROUPS, shown) == split
