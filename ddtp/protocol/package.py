"""A package: fields and files under one root, which its issuer signs (spec/03-package).

Whatever part of it is shown, the root is the same. The `Disclosure` names the shown leaves and proves them; it holds no
values and may be public. The openings hold the values. This module neither reads files nor signs.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ddtp.errors import DecodeError, NotFound, UsageError
from ddtp.protocol import merkle
from ddtp.protocol.fingerprint import FileHasher
from ddtp.protocol.groups import MAX_LEAVES, Groups, find_split_group
from ddtp.protocol.leaves import (
    CHUNK_SIZE_DEFAULT,
    CanonicalForm,
    Field,
    FieldKind,
    FileHead,
    chunk_leaf,
    decoy_salt,
    field_salt,
    file_key,
    file_salt,
)
from ddtp.protocol.openings import (
    LEAST_LEAVES,
    DecoyOpening,
    DisclosedLeaf,
    Disclosure,
    FieldOpening,
    FileOpening,
    Openings,
    check_openings,
    package_root,
)
from ddtp.protocol.record import Did, Digest, Identifier, Moment, Name, Record

__all__ = [
    "CHUNK_SIZE_DEFAULT",
    "MAX_LEAVES",
    "CanonicalForm",
    "DecoyOpening",
    "DisclosedLeaf",
    "Disclosure",
    "Field",
    "FieldKind",
    "FieldOpening",
    "FileHasher",
    "FileHead",
    "FileOpening",
    "Manifest",
    "Openings",
    "Package",
    "build_package",
    "check_openings",
    "chunk_leaf",
    "file_key",
    "restore_package",
]

MASTER_SALT_SIZE = 32


@dataclass(frozen=True, slots=True)
class Manifest(Record):
    """The issuer's signed statement about a package.

    Attributes:
        package_id: Random; another one for each copy.
        issuer: DID of who signs.
        holder: DID of the person whom the copy is made out to.
        schema: Name of the kind of package, for example "bank-statement/1".
        root: ROOT of the package.
        issued: When it was issued, in seconds since the epoch.
        expires: When it is no longer valid, in seconds since the epoch.
        status: Where its status is published (spec/09), if anywhere.
        supersedes: The package that this one replaces.
    """

    KIND: ClassVar[str] = "manifest"
    MAX_BYTES: ClassVar[int] = 4096

    package_id: Identifier
    issuer: Did
    holder: Did
    schema: Name
    root: Digest
    issued: Moment
    expires: Moment
    status: Name | None = None
    supersedes: Identifier | None = None

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        if self.expires <= self.issued:
            raise DecodeError("expected a manifest that expires after it was issued")
        if self.supersedes == self.package_id:
            raise DecodeError("expected a manifest that supersedes another package than itself")


@dataclass(frozen=True, slots=True)
class Package:
    """A whole package in the hands of its issuer or holder.

    Attributes:
        schema: Name of the kind of package.
        openings: Openings of all leaves.
        leaves: All leaves.
        root: ROOT.
    """

    schema: str
    openings: Openings
    leaves: tuple[bytes, ...]
    root: bytes

    @property
    def groups(self) -> Groups:
        """The group table."""
        return self.openings.groups

    def disclose(self, indexes: Iterable[int]) -> tuple[Disclosure, Openings]:
        """Show some leaves.

        Args:
            indexes: Positions of the leaves, at least one.

        Returns:
            The proof, which may be public, and the openings, which are for the receiver.

        Raises:
            UsageError: Nothing is chosen, a position does not exist, or a group is chosen in part.
        """
        chosen = set(indexes)
        if not chosen or not chosen <= set(range(len(self.leaves))):
            raise UsageError(f"expected one or more positions below {len(self.leaves)}")
        split = find_split_group(self.groups, chosen)
        if split:
            raise UsageError(
                "expected all or nothing of what the issuer has grouped, found a part of it",
                hint=f"choose all of the positions {', '.join(map(str, split))}, or none",
            )
        disclosure = Disclosure(
            schema=self.schema,
            leaf_count=len(self.leaves),
            groups=self.groups,
            leaves=tuple(DisclosedLeaf(index, self.leaves[index]) for index in sorted(chosen)),
            proof=merkle.multiproof(chosen, len(self.leaves), merkle.subtrees(self.leaves)),
        )
        return disclosure, _subset(self.openings, chosen)

    def disclose_all(self) -> tuple[Disclosure, Openings]:
        """Show the whole package, decoys included, which proves that nothing is held back."""
        return self.disclose(range(len(self.leaves)))


def build_package(
    *,
    schema: str,
    fields: Sequence[Field],
    files: Sequence[FileHead],
    master_salt: bytes,
    groups: Sequence[Collection[str]] = (),
) -> Package:
    """Put fields and files under one root.

    Args:
        schema: Name of the kind of package.
        fields: In any order.
        files: Fingerprints of the files, each hashed with the `file_key` of its path; in any order.
        master_salt: 32 random bytes, never used for another copy.
        groups: Paths that are shown together or not at all.

    Raises:
        DecodeError: There is nothing or too much to pack, two paths clash, or a group breaks the rules.
        NotFound: A group names a path that is not in the package.
    """
    if len(master_salt) != MASTER_SALT_SIZE:
        raise DecodeError(f"expected a master salt of {MASTER_SALT_SIZE} bytes, found {len(master_salt)}")
    ordered_fields = sorted(fields, key=lambda field: field.path.encode())
    ordered_files = sorted(files, key=lambda head: head.path.encode())
    paths = [field.path for field in ordered_fields] + [head.path for head in ordered_files]
    positions = {path: index for index, path in enumerate(paths)}
    openings = Openings(
        fields=tuple(
            FieldOpening(index, field, field_salt(master_salt, field.path))
            for index, field in enumerate(ordered_fields)
        ),
        files=tuple(
            FileOpening(index, head, file_salt(master_salt, head.path), file_key(master_salt, head.path))
            for index, head in enumerate(ordered_files, start=len(fields))
        ),
        decoys=tuple(
            DecoyOpening(index, decoy_salt(master_salt, index)) for index in range(len(paths), _bucket(len(paths)))
        ),
        groups=tuple(sorted(_find(positions, group) for group in groups)),
    )
    return restore_package(schema, openings)


def restore_package(schema: str, openings: Openings) -> Package:
    """Put a package together again from the openings of all its leaves, as its holder does.

    Args:
        schema: Name of the kind of package, from the manifest.
        openings: From the content of the package; whoever restores compares the root with the signed one.

    Raises:
        DecodeError: These are not the openings of all leaves of a package.
    """
    count = len(openings.fields) + len(openings.files)
    leaves = openings.leaves()
    size = _bucket(count)
    if list(leaves) != list(range(size)):
        raise DecodeError(f"expected the openings of all {size} leaves, found {len(leaves)}")
    if any(group[-1] >= count for group in openings.groups):
        raise DecodeError("expected fields and files in groups, found a decoy or a missing leaf")
    ordered = tuple(leaves.values())
    root = package_root(schema, size, groups=openings.groups, top=merkle.root(ordered))
    return Package(schema, openings, ordered, root)


def _bucket(count: int) -> int:
    """Return the number of leaves of a package with `count` fields and files."""
    if not 0 < count <= MAX_LEAVES:
        raise DecodeError(f"expected 1 to {MAX_LEAVES} fields and files in a package, found {count}")
    return max(LEAST_LEAVES, 1 << (count - 1).bit_length())


def _find(positions: Mapping[str, int], paths: Collection[str]) -> tuple[int, ...]:
    missing = sorted(path for path in paths if path not in positions)
    if missing:
        raise NotFound(f"expected a field or file {missing[0]!r} in the package, found none")
    return tuple(sorted({positions[path] for path in paths}))


def _subset(openings: Openings, chosen: Collection[int]) -> Openings:
    return Openings(
        fields=tuple(opening for opening in openings.fields if opening.index in chosen),
        files=tuple(opening for opening in openings.files if opening.index in chosen),
        decoys=tuple(opening for opening in openings.decoys if opening.index in chosen),
        groups=openings.groups,
    )
