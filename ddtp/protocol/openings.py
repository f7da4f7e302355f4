"""What is shown of a package: openings hold values, disclosures hold none (spec/03-package s.3 to s.5).

An opening carries a value and the salt that hides it; it travels sealed. A disclosure carries only the hashes of the
shown leaves and the multiproof to the root; whoever verifies without seeing the data has that. Both together prove that
the shown values are those the issuer signed, and nothing about the others.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, ClassVar

from ddtp.crypto import sm3
from ddtp.errors import ContentMismatch, DecodeError, ProofInvalid
from ddtp.protocol import codec, merkle
from ddtp.protocol.merkle import LeafType
from ddtp.protocol.paths import PathText, check_distinct, check_path
from ddtp.protocol.record import Digest, Limit, Name, Range, Record, Salt

MAX_LEAVES = 1 << 16
"""Leaves of one package: a folder of 50,000 files; the disclosure of all of them fits its bound of 4 MiB."""
MAX_FILE_BYTES = 1 << 50
MAX_GROUPS = 1024

_ROOT_BLOCK = b"\x02" + bytes(63)

LeafIndex = Annotated[int, Range(0, MAX_LEAVES - 1)]
LeafCount = Annotated[int, Range(1, MAX_LEAVES)]
Group = Annotated[tuple[LeafIndex, ...], Limit(MAX_LEAVES, least=1)]


class FieldKind(Enum):
    """Type of a field's value, which always is text."""

    TEXT = "text"
    INTEGER = "integer"
    DECIMAL = "decimal"
    DATE = "date"
    BOOLEAN = "boolean"


class CanonicalForm(Enum):
    """Canonical form of content that programs write in different bytes (spec/03 s.8)."""

    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Field(Record):
    """A single value of a package.

    Attributes:
        path: Its name.
        kind: How to read the value.
        value: The value as text.
    """

    KIND: ClassVar[str] = "field"

    path: PathText
    kind: FieldKind
    value: Annotated[str, Limit(4096)]

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        check_path(self.path)


@dataclass(frozen=True, slots=True)
class FileHead(Record):
    """What a package says about one file.

    Attributes:
        path: Its name.
        media_type: For example application/pdf.
        size_bytes: Its length.
        chunk_size: Bytes per chunk of its tree.
        root: Root of the tree over its salted chunks, 32 bytes.
        canonical: Fingerprint of its canonical form, or None.
        canonical_form: Which form that is, or None.
    """

    KIND: ClassVar[str] = "file"

    path: PathText
    media_type: Name
    size_bytes: Annotated[int, Range(0, MAX_FILE_BYTES)]
    chunk_size: Annotated[int, Range(1 << 16, 1 << 20)]
    root: Digest
    canonical: Digest | None = None
    canonical_form: CanonicalForm | None = None

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        check_path(self.path)
        if (self.canonical is None) != (self.canonical_form is None):
            raise DecodeError("expected a canonical fingerprint and its form together")


@dataclass(frozen=True, slots=True)
class FieldOpening(Record):
    """A shown field: its position, its value, its salt."""

    KIND: ClassVar[str] = "field-opening"

    index: LeafIndex
    field: Field
    salt: Salt

    def leaf(self) -> bytes:
        """Return the leaf hash that this opens."""
        return merkle.leaf_hash(LeafType.FIELD, self.field.encode(), salt=self.salt)


@dataclass(frozen=True, slots=True)
class FileOpening(Record):
    """A shown file: its position, its head, the head's salt, and the key of its chunk salts."""

    KIND: ClassVar[str] = "file-opening"

    index: LeafIndex
    head: FileHead
    salt: Salt
    file_key: Annotated[bytes, Limit(32, least=32)]

    def leaf(self) -> bytes:
        """Return the leaf hash that this opens."""
        return merkle.leaf_hash(LeafType.FILE, self.head.encode(), salt=self.salt)


@dataclass(frozen=True, slots=True)
class DecoyOpening(Record):
    """A shown filler leaf, which proves that it hides nothing."""

    KIND: ClassVar[str] = "decoy-opening"

    index: LeafIndex
    salt: Salt

    def leaf(self) -> bytes:
        """Return the leaf hash that this opens."""
        return merkle.leaf_hash(LeafType.DECOY, b"", salt=self.salt)


