"""spec/14 s.2: the frames of Yamux, as at github.com/hashicorp/yamux/blob/master/spec.md.

Sans-IO: bytes in, frames out. What a frame means for a stream, and all windows, are in `yamux`.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, final

from ddtp.errors import ProtocolViolation
from ddtp.transfer.pieces import Piece
from ddtp.transfer.records import WINDOW_BYTES

HEADER = struct.Struct(">BBHII")
"""Version, type, flags, stream and one number."""

VERSION: Final = 0

SYN: Final = 1
ACK: Final = 2
FIN: Final = 4
RST: Final = 8
ALL_FLAGS: Final = SYN | ACK | FIN | RST

MAX_SENT_BYTES: Final = 256 * 1024
"""Payload of a frame that we send, a quarter of what rust-libp2p takes at most: other streams wait for the whole frame,
and each connection keeps a buffer of that size."""

MAX_FRAME_BYTES: Final = WINDOW_BYTES
"""Payload of a frame that we take: js-libp2p fills a whole window with one. Nothing here waits for all of it."""


class FrameType(IntEnum):
    """What a frame is; the values are on the wire."""

    DATA = 0
    WINDOW_UPDATE = 1
    PING = 2
    GO_AWAY = 3


CONNECTION_TYPES: Final = frozenset({FrameType.PING, FrameType.GO_AWAY})
"""Belong to no stream."""


@final
@dataclass(frozen=True, slots=True)
class Frame:
    """The header of a frame.

    Attributes:
        type: What it is.
        stream_id: Which stream it belongs to; zero for the connection.
        flags: Any of `SYN`, `ACK`, `FIN` and `RST`.
        number: Bytes of payload (DATA), bytes granted (WINDOW_UPDATE), anything (PING), a reason (GO_AWAY).
    """

    type: FrameType
    stream_id: int = 0
    flags: int = 0
    number: int = 0

    def encode(self) -> bytes:
        """Return the header on the wire, after which the payload of a DATA frame has to follow."""
        return HEADER.pack(VERSION, self.type, self.flags, self.stream_id, self.number)


@final
class FrameDecoder:
    """Splits received bytes into frames."""

    def __init__(self) -> None:
        self._header = b""
        self._payload_left = 0

    def feed(self, data: Piece) -> Iterator[Frame | Piece]:
        """Decode what `data` completes; the payload of a DATA frame follows its header, as it arrives.

        Raises:
            ProtocolViolation: Not a frame, or one that is too long.
        """
        offset, size = 0, len(data)
        view = memoryview(data)
        while offset < size:
            if self._payload_left:
                payload = view[offset : offset + self._payload_left] if offset or self._payload_left < size else data
                self._payload_left -= len(payload)
                offset += len(payload)
                yield payload
                continue
            missing = HEADER.size - len(self._header)
            self._header += view[offset : offset + missing]
            offset += missing
            if len(self._header) == HEADER.size:
                frame = _parse_header(self._header)
                self._header = b""
                if frame.type is FrameType.DATA:
                    self._payload_left = frame.number
                yield frame


def _parse_header(header: bytes) -> Frame:
    version, type_number, flags, stream_id, number = HEADER.unpack(header)
    if version != VERSION or flags & ~ALL_FLAGS:
        raise ProtocolViolation(f"expected a Yamux frame of version 0, found {version} with flags {flags:#x}")
    try:
        frame = Frame(FrameType(type_number), stream_id, flags, number)
    except ValueError as err:
        raise ProtocolViolation(f"expected a Yamux frame of type 0 to 3, found {type_number}") from err
    if (stream_id == 0) is not (frame.type in CONNECTION_TYPES):
        raise ProtocolViolation(f"expected a stream that suits {frame.type.name}, found {stream_id}")
    if frame.type is FrameType.DATA and number > MAX_FRAME_BYTES:
        raise ProtocolViolation(f"expected a Yamux frame of at most {MAX_FRAME_BYTES} bytes, found {number}")
    return frame
