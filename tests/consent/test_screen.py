"""The screen: everything that matters is on it, and nothing on it can be faked."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddtp.consent import screen
from ddtp.consent.choice import Choice
from ddtp.consent.request import Party, Request
from ddtp.errors import ConsentInvalid, DecodeError
from ddtp.identity.language import Language
from ddtp.protocol import envelope
from tests.consent.story import BANK, DAY, ISSUER, NOW, OTHER_BANK, REQUEST, STORY
from tests.vectors import Case, check, load

FULL = replace(
    REQUEST,
    controllers=(Party(OTHER_BANK.did, "Joint Controller"),),
    onward=(Party(OTHER_BANK.did, "Credit Bureau", country="DE"),),
    locations=("Shenzhen",),
    cross_border="standard contract",
    automated="scoring model",
    authority=Party(OTHER_BANK.did, "Data Authority", contact="12377"),
    fee="3 EUR",
    verifier=OTHER_BANK.did,
    profile="cn-pipl",
    rights=("see a copy",),
    withdrawal_effect="no loan",
    erase_within_seconds=7 * DAY,
    legal_holds=("tax code",),
    use_reports="every month",
    asks=(
        replace(
            REQUEST.asks[0],
            category="account data",
            period_from=NOW - DAY,
            period_to=NOW,
            max_age_seconds=90 * DAY,
            filter="only current accounts",
            others="names of others are blackened",
        ),
    ),
)


def _render(request: Request = REQUEST, language: Language = Language.EN, choice: Choice | None = None) -> str:
    return screen.render(envelope.sign(request, BANK), choice or STORY.choice(request), language)


def _screen_vector(case: Case) -> str:
    request = envelope.verify(Request, case.data("request"))
    return screen.render(request, Choice.parse(case.data("choice")), Language(case.input["language"]))


@pytest.mark.parametrize("case", [case for case in load("06-consent") if case.operation == "screen"], ids=str)
def test_vector(case: Case) -> None:
    """Each vector gives the screen of the spec, to the byte."""
    check(case, {"screen": _screen_vector})


@pytest.mark.parametrize("language", Language)
def test_screen_is_deterministic(language: Language) -> None:
    """The same request and choice give the same text."""
    request = STORY.signed_request
    assert screen.render(request, STORY.choice(), language) == screen.render(request, STORY.choice(), language)


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize(
    "text",
    [
        "城市银行 City Bank",
        "privacy@bank.example",
        "住房贷款申请",
        "评估您的住房贷款申请",
        "向您推荐其他产品",
        "balance",
        "pages/",
        "bank-statement/1",
        BANK.did,
        ISSUER.did,
        "ddtp withdraw",
        "https://bank.example/privacy",
        "scoring model",
        "Credit Bureau",
        "Shenzhen",
        "standard contract",
        "3 EUR",
        "Joint Controller",
        "12377",
        "see a copy",
        "no loan",
        "tax code",
        "every month",
        "account data",
        "only current accounts",
        "names of others",
        "ledger.example/2026",
        "cn-pipl",
        "Data Authority",
    ],
)
def test_screen_shows_everything_asked(language: Language, text: str) -> None:
    """Each statement of the request stands on the screen."""
    assert text in _render(FULL, language)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "  Nobody."),
        ({}, "  [x] 1. Required: without it there is no service"),
        ({}, "  [ ] 2. Optional: you do NOT agree to it"),
        ({}, "    This is SENSITIVE personal data. Misuse can harm you."),
        ({}, "    Level 2 of 4: only the parts of the package that are listed here"),
        ({}, "  Until 2027-02-14 08:00 UTC. After that the permission ends by itself."),
        ({}, "  For 180 days after it was received"),
        ({}, "  Then it is locked away, but NOT erased."),
        ({"when": replace(REQUEST.when, expires=NOW + 61)}, "  Until 2027-01-15 08:01:01 UTC. After that the "),
        ({"erase_within_seconds": 3600}, "  This is done within 1 hour."),
        ({"erase_within_seconds": 5400}, "  This is done within 90 minutes."),
        ({"erase_within_seconds": 61}, "  This is done within 61 seconds."),
    ],
)
def test_lines(changes: dict[str, Any], line: str) -> None:
    """Times, durations and choices are written as people read them."""
    assert line in _render(replace(REQUEST, **changes))


def test_chinese_screen_tells_beijing_time() -> None:
    """A Chinese screen names its time zone."""
    assert "结束：2027-02-14 16:00 北京时间" in _render(REQUEST, Language.ZH)


def test_agreed_purpose_is_ticked() -> None:
    """What is agreed to is marked, required or not."""
    both = replace(STORY.choice(), purposes=(0, 1))
    assert "  [x] 2. Optional: you agree to it" in _render(choice=both)


@given(
    st.text(st.characters(exclude_categories=("C", "Zl", "Zp", "Zs"), include_characters=" "), min_size=1, max_size=60)
)
@settings(deadline=None)
def test_requester_cannot_write_lines_of_ours(text: str) -> None:
    """Whatever the requester writes stands on lines that are marked as its words."""
    try:
        request = replace(REQUEST, title=text, fee=text, automated=text)
    except DecodeError:
        return
    lines = _render(request).splitlines()
    assert lines[1] == "> " + text
    usual = _render(replace(REQUEST, fee="x", automated="x")).splitlines()
    ours = [line for line in lines if not line.lstrip().startswith("> ") and "Request: " not in line]
    assert ours == [line for line in usual if not line.lstrip().startswith("> ") and "Request: " not in line]


def test_screens_of_two_requests_differ() -> None:
    """Even where all words are the same, the screen names the exact request."""
    other = replace(REQUEST, nonce=bytes(32))
    assert _render() != _render(other)


@pytest.mark.parametrize("language", Language)
def test_screen_has_no_control_characters(language: Language) -> None:
    """Nothing but newlines controls the terminal, and no line ends in a blank."""
    text = _render(FULL, language)
    assert all(character == "\n" or character.isprintable() for character in text)
    assert all(line == line.rstrip() for line in text.splitlines())


def test_choice_outside_the_request_has_no_screen() -> None:
    """There is no screen for what was not asked."""
    choice = STORY.choice()
    with pytest.raises(ConsentInvalid):
        _render(choice=replace(choice, purposes=(0, 2)))
    with pytest.raises(ConsentInvalid):
        _render(choice=replace(choice, packages=(replace(choice.packages[0], schema="other/1"),)))
