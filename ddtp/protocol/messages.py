"""The messages of one transfer session (spec/08-session s.3).

Values only: which of them may come when is in `states`, how they lie on the wire in `framing`. Signed objects inside
them stay opaque bytes here; whoever decides on them checks them.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Annotated, ClassVar, Final

from ddtp.errors import DecodeError
from ddtp.protocol.chunks import CHUNK_SIZE_LEAST, MAX_CONTENT_BYTES, SealHeader, chunk_count
from ddtp.protocol.record import Digest, Identifier, Limit, Name, PublicKey, Range, Record, Seconds

_KIB: Final = 1 << 10
_MIB: Final = 1 << 20

MAX_SUITES: Final = 8
"""Suites in one hello: this version knows one, and a handful will be in use at the same time."""
MAX_HEADS: Final = 16
"""Ledger heads in one hello: more logs than two institutions share."""
MAX_RANGES: Final = 1024
"""Ranges of held chunks in one accept; a receiver with more gaps names the first ones and gets the rest again."""
MAX_CHUNKS: Final = chunk_count(MAX_CONTENT_BYTES, CHUNK_SIZE_LEAST)
"""Chunks of the largest content that spec/07 allows."""

_SmallEnvelope = Annotated[bytes, Limit(4 * _KIB, least=1)]
"""A signed object of a few identifiers, such as a binding: with the longest names about 3 KiB."""
_LargeEnvelope = Annotated[bytes, Limit(_MIB + 512, least=1)]
"""A signed object of the default size: 1 MiB of payload and its headers (spec/04)."""


class MessageType(IntEnum):
    """First byte of a frame; the values are on the wire."""

    HELLO = 1
    OFFER = 2
    ACCEPT = 3
    DECLINE = 4
    CHUNK = 5
    ACK = 6
    FINISH = 7
    RECEIPT = 8
    KEY = 9
    ABORT = 10


class Stage(Enum):
    """Which receipt a receipt message carries."""

    CIPHER = "cipher"
    VERIFIED = "verified"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Hello(Record):
    """First message of each side.

    Attributes:
        suites: From the holder all suites it speaks, from the receiver the one it chose.
        nonce: 32 random bytes that the other side's binding must cover.
        binding: The receiver's peer binding (spec/05) over the holder's nonce; absent in the holder's hello.
        heads: Latest checkpoints of the logs that the sender of this message follows, as envelopes.
    """

    MAX_BYTES: ClassVar[int] = 64 * _KIB

    suites: Annotated[tuple[Name, ...], Limit(MAX_SUITES, least=1)]
    nonce: Digest
    binding: _SmallEnvelope | None = None
    heads: Annotated[tuple[Annotated[bytes, Limit(2 * _KIB, least=1)], ...], Limit(MAX_HEADS)] = ()


@dataclass(frozen=True, slots=True)
class Offer(Record):
    """What the holder wants to send, with everything the receiver needs to decide.

    Attributes:
        transfer_id: Same in every attempt to send the same sealed content.
        binding: The holder's peer binding over the receiver's nonce.
        manifest: Envelope of the manifest (spec/03).
        request: Envelope of the request; the receiver needs no memory of the requests it issued.
        grant: Envelope of the grant (spec/06).
        disclosure: Encoded disclosure (spec/03).
        anchors: Encoded proofs that package and grant are anchored (spec/09).
        seal: Sizes, salt and key commitment of the sealed content (spec/07).
    """

    MAX_BYTES: ClassVar[int] = 6 * _MIB

    transfer_id: Identifier
    binding: _SmallEnvelope
    manifest: _LargeEnvelope
    request: _LargeEnvelope
    grant: _LargeEnvelope
    disclosure: Annotated[bytes, Limit(4 * _MIB, least=1)]
    anchors: Annotated[bytes, Limit(256 * _KIB, least=1)]
    seal: SealHeader


@dataclass(frozen=True, slots=True)
class ChunkRange(Record):
    """Chunks `start` to `stop - 1`."""

    start: Annotated[int, Range(0, MAX_CHUNKS)]
    stop: Annotated[int, Range(1, MAX_CHUNKS)]

    def __post_init__(self) -> None:
        """Check that the range is not empty."""
        Record.__post_init__(self)
        if self.start >= self.stop:
            raise DecodeError(f"expected a range that is not empty, found {self.start} to {self.stop}")


@dataclass(frozen=True, slots=True)
class KeyOffer(Record):
    """The receiver's signed offer of a key that is used once, for the content key of one transfer.

    Attributes:
        transfer_id: The only transfer it is for.
        one_time_key: To be destroyed after use.
        expires: The holder wraps nothing to it from this time on.
    """

    KIND: ClassVar[str] = "key-offer"
    MAX_BYTES: ClassVar[int] = _KIB

    transfer_id: Identifier
    one_time_key: PublicKey
    expires: Seconds


@dataclass(frozen=True, slots=True)
class Accept(Record):
    """The receiver wants the content.

    Attributes:
        transfer_id: As in the offer.
        have: Chunks that the receiver already holds: ascending, with gaps between them.
        key_offer: Envelope of a `KeyOffer`.
    """

    MAX_BYTES: ClassVar[int] = 64 * _KIB

    transfer_id: Identifier
    have: Annotated[tuple[ChunkRange, ...], Limit(MAX_RANGES)]
    key_offer: _SmallEnvelope

    def __post_init__(self) -> None:
        """Check that the ranges have one form only."""
        Record.__post_init__(self)
        for left, right in zip(self.have, self.have[1:], strict=False):
            if left.stop >= right.start:
                raise DecodeError(f"expected a gap before chunk {right.start}, found a range up to {left.stop}")


@dataclass(frozen=True, slots=True)
class Decline(Record):
    """The receiver does not want the content.

    Attributes:
        transfer_id: As in the offer.
        code: Stable code (spec/12).
        reason: For people, may be empty.
    """

    MAX_BYTES: ClassVar[int] = 8 * _KIB

    transfer_id: Identifier
    code: Name
    reason: str


@dataclass(frozen=True, slots=True)
class Ack(Record):
    """Chunks that survive a crash of the receiver, those it held before included."""

    MAX_BYTES: ClassVar[int] = 64

    durable_chunks: Annotated[int, Range(1, MAX_CHUNKS)]


@dataclass(frozen=True, slots=True)
class Finish(Record):
    """All chunks have been sent.

    Attributes:
        transfer_id: As in the offer.
        chunk_count: Chunks of the whole content.
        ciphertext_root: Root over all sealed chunks (spec/07 s.4).
    """

    MAX_BYTES: ClassVar[int] = 256

    transfer_id: Identifier
    chunk_count: Annotated[int, Range(1, MAX_CHUNKS)]
    ciphertext_root: Digest


@dataclass(frozen=True, slots=True)
class ReceiptMessage(Record):
    """A receipt (spec/11).

    Attributes:
        stage: Which one; whoever checks the receipt compares it with the signed stage.
        receipt: Its envelope.
    """

    MAX_BYTES: ClassVar[int] = 16 * _KIB

    stage: Stage
    receipt: Annotated[bytes, Limit(12 * _KIB, least=1)]


@dataclass(frozen=True, slots=True)
class KeyRelease(Record):
    """The content key.

    Attributes:
        transfer_id: As in the offer.
        wrapped_key: Content key, wrapped to the one-time key of the accept (spec/07 s.6).
    """

    MAX_BYTES: ClassVar[int] = _KIB

    transfer_id: Identifier
    wrapped_key: Annotated[bytes, Limit(512, least=1)]


@dataclass(frozen=True, slots=True)
class Abort(Record):
    """One side ends the session before its end.

    Attributes:
        code: Stable code (spec/12).
        reason: For people, may be empty.
    """

    MAX_BYTES: ClassVar[int] = 8 * _KIB

    code: Name
    reason: str


@dataclass(frozen=True, slots=True)
class ChunkFrame:
    """One sealed chunk as it was received.

    Attributes:
        index: Position of the chunk.
        sealed: Ciphertext and tag.
    """

    index: int
    sealed: bytes


Message = Hello | Offer | Accept | Decline | Ack | Finish | ReceiptMessage | KeyRelease | Abort

RECORD_OF: Final[dict[MessageType, type[Message]]] = {
    MessageType.HELLO: Hello,
    MessageType.OFFER: Offer,
    MessageType.ACCEPT: Accept,
    MessageType.DECLINE: Decline,
    MessageType.ACK: Ack,
    MessageType.FINISH: Finish,
    MessageType.RECEIPT: ReceiptMessage,
    MessageType.KEY: KeyRelease,
    MessageType.ABORT: Abort,
}
"""The record in each frame; chunk frames hold none."""

TYPE_OF: Final[dict[type[Message], MessageType]] = {record: kind for kind, record in RECORD_OF.items()}
