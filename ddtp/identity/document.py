"""Documents of identity: an institution's card, a person's address (spec/05-identity s.6 and s.7).

A card is what a person needs before the first contact: who the institution is, where it answers, which key to encrypt
to. It proves only that the key's owner says so; that the owner is the bank is what the place where it was found, or the
registration evidence inside, must show.
"""

import base64
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, ClassVar, Final

import base58

from ddtp.crypto import sm2
from ddtp.errors import DecodeError, EvidenceError, SignatureInvalid, UsageError
from ddtp.identity import base45
from ddtp.identity.did import public_key_of
from ddtp.identity.naming import check_name, check_wording
from ddtp.protocol import envelope
from ddtp.protocol.codec import Buffer
from ddtp.protocol.envelope import Signed
from ddtp.protocol.record import Did, Limit, Moment, Name, PublicKey, Record, Seconds

CLOCK_SKEW_SECONDS: Final = 120
"""How far a time may lie in the future: phones without network time drift by a minute or two. Never for an expiry."""

MAX_ADDRESSES: Final = 16
MAX_LOGS: Final = 16
MAX_REQUESTS: Final = 64
MAX_QR_CHARACTERS: Final = 4296
"""Alphanumeric characters of the largest QR code, version 40-L (ISO/IEC 18004)."""

_ENVELOPE_TAG: Final = b"\xd2"
_ENVELOPE_BYTES: Final = 512
_MAX_CARD_BYTES: Final = 40 << 10
"""Of which 32 KiB are registration evidence; its text form stays below 64 KiB."""
_BEGIN: Final = "-----BEGIN DDTP CARD-----"
_END: Final = "-----END DDTP CARD-----"
_LINE_CHARACTERS: Final = 64
_QR_PREFIX: Final = "DDTP:"
_ADDRESS_PREFIX: Final = "ddtp1:"
_MAX_ADDRESS_CHARACTERS: Final = 800
"""Base58 of the longest envelope of a holder address; also bounds its quadratic decoding."""

CountryCode = Annotated[str, Limit(2, least=2)]
"""ISO 3166-1 alpha-2, upper case."""
Addresses = Annotated[tuple[Name, ...], Limit(MAX_ADDRESSES)]
"""Multiaddrs, the preferred first."""


class Role(Enum):
    """What an institution does (spec/05 s.6)."""

    ISSUER = "issuer"
    RECEIVER = "receiver"
    WITNESS = "witness"
    LEDGER = "ledger"
    VERIFIER = "verifier"


@dataclass(frozen=True, slots=True)
class LogRef(Record):
    """A ledger that an institution operates.

    Attributes:
        origin: Name of the log.
        public_key: Key of its checkpoints.
        addresses: Where it answers.
    """

    KIND: ClassVar[str] = "log"

    origin: Name
    public_key: PublicKey
    addresses: Addresses = ()

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        sm2.check_public_key(self.public_key)


@dataclass(frozen=True, slots=True)
class Card(Record):
    """What an institution says of itself, signed with its own key.

    Attributes:
        did: Its identifier, and whose key signs the card.
        agreement: Key to encrypt to.
        name: Legal name.
        country: Where it is registered.
        contact: Where a person reaches it.
        roles: What it does.
        addresses: Where it answers.
        logs: Ledgers that it operates.
        requests: Names of the requests that can be fetched from it.
        issued: From when the card holds.
        expires: Until when.
        registration: Evidence of its registration, or None.
    """

    KIND: ClassVar[str] = "card"
    MAX_BYTES: ClassVar[int] = _MAX_CARD_BYTES

    did: Did
    agreement: PublicKey
    name: Name
    country: CountryCode
    contact: Name
    roles: Annotated[tuple[Role, ...], Limit(len(Role), least=1)]
    addresses: Addresses
    logs: Annotated[tuple[LogRef, ...], Limit(MAX_LOGS)]
    requests: Annotated[tuple[Name, ...], Limit(MAX_REQUESTS)]
    issued: Moment
    expires: Moment
    registration: Annotated[bytes, Limit(32 << 10, least=1)] | None = None

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        check_country(self.country)
        check_name(self.name)
        check_wording(self.contact)
        _check_keys(self.did, self.agreement)
        if self.expires <= self.issued:
            raise DecodeError("expected a card to expire after it is issued")
        for items in (self.roles, self.requests, tuple(log.origin for log in self.logs)):
            if len(set(items)) != len(items):
                raise DecodeError("expected each role, log and request once on a card, found one twice")


@dataclass(frozen=True, slots=True)
class HolderAddress(Record):
    """What a person gives to an issuer, so that a package can be made out to them.

    Attributes:
        did: The person's identifier towards this issuer, and whose key signs.
        agreement: Key to encrypt to.
        issued: When it was made.
    """

    KIND: ClassVar[str] = "holder-address"
    MAX_BYTES: ClassVar[int] = 256

    did: Did
    agreement: PublicKey
    issued: Seconds

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        _check_keys(self.did, self.agreement)


def check_country(code: str) -> None:
    """Check the form of a country code.

    Raises:
        DecodeError: Not two letters from A to Z.
    """
    if len(code) != 2 or not (code.isascii() and code.isalpha() and code.isupper()):
        raise DecodeError("expected a country as two letters from A to Z, found something else")


