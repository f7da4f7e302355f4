"""Grants: whatever is changed, permission is gone."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddtp.consent import screen
from ddtp.consent.choice import ConsentKind, make_choice
from ddtp.consent.grant import Grant, check_binding, check_grant, check_in_force
from ddtp.consent.request import AtEnd, Keep, Party, Request, When
from ddtp.errors import ConsentInvalid, DecodeError, SignatureInvalid
from ddtp.identity.language import Language
from ddtp.protocol import envelope
from ddtp.protocol.envelope import Signed
from ddtp.protocol.package import Disclosure, Manifest
from tests.consent.story import (
    BANK,
    DAY,
    MANIFEST,
    NOW,
    OTHER_BANK,
    PACKAGE,
    PERSON,
    REQUEST,
    STORY,
    STRANGER,
    disclose,
    manifest_of,
)
from tests.vectors import Case, check, load

SIGNED_REQUEST = STORY.signed_request
GRANT = STORY.grant(SIGNED_REQUEST)
SIGNED_GRANT = envelope.sign(GRANT, PERSON)


def _check(grant: Signed[Grant] = SIGNED_GRANT, request: Signed[Request] = SIGNED_REQUEST, **changes: Any) -> None:
    given: dict[str, Any] = {
        "receiver": BANK.did,
        "manifest": MANIFEST,
        "disclosure": STORY.disclosure,
        "now": NOW + 61,
    } | changes
    check_grant(grant, request, **given)


def _refused(match: str, grant: Signed[Grant] = SIGNED_GRANT, **changes: Any) -> None:
    with pytest.raises(ConsentInvalid, match=match):
        _check(grant, **changes)


def _signed(**changes: Any) -> Signed[Grant]:
    return envelope.sign(replace(GRANT, **changes), PERSON)


def _on_its_screen(**changes: Any) -> Signed[Grant]:
    """Sign a changed grant whose screen fits the change, so that only the change itself can be refused."""
    changed = replace(GRANT, **changes)
    shown = screen.render(SIGNED_REQUEST, changed.choice(), changed.language)
    return envelope.sign(replace(changed, screen=screen.screen_digest(shown)), PERSON)


def _grant_vector(case: Case) -> None:
    check_grant(
        envelope.verify(Grant, case.data("grant")),
        envelope.verify(Request, case.data("request")),
        receiver=case.input["receiver"],
        manifest=Manifest.parse(case.data("manifest")),
        disclosure=Disclosure.parse(case.data("disclosure")),
        now=case.input["now"],
    )


@pytest.mark.parametrize("case", [case for case in load("06-consent") if case.operation == "grant"], ids=str)
def test_vector(case: Case) -> None:
    """Each vector of a grant is accepted or refused as the spec says."""
    check(case, {"grant": _grant_vector})


def test_grant_survives_the_wire() -> None:
    """A grant parsed from its envelope equals the one that was signed."""
    assert envelope.verify(Grant, SIGNED_GRANT.envelope) == SIGNED_GRANT


@pytest.mark.parametrize("language", Language)
def test_grant_in_each_language_is_accepted(language: Language) -> None:
    """The screen may be read in any language that we speak."""
    grant = replace(STORY, language=language).grant(SIGNED_REQUEST)
    _check(envelope.sign(grant, PERSON))


def test_grant_for_another_receiver_is_refused() -> None:
    """Attack 1: a grant that another institution passes on permits it nothing."""
    _refused("another", receiver=OTHER_BANK.did)
    _refused("another", _signed(receiver=OTHER_BANK.did))
    _refused("another", _signed(receiver=OTHER_BANK.did), receiver=OTHER_BANK.did)


def test_grant_for_another_request_is_refused() -> None:
    """Attack 2 and 3: a grant does not answer a request of the same words and another nonce."""
    other = envelope.sign(replace(REQUEST, nonce=bytes(32)), BANK)
    _refused("another", request=other)


def test_same_request_signed_again_is_another_request() -> None:
    """The digest is over the envelope, so a second signature makes a second request."""
    _refused("answers another", request=envelope.sign(REQUEST, BANK))


def test_request_signed_by_somebody_else_is_refused() -> None:
    """A request in the bank's name, signed by another key, is no request of the bank."""
    forged = envelope.sign(REQUEST, OTHER_BANK)
    grant = envelope.sign(replace(GRANT, request=forged.digest), PERSON)
    _refused("request to be signed by the receiver", grant, request=forged)


