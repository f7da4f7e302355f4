"""The specimen record of spec/01 s.6, which only vectors and tests use."""

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, ClassVar

from ddtp.protocol.record import Digest, Limit, Name, Range, Record


class Colour(Enum):
    """A choice."""

    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Part(Record):
    """A record inside a record."""

    size: int


@dataclass(frozen=True, slots=True)
class Specimen(Record):
    """One field of each shape."""

    KIND: ClassVar[str] = "specimen"
    MAX_BYTES: ClassVar[int] = 1000

    name: Name
    digest: Digest
    data: Annotated[bytes, Limit(8, least=1)]
    count: Annotated[int, Range(1, 100)]
    flag: bool
    colour: Colour
    parts: Annotated[tuple[Part, ...], Limit(3)]
    pairs: tuple[tuple[int, ...], ...]
    note: str | None = None
    part: Part | None = None
