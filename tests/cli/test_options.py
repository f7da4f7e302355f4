"""Options for the whole run, wherever they stand."""

import pytest

from ddtp.cli.options import hoist


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("send a.ddtp --json", "--json send a.ddtp"),
        ("send --home /h a.ddtp", "--home /h send a.ddtp"),
        ("send --language=zh a.ddtp", "--language=zh send a.ddtp"),
        ("--quiet send --debug", "--quiet --debug send"),
        ("send -- --json", "send -- --json"),
        ("send --to X --yes", "send --to X --yes"),
        ("send --home", "--home send"),
    ],
)
def test_moved_to_the_front(line: str, expected: str) -> None:
    """Options of the run move, with their values; everything else keeps its order."""
    assert hoist(line.split()) == expected.split()
