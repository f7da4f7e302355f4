"""Lines to other parties: kept for the next question as long as nothing has happened to them, few at a time."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock

from ddtp.agent import lines as module
from ddtp.agent.lines import AT_A_TIME, KEEP_SECONDS, open_lines
from ddtp.errors import PeerUnreachable
from ddtp.transfer.ports import Deadlines
from ddtp.transfer.stream import FlowStream
from tests.town import Town

PLACE, PROTOCOL = ["/ip4/127.0.0.1/tcp/1"], "/ddtp/ledger/1.0.0"


class Stream:
    """A stream that is told what happens to it."""

    def __init__(self) -> None:
        self.is_whole = True
        self.closed = False

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.closed, self.is_whole = True, False

    def abort(self) -> None:
        self.closed, self.is_whole = True, False


@dataclass
class Exchange:
    """Dials."""

    dialled: list[Stream] = field(default_factory=list)

    async def dial(self, _addresses: Sequence[str], _protocol: str) -> FlowStream:
        await trio.lowlevel.checkpoint()
        self.dialled.append(Stream())
        return self.dialled[-1]


async def test_the_next_question_finds_the_line_open(autojump_clock: MockClock) -> None:
    """One dial serves questions that follow each other; each protocol and each party has lines of its own."""
    exchange = Exchange()
    async with open_lines(exchange.dial) as lines:
        for _ in range(5):
            async with lines.line(PLACE, PROTOCOL):
                await trio.sleep(KEEP_SECONDS * 0.6)
            await trio.sleep(KEEP_SECONDS * 0.6)
        assert len(exchange.dialled) == 1
        async with lines.line(PLACE, "/ddtp/verify/1.0.0"), lines.line(["elsewhere"], PROTOCOL):
            assert len(exchange.dialled) == 3


async def test_a_line_that_nobody_uses_is_closed(autojump_clock: MockClock) -> None:
    """Its place at the other party is free soon."""
    exchange = Exchange()
    async with open_lines(exchange.dial) as lines:
        async with lines.line(PLACE, PROTOCOL):
            pass
        assert not exchange.dialled[0].closed
        await trio.sleep(KEEP_SECONDS + 0.1)
        assert exchange.dialled[0].closed


async def test_a_line_to_which_something_happened_is_not_used_again(autojump_clock: MockClock) -> None:
    """Neither one that broke while it was idle, nor one whose block failed."""
    exchange = Exchange()
    async with open_lines(exchange.dial) as lines:
        async with lines.line(PLACE, PROTOCOL):
            pass
        exchange.dialled[0].is_whole = False
        with pytest.raises(KeyError):
            async with lines.line(PLACE, PROTOCOL):
                raise KeyError
        assert exchange.dialled[1].closed
        async with lines.line(PLACE, PROTOCOL):
            assert len(exchange.dialled) == 3


async def test_few_lines_are_open_to_one_party(autojump_clock: MockClock) -> None:
    """Who comes when all are taken waits for its turn."""
    exchange = Exchange()

    async def ask() -> None:
        async with lines.line(PLACE, PROTOCOL):
            await trio.sleep(1)

    async with open_lines(exchange.dial) as lines:
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(3 * AT_A_TIME):
                nursery.start_soon(ask)
        assert trio.current_time() - start == pytest.approx(3)
        assert len(exchange.dialled) == AT_A_TIME


async def test_what_the_block_raises_comes_through_alone() -> None:
    """No group of exceptions is made of it."""
    with pytest.raises(PeerUnreachable):
        async with open_lines(Exchange().dial):
            raise PeerUnreachable("nobody is there")


async def test_an_institution_keeps_lines_and_a_person_does_not(town: Town) -> None:
    """A receiver asks its verifier twice per package; a person asks everybody once."""
    assert town.receiver.agent.context.lines is not None
    assert (await town.person()).context.lines is None
    assert module.KEEP_SECONDS < 2, "a party that is told to stop waits for open lines"


async def test_nobody_waits_for_a_busy_party_for_ever(autojump_clock: MockClock) -> None:
    """Who finds all lines taken is told so while those who wait for it are still there, and the others keep theirs."""
    async with open_lines(Exchange().dial) as lines, AsyncExitStack() as stack:
        for _ in range(AT_A_TIME):
            await stack.enter_async_context(lines.line(PLACE, PROTOCOL))
        with pytest.raises(PeerUnreachable, match="all busy"), trio.fail_after(Deadlines().decision_seconds):
            async with lines.line(PLACE, PROTOCOL):
                pytest.fail("there are too many")
        async with lines.line(["elsewhere"], PROTOCOL):
            pass
