"""Frames of a session: u32 length ‖ u8 type ‖ payload (spec/08-session s.2).

The reader says how many bytes it can use and checks every announced length before it keeps a byte of the payload, so it
never holds more than one frame and the header of the next.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from ddtp.errors import InternalError, ProtocolViolation
from ddtp.protocol.codec import Buffer
from ddtp.protocol.messages import MessageType

HEADER: Final = struct.Struct(">IB")
"""Length of the payload and type of the frame."""
CHUNK_INDEX: Final = struct.Struct(">Q")
"""First part of a chunk's payload."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One received frame.

    Attributes:
        type: What the payload is.
        payload: An encoded record, or index and sealed bytes of a chunk.
    """

    type: MessageType
    payload: bytes


def encode_frame(frame_type: MessageType, payload: Buffer) -> bytes:
    """Encode one frame that is not a chunk."""
    return HEADER.pack(len(payload), frame_type) + payload


def encode_chunk_header(index: int, size_bytes: int) -> bytes:
    """Return what stands before the sealed bytes of a chunk, so that they need not be copied.

    Args:
        index: Position of the chunk.
        size_bytes: Length of the sealed chunk.
    """
    return HEADER.pack(CHUNK_INDEX.size + size_bytes, MessageType.CHUNK) + CHUNK_INDEX.pack(index)


@final
class FrameReader:
    """Cuts received bytes into frames.

    Args:
        bound: Returns the largest payload of a frame type that is allowed now, in bytes, and raises for a type that is
            not allowed; asked once per frame, when its header is there.
    """

    def __init__(self, bound: Callable[[MessageType], int]) -> None:
        self._bound = bound
        self._buffer = bytearray()
        self._expected: tuple[MessageType, int] | None = None

    @property
    def wanted_bytes(self) -> int:
        """Bytes that `feed` takes now: the rest of this frame and the header of the next; 0 if a frame is waiting."""
        if self._expected is None:
            return max(0, HEADER.size - len(self._buffer))
        total = HEADER.size + self._expected[1]
        return total + HEADER.size - len(self._buffer) if len(self._buffer) < total else 0

    def feed(self, data: Buffer) -> None:
        """Take received bytes, at most `wanted_bytes`.

        Raises:
            InternalError: These are more.
        """
        if len(data) > self.wanted_bytes:
            raise InternalError(f"expected at most {self.wanted_bytes} bytes at once, found {len(data)}")
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """Return the frame that is complete, or None if more bytes are needed.

        Raises:
            ProtocolViolation: Unknown type, not allowed now, or longer than allowed.
        """
        if self._expected is None:
            if len(self._buffer) < HEADER.size:
                return None
            self._expected = self._parse_header()
        frame_type, length = self._expected
        end = HEADER.size + length
        if len(self._buffer) < end:
            return None
        with memoryview(self._buffer) as view:
            payload = bytes(view[HEADER.size : end])
        del self._buffer[:end]
        self._expected = None
        return Frame(frame_type, payload)

    def discard(self) -> None:
        """Forget everything received."""
        self._buffer.clear()
        self._expected = None

    def _parse_header(self) -> tuple[MessageType, int]:
        length, type_number = HEADER.unpack_from(self._buffer)
        try:
            frame_type = MessageType(type_number)
        except ValueError as err:
            raise ProtocolViolation(f"expected a frame of a known type, found type {type_number}") from err
        bound = self._bound(frame_type)
        if length > bound:
            raise ProtocolViolation(f"expected at most {bound} bytes in {frame_type.name.lower()}, found {length}")
        return frame_type, length