@dataclass(frozen=True, slots=True)
class Openings(Record):
    """All shown values of a package, confidential."""

    KIND: ClassVar[str] = "openings"
    MAX_BYTES: ClassVar[int] = 64 << 20

    fields: Annotated[tuple[FieldOpening, ...], Limit(MAX_LEAVES)]
    files: Annotated[tuple[FileOpening, ...], Limit(MAX_LEAVES)]
    decoys: Annotated[tuple[DecoyOpening, ...], Limit(MAX_LEAVES)] = ()

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        check_distinct(opening.field.path for opening in self.fields)
        check_distinct(opening.head.path for opening in self.files)

    def leaves(self) -> dict[int, bytes]:
        """Return the opened leaves by position.

        Raises:
            DecodeError: A position is opened twice.
        """
        everything: Sequence[FieldOpening | FileOpening | DecoyOpening] = (*self.fields, *self.files, *self.decoys)
        leaves = {opening.index: opening.leaf() for opening in everything}
        if len(leaves) != len(everything):
            raise DecodeError("expected one opening per position, found two")
        return leaves


@dataclass(frozen=True, slots=True)
class DisclosedLeaf(Record):
    """Position and hash of a shown leaf."""

    KIND: ClassVar[str] = "disclosed-leaf"

    index: LeafIndex
    hash: Digest


@dataclass(frozen=True, slots=True)
class RootHeader(Record):
    """What the root commits to beside the leaves."""

    KIND: ClassVar[str] = "root-header"

    version: Annotated[int, Range(1, 1)]
    schema: Name
    leaf_count: LeafCount
    groups: Digest


@dataclass(frozen=True, slots=True)
class Disclosure(Record):
    """Which leaves are shown, and that they belong to the root; holds no values.

    Attributes:
        schema: Kind of the package.
        leaf_count: Leaves of the whole package.
        groups: Positions that are shown together or not at all.
        leaves: The shown leaves, by position.
        proof: Multiproof of the shown leaves (spec/02 s.5).
    """

    KIND: ClassVar[str] = "disclosure"
    MAX_BYTES: ClassVar[int] = 4 << 20

    schema: Name
    leaf_count: LeafCount
    groups: Annotated[tuple[Group, ...], Limit(MAX_GROUPS)]
    leaves: Annotated[tuple[DisclosedLeaf, ...], Limit(MAX_LEAVES, least=1)]
    proof: Annotated[tuple[Digest, ...], Limit(MAX_LEAVES)]

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        indexes = self.indexes()
        if any(left >= right for left, right in itertools.pairwise(indexes)):
            raise DecodeError("expected the shown leaves in ascending order")
        check_groups(self.groups, indexes)

    def indexes(self) -> tuple[int, ...]:
        """Return the positions of the shown leaves, ascending."""
        return tuple(leaf.index for leaf in self.leaves)

    def root(self) -> bytes:
        """Return the package root that this disclosure leads to, 32 bytes.

        Raises:
            ProofInvalid: The proof has another length than the positions need.
        """
        leaves = {leaf.index: leaf.hash for leaf in self.leaves}
        top = merkle.root_from_multiproof(leaves, self.leaf_count, proof=self.proof)
        return package_root(self.schema, self.leaf_count, groups=self.groups, top=top)

    def leaf_set(self) -> bytes:
        """Return the digest of the shown positions, which a grant names, 32 bytes."""
        return sm3.digest(codec.encode(self.indexes()))


def package_root(schema: str, leaf_count: int, *, groups: Sequence[Sequence[int]], top: bytes) -> bytes:
    """Return the root of a package from the top of its tree (spec/03 s.4)."""
    header = RootHeader(version=1, schema=schema, leaf_count=leaf_count, groups=sm3.digest(codec.encode(groups)))
    return sm3.prefixed(_ROOT_BLOCK).digest(header.encode(), top)


def check_groups(groups: Sequence[Sequence[int]], indexes: Sequence[int]) -> None:
    """Check that every group is shown whole or not at all.

    Raises:
        ProofInvalid: A part of a group is missing: somebody picked.
    """
    shown = set(indexes)
    for group in groups:
        inside = shown.intersection(group)
        if inside and len(inside) != len(set(group)):
            raise ProofInvalid(f"expected the {len(set(group))} leaves of a group together, found {len(inside)}")


def check_openings(openings: Openings, disclosure: Disclosure) -> None:
    """Check that the openings open exactly the disclosed leaves.

    Raises:
        DecodeError: A position is opened twice.
        ContentMismatch: A leaf is not opened, opened without being disclosed, or opened with another value or salt.
    """
    opened = openings.leaves()
    disclosed = {leaf.index: leaf.hash for leaf in disclosure.leaves}
    if opened.keys() != disclosed.keys():
        raise ContentMismatch(f"expected openings of {len(disclosed)} leaves, found those of {len(opened)} others")
    for index, leaf in disclosed.items():
        if opened[index] != leaf:
            raise ContentMismatch(f"expected the value that leaf {index} commits to, found another one")
