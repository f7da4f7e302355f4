"""Raw duplex streams in memory, and pairs of flow streams over them."""

from collections.abc import Callable

import pytest
import trio
import trio.testing

from ddtp.transfer.stream import FlowStream, open_flow_stream


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
def make_flow_pair(nursery: trio.Nursery) -> Callable[[], FlowPair]:
    """Makes both ends of a flow stream, alive until the test ends."""

    def make() -> FlowPair:
        left, right = make_raw_pair()
        return (
            open_flow_stream(left, nursery, remote_peer_id="right"),
            open_flow_stream(right, nursery, remote_peer_id="left"),
        )

    return make
