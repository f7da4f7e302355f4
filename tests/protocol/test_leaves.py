"""Fields and files as leaves; spellings and encodings are vectors of spec/03."""

import pytest

from ddtp.errors import DecodeError
from ddtp.protocol import leaves
from ddtp.protocol.leaves import CanonicalForm, Field, FieldKind, FileHead

MASTER_SALT = bytes(range(32))


def test_every_purpose_has_its_own_salt() -> None:
    """One path as field, file and file head, and a decoy, have four salts, so none opens another leaf."""
    made = {
        leaves.field_salt(MASTER_SALT, "a"),
        leaves.file_key(MASTER_SALT, "a"),
        leaves.file_salt(MASTER_SALT, "a"),
        leaves.decoy_salt(MASTER_SALT, ord("a")),
    }
    assert len(made) == 4


def test_equal_chunks_have_different_leaves() -> None:
    """Equal bytes at two places, or in two files, cannot be recognised by their leaves."""
    key, other = leaves.file_key(MASTER_SALT, "a"), leaves.file_key(MASTER_SALT, "b")
    made = {leaves.chunk_leaf(key, 0, b"x"), leaves.chunk_leaf(key, 1, b"x"), leaves.chunk_leaf(other, 0, b"x")}
    assert len(made) == 3


def test_a_canonical_form_without_fingerprint_is_refused() -> None:
    """Form and fingerprint come together or not at all."""
    with pytest.raises(DecodeError, match="together"):
        FileHead("a", "text/csv", 0, 1 << 16, root=bytes(32), canonical_form=CanonicalForm.CSV)


def test_values_and_salts_do_not_show_in_logs() -> None:
    """The representation of a field names it without its value."""
    assert "1200" not in repr(Field("balance", FieldKind.INTEGER, "1200"))
