"""Bindings: worth something on one connection only."""

from typing import Any

import pytest

from ddtp.errors import EvidenceError, SignatureInvalid
from ddtp.identity.binding import check_binding, make_binding
from ddtp.identity.keys import Seed
from ddtp.protocol import envelope
from tests.vectors import Case, check, load

NOW = 1_800_000_000
HOLDER = Seed(bytes(31) + b"\x01").holder_key("did:key:bank")
BANK = Seed(bytes(31) + b"\x02").institution_key("sign")
NONCE = bytes(31) + b"\x07"
BINDING = make_binding(HOLDER, "holder-peer", remote_peer_id="bank-peer", nonce=NONCE, now=NOW)


def _check(binding: bytes = BINDING.envelope, did: str | None = None, **changes: Any) -> str:
    given: dict[str, Any] = {
        "peer_id": "bank-peer",
        "remote_peer_id": "holder-peer",
        "nonce": NONCE,
        "now": NOW,
    } | changes
    return check_binding(binding, did, **given)


def _binding_vector(case: Case) -> str:
    return check_binding(
        case.data("binding"),
        case.input.get("did"),
        peer_id=case.input["peer_id"],
        remote_peer_id=case.input["remote_peer_id"],
        nonce=case.data("nonce"),
        now=case.input["now"],
    )


@pytest.mark.parametrize("case", [case for case in load("05-identity") if case.operation == "binding"], ids=str)
def test_vector(case: Case) -> None:
    """Each vector of a binding gives who speaks, or is refused."""
    check(case, {"binding": _binding_vector})


def test_binding_tells_who_speaks() -> None:
    """The receiver of a binding learns the identity behind the peer id."""
    assert _check() == HOLDER.did
    assert _check(did=HOLDER.did) == HOLDER.did


@pytest.mark.parametrize(
    "changes",
    [
        {"peer_id": "other-peer"},
        {"remote_peer_id": "other-peer"},
        {"nonce": bytes(32)},
        {"peer_id": "holder-peer", "remote_peer_id": "bank-peer"},
    ],
    ids=str,
)
def test_binding_of_another_connection_is_refused(changes: dict[str, Any]) -> None:
    """A binding passed on, replayed or reflected is refused."""
    with pytest.raises(EvidenceError, match="this connection"):
        _check(**changes)


def test_other_identity_than_expected_is_refused() -> None:
    """Whoever dials the bank wants the bank, not anybody who answers."""
    with pytest.raises(SignatureInvalid, match="another identity"):
        _check(did=BANK.did)


def test_binding_in_a_foreign_name_is_refused() -> None:
    """Nobody binds their peer id to the identity of somebody else."""
    forged = envelope.sign(BINDING.body, BANK)
    with pytest.raises(SignatureInvalid, match="key that it names"):
        _check(forged.envelope)


@pytest.mark.parametrize(
    ("now", "accepted"), [(NOW - 121, False), (NOW - 120, True), (NOW + 120, True), (NOW + 121, False)]
)
def test_clocks_may_differ_by_two_minutes(now: int, accepted: bool) -> None:
    """Beyond that one of the clocks is wrong, and every later check of a time would be."""
    if accepted:
        assert _check(now=now) == HOLDER.did
    else:
        with pytest.raises(EvidenceError, match="clocks"):
            _check(now=now)
