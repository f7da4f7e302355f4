"""Streams for questions to other parties: few at a time to each, and kept for a moment for the next question.

Who receives asks the same verifier and the same ledger several times per transfer. A dial costs both sides far more
than a question does, and a party lets one peer have a few connections only.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, final

import trio

from ddtp.errors import PeerUnreachable
from ddtp.transfer.stream import FlowStream

AT_A_TIME: Final = 4
"""Lines to one party for one protocol; half of the connections that a peer gives one identity (spec/14 s.4)."""
TURN_SECONDS: Final = 20.0
"""For a line to be free: longer than a dial that fails takes, and less than those wait who wait for us."""
KEEP_SECONDS: Final = 1.0
"""For the next question of a busy service. A party that is told to stop waits for open lines, so it is not longer."""

Dial = Callable[[Sequence[str], str], Awaitable[FlowStream]]
"""Opens a stream to the first of some addresses that answers, for one protocol."""

_Key = tuple[str, tuple[str, ...]]


@dataclass(eq=False, slots=True)
class _Idle:
    """A line that nobody uses now."""

    stream: FlowStream


@final
class Lines:
    """Made by `open_lines`.

    Args:
        dial: Opens a line to the first of some addresses that answers, for one protocol.
        keep_seconds: How long an idle line is kept.
        nursery: Closes lines when their time is over.
    """

    def __init__(self, dial: Dial, *, keep_seconds: float, nursery: trio.Nursery) -> None:
        self._dial = dial
        self._keep_seconds = keep_seconds
        self._nursery = nursery
        self._idle: defaultdict[_Key, list[_Idle]] = defaultdict(list)
        self._places: defaultdict[_Key, trio.Semaphore] = defaultdict(lambda: trio.Semaphore(AT_A_TIME))

    @asynccontextmanager
    async def line(self, addresses: Sequence[str], protocol: str) -> AsyncIterator[FlowStream]:
        """Have a line to a party during the `with` block, alone; others wait for their turn.

        A line whose block fails, or that breaks meanwhile, is not used again.

        Raises:
            PeerUnreachable: No address answered.
        """
        key = (protocol, tuple(addresses))
        try:
            with trio.fail_after(TURN_SECONDS):
                await self._places[key].acquire()
        except trio.TooSlowError as err:
            raise PeerUnreachable(
                f"expected a line for {protocol} within {TURN_SECONDS:.0f} s, found all busy"
            ) from err
        try:
            stream = self._take(key) or await self._dial(addresses, protocol)
            answered = False
            try:
                yield stream
                answered = stream.is_whole
            finally:
                if not answered:
                    await hang_up(stream)
            idle = _Idle(stream)
            self._idle[key].append(idle)
            self._nursery.start_soon(self._expire, key, idle)
        finally:
            self._places[key].release()

    def _take(self, key: _Key) -> FlowStream | None:
        """Return a line that nothing has happened to since the last question."""
        while self._idle[key]:
            stream = self._idle[key].pop().stream
            if stream.is_whole:
                return stream
            stream.abort()
        return None

    async def _expire(self, key: _Key, idle: _Idle) -> None:
        await trio.sleep(self._keep_seconds)
        if idle in self._idle[key]:
            self._idle[key].remove(idle)
            await hang_up(idle.stream)


@asynccontextmanager
async def open_lines(dial: Dial, *, keep_seconds: float = KEEP_SECONDS) -> AsyncIterator[Lines]:
    """Keep lines during the `with` block; see `Lines`."""
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield Lines(dial, keep_seconds=keep_seconds, nursery=nursery)
        except Exception as err:  # noqa: BLE001 - raised again below, outside the nursery, which would wrap it
            failure = err
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def hang_up(stream: FlowStream) -> None:
    """End a line, also to a party that is gone."""
    # every question has been answered or has failed; that the peer is gone before it confirms the end says nothing
    with suppress(trio.BrokenResourceError):
        await stream.aclose()
