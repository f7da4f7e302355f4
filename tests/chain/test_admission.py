"""Who may append what."""

from dataclasses import replace

import pytest

from ddtp.chain.admission import OPERATOR_KINDS, AdmissionPolicy, admit, check_remote, policy_entry
from ddtp.chain.statement import AnchorRole, Entry, EntryKind
from ddtp.crypto import sm3
from ddtp.errors import DecodeError, PolicyRefused, SignatureInvalid
from tests.ledgers import HOUR, NOW, make_anchor, make_entry, make_key

ISSUER, STRANGER = make_key("issuer"), make_key("stranger")
DIGEST = sm3.digest(b"digest")
OPEN = AdmissionPolicy()


@pytest.mark.parametrize("kind", [kind for kind in EntryKind if kind is not EntryKind.ANCHOR])
def test_open_policy_admits_every_kind(kind: EntryKind) -> None:
    """A log without restrictions takes every kind of entry."""
    (entry,) = admit([make_entry(1, kind=kind)], OPEN, now=NOW)
    assert entry.kind is kind


def test_kind_that_is_not_listed_is_refused() -> None:
    """A log may serve some kinds only."""
    policy = AdmissionPolicy(kinds=(EntryKind.ANCHOR,))
    with pytest.raises(PolicyRefused, match="grant"):
        admit([make_entry(1)], policy, now=NOW)


def test_malformed_entry_is_refused() -> None:
    """Nothing that is no entry gets in."""
    with pytest.raises(DecodeError):
        admit([b"no entry"], OPEN, now=NOW)


def test_entry_above_the_limit_is_refused() -> None:
    """An entry has at most 8 KiB, which is checked before it is parsed."""
    with pytest.raises(DecodeError, match="8192"):
        admit([bytes(8193)], OPEN, now=NOW)


def test_forged_statement_is_refused() -> None:
    """A log does not store statements that do not verify."""
    good = make_anchor(DIGEST, (AnchorRole.ISSUER, ISSUER))
    (statement,) = good.statements
    forged = replace(good, statements=(statement[:-1] + bytes([statement[-1] ^ 1]),))
    with pytest.raises(SignatureInvalid):
        admit([forged.encode()], OPEN, now=NOW)


def test_only_listed_attestors_anchor() -> None:
    """A log of a consortium takes statements of its members only."""
    policy = AdmissionPolicy(attestors=(ISSUER.public_key,))
    admit([make_anchor(DIGEST, (AnchorRole.ISSUER, ISSUER)).encode()], policy, now=NOW)
    with pytest.raises(PolicyRefused, match="attestors"):
        admit([make_anchor(DIGEST, (AnchorRole.ISSUER, STRANGER)).encode()], policy, now=NOW)


@pytest.mark.parametrize(("hours", "admitted"), [(1, True), (2, False), (-23, True), (-24, True), (-26, False)])
def test_hour_must_be_about_now(hours: int, *, admitted: bool) -> None:
    """An entry can be late by a day but not back-dated, and not from the future."""
    entry = make_entry(1, hour=HOUR + hours * 3600)
    if admitted:
        admit([entry], OPEN, now=NOW)
    else:
        with pytest.raises(PolicyRefused, match="hour"):
            admit([entry], OPEN, now=NOW)


@pytest.mark.parametrize("kind", sorted(OPERATOR_KINDS, key=str))
def test_peers_do_not_speak_for_the_operator(kind: EntryKind) -> None:
    """Status, registry and policy entries never come over the network."""
    with pytest.raises(PolicyRefused, match=kind.value):
        check_remote([make_entry(1), make_entry(2, kind=kind)])
    check_remote([make_entry(1)])


def test_policy_is_logged_by_its_digest() -> None:
    """Anybody who has the policy finds it on the log."""
    entry = policy_entry(OPEN, now=NOW)
    assert Entry.parse(entry.encode()).digest == sm3.digest(OPEN.encode())
    assert entry.kind is EntryKind.POLICY
    assert policy_entry(AdmissionPolicy(kinds=(EntryKind.ANCHOR,)), now=NOW).digest != entry.digest
