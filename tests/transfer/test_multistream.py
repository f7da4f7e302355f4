"""Choosing a protocol, with peers that announce too much, propose without end, or talk nonsense."""

import pytest
import trio
import trio.testing

from ddtp.errors import ProtocolViolation
from ddtp.transfer.multistream import MAX_MESSAGE_BYTES, MAX_PROPOSALS, offer, select

GREETING = b"\x13/multistream/1.0.0\n"


class Channel:
    """One side of a pair in memory, which counts what it was asked for."""

    def __init__(self, inner):
        self._inner = inner
        self.asked_bytes = 0

    async def read(self, max_bytes):
        self.asked_bytes += max_bytes
        return bytes(await self._inner.receive_some(max_bytes))

    async def write(self, data):
        await self._inner.send_all(data)


@pytest.fixture
def channels():
    """Ours, and the bare stream of the peer."""
    ours, theirs = trio.testing.memory_stream_pair()
    return Channel(ours), theirs


async def test_both_sides_agree(channels):
    """The dialler proposes, the other side takes what it knows; on the wire it is multistream-select."""
    ours, theirs = channels
    async with trio.open_nursery() as nursery:
        nursery.start_soon(select, "/b/1", Channel(theirs))
        assert await offer(["/a/1", "/b/1"], ours) == "/b/1"


@pytest.mark.parametrize("length", [3, 127, 128, 300])
async def test_the_bytes_are_those_of_the_specification(channels, length):
    """Each message is its length as a varint, the text and a line feed."""
    ours, theirs = channels
    protocol = "/" + "p" * (length - 1)
    prefix = bytes([length + 1]) if length < 127 else bytes([(length + 1) % 128 + 128, (length + 1) // 128])
    message = prefix + protocol.encode() + b"\n"
    await theirs.send_all(GREETING + message)
    with trio.fail_after(1):
        assert await offer([protocol], ours) == protocol
        await select(protocol, Channel(_Replay(theirs, GREETING + message)))


class _Replay:
    """A stream that has sent what it is to read, and checks that it is told the same."""

    def __init__(self, stream, expected):
        self._told = stream
        self._left = expected

    async def receive_some(self, max_bytes):
        piece, self._left = self._left[:max_bytes], self._left[max_bytes:]
        return piece

    async def send_all(self, data):
        assert await self._told.receive_some(len(data)) == data


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x81\x08",
        b"\xff\x7f",
        b"\x93\x00/multistream/1.0.0\n",
        b"\x00",
        b"\x03abc",
        b"\x13/multistream/2.0.0\n",
        b"\x04\xff\xfe\xfd\n",
    ],
    ids=["63 bits", "1025", "16383", "overlong", "empty", "no line feed", "another version", "no text"],
)
@pytest.mark.parametrize("side", [offer, select])
async def test_a_message_out_of_bounds_is_refused_at_once(channels, side, data):
    """The announced length decides; nothing is waited for, and nothing long is asked of the channel."""
    ours, theirs = channels
    await theirs.send_all(data)
    with trio.fail_after(1), pytest.raises(ProtocolViolation) as refused:
        await side("/a/1" if side is select else ["/a/1"], ours)
    assert ours.asked_bytes <= MAX_MESSAGE_BYTES
    assert len(refused.value.message) < 200


async def test_what_a_peer_sent_is_quoted_in_part(channels):
    """The longest message that is read at all does not fill a log line, and is escaped."""
    ours, theirs = channels
    await theirs.send_all(b"\x80\x08" + b"\x1b" * MAX_MESSAGE_BYTES)
    with trio.fail_after(1), pytest.raises(ProtocolViolation) as refused:
        await offer(["/a/1"], ours)
    assert "\x1b" not in refused.value.message
    assert len(refused.value.message) < 400


async def test_proposals_are_counted(channels):
    """The last one that is allowed is taken; one more unknown one ends the negotiation."""
    for unknown, taken in ((MAX_PROPOSALS - 1, True), (MAX_PROPOSALS, False)):
        ours, theirs = trio.testing.memory_stream_pair()
        await theirs.send_all(GREETING + b"\x03ls\n" * unknown + b"\x05/a/1\n")
        if taken:
            assert await offer(["/a/1"], Channel(ours)) == "/a/1"
        else:
            with pytest.raises(ProtocolViolation):
                await offer(["/a/1"], Channel(ours))
        assert (await theirs.receive_some()).startswith(GREETING + b"\x03na\n" * unknown)


async def test_what_nobody_speaks_is_said(channels):
    """The dialler learns that the peer follows the rules and does not speak the protocol, or that it does not."""
    for answer, words in ((b"\x03na\n", "not supported"), (b"\x05/b/1\n", "/b/1")):
        ours, theirs = trio.testing.memory_stream_pair()
        await theirs.send_all(GREETING + answer)
        with pytest.raises(ProtocolViolation, match=words):
            await select("/a/1", Channel(ours))


async def test_an_end_in_the_middle_is_a_broken_channel(channels):
    """A peer that leaves has not broken the rules."""
    ours, theirs = channels
    await theirs.send_all(GREETING[:5])
    await theirs.send_eof()
    with pytest.raises(trio.BrokenResourceError):
        await offer(["/a/1"], ours)
