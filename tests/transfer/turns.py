"""Whether others have their turn while a peer sends much."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Turns:
    """How many turns another task of the event loop has had."""

    def __init__(self) -> None:
        self.count = 0

    async def take(self) -> None:
        """Take one after the other until cancelled."""
        while True:
            await trio.lowlevel.checkpoint()
            self.count += 1


@asynccontextmanager
async def counted_turns() -> AsyncIterator[Turns]:
    """Count during the `async with` block."""
    turns = Turns()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.take)
        yield turns
        nursery.cancel_scope.cancel()
