"""spec/14 s.3: the records that carry one flow-controlled stream over any byte stream.

Sans-IO: bytes in, records out. Credit accounting of the sending half and all waiting live in `stream`.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, final

from ddtp.errors import ProtocolViolation
from ddtp.transfer.pieces import Piece

HEADER = struct.Struct(">BI")
"""Type and one number: the payload's length, the bytes granted, or zero."""

PIECE_BYTES: Final = 65_507
"""Largest record, header included: with Yamux's 12 bytes it fills one Noise message (65,519 bytes) exactly."""

PAYLOAD_BYTES: Final = PIECE_BYTES - HEADER.size
"""Largest payload of one DATA record."""

WINDOW_BYTES: Final = 4 * 1024 * 1024
"""Bytes that may be on their way or unread: fills 400 Mbit/s at a round trip of 80 ms, and bounds memory per stream."""


class RecordType(IntEnum):
    """What a record says; the values are on the wire."""

    DATA = 0
    CREDIT = 1
    END = 2
    END_ACK = 3


@final
@dataclass(frozen=True, slots=True)
class Record:
    """One record, or the part of a DATA record that has arrived.

    Attributes:
        type: What it says.
        number: Length of `payload` (DATA), bytes granted (CREDIT), zero otherwise.
        payload: Application bytes, only in DATA.
    """

    type: RecordType
    number: int
    payload: Piece = b""


def encode_record(record_type: RecordType, number: int = 0) -> bytes:
    """Encode a record without payload.

    Args:
        record_type: Any type but DATA.
        number: Bytes granted for CREDIT, zero otherwise.
    """
    return HEADER.pack(record_type, number)


def encode_data(payload: Piece) -> bytes:
    """Encode as few DATA records as hold `payload`, in one piece, so that they cost one write below."""
    view = memoryview(payload)
    parts: list[Piece] = []
    for start in range(0, len(view), PAYLOAD_BYTES):
        part = view[start : start + PAYLOAD_BYTES]
        parts += (HEADER.pack(RecordType.DATA, len(part)), part)
    return b"".join(parts)


@final
class RecordDecoder:
    """Splits received bytes into records and refuses what the window does not allow."""

    def __init__(self) -> None:
        self._header = b""
        self._payload_left = 0
        self._allowance = WINDOW_BYTES
        self._ended = False

    def grant(self, size_bytes: int) -> None:
        """Allow the peer `size_bytes` more; call it when the CREDIT record is queued."""
        self._allowance += size_bytes

    def feed(self, data: Piece) -> Iterator[Record]:
        """Decode what `data` completes; payload is handed on without waiting for the rest of its record.

        Raises:
            ProtocolViolation: Unknown type, bad length, data beyond the window or after END.
        """
        offset = 0
        view = memoryview(data)
        while offset < len(view):
            if self._payload_left:
                payload = view[offset : offset + self._payload_left]
                self._payload_left -= len(payload)
                offset += len(payload)
                yield Record(RecordType.DATA, len(payload), payload)
                continue
            missing = HEADER.size - len(self._header)
            self._header += view[offset : offset + missing]
            offset += missing
            if len(self._header) == HEADER.size:
                record = self._parse_header()
                self._header = b""
                if record.type is not RecordType.DATA:
                    yield record

    def _parse_header(self) -> Record:
        type_number, number = HEADER.unpack(self._header)
        try:
            record = Record(RecordType(type_number), number)
        except ValueError as err:
            raise ProtocolViolation(f"expected a stream record of type 0 to 3, found {type_number}") from err
        if record.type is RecordType.DATA:
            self._start_payload(number)
        elif (number == 0) is (record.type is RecordType.CREDIT):
            raise ProtocolViolation(f"expected a number that suits {record.type.name}, found {number}")
        elif record.type is RecordType.END:
            if self._ended:
                raise ProtocolViolation("expected END once, found it twice")
            self._ended = True
        return record

    def _start_payload(self, length: int) -> None:
        if self._ended:
            raise ProtocolViolation("expected no DATA after END")
        if not 1 <= length <= PAYLOAD_BYTES:
            raise ProtocolViolation(f"expected DATA of 1 to {PAYLOAD_BYTES} bytes, found {length}")
        if length > self._allowance:
            raise ProtocolViolation(f"expected at most {self._allowance} bytes within the window, found {length}")
        self._allowance -= length
        self._payload_left = length