def test_grant_signed_by_somebody_else_is_refused() -> None:
    """A grant is worth nothing unless the person that it names has signed it."""
    _refused("signed by the person", envelope.sign(GRANT, STRANGER))


def test_grant_by_another_person_is_refused() -> None:
    """Nobody permits the use of a package that is made out to somebody else."""
    stranger = envelope.sign(replace(GRANT, subject=STRANGER.did), STRANGER)
    _refused("package's holder", stranger)
    _refused("package's holder", manifest=replace(MANIFEST, holder=STRANGER.did))


@pytest.mark.parametrize(
    "changes",
    [
        {"package_id": bytes(16)},
        {"root": bytes(32)},
        {"issuer": OTHER_BANK.did},
        {"schema": "bank-statement/2"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_grant_for_another_package_is_refused(changes: dict[str, Any]) -> None:
    """Attack 3: package id, root, issuer and schema are all bound."""
    _refused("this package|this root", manifest=replace(MANIFEST, **changes))


@pytest.mark.parametrize("indexes", [(0,), (0, 1, 2), (0, 1), (0, 2, 3), tuple(range(8))])
def test_other_disclosure_than_granted_is_refused(indexes: tuple[int, ...]) -> None:
    """Neither more nor fewer nor other leaves than granted are accepted."""
    _refused("set of leaves", disclosure=disclose(*indexes)[0])


def test_screen_of_another_choice_is_refused() -> None:
    """Attack 4: a person who was shown one purpose has not granted two."""
    _refused("screen", _signed(purposes=(0, 1)))
    _refused("screen", _signed(language=Language.EN))
    _refused("screen", _signed(screen=bytes(32)))
    _refused("screen", _signed(when=replace(REQUEST.when, uses=2)))
    _refused("screen", _signed(withdrawal_delay_seconds=0))


def test_screen_of_unknown_version_is_refused() -> None:
    """A screen that this version cannot make again cannot be compared."""
    _refused("version", _signed(screen_version=2))


def test_required_purpose_cannot_be_left_out() -> None:
    """A grant without a required purpose is no answer."""
    _refused("required purpose", _signed(purposes=(1,)))


def test_unknown_purpose_is_refused() -> None:
    """A grant cannot agree to a purpose that the request does not have."""
    _refused("purposes of the request", _signed(purposes=(0, 2)))


@pytest.mark.parametrize(
    "when",
    [
        replace(REQUEST.when, expires=REQUEST.when.expires + 1),
        replace(REQUEST.when, not_before=REQUEST.when.not_before - 1),
        replace(REQUEST.when, uses=4),
    ],
)
def test_wider_limits_than_asked_are_refused(when: When) -> None:
    """A grant is never wider than its request."""
    _refused("time and number of uses", _on_its_screen(when=when))


@pytest.mark.parametrize(
    "keep",
    [
        replace(REQUEST.keep, seconds=180 * DAY + 1),
        replace(REQUEST.keep, until=NOW + 366 * DAY),
        replace(REQUEST.keep, seconds=None),
        replace(REQUEST.keep, until=None),
        replace(REQUEST.keep, at_end=AtEnd.RETURN),
    ],
)
def test_keeping_longer_than_asked_is_refused(keep: Keep) -> None:
    """Dropping a limit, moving it or ending more weakly is longer than asked."""
    _refused("kept no longer", _on_its_screen(keep=keep))


def test_narrower_grant_is_accepted() -> None:
    """A person may permit less: shorter, fewer uses, erased instead of locked away."""
    _check(
        _on_its_screen(
            when=When(NOW + 1, NOW + DAY, 1, every_seconds=60),
            keep=Keep(AtEnd.ERASE, until=NOW + DAY, seconds=DAY, event="the loan is refused"),
        )
    )


def test_level_below_the_asked_one_is_refused() -> None:
    """Attack 5: who asks for parts does not get everything, whoever lifts the level."""
    (package,) = GRANT.data
    changed = replace(GRANT, data=(replace(package, level=1),))
    _refused("level 2", envelope.sign(changed, PERSON))


def test_sensitive_data_needs_separate_consent() -> None:
    """PIPL art. 29: consent to sensitive data is separate or written."""
    _refused("separate", _signed(kind=ConsentKind.EXPLICIT))
    _check(_on_its_screen(kind=ConsentKind.WRITTEN))


@pytest.mark.parametrize(
    ("changes", "now", "permitted"),
    [
        ({}, GRANT.when.expires, True),
        ({}, GRANT.when.expires + 1, False),
        ({}, GRANT.issued - 120, True),
        ({}, GRANT.issued - 121, False),
        ({"when": replace(GRANT.when, not_before=NOW + 1000)}, NOW + 880, True),
        ({"when": replace(GRANT.when, not_before=NOW + 1000)}, NOW + 879, False),
    ],
)
def test_times(changes: dict[str, Any], now: int, permitted: bool) -> None:
    """Attack 31: two minutes of tolerance for a start, none for an end."""
    grant = replace(GRANT, **changes)
    if permitted:
        check_in_force(grant, now=now)
    else:
        with pytest.raises(ConsentInvalid, match="expected a grant"):
            check_in_force(grant, now=now)


def test_late_answer_is_refused() -> None:
    """A request that has expired can no longer be granted, not even by a second."""
    _refused("before the request expired", _signed(issued=REQUEST.expires + 1))
    _check(_signed(issued=REQUEST.expires), now=REQUEST.expires)


def test_grant_older_than_its_request_is_refused() -> None:
    """A grant signed before the request cannot be an answer, apart from a slow clock."""
    _refused("after the request", _signed(issued=REQUEST.issued - 121))
    _check(_signed(issued=REQUEST.issued - 120))


def test_binding_does_not_ask_the_time() -> None:
    """The binding of a grant is the same years later; only its force ends."""
    check_binding(SIGNED_GRANT, SIGNED_REQUEST, receiver=BANK.did, manifest=MANIFEST, disclosure=STORY.disclosure)
    _refused("in force", now=GRANT.when.expires + DAY)


def test_one_grant_permits_several_packages() -> None:
    """Each package of a grant is permitted with its own part."""
    second = manifest_of(PACKAGE, number=2)
    packages = [(MANIFEST, STORY.disclosure), (second, disclose(0)[0])]
    grant = envelope.sign(STORY.grant(SIGNED_REQUEST, make_choice(REQUEST, packages)), PERSON)
    for manifest, disclosure in packages:
        _check(grant, manifest=manifest, disclosure=disclosure)
    _refused("set of leaves", grant, manifest=second)


def test_choice_outside_the_request_is_never_signed() -> None:
    """`build_grant` refuses what `check_grant` would refuse."""
    choice = replace(STORY.choice(), when=replace(REQUEST.when, uses=4))
    with pytest.raises(ConsentInvalid, match="number of uses"):
        STORY.grant(SIGNED_REQUEST, choice)


@pytest.mark.parametrize("purposes", [(), (1, 0), (0, 0), (16,)])
def test_purposes_are_ascending(purposes: tuple[int, ...]) -> None:
    """The same set of purposes has one form."""
    with pytest.raises(DecodeError):
        replace(GRANT, purposes=purposes)


def test_guardian_stands_with_the_proof() -> None:
    """A proof of guardianship says whose."""
    guardian = Party(STRANGER.did, "王芳")
    _check(_signed(guardian=guardian, guardian_proof=b"x"))
    with pytest.raises(DecodeError, match="guardian"):
        replace(GRANT, guardian_proof=b"x")


@pytest.mark.parametrize(
    "changes",
    [{"grant_id": bytes(15)}, {"screen_version": 0}, {"how": ""}, {"withdrawal_delay_seconds": 30 * DAY + 1}],
    ids=lambda changes: next(iter(changes)),
)
def test_fields_are_within_their_bounds(changes: dict[str, Any]) -> None:
    """What no grant can be is not even made, let alone read."""
    with pytest.raises(DecodeError):
        replace(GRANT, **changes)


@pytest.mark.parametrize("name", ["how", "authentication"])
def test_what_the_person_did_is_proper_wording(name: str) -> None:
    """The words of a grant are shown to people, and cannot pretend to be a line of their own."""
    _check(_signed(**{name: "confirmed by hand"}))
    with pytest.raises(DecodeError, match="spaces"):
        replace(GRANT, **{name: "confirmed" + " " * 40 + "Receiver: somebody else"})


@given(st.integers(0, len(SIGNED_GRANT.envelope) - 1), st.integers(1, 255))
def test_every_byte_of_a_grant_counts(position: int, difference: int) -> None:
    """No byte of the envelope can be changed without the grant being refused."""
    changed = bytearray(SIGNED_GRANT.envelope)
    changed[position] ^= difference
    with pytest.raises((DecodeError, ConsentInvalid, SignatureInvalid)):
        _check(envelope.verify(Grant, changed))
