"""Choices: a person may agree to less than what is asked, never to more."""

from dataclasses import replace

import pytest

from ddtp.consent.choice import ConsentKind, check_choice, check_covered, make_choice
from ddtp.consent.request import Basis, Purpose
from ddtp.errors import ConsentInvalid, DecodeError
from ddtp.protocol.package import Field, FieldKind, build_package
from tests.consent.story import MANIFEST, REQUEST, STORY, disclose, manifest_of

STATEMENT = [(MANIFEST, STORY.disclosure)]


def test_usual_choice_takes_what_is_required() -> None:
    """Without a wish of the person only required purposes are granted, within the limits asked."""
    choice = make_choice(REQUEST, STATEMENT)
    assert choice.purposes == (0,)
    assert (choice.when, choice.keep) == (REQUEST.when, REQUEST.keep)
    assert choice.packages[0].level == 2


def test_purposes_are_sorted() -> None:
    """The order in which purposes were ticked leaves no trace."""
    assert make_choice(REQUEST, STATEMENT, purposes=[1, 0, 1]).purposes == (0, 1)


def test_no_purpose_is_no_choice() -> None:
    """Somebody who agrees to no purpose does not agree."""
    optional = replace(REQUEST, purposes=(Purpose("a", "x", Basis.CONSENT, required=False),))
    with pytest.raises(DecodeError):
        make_choice(optional, STATEMENT, purposes=[])


def test_request_without_required_purposes() -> None:
    """If nothing is required, the first purpose is the one that the request is about."""
    optional = tuple(replace(purpose, required=False) for purpose in REQUEST.purposes)
    assert make_choice(replace(REQUEST, purposes=optional), STATEMENT).purposes == (0,)


def test_sensitive_data_makes_consent_separate() -> None:
    """The form of consent follows from the data."""
    assert make_choice(REQUEST, STATEMENT).kind is ConsentKind.SEPARATE
    package = build_package(
        schema="student-card/1", fields=[Field("name", FieldKind.TEXT, "小明")], files=[], master_salt=bytes(32)
    )
    card = [(manifest_of(package), package.disclose_all()[0])]
    assert make_choice(REQUEST, card).kind is ConsentKind.EXPLICIT
    assert make_choice(REQUEST, card).packages[0].level == 1


def test_part_of_everything_is_level_2() -> None:
    """Somebody who is asked for everything may send a part, which is then called a part."""
    package = build_package(
        schema="student-card/1",
        fields=[Field("name", FieldKind.TEXT, "小明"), Field("age", FieldKind.INTEGER, "18")],
        files=[],
        master_salt=bytes(32),
    )
    assert make_choice(REQUEST, [(manifest_of(package), package.disclose([0])[0])]).packages[0].level == 2


def test_package_that_nobody_asked_for_is_refused() -> None:
    """Only packages of kinds that are asked for can be granted."""
    package = build_package(
        schema="other/1", fields=[Field("name", FieldKind.TEXT, "x")], files=[], master_salt=bytes(32)
    )
    with pytest.raises(ConsentInvalid, match="kind that is asked for"):
        make_choice(REQUEST, [(manifest_of(package), package.disclose_all()[0])])


@pytest.mark.parametrize(
    "changes",
    [
        {"package_id": bytes(15)},
        {"root": bytes(31)},
        {"level": 0},
        {"predicates": ("",)},
        {"schema": "two  blanks"},
        {"predicates": ("older  than 18",)},
        {"issuer": "did:example:somebody"},
    ],
    ids=str,
)
def test_package_that_cannot_be_shown_is_refused(changes: dict[str, object]) -> None:
    """Whatever the screen will show of a package has its bounds, and is an identifier or proper wording."""
    package = make_choice(REQUEST, STATEMENT).packages[0]
    with pytest.raises(DecodeError):
        replace(package, **changes)


def test_choice_is_made_within_the_request() -> None:
    """What would be refused when it is signed is refused before anybody reads it on a screen."""
    with pytest.raises(ConsentInvalid, match="required purpose"):
        make_choice(REQUEST, STATEMENT, purposes=[1])
    with pytest.raises(ConsentInvalid, match="number of uses"):
        make_choice(REQUEST, STATEMENT, when=replace(REQUEST.when, uses=4))
    with pytest.raises(ConsentInvalid, match="kept no longer"):
        make_choice(REQUEST, STATEMENT, keep=replace(REQUEST.keep, seconds=None))


def test_package_twice_is_refused() -> None:
    """One package is granted once."""
    with pytest.raises(DecodeError, match="once"):
        make_choice(REQUEST, STATEMENT * 2)


def test_only_what_was_asked_for_is_covered() -> None:
    """The holder's agent notices a field beyond what was asked, before it is signed away."""
    ask = REQUEST.asks[0]
    check_covered(ask, disclose(0, 2)[1])
    check_covered(ask, disclose(0, 5)[1])
    with pytest.raises(ConsentInvalid, match="found 1"):
        check_covered(ask, disclose(0, 1)[1])


def test_choice_beyond_the_request_is_refused() -> None:
    """Limits that are wider than asked are nobody's wish."""
    choice = make_choice(REQUEST, STATEMENT)
    check_choice(REQUEST, choice)
    with pytest.raises(ConsentInvalid):
        check_choice(replace(REQUEST, when=replace(REQUEST.when, uses=1)), choice)
    with pytest.raises(ConsentInvalid):
        check_choice(replace(REQUEST, keep=replace(REQUEST.keep, seconds=1)), choice)
