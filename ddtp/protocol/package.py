"""Packages: fields and files under one salted tree, and the manifest that the issuer signs (spec/03-package).

All salts come from one secret per copy, so showing everything costs 32 bytes and showing a part reveals nothing of the
rest. Leaves stand in a fixed order: fields by name, files by name, then fillers up to the next power of two.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from ddtp.crypto import sm3
from ddtp.errors import DecodeError
from ddtp.protocol import merkle
from ddtp.protocol.canonical import Canonical
from ddtp.protocol.codec import Buffer
from ddtp.protocol.merkle import LeafType
from ddtp.protocol.openings import (
    MAX_LEAVES,
    DecoyOpening,
    DisclosedLeaf,
    Disclosure,
    Field,
    FieldOpening,
    FileHead,
    FileOpening,
    Openings,
    package_root,
)
from ddtp.protocol.record import Did, Digest, Identifier, Name, Record, Seconds

CHUNK_SIZE_DEFAULT = 1 << 16
"""64 KiB: sixteen chunks hash side by side in the cache of one core."""

MIN_LEAVES = 8
"""Fillers hide how many leaves a small package has."""


@dataclass(frozen=True, slots=True)
class Manifest(Record):
    """What the issuer signs of a package; it holds no data of the person.

    Attributes:
        package_id: Random, per copy.
        issuer: DID of the signer.
        holder: DID of the person's key for this copy.
        schema: Kind of package, for example "bank-statement/1".
        root: Root of the tree.
        issued: When it was signed.
        expires: When it ceases to be valid.
        status: Where its status is told, or None.
        supersedes: Package id of the older copy it replaces, or None.
    """

    KIND: ClassVar[str] = "manifest"
    MAX_BYTES: ClassVar[int] = 4096

    package_id: Identifier
    issuer: Did
    holder: Did
    schema: Name
    root: Digest
    issued: Seconds
    expires: Seconds
    status: Name | None = None
    supersedes: Identifier | None = None


@dataclass(frozen=True, slots=True)
class Package:
    """A built package.

    Attributes:
        schema: Kind of package.
        groups: Positions shown together or not at all.
        leaves: All leaf hashes.
        openings: All openings.
    """

    schema: str
    groups: tuple[tuple[int, ...], ...]
    leaves: tuple[bytes, ...]
    openings: Openings

    @property
    def root(self) -> bytes:
        """The package root, 32 bytes."""
        top = merkle.root(self.leaves)
        return package_root(self.schema, len(self.leaves), groups=self.groups, top=top)

    def disclose(self, indexes: Iterable[int]) -> tuple[Disclosure, Openings]:
        """Show some leaves only.

        Raises:
            ProofInvalid: A group would be split.
        """
        shown = sorted(set(indexes))
        inside = set(shown)
        disclosure = Disclosure(
            schema=self.schema,
            leaf_count=len(self.leaves),
            groups=self.groups,
            leaves=tuple(DisclosedLeaf(index, self.leaves[index]) for index in shown),
            proof=merkle.multiproof(shown, len(self.leaves), merkle.subtrees(self.leaves)),
        )
        openings = Openings(
            fields=tuple(opening for opening in self.openings.fields if opening.index in inside),
            files=tuple(opening for opening in self.openings.files if opening.index in inside),
            decoys=tuple(opening for opening in self.openings.decoys if opening.index in inside),
        )
        return disclosure, openings

    def disclose_all(self) -> tuple[Disclosure, Openings]:
        """Show everything, fillers included."""
        return self.disclose(range(len(self.leaves)))


def build_package(
    *,
    schema: str,
    fields: Sequence[Field],
    files: Sequence[FileHead],
    master_salt: bytes,
    groups: Sequence[Sequence[int]] = (),
) -> Package:
    """Build the tree of a package.

    Args:
        schema: Kind of package.
        fields: Single values, in any order.
        files: Heads of the hashed files, in any order.
        master_salt: 32 random bytes, never used for another package.
        groups: Positions that must be shown together.

    Raises:
        DecodeError: There are no leaves, too many, or names that clash.
    """
    opened = [
        FieldOpening(index, field, field_salt(master_salt, field.path))
        for index, field in enumerate(sorted(fields, key=lambda field: field.path.encode()))
    ]
    heads = [
        FileOpening(len(opened) + index, head, head_salt(master_salt, head.path), file_key(master_salt, head.path))
        for index, head in enumerate(sorted(files, key=lambda head: head.path.encode()))
    ]
    count = len(opened) + len(heads)
    if not 0 < count <= MAX_LEAVES:
        raise DecodeError(f"expected 1 to {MAX_LEAVES} fields and files, found {count}")
    total = max(MIN_LEAVES, 1 << (count - 1).bit_length())
    decoys = [DecoyOpening(index, decoy_salt(master_salt, index)) for index in range(count, total)]
    return restore_package(
        schema, Openings(fields=tuple(opened), files=tuple(heads), decoys=tuple(decoys)), groups=groups
    )


def restore_package(schema: str, openings: Openings, *, groups: Sequence[Sequence[int]] = ()) -> Package:
    """Build a package again from all its openings.

    Raises:
        DecodeError: Openings are missing or doubled.
    """
    leaves = openings.leaves()
    if sorted(leaves) != list(range(len(leaves))):
        raise DecodeError("expected the openings of all leaves, found gaps")
    return Package(
        schema=schema,
        groups=tuple(tuple(sorted(set(group))) for group in groups),
        leaves=tuple(leaves[index] for index in range(len(leaves))),
        openings=openings,
    )


@final
class FileHasher:
    """Computes the head of a file from its chunks, in memory of one hash per tree level.

    Args:
        path: Name in the package.
        media_type: For example application/pdf.
        chunk_size: Bytes per chunk; every chunk but the last has exactly this many.
        file_key: Key of its chunk salts, 32 bytes.
    """

    def __init__(self, path: str, media_type: str, *, chunk_size: int, file_key: bytes) -> None:
        self._path, self._media_type, self._chunk_size, self._key = path, media_type, chunk_size, file_key
        self._tree = merkle.RootBuilder()
        self._size = 0

    def add(self, chunk: Buffer) -> bytes:
        """Hash the next chunk; return its leaf.

        Raises:
            DecodeError: The chunk is empty or too long, or follows a short one.
        """
        if not 0 < len(chunk) <= self._chunk_size or self._size % self._chunk_size:
            raise DecodeError(f"expected whole chunks of {self._chunk_size} bytes before the last one")
        leaf = chunk_leaf(self._key, self._tree.size, chunk)
        self._tree.add(leaf)
        self._size += len(chunk)
        return leaf

    def finish(self, *, canonical: Canonical | None = None) -> FileHead:
        """Return the head of the whole file.

        Args:
            canonical: Its canonical fingerprint, if it has one.
        """
        return FileHead(
            path=self._path,
            media_type=self._media_type,
            size_bytes=self._size,
            chunk_size=self._chunk_size,
            root=self._tree.root(),
            canonical=canonical.digest if canonical else None,
            canonical_form=canonical.form if canonical else None,
        )


def chunk_leaf(file_key: bytes, index: int, chunk: Buffer) -> bytes:
    """Return the leaf of one chunk of a file."""
    salt = sm3.hmac(file_key, index.to_bytes(8, "big"))
    return merkle.leaf_hash(LeafType.CHUNK, chunk, salt=salt, index=index)


def field_salt(master_salt: bytes, path: str) -> bytes:
    """Return the salt of a field, 32 bytes."""
    return sm3.hmac(master_salt, b"\x10", path.encode())


def file_key(master_salt: bytes, path: str) -> bytes:
    """Return the key of a file's chunk salts, 32 bytes."""
    return sm3.hmac(master_salt, b"\x11", path.encode())


def head_salt(master_salt: bytes, path: str) -> bytes:
    """Return the salt of a file's head, 32 bytes."""
    return sm3.hmac(master_salt, b"\x12", path.encode())


def decoy_salt(master_salt: bytes, index: int) -> bytes:
    """Return the salt of a filler leaf, 32 bytes."""
    return sm3.hmac(master_salt, b"\x13", index.to_bytes(8, "big"))
