"""Fields and files as leaves of a package tree, with the salts that hide them (spec/03-package s.3).

A leaf commits to what it holds without showing it. All salts of a package come from its master salt, so the issuer
keeps 32 bytes; each is handed out alone, so a disclosed leaf says nothing about another.
"""

import dataclasses
import datetime as dt
import re
from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from ddtp.crypto import sm3
from ddtp.errors import DecodeError
from ddtp.protocol import merkle
from ddtp.protocol.chunks import MAX_CONTENT_BYTES, check_chunk_size
from ddtp.protocol.codec import Buffer
from ddtp.protocol.merkle import LeafType
from ddtp.protocol.paths import PathText, check_path
from ddtp.protocol.record import Digest, Limit, Name, Range, Record

CHUNK_SIZE_DEFAULT = 64 << 10
"""Bytes per chunk: sixteen of them fill the lanes of a vector SM3 from one read of 1 MiB."""

MAX_VALUE_CHARACTERS = 4096
"""Longest value of a field: a page of text; anything longer is a file."""

_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class FieldKind(Enum):
    """How the text of a field's value is read."""

    TEXT = "text"
    INTEGER = "integer"
    DECIMAL = "decimal"
    DATE = "date"
    BOOLEAN = "boolean"


_SPELLINGS = {
    FieldKind.TEXT: re.compile(r".*"),
    FieldKind.INTEGER: re.compile(r"0|-?[1-9][0-9]*"),
    FieldKind.DECIMAL: re.compile(r"0|-?(?:[1-9][0-9]*|(?:0|[1-9][0-9]*)\.[0-9]*[1-9])"),
    FieldKind.DATE: _DATE,
    FieldKind.BOOLEAN: re.compile(r"true|false"),
}
"""The one spelling of each value, so that equal values are equal texts (spec/03 s.3)."""


class CanonicalForm(Enum):
    """Which canonical form of a file's content a canonical fingerprint covers (spec/03 s.6)."""

    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Field(Record):
    """A single value that can be shown by itself.

    Attributes:
        path: Its name; '/' separates levels.
        kind: How the value is read.
        value: The value in the one spelling of its kind.
    """

    path: PathText
    kind: FieldKind
    value: Annotated[str, Limit(MAX_VALUE_CHARACTERS)] = dataclasses.field(repr=False)

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        check_path(self.path)
        if not _SPELLINGS[self.kind].fullmatch(self.value):
            raise DecodeError(f"expected the canonical spelling of a {self.kind.value} in the field {self.path!r}")
        if self.kind is FieldKind.DATE:
            _check_date(self.value, self.path)

    def leaf(self, salt: bytes) -> bytes:
        """Return the leaf of this field under its salt of 32 bytes."""
        return merkle.leaf_hash(LeafType.FIELD, self.encode(), salt=salt)


@dataclass(frozen=True, slots=True)
class FileHead(Record):
    """The fingerprint of a file.

    Attributes:
        path: Its name; '/' separates folders.
        media_type: Its format, as the issuer says, without parameters.
        size_bytes: Its length.
        chunk_size: Bytes per chunk; the last chunk may be shorter, and an empty file has none.
        root: Root of the tree over its chunks.
        canonical: Fingerprint of its canonical content, where there is such a form.
        canonical_form: The form that `canonical` covers.
    """

    path: PathText
    media_type: Name
    size_bytes: Annotated[int, Range(0, MAX_CONTENT_BYTES)]
    chunk_size: int
    root: Digest
    canonical: Digest | None = None
    canonical_form: CanonicalForm | None = None

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        check_path(self.path)
        check_chunk_size(self.chunk_size)
        if not _MEDIA_TYPE.fullmatch(self.media_type):
            raise DecodeError("expected a media type without parameters")
        if (self.canonical is None) != (self.canonical_form is None):
            raise DecodeError("expected a canonical fingerprint together with its form, found one of them")

    def leaf(self, salt: bytes) -> bytes:
        """Return the leaf of this file under its salt of 32 bytes."""
        return merkle.leaf_hash(LeafType.FILE, self.encode(), salt=salt)


def decoy_leaf(salt: bytes) -> bytes:
    """Return the leaf of a decoy, which holds nothing but its salt."""
    return merkle.leaf_hash(LeafType.DECOY, b"", salt=salt)


def chunk_leaf(file_key: bytes, index: int, chunk: Buffer) -> bytes:
    """Return the leaf of one chunk in the tree of its file.

    Args:
        file_key: Key of the file, 32 bytes.
        index: Position of the chunk in the file, from 0.
        chunk: Its bytes, at least one.
    """
    size = len(chunk)
    return sm3.leaves(chunk_heads(file_key, index, size_bytes=size, chunk_size=size), chunk, stride=size)


def chunk_heads(file_key: bytes, first: int, *, size_bytes: int, chunk_size: int) -> bytes:
    """Return the heads of the leaves of neighbouring chunks in the tree of their file, 64 bytes each.

    Args:
        file_key: Key of the file, 32 bytes.
        first: Position of the first chunk in the file, from 0.
        size_bytes: Bytes in all of these chunks together.
        chunk_size: Bytes in every chunk but the last.
    """
    starts = range(0, size_bytes, chunk_size)
    return b"".join(
        merkle.leaf_head(
            LeafType.CHUNK,
            min(chunk_size, size_bytes - start),
            salt=sm3.hmac(file_key, (first + number).to_bytes(8, "big")),
            index=first + number,
        )
        for number, start in enumerate(starts)
    )


def field_salt(master_salt: bytes, path: str) -> bytes:
    """Return the salt of a field, 32 bytes."""
    return sm3.hmac(master_salt, b"\x10", path.encode())


def file_key(master_salt: bytes, path: str) -> bytes:
    """Return the key that gives the salts of a file's chunks, 32 bytes."""
    return sm3.hmac(master_salt, b"\x11", path.encode())


def file_salt(master_salt: bytes, path: str) -> bytes:
    """Return the salt of a file's head, 32 bytes."""
    return sm3.hmac(master_salt, b"\x12", path.encode())


def decoy_salt(master_salt: bytes, index: int) -> bytes:
    """Return the salt of the decoy at leaf position `index`, 32 bytes."""
    return sm3.hmac(master_salt, b"\x13", index.to_bytes(8, "big"))


def _check_date(value: str, path: str) -> None:
    try:
        dt.date.fromisoformat(value)
    except ValueError as err:
        raise DecodeError(f"expected a date of the calendar in the field {path!r}") from err
