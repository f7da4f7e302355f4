"""Chunks on connections of their own, beside the stream of a session (spec/14-transport s.8).

Bytes only: who connects to whom, and what moves these bytes, is in `transfer/channel`. What a frame carries is sealed
already; the tag of a frame makes sure at once that it is what the peer of the session has sent.
"""

import hmac
import struct
from dataclasses import dataclass
from typing import Final

from ddtp.crypto import kdf, sm3
from ddtp.errors import ProtocolViolation
from ddtp.protocol.codec import Buffer

TOKEN_SIZE: Final = 32
FRAME_TAG_SIZE: Final = 32
MAX_CHANNELS: Final = 8
"""Connections of one session: with the usual window of 6 MiB each they fill 1.2 Gbit/s at a round trip of 300 ms."""

TICKET: Final = struct.Struct(f">{TOKEN_SIZE}sBB")
"""Token, number of this connection, number of all."""
FRAME_HEADER: Final = struct.Struct(">QB")
"""Index of the first chunk, number of chunks."""

READY: Final = b"\x00"
"""The answer to a ticket; frames follow it."""

_LABEL: Final = b"ddtp.bulk.v1\x00"


@dataclass(frozen=True, slots=True)
class BulkKeys:
    """What only the two ends of one session know.

    Attributes:
        token: 32 bytes that a connection presents to be taken as one of the session.
        frame_key: 32 bytes for the tags of frames.
    """

    token: bytes
    frame_key: bytes


@dataclass(frozen=True, slots=True)
class Ticket:
    """First message on a bulk connection.

    Attributes:
        token: Names the session.
        number: Of this connection, from 0.
        channels: How many connections there will be.
    """

    token: bytes
    number: int
    channels: int

    def encode(self) -> bytes:
        """Return the 34 bytes on the wire."""
        return TICKET.pack(self.token, self.number, self.channels)


def derive_keys(holder_nonce: bytes, receiver_nonce: bytes, transfer_id: bytes) -> BulkKeys:
    """Derive the keys of one session from the nonces of its hellos, which nobody else has seen."""
    secret = kdf.hkdf_extract(holder_nonce + receiver_nonce, transfer_id)
    derived = kdf.hkdf_expand(secret, _LABEL, TOKEN_SIZE + sm3.DIGEST_SIZE)
    return BulkKeys(derived[:TOKEN_SIZE], derived[TOKEN_SIZE:])


def parse_ticket(data: bytes) -> Ticket:
    """Decode a ticket of 34 bytes.

    Raises:
        ProtocolViolation: The numbers are out of bounds.
    """
    token, number, channels = TICKET.unpack(data)
    if not number < channels <= MAX_CHANNELS:
        raise ProtocolViolation(f"expected connection 0 to {MAX_CHANNELS - 1} of a session, found {number}/{channels}")
    return Ticket(token, number, channels)


def frame_tag(frame_key: bytes, header: bytes, leaves: Buffer) -> bytes:
    """Return the tag of a frame: HMAC-SM3 over its header and the leaves of its sealed chunks (spec/07 s.4)."""
    return sm3.hmac(frame_key, header, leaves)


def check_frame_tag(frame_key: bytes, header: bytes, leaves: Buffer, tag: Buffer) -> None:
    """Check that a frame is what the peer of the session has sent.

    Raises:
        ProtocolViolation: It is not.
    """
    if not hmac.compare_digest(frame_tag(frame_key, header, leaves), tag):
        raise ProtocolViolation("expected chunks as the peer sent them, found others: somebody changed them on the way")
