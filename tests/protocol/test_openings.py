"""Openings and what they open; single defects are vectors of spec/03."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddtp.errors import ContentMismatch, DecodeError, EvidenceError
from ddtp.protocol import codec
from ddtp.protocol.leaves import CanonicalForm, Field, FieldKind, FileHead
from ddtp.protocol.openings import ITEMS_PER_OPENING, Openings, check_openings, parse_openings
from ddtp.protocol.package import Package, build_package

CONTENT_ROOTS = [bytes([number]) * 32 for number in range(4)]


def _package(master_salt: bytes) -> Package:
    return build_package(
        schema="bank-statement/1",
        fields=[Field(f"field/{number}", FieldKind.INTEGER, str(number)) for number in range(7)],
        files=[FileHead(f"file/{root[0]}", "text/plain", 5, 1 << 16, root) for root in CONTENT_ROOTS],
        master_salt=master_salt,
    )


PACKAGE = _package(bytes(range(32)))


@settings(max_examples=60)
@given(st.sets(st.integers(0, 10), min_size=1), st.data())
def test_any_changed_byte_of_the_openings_is_found(indexes: set[int], data: st.DataObject) -> None:
    """Changed values or salts are refused, or differ from the disclosed leaves; file keys are checked by the file."""
    disclosure, openings = PACKAGE.disclose(indexes)
    encoded = bytearray(openings.encode())
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        changed = Openings.parse(encoded)
        check_openings(changed, disclosure)
    except EvidenceError:
        return
    hidden = [dataclasses.replace(opening, file_key=bytes(32)) for opening in openings.files]
    assert [dataclasses.replace(opening, file_key=bytes(32)) for opening in changed.files] == hidden
    assert changed.files != openings.files


def test_openings_of_another_copy_do_not_fit() -> None:
    """Two copies of one package share no leaf, so they cannot be linked or mixed."""
    other = _package(bytes(32))
    assert not set(other.leaves) & set(PACKAGE.leaves)
    disclosure, _ = PACKAGE.disclose([0])
    _, openings = other.disclose([0])
    with pytest.raises(ContentMismatch):
        check_openings(openings, disclosure)


def test_salts_and_keys_do_not_show_in_logs() -> None:
    """The representation of openings names leaves, and nothing that would open others."""
    shown = repr(PACKAGE.openings)
    opening = PACKAGE.openings.files[0]
    assert "file/0" in shown
    assert repr(opening.salt) not in shown
    assert repr(opening.file_key) not in shown


def test_no_opening_has_more_items_than_are_counted_for_it() -> None:
    """The bound of a disclosure has room for the largest opening there is."""
    head = FileHead("a", "text/csv", 5, 1 << 16, bytes(32), canonical=bytes(32), canonical_form=CanonicalForm.CSV)
    package = build_package(schema="s/1", fields=[], files=[head], master_salt=bytes(32))
    _, openings = package.disclose([0])
    opening = openings.to_value()["files"]

    def items(value: object) -> int:
        if isinstance(value, dict):
            return 1 + sum(1 + items(each) for each in value.values())
        return 1 + sum(map(items, value)) if isinstance(value, list | tuple) else 1

    assert 20 < items(opening) <= ITEMS_PER_OPENING


def test_items_that_no_leaf_needs_are_not_decoded() -> None:
    """Openings of one leaf cannot make a receiver build a million objects."""
    disclosure, openings = PACKAGE.disclose([0])
    assert parse_openings(openings.encode(), disclosure) == openings
    bomb = codec.encode([0] * (codec.MAX_ITEMS + 1))
    with pytest.raises(DecodeError, match="items"):
        parse_openings(bomb, disclosure)
