"""Records: frozen dataclasses that are CBOR maps with exactly their fields (spec/01-encoding s.5).

A field name is its map key; `None` means that an optional field is absent; unknown or missing fields are refused. A
record checks itself when it is constructed, so a value of a record type is always within its bounds, whether it came
from the wire or from our own code. Bounds are written in the annotation: `Annotated[bytes, Size(32)]`.
"""

import dataclasses
import types
import typing
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, ClassVar, Self

from ddtp.errors import DecodeError
from ddtp.protocol import codec


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """Exact length of a byte string, in bytes."""

    size_bytes: int

    def check(self, value: Any, where: str) -> None:
        """Raise `DecodeError` if the value is not within."""
        if len(value) != self.size_bytes:
            raise DecodeError(f"expected {self.size_bytes} bytes in {where}, found {len(value)}")


@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """Inclusive bounds of a length: bytes of a byte string, characters of a text, items of a tuple."""

    most: int
    least: int = 0

    def check(self, value: Any, where: str) -> None:
        """Raise `DecodeError` if the value is not within."""
        if not self.least <= len(value) <= self.most:
            raise DecodeError(f"expected a length of {self.least} to {self.most} in {where}, found {len(value)}")


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """Inclusive bounds of an integer."""

    least: int
    most: int

    def check(self, value: Any, where: str) -> None:
        """Raise `DecodeError` if the value is not within."""
        if not self.least <= value <= self.most:
            raise DecodeError(f"expected {self.least} to {self.most} in {where}, found {value}")


DEFAULT_BYTES = Limit(64 << 10)
"""Byte strings without a stated bound: the largest ledger entry, 64 KiB."""
DEFAULT_TEXT = Limit(1024)
"""Texts without a stated bound: a long sentence; longer ones state it."""
DEFAULT_ITEMS = Limit(1024)
"""Tuples without a stated bound."""
DEFAULT_INTEGER = Range(0, (1 << 63) - 1)
"""Integers without a stated bound: what every language and SQLite can hold."""

Digest = Annotated[bytes, Size(32)]
"""An SM3 digest."""
Salt = Annotated[bytes, Size(32)]
"""32 random bytes that hide what a digest commits to."""
Identifier = Annotated[bytes, Size(16)]
"""A random identifier of 128 bit."""
PublicKey = Annotated[bytes, Size(33)]
"""A compressed SM2 public key (spec/00 s.3)."""
Did = Annotated[str, Limit(256, least=8)]
"""A decentralized identifier (spec/05); the syntax is checked where it is resolved."""
Seconds = Annotated[int, Range(0, 1 << 40)]
"""A time in seconds since 1970-01-01 UTC, or a duration in seconds."""
Moment = Annotated[int, Range(0, 253_370_764_800)]
"""A time in seconds since 1970-01-01 UTC, up to the start of the year 9999: what a screen can show as a date."""
Name = Annotated[str, Limit(200, least=1)]
"""A short text that people read."""


class Record:
    """Base of all records; subclasses are `@dataclass(frozen=True, slots=True)`.

    Class attributes:
        KIND: Name of the record, part of the content type when it is signed (spec/04).
        MAX_BYTES: Bound of the encoded record.
        MAX_ITEMS: Bound of its items (spec/01 s.3).
    """

    __slots__ = ()
    KIND: ClassVar[str]
    MAX_BYTES: ClassVar[int] = codec.MAX_BYTES
    MAX_ITEMS: ClassVar[int] = codec.MAX_ITEMS

    def __post_init__(self) -> None:
        for name, shape in _shapes(type(self)).items():
            value = getattr(self, name)
            if value is not None or not shape.optional:
                shape.check(value, f"{type(self).__name__}.{name}")

    def to_value(self) -> dict[str, codec.Value]:
        """Return the map that encodes this record, in the order of its encoding."""
        values = {name: (getattr(self, name), shape) for name, shape in _shapes(type(self)).items()}
        return {name: shape.dump(value) for name, (value, shape) in values.items() if value is not None}

    def encode(self) -> bytes:
        """Return the only encoding of this record.

        Raises:
            DecodeError: It is longer than `MAX_BYTES`, so nobody would parse it.
        """
        # what a record holds was checked when it was made
        encoded = codec.encode_ordered(self.to_value())
        if len(encoded) > self.MAX_BYTES:
            raise DecodeError(f"expected at most {self.MAX_BYTES} bytes of {type(self).__name__}, found {len(encoded)}")
        return encoded

    @classmethod
    def from_value(cls, value: object) -> Self:
        """Build the record from a decoded map.

        Raises:
            DecodeError: A field is missing, unknown, of another type or out of bounds.
        """
        if not isinstance(value, dict):
            raise DecodeError(f"expected a map for {cls.__name__}, found {type(value).__name__}")
        shapes = _shapes(cls)
        unknown = value.keys() - shapes.keys()
        if unknown:
            raise DecodeError(f"expected no other fields in {cls.__name__}, found {min(map(str, unknown))[:40]!r}")
        missing = [name for name, shape in shapes.items() if not shape.optional and name not in value]
        if missing:
            raise DecodeError(f"expected the field {missing[0]!r} in {cls.__name__}, found none")
        if None in value.values():
            # in a record it stands for a field that is absent
            raise DecodeError(f"expected a value in every field of {cls.__name__}, found none in one")
        loaded = {name: shapes[name].load(item, f"{cls.__name__}.{name}") for name, item in value.items()}
        return cls(**{name: loaded.get(name) for name in shapes})

    @classmethod
    def parse(cls, data: codec.Buffer) -> Self:
        """Decode the record from bytes.

        Args:
            data: At most `MAX_BYTES` bytes that hold exactly one record.

        Raises:
            DecodeError: The bytes are not the deterministic encoding of such a record.
        """
        return cls.from_value(codec.decode(data, max_bytes=cls.MAX_BYTES, max_items=cls.MAX_ITEMS))


