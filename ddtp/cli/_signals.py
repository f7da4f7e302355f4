"""Signals that end a program: Ctrl-C, SIGTERM and SIGHUP break off what runs in one way, with last words.

By itself Python raises at whatever line runs when Ctrl-C is pressed. Inside the loop that the database lives in that
would end the loop, and whoever waits for the database would wait for ever.
"""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, final

EXIT_CODE_BASE: Final = 128
"""Shells add the number of the signal."""
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@final
class Ended(KeyboardInterrupt):
    """A signal other than that of Ctrl-C ends the program.

    Attributes:
        signal: Which.
    """

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.signal = number


@asynccontextmanager
async def ending_signals() -> AsyncIterator[None]:
    """Break off the block when a signal comes that is to end the program; those that are ignored (nohup) stay so.

    Raises:
        KeyboardInterrupt: Ctrl-C; in a group, as a nursery has it.
        Ended: Another one came; in a group as well.
    """
    import trio

    heard = [number for number in _ENDING if signal.getsignal(number) != signal.SIG_IGN]
    if not heard:
        yield
        return
    with trio.open_signal_receiver(*heard) as signals:
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                async for number in signals:
                    raise KeyboardInterrupt if number == signal.SIGINT else Ended(signal.Signals(number))

            nursery.start_soon(wait)
            yield
            nursery.cancel_scope.cancel()
