"""Cards and addresses: signed by whom they name, in force, and in one text form."""

import base64
from dataclasses import replace
from typing import Any

import pytest
import segno
from hypothesis import given, settings
from hypothesis import strategies as st

from ddtp.errors import DecodeError, EvidenceError, SignatureInvalid, UsageError
from ddtp.identity.document import (
    Card,
    HolderAddress,
    LogRef,
    Role,
    encode_card_qr,
    encode_card_text,
    encode_holder_address,
    parse_card,
    parse_card_text,
    parse_holder_address,
)
from ddtp.identity.keys import Seed
from ddtp.protocol import envelope
from tests.vectors import Case, check, load

NOW = 1_800_000_000
SEED, OTHER = Seed(bytes(31) + b"\x01"), Seed(bytes(31) + b"\x02")
KEY = SEED.institution_key("sign")
CARD = Card(
    did=KEY.did,
    agreement=SEED.institution_key("agree").public_key,
    name="城市银行 City Bank",
    country="CN",
    contact="service@bank.example",
    roles=(Role.ISSUER, Role.RECEIVER),
    addresses=("/ip4/192.0.2.1/tcp/4001/p2p/12D3KooWA",),
    logs=(LogRef("ledger.example/2026", SEED.log_key().public_key),),
    requests=("loan",),
    issued=NOW,
    expires=NOW + 1000,
)
SIGNED = envelope.sign(CARD, KEY)
TEXT = encode_card_text(SIGNED)
ADDRESS = envelope.sign(HolderAddress(KEY.did, CARD.agreement, NOW), KEY)


def _card_vector(case: Case) -> str:
    given = case.data("card") if "card" in case.input else case.input["text"]
    return parse_card(given, now=case.input["now"]).body.name


@pytest.mark.parametrize(
    "case", [case for case in load("05-identity") if case.operation in {"card", "address"}], ids=str
)
def test_vector(case: Case) -> None:
    """Each vector of a card or address is accepted or refused."""
    check(
        case,
        {
            "card": _card_vector,
            "address": lambda case: parse_holder_address(case.input["text"], now=case.input["now"]).body.did,
        },
    )


@pytest.mark.parametrize(
    "form",
    [
        SIGNED.envelope,
        bytearray(SIGNED.envelope),
        TEXT,
        TEXT.encode(),
        encode_card_qr(SIGNED),
        encode_card_qr(SIGNED).encode(),
    ],
    ids=["bytes", "bytearray", "text", "text file", "qr", "qr file"],
)
def test_every_form_of_a_card_is_the_same_card(form: bytes | str) -> None:
    """A card is read from its envelope, its text and its QR code, as text or as a file."""
    assert parse_card(form, now=NOW) == SIGNED


def test_card_of_another_key_is_refused() -> None:
    """Nobody makes a card in the name of another key."""
    with pytest.raises(SignatureInvalid, match="key that it names"):
        parse_card(envelope.sign(CARD, OTHER.institution_key("sign")).envelope, now=NOW)


@pytest.mark.parametrize(
    ("now", "accepted"), [(NOW - 121, False), (NOW - 120, True), (NOW + 1000, True), (NOW + 1001, False)]
)
def test_card_in_time(now: int, accepted: bool) -> None:
    """A card from a clock two minutes ahead is read; one that has expired is not."""
    if accepted:
        assert parse_card(TEXT, now=now) == SIGNED
    else:
        with pytest.raises(EvidenceError, match="expected a card"):
            parse_card(TEXT, now=now)


@pytest.mark.parametrize(
    "changes",
    [
        {"agreement": KEY.public_key},
        {"agreement": bytes(33)},
        {"did": "did:key:z123"},
        {"name": "B\u0430nk"},
        {"country": "cn"},
        {"country": "C1"},
        {"country": "ÄÖ"},
        {"contact": "a  b"},
        {"roles": ()},
        {"roles": (Role.ISSUER, Role.ISSUER)},
        {"requests": ("a", "a")},
        {"logs": CARD.logs * 2},
        {"addresses": ("a",) * 17},
        {"expires": NOW},
        {"registration": b""},
    ],
    ids=str,
)
def test_improper_card_is_refused(changes: dict[str, Any]) -> None:
    """A card holds proper keys, a proper name, and each thing once."""
    with pytest.raises(DecodeError):
        replace(CARD, **changes)


def test_log_has_a_key_of_the_curve() -> None:
    """A log without a usable key could never be checked."""
    with pytest.raises(DecodeError):
        LogRef("a", bytes(33))


@pytest.mark.parametrize("text", [TEXT, TEXT[:-1], TEXT.replace("\n", "\r\n")])
def test_line_ends_may_differ(text: str) -> None:
    """Mail programs change line ends, which are no part of what is signed."""
    assert parse_card_text(text) == SIGNED.envelope