@dataclasses.dataclass(frozen=True, slots=True)
class _Shape:
    """How one field is checked, dumped and loaded."""

    optional: bool
    check: Callable[[Any, str], None]
    dump: Callable[[Any], codec.Value]
    load: Callable[[Any, str], Any]


_shapes_of: dict[type[Record], dict[str, _Shape]] = {}
"""Shapes by record type, worked out when a type is first used."""


def _shapes(cls: type[Record]) -> dict[str, _Shape]:
    known = _shapes_of.get(cls)
    if known is None:
        hints = typing.get_type_hints(cls, include_extras=True)
        # Record itself is no dataclass, its subclasses are
        names = sorted((field.name for field in dataclasses.fields(cls)), key=codec.order_of_key)  # type: ignore[arg-type]
        known = _shapes_of[cls] = {name: _shape(hints[name]) for name in names}
    return known


def _shape(hint: Any) -> _Shape:
    bound: Size | Limit | Range | None = None
    if isinstance(hint, typing.NewType):
        return _shape(hint.__supertype__)
    origin = typing.get_origin(hint)
    if origin in {typing.Union, types.UnionType}:
        inner = _shape(next(arm for arm in typing.get_args(hint) if arm is not types.NoneType))
        return dataclasses.replace(inner, optional=True)
    if origin is Annotated:
        hint, bound = typing.get_args(hint)[:2]
        origin = typing.get_origin(hint)
    if origin is tuple:
        return _tuple_shape(_shape(typing.get_args(hint)[0]), bound or DEFAULT_ITEMS)
    if issubclass(hint, Record):
        return _record_shape(hint)
    if issubclass(hint, Enum):
        return _enum_shape(hint)
    return _scalar_shape(hint, bound)


def _scalar_shape(kind: type, bound: Size | Limit | Range | None) -> _Shape:
    defaults: dict[type, Size | Limit | Range | None] = {
        bytes: DEFAULT_BYTES,
        str: DEFAULT_TEXT,
        int: DEFAULT_INTEGER,
        bool: None,
    }
    limits = bound or defaults[kind]

    def check(value: Any, where: str) -> None:
        if type(value) is not kind:
            raise DecodeError(f"expected {kind.__name__} in {where}, found {type(value).__name__}")
        if isinstance(value, str):
            codec.check_text(value)
        if limits is not None:
            limits.check(value, where)

    # what is loaded is checked when the record is made
    return _Shape(optional=False, check=check, dump=lambda value: value, load=lambda value, _where: value)


def _tuple_shape(item: _Shape, bound: Size | Limit | Range) -> _Shape:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, tuple):
            raise DecodeError(f"expected a tuple in {where}, found {type(value).__name__}")
        bound.check(value, where)
        for part in value:
            item.check(part, where)

    def load(value: Any, where: str) -> Any:
        if not isinstance(value, list):
            raise DecodeError(f"expected a list in {where}, found {type(value).__name__}")
        bound.check(value, where)
        return tuple(item.load(part, where) for part in value)

    return _Shape(optional=False, check=check, dump=lambda value: [item.dump(part) for part in value], load=load)


def _record_shape(cls: type[Record]) -> _Shape:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, cls):
            raise DecodeError(f"expected {cls.__name__} in {where}, found {type(value).__name__}")

    return _Shape(
        optional=False,
        check=check,
        dump=lambda value: value.to_value(),
        load=lambda value, _where: cls.from_value(value),
    )


def _enum_shape(cls: type[Enum]) -> _Shape:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, cls):
            raise DecodeError(f"expected {cls.__name__} in {where}, found {type(value).__name__}")

    def load(value: Any, where: str) -> Any:
        members = {member.value: member for member in cls}
        if type(value) not in {str, int} or value not in members:
            raise DecodeError(f"expected one of {sorted(map(str, members))} in {where}, found another value")
        return members[value]

    return _Shape(optional=False, check=check, dump=lambda value: value.value, load=load)
