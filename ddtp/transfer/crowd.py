"""spec/14 s.4: coming back to a peer that had no place free, not all who were refused at the same moment."""

import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, final

import trio

from ddtp.errors import PeerUnreachable

FIRST_PAUSE_SECONDS: Final = 0.1
"""At most; doubled each time. A place is free again when somebody else's package of some megabytes has gone."""
TRIES: Final = 8
"""The pauses between them add up to 6 s on average: who dials gives up after 15."""

Opened = TypeVar("Opened")


@final
class TurnedAway(Exception):
    """The peer took the connection and ended it before the stream was open: it is overloaded, or not what we seek."""


async def again_if_turned_away(
    dial: Callable[[], Awaitable[Opened]], *, chance: Callable[[], float] = random.random
) -> Opened:
    """Dial, and again after a pause each time that we are turned away.

    Args:
        dial: Tries once; raises `TurnedAway` with what happened.
        chance: Returns a number from 0 to 1; it spreads those who were refused at the same moment.

    Raises:
        PeerUnreachable: No try succeeded; of other failures the first is the last.
    """
    failures = 0
    while True:
        try:
            return await dial()
        except TurnedAway as err:
            failures += 1
            if failures >= TRIES:
                raise PeerUnreachable(str(err)) from err
        await trio.sleep(FIRST_PAUSE_SECONDS * 2 ** (failures - 1) * chance())
