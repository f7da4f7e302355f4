"""What is shown of a package: openings with the values, a disclosure without any (spec/03-package s.4).

Openings hold the values, salts and keys behind leaves; they are confidential and travel sealed inside the content. A
`Disclosure` names the shown leaves and proves that they lead to the root; whoever verifies without seeing the data has
that alone.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

from ddtp.crypto import sm3
from ddtp.errors import ContentMismatch, DecodeError, ProofInvalid
from ddtp.protocol import chunks, codec, merkle
from ddtp.protocol.groups import MAX_LEAVES, Groups, Index, check_groups, find_split_group, groups_digest
from ddtp.protocol.leaves import Field, FileHead, decoy_leaf
from ddtp.protocol.paths import check_distinct
from ddtp.protocol.record import Digest, Limit, Name, Range, Record, Salt, Size

LEAST_LEAVES = 8
"""Smallest tree: hides whether a package holds one field or eight."""

ITEMS_PER_OPENING = 32
"""CBOR items of the largest opening, that of a file with a canonical fingerprint: 26."""

_ROOT_BLOCK = b"\x02" + bytes(63)


@dataclass(frozen=True, slots=True)
class FieldOpening(Record):
    """What a field's leaf holds.

    Attributes:
        index: Position of the leaf.
        field: The field.
        salt: Its salt.
    """

    index: Index
    field: Field
    salt: Salt = dataclasses.field(repr=False)

    def leaf(self) -> bytes:
        """Return the leaf that this opens."""
        return self.field.leaf(self.salt)


@dataclass(frozen=True, slots=True)
class FileOpening(Record):
    """What a file's leaf holds.

    Attributes:
        index: Position of the leaf.
        head: Fingerprint of the file.
        salt: Salt of the head.
        file_key: Key that gives the salts of the chunks, 32 bytes.
    """

    index: Index
    head: FileHead
    salt: Salt = dataclasses.field(repr=False)
    file_key: Annotated[bytes, Size(32)] = dataclasses.field(repr=False)

    def leaf(self) -> bytes:
        """Return the leaf that this opens."""
        return self.head.leaf(self.salt)


@dataclass(frozen=True, slots=True)
class DecoyOpening(Record):
    """Proves that a leaf holds nothing.

    Attributes:
        index: Position of the leaf.
        salt: Its salt.
    """

    index: Index
    salt: Salt = dataclasses.field(repr=False)

    def leaf(self) -> bytes:
        """Return the leaf that this opens."""
        return decoy_leaf(self.salt)


@dataclass(frozen=True, slots=True)
class Openings(Record):
    """Openings of all leaves of a package, or of those that are shown.

    Attributes:
        fields: In the order of their leaves, which is that of their paths.
        files: As fields; all have one chunk size.
        decoys: In the order of their leaves, which follow all others.
        groups: The group table of the whole package.
    """

    MAX_BYTES: ClassVar[int] = chunks.MAX_OPENINGS_BYTES
    MAX_ITEMS: ClassVar[int] = 1 << 21

    fields: Annotated[tuple[FieldOpening, ...], Limit(MAX_LEAVES)]
    files: Annotated[tuple[FileOpening, ...], Limit(MAX_LEAVES)]
    decoys: Annotated[tuple[DecoyOpening, ...], Limit(MAX_LEAVES)]
    groups: Groups

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        check_groups(self.groups)
        indexes = [opening.index for opening in self._all()]
        if any(second <= first for first, second in pairwise(indexes)):
            raise DecodeError("expected openings in the order of their leaves: fields, files, decoys")
        field_paths = [opening.field.path for opening in self.fields]
        file_paths = [opening.head.path for opening in self.files]
        check_distinct(field_paths + file_paths)
        _check_order(field_paths)
        _check_order(file_paths)
        if len({opening.head.chunk_size for opening in self.files}) > 1:
            raise DecodeError("expected one chunk size for all files, found several")

    def leaves(self) -> Mapping[int, bytes]:
        """Return the leaves that these open, by position."""
        return {opening.index: opening.leaf() for opening in self._all()}

    def _all(self) -> Iterator[FieldOpening | FileOpening | DecoyOpening]:
        yield from self.fields
        yield from self.files
        yield from self.decoys


@dataclass(frozen=True, slots=True)
class RootHeader(Record):
    """What the root covers besides the leaves.

    Attributes:
        version: Always 1.
        schema: Name of the kind of package.
        leaf_count: Number of leaves.
        groups: Digest of the group table.
    """

    version: Annotated[int, Range(1, 1)]
    schema: Name
    leaf_count: int
    groups: Digest


@dataclass(frozen=True, slots=True)
class DisclosedLeaf(Record):
    """A leaf whose opening is shown to the receiver.

    Attributes:
        index: Position of the leaf.
        hash: The leaf.
    """

    index: Index
    hash: Digest


@dataclass(frozen=True, slots=True)
class Disclosure(Record):
    """Which leaves are shown, and the proof that they are in the package.

    Attributes:
        schema: Name of the kind of package.
        leaf_count: Number of leaves, a power of two.
        groups: The group table.
        leaves: The shown leaves, ascending.
        proof: Multiproof of these leaves (spec/02 s.5).
    """

    MAX_BYTES: ClassVar[int] = 4 << 20
    MAX_ITEMS: ClassVar[int] = 1 << 19

    schema: Name
    leaf_count: Annotated[int, Range(LEAST_LEAVES, MAX_LEAVES)]
    groups: Groups
    leaves: Annotated[tuple[DisclosedLeaf, ...], Limit(MAX_LEAVES, least=1)]
    # a hash is needed only beside a shown leaf or above one, so half of the leaves is the most
    proof: Annotated[tuple[Digest, ...], Limit(MAX_LEAVES // 2)]

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        check_groups(self.groups)
        if self.leaf_count & (self.leaf_count - 1):
            raise DecodeError(f"expected a power of two as number of leaves, found {self.leaf_count}")
        indexes = self.indexes()
        if list(indexes) != sorted(set(indexes)):
            raise DecodeError("expected the disclosed leaves in ascending order")
        highest = max(indexes[-1], *(group[-1] for group in self.groups), 0)
        if highest >= self.leaf_count:
            raise DecodeError(f"expected leaf positions below {self.leaf_count}, found {highest}")

    def indexes(self) -> tuple[int, ...]:
        """Return the positions of the shown leaves, ascending."""
        return tuple(leaf.index for leaf in self.leaves)

    def root(self) -> bytes:
        """Compute the ROOT that this disclosure proves; the caller compares it with the signed one.

        Raises:
            ProofInvalid: The proof does not fit the leaves, or a group is shown in part.
        """
        if find_split_group(self.groups, self.indexes()):
            raise ProofInvalid("expected each group of leaves whole or not at all, found a part of one")
        leaves = {leaf.index: leaf.hash for leaf in self.leaves}
        top = merkle.root_from_multiproof(leaves, self.leaf_count, proof=self.proof)
        return package_root(self.schema, self.leaf_count, groups=self.groups, top=top)

    def leaf_set(self) -> bytes:
        """Return SM3 of the encoded list of positions, 32 bytes: what a grant names (spec/06)."""
        return sm3.digest(codec.encode(self.indexes()))


def parse_openings(encoded: codec.Buffer, disclosure: Disclosure) -> Openings:
    """Decode the openings of a verified disclosure.

    Items that no opening of its leaves can need are refused before anything is built from them: decoding costs up to a
    hundred times the bytes, and whoever sends them has shown nothing yet.

    Args:
        encoded: The received openings.
        disclosure: What they must open.

    Raises:
        DecodeError: They are malformed, or hold more items than the disclosure has use for.
    """
    most = 64 + ITEMS_PER_OPENING * len(disclosure.leaves) + sum(1 + len(group) for group in disclosure.groups)
    most = max(most, codec.MAX_ITEMS)
    return Openings.from_value(codec.decode(encoded, max_bytes=Openings.MAX_BYTES, max_items=most))


def package_root(schema: str, leaf_count: int, *, groups: Groups, top: bytes) -> bytes:
    """Return ROOT, 32 bytes (spec/03 s.4).

    Args:
        schema: Name of the kind of package.
        leaf_count: Number of leaves.
        groups: The group table.
        top: Root of the tree over the leaves.
    """
    header = RootHeader(version=1, schema=schema, leaf_count=leaf_count, groups=groups_digest(groups))
    return sm3.prefixed(_ROOT_BLOCK).digest(header.encode(), top)


def check_openings(openings: Openings, disclosure: Disclosure) -> None:
    """Check that the openings are those of the disclosed leaves: all of them, and no others.

    Raises:
        ProofInvalid: A disclosed leaf has no opening, an opening no leaf, or the group tables differ.
        ContentMismatch: An opening does not give its leaf.
    """
    if openings.groups != disclosure.groups:
        raise ProofInvalid("expected the group table of the disclosure in the openings, found another one")
    opened = openings.leaves()
    if opened.keys() != set(disclosure.indexes()):
        raise ProofInvalid(f"expected one opening for each of {len(disclosure.leaves)} leaves, found {len(opened)}")
    wrong = sum(opened[leaf.index] != leaf.hash for leaf in disclosure.leaves)
    if wrong:
        raise ContentMismatch(f"expected {len(opened)} openings that give their leaves, found {wrong} that do not")


def _check_order(paths: Sequence[str]) -> None:
    if any(second.encode() <= first.encode() for first, second in pairwise(paths)):
        raise DecodeError("expected leaves in the order of their paths")
