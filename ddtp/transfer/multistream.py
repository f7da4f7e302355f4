"""spec/14 s.2: multistream-select 1.0, both sides, with every length and every count bounded.

A stranger talks to this before it has an identity. libp2p's own negotiation believes any announced length of 64 bits
and answers proposals without end; here a peer gets 1024 bytes a message and 16 proposals. Deadlines are the caller's.
"""

from collections.abc import Callable, Collection
from typing import Final, Protocol

import trio

from ddtp.errors import ProtocolViolation
from ddtp.transfer.pieces import Piece

MULTISTREAM: Final = "/multistream/1.0.0"
NOT_AVAILABLE: Final = "na"

MAX_MESSAGE_BYTES: Final = 1024
"""With the line feed. The ids that we know have less than 40; others may try longer ones and get the answer `na`."""

MAX_PROPOSALS: Final = 16
"""Per negotiation: implementations propose a handful of security protocols, muxers or versions."""

QUOTED_CHARACTERS: Final = 64
"""Of what a peer sent, in the text of an error."""


class Channel(Protocol):
    """What a negotiation runs over."""

    async def read(self, max_bytes: int, /) -> Piece:
        """Return 1 to `max_bytes` bytes, or nothing at the end."""
        ...

    async def write(self, data: bytes, /) -> None:
        """Send everything."""
        ...


async def select(protocol: str, channel: Channel) -> None:
    """Propose `protocol`, and nothing else.

    Raises:
        ProtocolViolation: The peer does not speak it, or does not follow multistream-select.
        trio.BrokenResourceError: The channel ended; what it raises itself comes through.
    """
    await _greet(channel)
    await channel.write(_frame(protocol))
    answer = await _receive(channel)
    if answer == NOT_AVAILABLE:
        raise ProtocolViolation(f"expected a peer that speaks {protocol}, found one where it is not supported")
    if answer != protocol:
        raise ProtocolViolation(f"expected the answer {protocol} or na, found {_quoted(answer)}")


async def offer(
    protocols: Collection[str], channel: Channel, *, admit: Callable[[str], None] = lambda _protocol: None
) -> str:
    """Let the peer choose one of `protocols` and return it.

    Args:
        protocols: Ours.
        channel: To the peer.
        admit: Called with the choice before it is confirmed; what it raises comes through.

    Raises:
        ProtocolViolation: The peer does not follow multistream-select, or chose none in `MAX_PROPOSALS`.
        trio.BrokenResourceError: The channel ended; what it raises itself comes through.
    """
    await _greet(channel)
    for _ in range(MAX_PROPOSALS):
        proposal = await _receive(channel)
        if proposal in protocols:
            admit(proposal)
            await channel.write(_frame(proposal))
            return proposal
        await channel.write(_frame(NOT_AVAILABLE))
    raise ProtocolViolation(f"expected at most {MAX_PROPOSALS} proposals, found none of ours among them")


async def receive_exactly(channel: Channel, size: int, *, ended: str = "the peer ended the negotiation") -> bytes:
    """Return `size` bytes.

    Raises:
        trio.BrokenResourceError: It ended before, which `ended` says; what the channel raises itself comes through.
    """
    received = b""
    while len(received) < size:
        piece = await channel.read(size - len(received))
        if not piece:
            raise trio.BrokenResourceError(ended)
        received += piece
    return received


async def _greet(channel: Channel) -> None:
    await channel.write(_frame(MULTISTREAM))
    if (greeting := await _receive(channel)) != MULTISTREAM:
        raise ProtocolViolation(f"expected {MULTISTREAM}, found {_quoted(greeting)}")


def _frame(text: str) -> bytes:
    size = len(text) + 1
    length = bytes([size]) if size < 0x80 else bytes([size & 0x7F | 0x80, size >> 7])
    return length + text.encode("ascii") + b"\n"


async def _receive(channel: Channel) -> str:
    size = await _receive_length(channel)
    if not 0 < size <= MAX_MESSAGE_BYTES:
        raise ProtocolViolation(f"expected a message of 1 to {MAX_MESSAGE_BYTES} bytes, found {size}")
    message = await receive_exactly(channel, size)
    # Bytes that are no ASCII equal none of our protocols; they are kept apart from each other for the error's text.
    text = message.decode("ascii", errors="backslashreplace")
    if not text.endswith("\n"):
        raise ProtocolViolation(f"expected a message that ends with a line feed, found {_quoted(text)}")
    return text[:-1]


async def _receive_length(channel: Channel) -> int:
    """Read a varint of at most two bytes, which is more than `MAX_MESSAGE_BYTES` needs."""
    (low,) = await receive_exactly(channel, 1)
    if low < 0x80:
        return low
    (high,) = await receive_exactly(channel, 1)
    if not 0 < high < 0x80:
        raise ProtocolViolation(f"expected the length of a message of at most {MAX_MESSAGE_BYTES} bytes, found another")
    return (low & 0x7F) + (high << 7)


def _quoted(text: str) -> str:
    return ascii(text[:QUOTED_CHARACTERS])
