"""Requests: who asks is checked, and no text can pretend to be something else."""

from dataclasses import replace
from typing import Any

import pytest

from ddtp.consent.request import Ask, AtEnd, Keep, Notice, Party, Request, When, parse_request
from ddtp.errors import ConsentInvalid, DecodeError, SignatureInvalid
from ddtp.identity.document import Card, Role
from ddtp.identity.keys import Seed
from ddtp.protocol import envelope
from tests.consent.story import BANK, DAY, NOW, OTHER_BANK, REQUEST, SCHEMA
from tests.vectors import Case, check, load

CARD = Card(
    did=BANK.did,
    agreement=Seed(bytes(31) + b"\x01").institution_key("agree").public_key,
    name="城市银行 City Bank",
    country="CN",
    contact="service@bank.example",
    roles=(Role.RECEIVER,),
    addresses=(),
    logs=(),
    requests=("loan",),
    issued=NOW,
    expires=NOW + DAY,
)


def _parse(request: Request = REQUEST, *, now: int = NOW, card: Card | None = CARD) -> Request:
    return parse_request(envelope.sign(request, BANK).envelope, now=now, card=card).body


def _request_vector(case: Case) -> str:
    return parse_request(case.data("request"), now=case.input["now"]).body.title


@pytest.mark.parametrize("case", [case for case in load("06-consent") if case.operation == "request"], ids=str)
def test_vector(case: Case) -> None:
    """Each vector of a request is accepted or refused as the spec says."""
    check(case, {"request": _request_vector})


def test_request_survives_the_wire() -> None:
    """A request parsed from its envelope equals the one that was signed."""
    assert _parse() == REQUEST


def test_request_by_another_key_is_refused() -> None:
    """A request that names the bank must be signed by the bank."""
    with pytest.raises(SignatureInvalid, match="receiver"):
        parse_request(envelope.sign(REQUEST, OTHER_BANK).envelope, now=NOW)


@pytest.mark.parametrize("change", [{"name": "城市银行"}, {"did": OTHER_BANK.did}])
def test_request_by_another_institution_than_the_card_is_refused(change: dict[str, str]) -> None:
    """Name and identifier are those of the card that the person trusts."""
    with pytest.raises(ConsentInvalid, match="card"):
        _parse(card=replace(CARD, **change))


@pytest.mark.parametrize(
    ("now", "accepted"),
    [
        (REQUEST.issued - 120, True),
        (REQUEST.issued - 121, False),
        (REQUEST.expires, True),
        (REQUEST.expires + 1, False),
    ],
)
def test_times(now: int, accepted: bool) -> None:
    """A request may come from a clock two minutes ahead; after its end it is void."""
    if accepted:
        assert _parse(now=now) == REQUEST
    else:
        with pytest.raises(ConsentInvalid, match="expected a request"):
            _parse(now=now)


@pytest.mark.parametrize(
    "text",
    [
        "two  blanks",
        " blank",
        "blank ",
        "no\u00a0break",
        "wide\u3000blank",
        "hangul\u3164filler",
        "braille\u2800",
        "line\nbreak",
        "turn\u202earound",
        "zero\u200bwidth",
        "q\u0301\u0302\u0303\u0304",
        "e\u0301",
    ],
)
def test_unclean_text_is_refused(text: str) -> None:
    """Attack 4: no text can leave its line, hide, turn round or grow over others."""
    with pytest.raises(DecodeError):
        replace(REQUEST, title=text)
    with pytest.raises(DecodeError):
        replace(REQUEST.purposes[0], text=text)
    with pytest.raises(DecodeError):
        replace(REQUEST, withdrawal=(text,))
    with pytest.raises(DecodeError):
        replace(REQUEST, fee=text)
    with pytest.raises(DecodeError):
        Notice(text, bytes(32), "en")
    with pytest.raises(DecodeError):
        Ask(SCHEMA, (text,), 2, sensitive=False)


@pytest.mark.parametrize(
    "changes",
    [
        {"expires": NOW},
        {"purposes": ()},
        {"purposes": (REQUEST.purposes[0],) * 2},
        {"asks": ()},
        {"asks": (REQUEST.asks[0],) * 2},
        {"operations": ()},
        {"operations": REQUEST.operations[:1] * 2},
        {"withdrawal": ()},
        {"jurisdictions": ("cn",)},
        {"jurisdictions": ()},
        {"onward": ()},
        {"erase_within_seconds": 0},
        {"issued": 253_370_764_801},
    ],
    ids=str,
)
def test_incomplete_request_is_refused(changes: dict[str, Any]) -> None:
    """A request says everything that the screen must show, and nothing twice."""
    with pytest.raises(DecodeError):
        replace(REQUEST, **changes)


@pytest.mark.parametrize(
    ("items", "level"),
    [((), 2), (("*",), 2), (("*", "a"), 1), (("*", "a"), 2), (("a",), 1), (("a", "a"), 2), (("a",), 0), (("a",), 5)],
)
def test_ask_is_for_everything_or_for_something(items: tuple[str, ...], level: int) -> None:
    """Level 1 and the item for everything go together."""
    with pytest.raises(DecodeError):
        Ask(SCHEMA, items, level, sensitive=False)


def test_period_ends_after_it_starts() -> None:
    """A period that ends before it starts is a mistake."""
    with pytest.raises(DecodeError, match="period"):
        Ask(SCHEMA, ("a",), 2, sensitive=False, period_from=2, period_to=1)


@pytest.mark.parametrize(
    ("items", "path", "covered"),
    [
        (("*",), "anything/at all", True),
        (("a",), "a", True),
        (("a",), "ab", False),
        (("a",), "a/b", False),
        (("a/",), "a/b", True),
        (("a/",), "a/b/c", True),
        (("a/",), "a", False),
        (("a/",), "ab/c", False),
        (("b", "a/"), "a/x", True),
    ],
)
def test_items_cover_paths(items: tuple[str, ...], path: str, covered: bool) -> None:
    """An item is a path, a folder with its slash, or everything."""
    ask = Ask(SCHEMA, items, 1 if items == ("*",) else 2, sensitive=False)
    assert ask.covers(path) is covered


def test_permission_and_keeping_have_ends() -> None:
    """Endless permission and endless keeping cannot be written down."""
    with pytest.raises(DecodeError):
        When(5, 5, 1)
    with pytest.raises(DecodeError):
        When(5, 6, 0)
    with pytest.raises(DecodeError):
        Keep(AtEnd.ERASE)


@pytest.mark.parametrize("name", ["Bаnk", "Bank  One", "Ｂank", "", "!!"])
def test_party_has_an_honest_name(name: str) -> None:
    """Attack 29: a party's name follows the rules of names."""
    with pytest.raises(DecodeError):
        Party(BANK.did, name)


def test_country_of_a_party_is_a_code() -> None:
    """Countries are codes, which the screen shows as they are."""
    with pytest.raises(DecodeError, match="country"):
        Party(BANK.did, "Bank", country="c1")
