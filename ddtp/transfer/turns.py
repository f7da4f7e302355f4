"""spec/14 s.2: however small the pieces are that one connection brings, others have their turn in between."""

from typing import Final, final

import trio

MANY: Final = 256
"""Small pieces of work without a turn of others: so many messages, frames or records of a few bytes take up to 4 ms."""


@final
class Turns:
    """Gives others their turn after much work of one task."""

    def __init__(self) -> None:
        self._handled = 0

    async def give(self) -> None:
        """Count one piece of work that is done; a checkpoint if it was one of many."""
        self._handled += 1
        if self._handled >= MANY:
            self._handled = 0
            await trio.lowlevel.checkpoint()
