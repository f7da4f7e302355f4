"""Paths are safe below any directory; the single rules are vectors of spec/03."""

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddtp.errors import DecodeError
from ddtp.protocol.paths import check_distinct, check_path

PIECES = st.sampled_from(["a", "B", ".", "..", "/", "\\", ":", " ", "con", "nul", "~", "流", "ß", "\x00", "é"])


@settings(max_examples=400)
@given(st.lists(PIECES, max_size=8).map("".join))
def test_an_accepted_path_stays_below_its_directory_on_every_system(path: str) -> None:
    """Whatever is accepted is relative, climbs nowhere and reads the same on Windows and elsewhere."""
    try:
        check_path(path)
    except DecodeError:
        return  # most are refused, too many for hypothesis to look for others instead
    for flavour in (PurePosixPath(path), PureWindowsPath(path)):
        assert not flavour.anchor
        assert list(flavour.parts) == path.split("/")
        assert ".." not in flavour.parts
    assert not PureWindowsPath(path).is_reserved()


def test_deep_folders_are_distinct_at_a_cost_that_does_not_explode() -> None:
    """Thousands of paths of 250 levels are compared without building all their folders."""
    check_distinct("/".join(["d"] * 250) + f"/{number}" for number in range(2000))


def test_a_clash_is_found_across_many_paths() -> None:
    """A file whose name is a folder of another is found although other names sort between them."""
    with pytest.raises(DecodeError, match="below"):
        check_distinct(["a", "a!", "a-b", "a.txt", "A/b"])
