"""Requests: what an institution asks a person for, signed before the person sees it (spec/06-consent s.2).

Everything on the consent screen comes from here, so the institution is bound to every word of it. Texts are in the
language of the notice; everything else is worded by the person's own agent.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, ClassVar, Final, TypeVar

from ddtp.errors import ConsentInvalid, DecodeError, SignatureInvalid
from ddtp.identity.did import public_key_of
from ddtp.identity.document import CLOCK_SKEW_SECONDS, Card, CountryCode, check_country
from ddtp.identity.naming import check_name, check_wording
from ddtp.protocol import envelope
from ddtp.protocol.codec import Buffer
from ddtp.protocol.envelope import Signed
from ddtp.protocol.paths import PathText
from ddtp.protocol.record import Did, Digest, Identifier, Limit, Moment, Name, Range, Record

MAX_PURPOSES: Final = 16
"""More purposes than a person reads are no consent."""
MAX_ASKS: Final = 16
MAX_ITEMS: Final = 256
EVERYTHING: Final = "*"
"""The item that stands for all of a package."""

Duration = Annotated[int, Range(1, 3_155_760_000)]
"""Seconds, up to a hundred years."""
Level = Annotated[int, Range(1, 4)]
"""1 everything, 2 chosen parts, 3 a statement about a value, 4 anonymous (spec/06 s.2)."""
Sentence = Annotated[str, Limit(500, least=1)]
"""A text of the requester, short enough to be read."""
Sentences = Annotated[tuple[Sentence, ...], Limit(8, least=1)]

_T = TypeVar("_T")


class Basis(Enum):
    """Why a purpose is lawful: PIPL art. 13 and GDPR art. 6."""

    CONSENT = "consent"
    CONTRACT = "contract"
    LEGAL_DUTY = "legal-duty"
    EMERGENCY = "emergency"
    PUBLIC_INTEREST = "public-interest"
    PUBLISHED = "published"
    LEGITIMATE_INTEREST = "legitimate-interest"


class Operation(Enum):
    """What may be done with the data."""

    VIEW = "view"
    STORE = "store"
    QUERY = "query"
    STREAM = "stream"


class AtEnd(Enum):
    """What happens to the data when it may be kept no longer."""

    ERASE = "erase"
    RETURN = "return"
    RESTRICT = "restrict"


@dataclass(frozen=True, slots=True)
class Party(Record):
    """A legal or natural person.

    Attributes:
        did: Identifier.
        name: Legal name.
        contact: Where a person reaches it.
        country: Where it is registered.
        registration: Evidence of its registration.
    """

    KIND: ClassVar[str] = "party"

    did: Did
    name: Name
    contact: Name | None = None
    country: CountryCode | None = None
    registration: Annotated[bytes, Limit(8 << 10, least=1)] | None = None

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        check_name(self.name)
        _check_texts(self.did, self.contact)
        if self.country is not None:
            check_country(self.country)


@dataclass(frozen=True, slots=True)
class Notice(Record):
    """The privacy notice behind the request.

    Attributes:
        uri: Where it is.
        digest: SM3 of its bytes.
        language: Language tag of the notice and of all texts in the request.
        version: Its version.
    """

    KIND: ClassVar[str] = "notice"

    uri: Sentence
    digest: Digest
    language: Annotated[str, Limit(35, least=2)]
    version: Name | None = None

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        _check_texts(self.uri, self.language, self.version)


@dataclass(frozen=True, slots=True)
class Purpose(Record):
    """One use that the person can agree to or not.

    Attributes:
        code: Identifier of the purpose in a public list, for machines.
        text: What the data is used for, for people.
        basis: Why that is lawful.
        required: Without it there is no service; the person cannot leave it out.
        service: Product or service that it belongs to.
        intended_use: Registered template that limits what may be asked for it.
    """

    KIND: ClassVar[str] = "purpose"

    code: Name
    text: Sentence
    basis: Basis
    required: bool
    service: Name | None = None
    intended_use: Name | None = None

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        _check_texts(self.code, self.text, self.service, self.intended_use)


@dataclass(frozen=True, slots=True)
class Ask(Record):
    """Data that is asked for.

    Attributes:
        schema: Kind of package.
        items: Paths of fields and files, folders ending in "/", or `EVERYTHING` alone.
        level: How much is disclosed.
        sensitive: Sensitive personal data (PIPL art. 28): consent must be separate.
        category: What the data is, for people.
        period_from: Start of the time that the data is about.
        period_to: End of the time that the data is about.
        max_age_seconds: How old the package may be.
        filter: Further condition, for people.
        others: The data also is about other people; how they are protected.
    """

    KIND: ClassVar[str] = "ask"

    schema: Name
    items: Annotated[tuple[PathText, ...], Limit(MAX_ITEMS, least=1)]
    level: Level
    sensitive: bool
    category: Name | None = None
    period_from: Moment | None = None
    period_to: Moment | None = None
    max_age_seconds: Duration | None = None
    filter: Sentence | None = None
    others: Sentence | None = None

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        _check_texts(self.schema, *self.items, self.category, self.filter, self.others)
        _check_distinct("items", self.items)
        if EVERYTHING in self.items and len(self.items) > 1:
            raise DecodeError("expected no items beside the one that stands for everything")
        if (self.items == (EVERYTHING,)) != (self.level == 1):
            raise DecodeError("expected level 1 exactly when everything is asked for")
        if self.period_from is not None and self.period_to is not None and self.period_to < self.period_from:
            raise DecodeError("expected a period to end after it starts")

    def covers(self, path: str) -> bool:
        """Tell whether a path in a package is asked for."""
        return any(item in {EVERYTHING, path} or (item.endswith("/") and path.startswith(item)) for item in self.items)


@dataclass(frozen=True, slots=True)
class When(Record):
    """Limits by time and number.

    Attributes:
        not_before: When the permission starts.
        expires: Until when it lasts.
        uses: How many times the data may be used.
        every_seconds: Least time between two uses, if they are periodic.
    """

    KIND: ClassVar[str] = "when"

    not_before: Moment
    expires: Moment
    uses: Annotated[int, Range(1, 1_000_000)]
    every_seconds: Duration | None = None

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        if self.expires <= self.not_before:
            raise DecodeError("expected a permission to end after it starts")

    def within(self, other: "When") -> bool:
        """Tell whether these limits permit nothing that others do not."""
        return (
            self.not_before >= other.not_before
            and self.expires <= other.expires
            and self.uses <= other.uses
            and (other.every_seconds or 0) <= (self.every_seconds or 0)
        )


@dataclass(frozen=True, slots=True)
class Keep(Record):
    """How long the data is kept; whichever end comes first.

    Attributes:
        at_end: What happens then.
        until: A time.
        seconds: A duration from the receipt.
        event: An event, for people.
    """

    KIND: ClassVar[str] = "keep"

    at_end: AtEnd
    until: Moment | None = None
    seconds: Duration | None = None
    event: Sentence | None = None

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        _check_texts(self.event)
        if self.until is None and self.seconds is None and self.event is None:
            raise DecodeError("expected data to be kept until a time, for a duration or until an event")

    def within(self, other: "Keep") -> bool:
        """Tell whether this keeps nothing longer than another."""
        return (
            self.at_end in {other.at_end, AtEnd.ERASE}
            and _at_most(self.until, other.until)
            and _at_most(self.seconds, other.seconds)
            and other.event in {None, self.event}
        )


@dataclass(frozen=True, slots=True)
class Request(Record):
    """What an institution asks for; it signs this.

    Attributes:
        request_id: Random.
        issued: When it was signed.
        expires: Until when it can be answered.
        receiver: Who asks, and whose key signs.
        nonce: Random, so that a grant answers one request only.
        title: What it is about, in a few words.
        notice: The privacy notice.
        purposes: What for.
        asks: Which data.
        operations: What may be done with it.
        when: Limits by time and number.
        keep: How long it is kept.
        withdrawal: How the person withdraws.
        jurisdictions: Whose law applies, as country codes.
        logs: Origins of the ledgers on which the grant may be anchored; empty means any that the receiver trusts.
        controllers: Who else decides on the use.
        onward: Whom the data is passed on to.
        locations: Where the data is stored.
        cross_border: On what legal ground the data leaves its country.
        automated: Decision that is made without a human, and by what logic.
        authority: Whom to complain to.
        fee: What it costs or pays.
        verifier: DID of the verifier that judges the evidence, if it is not the receiver.
        profile: Set of rules that the request follows, for example "cn-pipl".
        previous: Digest of the request that this one replaces.
        rights: Rights of the person and how to use them.
        withdrawal_effect: What withdrawing changes.
        erase_within_seconds: How soon after the end the data is erased.
        legal_holds: Laws that forbid erasure, as far as known.
        use_reports: How often, and what, the receiver reports about its uses.
    """

    KIND: ClassVar[str] = "request"
    MAX_BYTES: ClassVar[int] = 128 << 10

    request_id: Identifier
    issued: Moment
    expires: Moment
    receiver: Party
    nonce: Digest
    title: Name
    notice: Notice
    purposes: Annotated[tuple[Purpose, ...], Limit(MAX_PURPOSES, least=1)]
    asks: Annotated[tuple[Ask, ...], Limit(MAX_ASKS, least=1)]
    operations: Annotated[tuple[Operation, ...], Limit(len(Operation), least=1)]
    when: When
    keep: Keep
    withdrawal: Sentences
    jurisdictions: Annotated[tuple[CountryCode, ...], Limit(8, least=1)]
    logs: Annotated[tuple[Name, ...], Limit(16)]
    controllers: Annotated[tuple[Party, ...], Limit(8, least=1)] | None = None
    onward: Annotated[tuple[Party, ...], Limit(16, least=1)] | None = None
    locations: Sentences | None = None
    cross_border: Sentence | None = None
    automated: Sentence | None = None
    authority: Party | None = None
    fee: Sentence | None = None
    verifier: Did | None = None
    profile: Name | None = None
    previous: Digest | None = None
    rights: Sentences | None = None
    withdrawal_effect: Sentence | None = None
    erase_within_seconds: Duration | None = None
    legal_holds: Sentences | None = None
    use_reports: Sentence | None = None

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        _check_texts(self.title, self.cross_border, self.automated, self.fee, self.verifier, self.profile)
        _check_texts(self.withdrawal_effect, self.use_reports, *self.withdrawal, *self.logs)
        _check_texts(*(self.locations or ()), *(self.rights or ()), *(self.legal_holds or ()))
        for code in self.jurisdictions:
            check_country(code)
        _check_distinct("operations", self.operations)
        _check_distinct("purposes", tuple(purpose.code for purpose in self.purposes))
        _check_distinct("schemas", tuple(ask.schema for ask in self.asks))
        if self.expires <= self.issued:
            raise DecodeError("expected a request to expire after it is issued")

    def ask_for(self, schema: str) -> Ask | None:
        """Return what is asked of packages of one kind, or None."""
        return next((ask for ask in self.asks if ask.schema == schema), None)


def parse_request(data: Buffer, *, now: int, card: Card | None = None) -> Signed[Request]:
    """Check a request before it is shown to a person.

    Args:
        data: Its envelope.
        now: The present time, in seconds.
        card: Card of the institution that the person believes to deal with; None skips the comparison.

    Raises:
        DecodeError: It is malformed.
        SignatureInvalid: It is not signed by the receiver that it names.
        ConsentInvalid: It is expired, from the future, or by another institution than the card says.
    """
    request = envelope.verify(Request, data)
    check_request(request, now=now, card=card)
    return request


def check_request(request: Signed[Request], *, now: int, card: Card | None = None) -> None:
    """Check who signed a request, when, and that it is the institution of a card.

    Raises:
        SignatureInvalid: It is not signed by the receiver that it names.
        ConsentInvalid: It is expired, from the future, or by another institution than the card says.
    """
    body = request.body
    if request.signer != public_key_of(body.receiver.did):
        raise SignatureInvalid("expected the request to be signed by the receiver that it names")
    if card is not None and (body.receiver.did, body.receiver.name) != (card.did, card.name):
        raise ConsentInvalid("expected a request by the institution of the card, found another name or identifier")
    if body.issued > now + CLOCK_SKEW_SECONDS:
        raise ConsentInvalid(f"expected a request issued by {now}, found one of {body.issued}")
    if body.expires < now:
        raise ConsentInvalid(
            f"expected a request that can be answered at {now}, found one until {body.expires}",
            hint="ask the institution for a new request",
        )


def _at_most(value: int | None, limit: int | None) -> bool:
    return limit is None or (value is not None and value <= limit)


def _check_texts(*texts: str | None) -> None:
    for text in texts:
        if text is not None:
            check_wording(text)


def _check_distinct(what: str, items: tuple[_T, ...]) -> None:
    if len(set(items)) != len(items):
        raise DecodeError(f"expected each of the {what} once, found one twice")
