"""Questions to a ledger and its answers over the network (spec/09-ledger s.10).

One message holds one question; the answer to each has its own shape. A refusal is not an answer: it travels as the code
of an error below this layer (spec/14 s.5).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from ddtp.chain.checkpoint import MAX_CHECKPOINT_BYTES
from ddtp.chain.ledger import PAGE_ENTRIES
from ddtp.chain.proof import MAX_PATH_HASHES
from ddtp.chain.statement import MAX_ENTRY_BYTES
from ddtp.errors import DecodeError
from ddtp.protocol.record import Digest, Limit, Record

MAX_REQUEST_BYTES: Final = PAGE_ENTRIES * (MAX_ENTRY_BYTES + 3) + 64
"""Longest question: a page of entries to append, a little above 2 MiB."""

MAX_ANSWER_BYTES: Final = MAX_REQUEST_BYTES
"""Longest answer: a page of entries that was read."""

Entries = Annotated[tuple[Annotated[bytes, Limit(MAX_ENTRY_BYTES)], ...], Limit(PAGE_ENTRIES)]


@dataclass(frozen=True, slots=True)
class Span(Record):
    """Two positions or sizes.

    Attributes:
        start: The first position, or the older size.
        stop: The position after the last, or the newer size.
    """

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Question(Record):
    """One question; exactly one field is present.

    Attributes:
        append: Encoded entries to append; the answer is `Positions`.
        lookup: A blinded digest; the answer is `Positions`.
        head: Always true; the answer is `Head`.
        prove: A position; the answer is a `proof.LedgerProof`.
        growth: Two sizes; the answer is `Growth`.
        entries: A range; the answer is `Page`.
    """

    MAX_BYTES: ClassVar[int] = MAX_REQUEST_BYTES

    append: Entries | None = None
    lookup: Digest | None = None
    head: bool | None = None
    prove: int | None = None
    growth: Span | None = None
    entries: Span | None = None

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        fields = (self.append, self.lookup, self.head, self.prove, self.growth, self.entries)
        asked = sum(field is not None for field in fields)
        if asked != 1 or self.head is False:
            raise DecodeError(f"expected exactly one question, found {asked}")


@dataclass(frozen=True, slots=True)
class Positions(Record):
    """Positions of entries.

    Attributes:
        positions: In the order of the appended entries, or rising for a lookup.
    """

    positions: Annotated[tuple[int, ...], Limit(PAGE_ENTRIES)]


@dataclass(frozen=True, slots=True)
class Head(Record):
    """The newest checkpoint.

    Attributes:
        checkpoint: Its envelope.
    """

    checkpoint: Annotated[bytes, Limit(MAX_CHECKPOINT_BYTES, least=1)]


@dataclass(frozen=True, slots=True)
class Growth(Record):
    """A consistency path.

    Attributes:
        path: Hashes, lowest first; one more than an audit path at most.
    """

    path: Annotated[tuple[Digest, ...], Limit(MAX_PATH_HASHES + 1)]


@dataclass(frozen=True, slots=True)
class Page(Record):
    """Entries that were read.

    Attributes:
        entries: Encoded entries.
    """

    MAX_BYTES: ClassVar[int] = MAX_ANSWER_BYTES

    entries: Entries
