"""Groups of leaves that are shown together or not at all (spec/03-package s.4).

The issuer makes them, so that nobody shows the good pages of a statement without the bad ones.
"""

from collections.abc import Collection
from typing import Annotated

from ddtp.crypto import sm3
from ddtp.errors import DecodeError
from ddtp.protocol import codec
from ddtp.protocol.record import Limit, Range

MAX_LEAVES = 1 << 16
"""Most leaves of a package: a disclosure of all of them stays within its 4 MiB."""

Index = Annotated[int, Range(0, MAX_LEAVES - 1)]
"""Position of a leaf, from 0."""

Groups = Annotated[tuple[Annotated[tuple[Index, ...], Limit(MAX_LEAVES, least=2)], ...], Limit(MAX_LEAVES // 2)]
"""Each group ascending, groups in the order of their first leaf, no leaf in two groups."""


def check_groups(groups: Groups) -> None:
    """Check that a group table has its one form.

    Raises:
        DecodeError: A group or the table is not in order, or a leaf is in two groups.
    """
    if any(list(group) != sorted(set(group)) for group in groups):
        raise DecodeError("expected the leaves of each group in ascending order")
    if [group[0] for group in groups] != sorted(group[0] for group in groups):
        raise DecodeError("expected the groups in the order of their first leaves")
    members = [index for group in groups for index in group]
    if len(set(members)) != len(members):
        raise DecodeError("expected each leaf in one group at most")


def groups_digest(groups: Groups) -> bytes:
    """Return SM3 of the encoded table, 32 bytes."""
    return sm3.digest(codec.encode(groups))


def find_split_group(groups: Groups, indexes: Collection[int]) -> tuple[int, ...] | None:
    """Return the first group of which some leaves, but not all, are among `indexes`."""
    shown = set(indexes)
    return next((group for group in groups if 0 < len(shown.intersection(group)) < len(group)), None)