LINES = TEXT.split("\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " " + TEXT,
        TEXT + "\n",
        TEXT + "x",
        "\n" + TEXT,
        TEXT.replace("DDTP CARD", "DDTP CARDS"),
        TEXT.replace("-----BEGIN DDTP CARD-----\n", ""),
        TEXT.replace("-----END DDTP CARD-----\n", ""),
        "\n".join([LINES[0], "", *LINES[1:]]),
        "\n".join([LINES[0], LINES[1] + " ", *LINES[2:]]),
        "\n".join([LINES[0], LINES[1] + LINES[2], *LINES[3:]]),
        "\n".join([LINES[0], LINES[1][:60], LINES[1][60:] + LINES[2], *LINES[3:]]),
        TEXT.replace(LINES[1][0], "!", 1),
        TEXT.replace("A", "\u0410"),
        "\n".join([LINES[0], LINES[-2], ""]),
    ],
)
def test_other_text_is_refused(text: str) -> None:
    """Nothing may stand around, between or inside the lines."""
    with pytest.raises((DecodeError, SignatureInvalid)):
        parse_card(text, now=NOW)


def test_padding_bits_are_refused() -> None:
    """Base64 that decodes to the same bytes by ignoring bits is another text."""
    data = next(SIGNED.envelope + bytes(extra) for extra in range(3) if (len(SIGNED.envelope) + extra) % 3 == 1)
    good = base64.b64encode(data).decode()
    assert good.endswith("==")
    last = good[-3]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    bad = good[:-3] + alphabet[alphabet.index(last) + 1] + "=="
    rows = [bad[start : start + 64] for start in range(0, len(bad), 64)]
    with pytest.raises(DecodeError, match="base64 between"):
        parse_card_text("\n".join([LINES[0], *rows, LINES[-2], ""]))


@given(st.text(max_size=80) | st.binary(max_size=80))
def test_anything_else_is_refused(junk: str | bytes) -> None:
    """Whatever is given as a card, the answer is a card or an error of ours."""
    with pytest.raises((DecodeError, SignatureInvalid)):
        parse_card(junk, now=NOW)


def test_card_fits_a_qr_code() -> None:
    """The usual card is a QR code in the dense alphanumeric mode."""
    code = segno.make(encode_card_qr(SIGNED), micro=False)
    assert code.mode == "alphanumeric"


def test_card_too_large_for_a_qr_code() -> None:
    """A card with much evidence says that it does not fit, before anybody prints it."""
    large = envelope.sign(replace(CARD, registration=bytes(3000)), KEY)
    with pytest.raises(UsageError, match="QR"):
        encode_card_qr(large)
    assert parse_card(encode_card_text(large), now=NOW) == large


def test_largest_card_survives() -> None:
    """A card with all the evidence that is allowed is read again, from a file below 64 KiB."""
    large = envelope.sign(replace(CARD, registration=bytes(32 << 10)), KEY)
    text = encode_card_text(large)
    assert parse_card(text, now=NOW) == large
    assert len(text) < 64 << 10


def test_huge_text_is_refused() -> None:
    """A text beyond any card is refused before it is decoded."""
    with pytest.raises(DecodeError, match="at most"):
        parse_card("DDTP:" + "0" * 100_000, now=NOW)


def test_address_survives() -> None:
    """A person's address is one word without look-alike characters."""
    text = encode_holder_address(ADDRESS)
    assert parse_holder_address(text, now=NOW) == ADDRESS
    assert not set(text.removeprefix("ddtp1:")) & set("0OIl ")


@pytest.mark.parametrize(
    "change", [lambda text: text[:-1], lambda text: text + "1", lambda text: text + " ", str.upper]
)
def test_changed_address_is_refused(change: Any) -> None:
    """A slip in copying an address is noticed."""
    with pytest.raises((DecodeError, SignatureInvalid)):
        parse_holder_address(change(encode_holder_address(ADDRESS)), now=NOW)


@given(st.integers(6, 300), st.sampled_from("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"))
@settings(deadline=None)
def test_every_character_of_an_address_counts(position: int, character: str) -> None:
    """No character of an address can be another one."""
    text = encode_holder_address(ADDRESS)
    changed = text[:position] + character + text[position + 1 :]
    if changed == text:
        return
    with pytest.raises((DecodeError, SignatureInvalid)):
        parse_holder_address(changed, now=NOW)


@pytest.mark.parametrize("text", [encode_holder_address(ADDRESS).removeprefix("ddtp1:"), "ddtp1:" + "1" * 1000])
def test_bare_or_huge_address_is_refused(text: str) -> None:
    """An address says what it is, and is bounded before it is decoded."""
    with pytest.raises(DecodeError, match="at most"):
        parse_holder_address(text, now=NOW)


def test_address_by_another_key_is_refused() -> None:
    """An address is signed by the key that it names, so nobody redirects a package."""
    forged = envelope.sign(ADDRESS.body, OTHER.institution_key("sign"))
    with pytest.raises(SignatureInvalid, match="key that it names"):
        parse_holder_address(encode_holder_address(forged), now=NOW)


def test_address_from_the_future_is_refused() -> None:
    """An address made by a clock that is more than two minutes ahead is refused."""
    text = encode_holder_address(ADDRESS)
    assert parse_holder_address(text, now=NOW - 120) == ADDRESS
    with pytest.raises(EvidenceError, match="address made by"):
        parse_holder_address(text, now=NOW - 121)
