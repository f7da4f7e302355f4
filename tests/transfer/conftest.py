"""Raw duplex streams in memory, and pairs of flow streams over them."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from ddtp.transfer.host import Host, open_host
from ddtp.transfer.limits import HostLimits
from ddtp.transfer.stream import FlowStream, open_flow_stream


@pytest.fixture
def hasty_clock(mock_clock: MockClock) -> MockClock:
    """Time passes as soon as nothing has come for a moment; what is sent on loopback comes at once."""
    mock_clock.autojump_threshold = 0.02
    return mock_clock


class MemoryRaw:
    """A raw stream over one side of trio's in-memory pair."""

    def __init__(self, inner: trio.StapledStream) -> None:
        self._inner = inner
        self.was_reset = False

    async def read(self, max_bytes: int) -> bytes:
        try:
            return bytes(await self._inner.receive_some(max_bytes))
        except trio.ClosedResourceError as err:
            raise trio.BrokenResourceError from err

    async def write(self, data: bytes) -> None:
        try:
            await self._inner.send_all(data)
        except trio.ClosedResourceError as err:
            raise trio.BrokenResourceError from err

    async def close(self) -> None:
        await self._inner.send_stream.aclose()

    async def reset(self) -> None:
        self.was_reset = True
        await trio.aclose_forcefully(self._inner)


RawPair = tuple[MemoryRaw, MemoryRaw]
FlowPair = tuple[FlowStream, FlowStream]


def make_raw_pair() -> RawPair:
    left, right = trio.testing.memory_stream_pair()
    return MemoryRaw(left), MemoryRaw(right)


@pytest.fixture
def raw_pair() -> RawPair:
    """Both ends of one raw stream."""
    return make_raw_pair()


@pytest.fixture
def lockstep_pair() -> RawPair:
    """A raw stream without any buffer: each write waits until it is read."""
    left, right = trio.testing.lockstep_stream_pair()
    return MemoryRaw(left), MemoryRaw(right)


@pytest.fixture
def make_flow_pair(nursery: trio.Nursery) -> Callable[[], FlowPair]:
    """Makes both ends of a flow stream, alive until the test ends."""

    def make() -> FlowPair:
        left, right = make_raw_pair()
        return (
            open_flow_stream(left, nursery, remote_peer_id="right"),
            open_flow_stream(right, nursery, remote_peer_id="left"),
        )

    return make


LOOPBACK = "/ip4/127.0.0.1/tcp/0"
PROTOCOL = "/ddtp/test/1"
WIDE = HostLimits(connections_per_address=256, connections_per_peer=256, streams_per_protocol=256)
"""For suites that leave many streams open; the limits have tests of their own."""


@pytest.fixture
async def hosts() -> AsyncIterator[tuple[Host, Host]]:
    """One host that listens and one that only dials, with fresh identities."""
    async with (
        open_host(network_key=os.urandom(32), listen=[LOOPBACK], limits=WIDE) as server,
        open_host(network_key=os.urandom(32)) as client,
    ):
        yield server, client


@pytest.fixture
def make_network_pair(hosts: tuple[Host, Host]) -> Callable[[], Awaitable[FlowPair]]:
    """Makes both ends of a flow stream between two hosts, the dialling one first."""
    server, client = hosts
    arrivals_in, arrivals_out = trio.open_memory_channel[FlowStream](0)

    async def handler(stream: FlowStream) -> None:
        await arrivals_in.send(stream)
        await trio.sleep_forever()

    server.serve(PROTOCOL, handler)

    async def make() -> FlowPair:
        return await client.dial(server.addresses, PROTOCOL, timeout_seconds=5), await arrivals_out.receive()

    return make
