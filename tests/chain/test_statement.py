"""Entries and statements."""

from dataclasses import replace

import pytest

from ddtp.chain.statement import (
    AnchorRole,
    AnchorStatement,
    Entry,
    EntryKind,
    blind,
    check_statements,
    coarse,
    make_statement,
    package_subject,
    verify_statements,
)
from ddtp.crypto import sm3
from ddtp.errors import DecodeError, NotAnchored, SignatureInvalid
from tests.ledgers import HOUR, NOW, make_anchor, make_key

ISSUER, WITNESS, STRANGER = make_key("issuer"), make_key("witness"), make_key("stranger")
DIGEST = sm3.digest(b"digest")


def test_blind_is_sm3_of_a_typed_block_salt_and_subject() -> None:
    """The blinded digest is what spec/09 s.2 says."""
    assert blind(bytes(32), b"subject") == sm3.digest(b"\x03" + bytes(63) + bytes(32) + b"subject")


def test_package_subject_joins_root_and_manifest() -> None:
    """A package is anchored by its root and its manifest."""
    assert package_subject(b"r" * 32, b"m" * 32) == b"r" * 32 + b"m" * 32


def test_coarse_time_is_the_full_hour() -> None:
    """Every second of an hour gives the same time."""
    assert coarse(HOUR) == coarse(HOUR + 3599) == HOUR
    assert coarse(HOUR + 3600) == HOUR + 3600


def test_entry_round_trip() -> None:
    """An entry is what its bytes say."""
    entry = make_anchor(DIGEST, (AnchorRole.ISSUER, ISSUER), (AnchorRole.WITNESS, WITNESS))
    assert Entry.parse(entry.encode()) == entry
    assert len(entry.encode()) < 1024


def test_exact_time_is_refused() -> None:
    """A time that is no full hour would link an entry to a person's visit."""
    with pytest.raises(DecodeError, match="full hour"):
        Entry(kind=EntryKind.GRANT, digest=DIGEST, hour=NOW)
    with pytest.raises(DecodeError, match="full hour"):
        AnchorStatement(digest=DIGEST, hour=NOW, role=AnchorRole.ISSUER)


def test_only_anchors_hold_statements() -> None:
    """An anchor without a statement, and a grant with one, are malformed."""
    anchor = make_anchor(DIGEST, (AnchorRole.ISSUER, ISSUER))
    with pytest.raises(DecodeError, match="statements"):
        replace(anchor, statements=())
    with pytest.raises(DecodeError, match="statements"):
        replace(anchor, kind=EntryKind.GRANT)


def test_five_statements_are_refused() -> None:
    """An entry is small: an issuer and up to three witnesses."""
    statement = make_statement(DIGEST, hour=HOUR, role=AnchorRole.ISSUER, signer=ISSUER).envelope
    with pytest.raises(DecodeError, match="length"):
        Entry(kind=EntryKind.ANCHOR, digest=DIGEST, hour=HOUR, statements=(statement,) * 5)


def test_statements_tell_who_attests_as_what() -> None:
    """Signers and roles come from the signed bytes."""
    entry = make_anchor(DIGEST, (AnchorRole.ISSUER, ISSUER), (AnchorRole.WITNESS, WITNESS))
    found = [(each.signer, each.body.role) for each in verify_statements(entry)]
    assert found == [(ISSUER.public_key, AnchorRole.ISSUER), (WITNESS.public_key, AnchorRole.WITNESS)]


def test_statement_about_another_digest_is_refused() -> None:
    """A statement cannot be moved to another entry."""
    moved = replace(make_anchor(DIGEST, (AnchorRole.ISSUER, ISSUER)), digest=sm3.digest(b"other"))
    with pytest.raises(SignatureInvalid):
        verify_statements(moved)


def test_statement_of_another_hour_is_refused() -> None:
    """An old statement cannot be anchored as a new one."""
    moved = replace(make_anchor(DIGEST, (AnchorRole.ISSUER, ISSUER)), hour=HOUR + 3600)
    with pytest.raises(SignatureInvalid):
        verify_statements(moved)


def test_two_statements_by_one_key_are_refused() -> None:
    """Nobody is issuer and witness of one package."""
    entry = make_anchor(DIGEST, (AnchorRole.ISSUER, ISSUER), (AnchorRole.WITNESS, ISSUER))
    with pytest.raises(DecodeError, match="one key"):
        verify_statements(entry)


def test_demanded_statements_are_checked() -> None:
    """Issuer and witness are demanded each for itself, and a role cannot stand for the other."""
    both = make_anchor(DIGEST, (AnchorRole.ISSUER, ISSUER), (AnchorRole.WITNESS, WITNESS))
    check_statements(both, issuers={ISSUER.public_key}, witnesses={WITNESS.public_key})
    check_statements(both, issuers={STRANGER.public_key, ISSUER.public_key})
    check_statements(both)
    with pytest.raises(NotAnchored, match="issuer"):
        check_statements(both, issuers={STRANGER.public_key})
    with pytest.raises(NotAnchored, match="issuer"):
        check_statements(both, issuers={WITNESS.public_key})
    with pytest.raises(NotAnchored, match="witness"):
        check_statements(make_anchor(DIGEST, (AnchorRole.ISSUER, ISSUER)), witnesses={WITNESS.public_key})
