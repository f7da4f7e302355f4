"""spec/14 s.7: the messages of libp2p's circuit relay v2, and what the two ends of a circuit say with them.

https://github.com/libp2p/specs/blob/master/relay/circuit-v2.md; the protobuf that it needs is small enough to be read
strictly here. Deadlines are the caller's.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, final

import base58
import trio

from ddtp.errors import Overloaded, PeerUnreachable, ProtocolViolation
from ddtp.transfer.multistream import receive_exactly
from ddtp.transfer.stream import RawStream

HOP: Final = "/libp2p/circuit/relay/0.2.0/hop"
STOP: Final = "/libp2p/circuit/relay/0.2.0/stop"
MAX_MESSAGE_BYTES: Final = 4096
"""As the specification has it; a reservation with some addresses and a voucher has a few hundred."""
GOODBYE_SECONDS: Final = 2.0
"""For a peer to read a refusal before the stream is reset under it."""

_ENDED: Final = "the relay stream ended inside a message"

_VARINT, _BYTES = 0, 2
_FIXED: Final = {1: 8, 5: 4}
"""Wire types that none of our fields has, and their sizes; fields of theirs are skipped as unknown."""


class HopType(IntEnum):
    """What is said to a relay, and its answer."""

    RESERVE = 0
    CONNECT = 1
    STATUS = 2


class StopType(IntEnum):
    """What a relay says to a peer that has a reservation, and its answer."""

    CONNECT = 0
    STATUS = 1


class Status(IntEnum):
    """Of an answer."""

    OK = 100
    RESERVATION_REFUSED = 200
    RESOURCE_LIMIT_EXCEEDED = 201
    PERMISSION_DENIED = 202
    CONNECTION_FAILED = 203
    NO_RESERVATION = 204
    MALFORMED_MESSAGE = 400
    UNEXPECTED_MESSAGE = 401


@final
@dataclass(frozen=True, slots=True)
class Limit:
    """What one circuit may cost; 0 is without bound.

    Attributes:
        seconds: How long it lasts.
        size_bytes: How much it carries in each direction.
    """

    seconds: int = 0
    size_bytes: int = 0


@final
@dataclass(frozen=True, slots=True)
class Message:
    """Of either protocol: the two differ in the numbers of their fields only.

    Attributes:
        kind: A `HopType` or `StopType`.
        peer_id: Who is meant; None if nobody.
        expires: Of a reservation, in seconds since the epoch; None without one.
        limit: Of circuits; None if nothing is said.
        status: Of an answer; None otherwise. Any number, because a relay may know newer ones.
    """

    kind: int
    peer_id: str | None = None
    expires: int | None = None
    limit: Limit | None = None
    status: int | None = None


def encode_hop(message: Message) -> bytes:
    """Encode a message of `HOP`, with its length."""
    reservation = None if message.expires is None else _number(1, message.expires)
    body = _number(1, message.kind) + _peer(message) + _bytes(3, reservation) + _limit(4, message)
    return _framed(body + _number(5, message.status))


def encode_stop(message: Message) -> bytes:
    """Encode a message of `STOP`, with its length."""
    body = _number(1, message.kind) + _peer(message) + _limit(3, message)
    return _framed(body + _number(4, message.status))


def parse_hop(body: bytes) -> Message:
    """Decode a message of `HOP`.

    Raises:
        ProtocolViolation: It is malformed.
    """
    numbers, texts = _read(body)
    reserved = _read(texts[3])[0] if 3 in texts else None
    return Message(
        kind=_kind(numbers, len(HopType)),
        peer_id=_peer_id(texts),
        expires=None if reserved is None else reserved.get(1, 0),
        limit=_parse_limit(texts.get(4)),
        status=numbers.get(5),
    )


def parse_stop(body: bytes) -> Message:
    """Decode a message of `STOP`.

    Raises:
        ProtocolViolation: It is malformed.
    """
    numbers, texts = _read(body)
    return Message(
        kind=_kind(numbers, len(StopType)),
        peer_id=_peer_id(texts),
        limit=_parse_limit(texts.get(3)),
        status=numbers.get(4),
    )


async def read_message(raw: RawStream) -> bytes:
    """Read one message without its length.

    Raises:
        ProtocolViolation: It is longer than `MAX_MESSAGE_BYTES`.
        trio.BrokenResourceError: The stream ended.
    """
    size = 0
    for shift in (0, 7):
        (digit,) = await receive_exactly(raw, 1, ended=_ENDED)
        size |= (digit & 0x7F) << shift
        if digit < 0x80:
            break
    else:
        size = MAX_MESSAGE_BYTES + 1
    if size > MAX_MESSAGE_BYTES:
        raise ProtocolViolation(f"expected a message of at most {MAX_MESSAGE_BYTES} bytes, found a longer one")
    return await receive_exactly(raw, size, ended=_ENDED)


async def reserve(raw: RawStream) -> int:
    """Ask a relay for a reservation; return when it expires, in seconds since the epoch.

    Raises:
        Overloaded, PeerUnreachable: The relay refuses.
        ProtocolViolation: It does not follow the protocol.
        trio.BrokenResourceError: The stream is over.
    """
    await raw.write(encode_hop(Message(HopType.RESERVE)))
    answer = _granted(parse_hop(await read_message(raw)), HopType.STATUS)
    if answer.expires is None:
        raise ProtocolViolation("expected a reservation in the relay's answer, found none")
    return answer.expires


async def connect(raw: RawStream, peer_id: str) -> None:
    """Ask a relay for a circuit to a peer; from then on the stream is that circuit.

    Raises:
        Overloaded: The relay has no place for it now.
        PeerUnreachable: The relay refuses, or the peer has no reservation there.
        ProtocolViolation: It does not follow the protocol.
        trio.BrokenResourceError: The stream is over.
    """
    await raw.write(encode_hop(Message(HopType.CONNECT, peer_id=peer_id)))
    _granted(parse_hop(await read_message(raw)), HopType.STATUS)


async def offer(raw: RawStream, peer_id: str, limit: Limit) -> None:
    """Offer a circuit from a peer to one that has a reservation with us; from then on the stream is that circuit.

    Raises:
        Overloaded, PeerUnreachable: It does not want it.
        ProtocolViolation: It does not follow the protocol.
        trio.BrokenResourceError: The stream is over.
    """
    await raw.write(encode_stop(Message(StopType.CONNECT, peer_id=peer_id, limit=limit)))
    _granted(parse_stop(await read_message(raw)), StopType.STATUS)


async def refuse(raw: RawStream, answer: bytes) -> None:
    """Give an answer that ends a stream, and leave the stream until the peer has read it.

    Raises:
        trio.BrokenResourceError: The stream is over.
    """
    with trio.move_on_after(GOODBYE_SECONDS):
        await raw.write(answer)
        await raw.close()
        while await raw.read(MAX_MESSAGE_BYTES):
            pass


def _granted(answer: Message, kind: int) -> Message:
    if answer.kind != kind or answer.status is None:
        raise ProtocolViolation("expected an answer with a status, found another message")
    if answer.status != Status.OK:
        known = {status.value: status.name.lower().replace("_", " ") for status in Status}
        refusal = Overloaded if answer.status == Status.RESOURCE_LIMIT_EXCEEDED else PeerUnreachable
        raise refusal(f"the relay says: {known.get(answer.status, 'no')} ({answer.status})")
    return answer


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def _number(field: int, value: int | None) -> bytes:
    return b"" if value is None else _varint(field << 3 | _VARINT) + _varint(value)


def _bytes(field: int, value: bytes | None) -> bytes:
    return b"" if not value else _varint(field << 3 | _BYTES) + _varint(len(value)) + value


def _peer(message: Message) -> bytes:
    return b"" if message.peer_id is None else _bytes(2, _bytes(1, base58.b58decode(message.peer_id)))


def _limit(field: int, message: Message) -> bytes:
    limit = message.limit
    return b"" if limit is None else _bytes(field, _number(1, limit.seconds) + _number(2, limit.size_bytes))


def _framed(body: bytes) -> bytes:
    return _varint(len(body)) + body


def _read(body: bytes) -> tuple[dict[int, int], dict[int, bytes]]:
    """Return the numbers and the byte strings of a protobuf by their fields; the last of a field counts."""
    numbers: dict[int, int] = {}
    texts: dict[int, bytes] = {}
    position = 0
    while position < len(body):
        tag, position = _take_varint(body, position)
        field, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            numbers[field], position = _take_varint(body, position)
            continue
        size = _FIXED.get(wire)
        if wire == _BYTES:
            size, position = _take_varint(body, position)
        if size is None or position + size > len(body):
            raise _malformed()
        if wire == _BYTES:
            texts[field] = body[position : position + size]
        position += size
    return numbers, texts


def _take_varint(body: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if position == len(body):
            raise _malformed()
        digit = body[position]
        position += 1
        value |= (digit & 0x7F) << shift
        if digit < 0x80:
            return value, position
    raise _malformed()


def _malformed() -> ProtocolViolation:
    return ProtocolViolation("expected a protobuf message of circuit relay, found something else")


def _kind(numbers: dict[int, int], count: int) -> int:
    # proto3 leaves a value of 0 out
    kind = numbers.get(1, 0)
    if kind >= count:
        raise ProtocolViolation(f"expected a known type of message, found {kind}")
    return kind


def _peer_id(texts: dict[int, bytes]) -> str | None:
    if 2 not in texts:
        return None
    raw = _read(texts[2])[1].get(1, b"")
    if not 0 < len(raw) <= 64:
        raise ProtocolViolation(f"expected a peer id of 1 to 64 bytes, found {len(raw)}")
    return base58.b58encode(raw).decode()


def _parse_limit(body: bytes | None) -> Limit | None:
    if body is None:
        return None
    numbers, _ = _read(body)
    return Limit(seconds=numbers.get(1, 0), size_bytes=numbers.get(2, 0))
