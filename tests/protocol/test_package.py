"""Packages as a whole: build, show a part, restore; single defects are vectors of spec/03."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddtp.errors import DecodeError, EvidenceError, UsageError
from ddtp.protocol.package import (
    Disclosure,
    Field,
    FieldKind,
    FileHasher,
    FileHead,
    Openings,
    Package,
    build_package,
    check_openings,
    file_key,
    restore_package,
)

MASTER_SALT = bytes(range(32))
CHUNK = 1 << 16
SCHEMA = "bank-statement/1"


def _head(path: str, content: bytes) -> FileHead:
    hasher = FileHasher(path, "text/plain", chunk_size=CHUNK, file_key=file_key(MASTER_SALT, path))
    if content:
        hasher.add(content)
    return hasher.finish()


def _package(fields: int = 7, files: int = 4, *, groups: tuple[tuple[str, ...], ...] = ()) -> Package:
    return build_package(
        schema=SCHEMA,
        fields=[Field(f"field/{number}", FieldKind.INTEGER, str(number)) for number in range(fields)],
        files=[_head(f"file/{number}", b"x" * number) for number in range(files)],
        master_salt=MASTER_SALT,
        groups=groups,
    )


PACKAGE = _package()
GROUPED = _package(groups=(("field/1", "file/2", "file/3"), ("field/0", "field/4")))


@settings(max_examples=60)
@given(st.sets(st.integers(0, 15), min_size=1))
def test_any_part_leads_to_the_root(indexes: set[int]) -> None:
    """Whatever leaves are shown, proof and openings survive the wire and give the signed root."""
    disclosure, openings = PACKAGE.disclose(indexes)
    disclosure, openings = Disclosure.parse(disclosure.encode()), Openings.parse(openings.encode())
    assert disclosure.root() == PACKAGE.root
    assert disclosure.indexes() == tuple(sorted(indexes))
    check_openings(openings, disclosure)


@settings(max_examples=60)
@given(st.sets(st.integers(0, 15), min_size=1), st.data())
def test_any_changed_byte_of_a_disclosure_is_found(indexes: set[int], data: st.DataObject) -> None:
    """A changed disclosure is refused, or leads to another root than the signed one."""
    encoded = bytearray(GROUPED.disclose(_whole(indexes))[0].encode())
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        root = Disclosure.parse(encoded).root()
    except EvidenceError:
        return
    assert root != GROUPED.root


def test_a_wrong_file_key_gives_another_file_root() -> None:
    """The file key has no leaf of its own: the bytes prove it."""
    hasher = FileHasher("file/3", "text/plain", chunk_size=CHUNK, file_key=bytes(32))
    hasher.add(b"xxx")
    assert hasher.finish().root != _head("file/3", b"xxx").root


def test_a_part_holds_nothing_of_the_rest() -> None:
    """Neither values nor salts nor keys of hidden leaves are in what is shown."""
    disclosure, openings = PACKAGE.disclose([0, 7])
    shown = disclosure.encode() + openings.encode()
    hidden = [opening for opening in PACKAGE.openings.fields if opening.index]
    assert MASTER_SALT not in shown
    assert not any(opening.salt in shown or opening.field.path.encode() in shown for opening in hidden)
    assert not any(opening.file_key in shown for opening in PACKAGE.openings.files[1:])


def test_everything_is_shown_with_an_empty_proof() -> None:
    """The whole package, decoys included, proves that nothing is held back."""
    disclosure, openings = GROUPED.disclose_all()
    assert disclosure.proof == ()
    assert disclosure.root() == GROUPED.root
    assert openings == GROUPED.openings


def test_the_order_of_the_input_does_not_matter() -> None:
    """Leaves are ordered by path, so an issuer cannot hide a message in their order."""
    fields = [Field(path, FieldKind.TEXT, "x") for path in ("b", "a", "流", "Z/c")]
    built = [
        build_package(schema=SCHEMA, fields=order, files=(), master_salt=MASTER_SALT)
        for order in (fields, fields[::-1])
    ]
    assert built[0] == built[1]
    assert [opening.field.path for opening in built[0].openings.fields] == ["Z/c", "a", "b", "流"]


@pytest.mark.parametrize(("count", "leaves"), [(1, 8), (8, 8), (9, 16), (16, 16), (17, 32), (65, 128)])
def test_decoys_fill_the_tree(count: int, leaves: int) -> None:
    """The number of leaves tells the number of fields only within a power of two."""
    package = _package(count, 0)
    assert len(package.leaves) == leaves
    assert len(package.openings.decoys) == leaves - count


def test_a_holder_restores_the_package_from_its_openings() -> None:
    """Groups included, so that the holder cannot split them by accident."""
    restored = restore_package(SCHEMA, Openings.parse(GROUPED.openings.encode()))
    assert restored == GROUPED
    assert restored.groups == ((0, 4), (1, 9, 10))


def test_a_part_of_a_package_is_not_restored() -> None:
    """A root is only computed over all leaves."""
    _, openings = PACKAGE.disclose(range(15))
    with pytest.raises(DecodeError, match="all 16 leaves"):
        restore_package(SCHEMA, openings)


def test_a_package_with_needless_decoys_is_not_restored() -> None:
    """The number of decoys is fixed, so an issuer cannot hide a message in it."""
    small, large = _package(1, 0), _package(9, 0)
    openings = Openings(
        fields=small.openings.fields,
        files=(),
        decoys=tuple(dataclasses.replace(large.openings.decoys[0], index=index) for index in range(1, 16)),
        groups=(),
    )
    with pytest.raises(DecodeError, match="all 8 leaves"):
        restore_package(SCHEMA, openings)


def test_a_decoy_is_in_no_group() -> None:
    """A group binds fields and files."""
    openings = dataclasses.replace(_package(3, 0).openings, groups=((0, 7),))
    with pytest.raises(DecodeError, match="decoy"):
        restore_package(SCHEMA, openings)


@pytest.mark.parametrize("indexes", [(), (16,), (-1,), (1, 9), (0,)], ids=["none", "beyond", "below", "split", "half"])
def test_a_choice_that_cannot_be_shown_is_the_users_mistake(indexes: tuple[int, ...]) -> None:
    """Nothing, what does not exist, and a part of a group are refused before anything is disclosed."""
    with pytest.raises(UsageError):
        GROUPED.disclose(indexes)


def test_a_short_master_salt_is_refused() -> None:
    """A salt that could be guessed hides nothing."""
    with pytest.raises(DecodeError, match="master salt"):
        build_package(schema=SCHEMA, fields=[], files=[_head("a", b"")], master_salt=bytes(16))


def _whole(indexes: set[int]) -> set[int]:
    return indexes.union(*(group for group in GROUPED.groups if indexes.intersection(group)))
