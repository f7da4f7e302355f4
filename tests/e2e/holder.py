"""A person in a process of their own, for tests that kill it: `python -m tests.e2e.holder HOME PACKAGE CARD`."""

import sys
import time
from pathlib import Path

import trio

from ddtp.identity.document import parse_card
from tests.e2e.stories import open_person


async def main(home: Path, package: Path, card: Path) -> None:
    """Send a package to an institution."""
    async with open_person(home) as person:
        to = parse_card(await trio.Path(card).read_text(), now=int(time.time()))
        await person.send(await person.prepare(package, card=to))


if __name__ == "__main__":
    trio.run(main, *map(Path, sys.argv[1:]))