def parse_card(card: Buffer | str, *, now: int) -> Signed[Card]:
    """Check a card and return it.

    Args:
        card: Its envelope, its text form, or the text of its QR code.
        now: The present time, in seconds.

    Raises:
        DecodeError: It is malformed.
        SignatureInvalid: It is not signed by the key that it names.
        EvidenceError: It is expired, or not yet valid.
    """
    signed = envelope.verify(Card, _card_envelope(card))
    _check_own_signature(signed.signer, signed.body.did, what="card")
    if signed.body.issued > now + CLOCK_SKEW_SECONDS:
        raise EvidenceError(f"expected a card issued by {now}, found one of {signed.body.issued}")
    if signed.body.expires < now:
        raise EvidenceError(
            f"expected a card in force at {now}, found one until {signed.body.expires}",
            hint="ask the institution for its new card",
        )
    return signed


def encode_card_text(card: Signed[Card]) -> str:
    """Return the text form of a card: base64 between two marker lines."""
    return _armour(card.envelope)


def parse_card_text(text: str) -> bytes:
    """Return the envelope inside the text form; `parse_card` judges it.

    Raises:
        DecodeError: The text is not exactly what `encode_card_text` writes, up to CR LF and the last line end.
    """
    unified = text.replace("\r\n", "\n").removesuffix("\n") + "\n"
    lines = unified.split("\n")
    try:
        data = base64.b64decode("".join(lines[1:-2]), validate=True)
    except ValueError as err:
        raise DecodeError("expected base64 in the text of a card, found something else") from err
    # writing it again refuses other line lengths, padding bits and anything around the markers
    if _armour(data) != unified:
        raise DecodeError(f"expected lines of base64 between {_BEGIN} and {_END}, found something else")
    return data


def encode_card_qr(card: Signed[Card]) -> str:
    """Return the text of a card's QR code, in the alphanumeric mode of QR.

    Raises:
        UsageError: The card is too large for a QR code.
    """
    text = _QR_PREFIX + base45.encode(card.envelope)
    if len(text) > MAX_QR_CHARACTERS:
        raise UsageError(
            f"expected a card of at most {MAX_QR_CHARACTERS} QR characters, found {len(text)}",
            hint="hand it out as a file, or leave out registration evidence",
        )
    return text


def encode_holder_address(address: Signed[HolderAddress]) -> str:
    """Return an address as one word that survives copying: ddtp1: and base58."""
    return _ADDRESS_PREFIX + base58.b58encode(address.envelope).decode("ascii")


def parse_holder_address(text: str, *, now: int) -> Signed[HolderAddress]:
    """Check a person's address and return it.

    Args:
        text: What `encode_holder_address` wrote.
        now: The present time, in seconds.

    Raises:
        DecodeError: It is malformed, for example cut short.
        SignatureInvalid: It is not signed by the key that it names.
        EvidenceError: It is from the future.
    """
    digits = text.removeprefix(_ADDRESS_PREFIX)
    if digits == text or len(text) > _MAX_ADDRESS_CHARACTERS:
        raise DecodeError(f"expected {_ADDRESS_PREFIX} and at most {_MAX_ADDRESS_CHARACTERS} characters as an address")
    try:
        data = base58.b58decode(digits)
    except ValueError as err:
        raise DecodeError("expected base58 digits in an address, found another character") from err
    if base58.b58encode(data).decode("ascii") != digits:
        raise DecodeError("expected base58 digits alone in an address, found blanks")
    signed = envelope.verify(HolderAddress, data)
    _check_own_signature(signed.signer, signed.body.did, what="address")
    if signed.body.issued > now + CLOCK_SKEW_SECONDS:
        raise EvidenceError(f"expected an address made by {now}, found one of {signed.body.issued}")
    return signed


def _card_envelope(card: Buffer | str) -> bytes:
    if isinstance(card, str):
        text = card
    elif bytes(card[:1]) == _ENVELOPE_TAG:
        return bytes(card)
    else:
        try:
            text = bytes(card).decode("ascii")
        except UnicodeDecodeError as err:
            raise DecodeError("expected the envelope or the text of a card, found something else") from err
    if len(text) > 2 * (_MAX_CARD_BYTES + _ENVELOPE_BYTES):
        raise DecodeError(f"expected a card of at most {_MAX_CARD_BYTES} bytes, found {len(text)} characters")
    if text.startswith(_QR_PREFIX):
        return base45.decode(text.removeprefix(_QR_PREFIX))
    return parse_card_text(text)


def _armour(data: bytes) -> str:
    digits = base64.b64encode(data).decode("ascii")
    lines = [digits[start : start + _LINE_CHARACTERS] for start in range(0, len(digits), _LINE_CHARACTERS)]
    return "\n".join([_BEGIN, *lines, _END, ""])


def _check_keys(did: str, agreement: bytes) -> None:
    sm2.check_public_key(agreement)
    if public_key_of(did) == agreement:
        raise DecodeError("expected one key to sign and another to agree, found one for both")


def _check_own_signature(signer: bytes, did: str, *, what: str) -> None:
    if signer != public_key_of(did):
        raise SignatureInvalid(f"expected the {what} to be signed by the key that it names, found another signer")
