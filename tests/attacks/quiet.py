"""Peers that fall silent, or are gone, at a chosen moment of an exchange."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

import pytest
import trio

from ddtp.agent.checking import load_policy
from ddtp.agent.claims import Claims
from ddtp.agent.context import TRANSFER_PROTOCOL
from ddtp.agent.facade import Agent
from ddtp.agent.judging import local_judge
from ddtp.agent.receiving import Receiver
from ddtp.agent.reception import Reception
from ddtp.errors import PeerVanished
from ddtp.store.records import TransferRow
from ddtp.transfer.ports import Deadlines, ReceiverPort
from ddtp.transfer.receiver import receive_transfer
from ddtp.transfer.stream import FlowStream
from tests.town import DAY, PATIENCE_SECONDS, House, Town


class Way(Enum):
    """How a peer leaves."""

    SILENT = "silent"
    GONE = "gone"


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something that no event tells is so."""
    with trio.fail_after(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - files that close set no event
            await trio.sleep(0.01)


def descriptors() -> int:
    """Number of open files and sockets of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


@dataclass
class Leaving:
    """A moment at which a peer leaves.

    Attributes:
        way: How.
        reached: Set when the moment has come.
        over: To be set when a silent peer has been silent for long enough.
    """

    way: Way
    reached: trio.Event = field(default_factory=trio.Event)
    over: trio.Event = field(default_factory=trio.Event)

    async def leave(self, stream: FlowStream) -> None:
        self.reached.set()
        if self.way is Way.SILENT:
            await self.over.wait()
        stream.abort()
        raise trio.BrokenResourceError


class LeavingStream:
    """A stream of a holder who leaves instead of sending once more."""

    def __init__(self, stream: FlowStream, *, sends: int, leaving: Leaving) -> None:
        self.remote_peer_id = stream.remote_peer_id
        self.bulk_dialer = stream.bulk_dialer
        self.bulk_desk = stream.bulk_desk
        self._stream = stream
        self._left = sends
        self._leaving = leaving

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if not self._left:
            await self._leaving.leave(self._stream)
        self._left -= 1
        await self._stream.send_all(data)

    async def aclose(self) -> None:
        # a process that is gone does not say goodbye
        self._stream.abort()
        await trio.lowlevel.checkpoint()


def leaving_holder(person: Agent, *, sends: int, leaving: Leaving) -> Agent:
    """A person who leaves after so many writes of an exchange: hello, offer, chunks, finish, key."""

    async def dial(addresses: Sequence[str], protocol: str) -> FlowStream:
        stream = await person.context.dial(addresses, protocol)
        if protocol != TRANSFER_PROTOCOL:
            return stream
        return LeavingStream(stream, sends=sends, leaving=leaving)

    # a program whose connection is dead does not know it; the one that takes over may be on another machine
    elsewhere = replace(person.context.config, home=person.context.config.home / "elsewhere")
    return Agent(replace(person.context, dial=dial, config=elsewhere), person.host)


async def break_off(town: Town, person: Agent, *, sends: int, valid_seconds: int = 30 * DAY) -> TransferRow:
    """Send a part of a transfer, see `leaving_holder`; return it as the holder knows it, after the receiver noticed."""
    package = await town.issue(person, valid_seconds=valid_seconds)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    with pytest.raises(PeerVanished):
        await leaving_holder(person, sends=sends, leaving=Leaving(Way.GONE)).send(prepared)
    await until(lambda: not town.receiver.service._streams)
    (row,) = await person.transfers()
    return row


class _LeavingPort:
    """A receiver's port that leaves instead of doing one thing, or after it."""

    def __init__(self, port: Receiver, moment: str, leave: Callable[[], Awaitable[None]], *, after: bool) -> None:
        self._port = port
        self._moment = moment
        self._leave = leave
        self._after = after

    def __getattr__(self, name: str) -> object:
        method = getattr(self._port, name)
        if name != self._moment:
            return method

        async def leave(*arguments: object) -> object:
            if self._after:
                await method(*arguments)
            await self._leave()

        return leave


def serve_port(house: House, wrap: Callable[[Receiver, FlowStream], ReceiverPort]) -> Reception:
    """Put something around the receiver of every exchange of an institution, until its service is registered again."""
    settings = house.config.receiver
    assert settings is not None
    judge = local_judge(load_policy(settings.policy), house.did)
    reception = Reception(house.agent.context, settings, judge, lambda _row: None, Claims())

    async def receive(stream: FlowStream) -> None:
        receiver = Receiver(reception, trio.CancelScope())
        try:
            await receive_transfer(stream, wrap(receiver, stream), deadlines=Deadlines())
        finally:
            await receiver.aclose()

    house.agent.host.serve(TRANSFER_PROTOCOL, receive)
    return reception


def make_receiver_leave(house: House, moment: str, *, leaving: Leaving, after: bool = False) -> Reception:
    """Make an institution leave at one moment of every exchange, until its service is registered again."""
    return serve_port(
        house,
        lambda receiver, stream: _LeavingPort(receiver, moment, lambda: leaving.leave(stream), after=after),
    )
