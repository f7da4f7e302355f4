"""A person, the issuer of a statement, and a bank that asks for a part of it."""

from dataclasses import dataclass, field

from ddtp.consent.choice import Choice, make_choice
from ddtp.consent.grant import HOW_TERMINAL, Grant, build_grant
from ddtp.consent.request import (
    Ask,
    AtEnd,
    Basis,
    Keep,
    Notice,
    Operation,
    Party,
    Purpose,
    Request,
    When,
)
from ddtp.identity.keys import PrivateKey, Seed
from ddtp.identity.language import Language
from ddtp.protocol import envelope
from ddtp.protocol.envelope import Signed
from ddtp.protocol.package import Disclosure, Field, FieldKind, Manifest, Openings, Package, build_package

NOW = 1_800_000_000
DAY = 86400
SCHEMA = "bank-statement/1"

BANK = Seed(bytes(31) + b"\x01").institution_key("sign")
OTHER_BANK = Seed(bytes(31) + b"\x02").institution_key("sign")
ISSUER = Seed(bytes(31) + b"\x03").institution_key("sign")
PERSON = Seed(bytes(31) + b"\x04").holder_key(ISSUER.did)
STRANGER = Seed(bytes(31) + b"\x05").holder_key(ISSUER.did)

REQUEST = Request(
    request_id=bytes(15) + b"\x01",
    issued=NOW,
    expires=NOW + DAY,
    receiver=Party(BANK.did, "城市银行 City Bank", contact="privacy@bank.example", country="CN"),
    nonce=bytes(31) + b"\x02",
    title="住房贷款申请",
    notice=Notice("https://bank.example/privacy", bytes(31) + b"\x03", "zh-CN"),
    purposes=(
        Purpose("loan", "评估您的住房贷款申请", Basis.CONTRACT, required=True),
        Purpose("offers", "向您推荐其他产品", Basis.CONSENT, required=False),
    ),
    asks=(
        Ask(SCHEMA, ("balance", "pages/"), 2, sensitive=True),
        Ask("student-card/1", ("*",), 1, sensitive=False),
    ),
    operations=(Operation.VIEW, Operation.STORE),
    when=When(NOW, NOW + 30 * DAY, 3),
    keep=Keep(AtEnd.RESTRICT, until=NOW + 365 * DAY, seconds=180 * DAY),
    withdrawal=("ddtp withdraw",),
    jurisdictions=("CN",),
    logs=("ledger.example/2026",),
)

PACKAGE = build_package(
    schema=SCHEMA,
    fields=[
        Field("balance", FieldKind.INTEGER, "1200"),
        Field("iban", FieldKind.TEXT, "X1"),
        Field("pages/1", FieldKind.TEXT, "first"),
    ],
    files=[],
    master_salt=bytes(31) + b"\x04",
)


def manifest_of(package: Package, *, number: int = 1, holder: str = PERSON.did) -> Manifest:
    """Return the manifest of a package of the issuer."""
    return Manifest(
        package_id=bytes(15) + bytes([number]),
        issuer=ISSUER.did,
        holder=holder,
        schema=package.schema,
        root=package.root,
        issued=NOW - DAY,
        expires=NOW + 365 * DAY,
    )


MANIFEST = manifest_of(PACKAGE)


def disclose(*indexes: int) -> tuple[Disclosure, Openings]:
    """Return a part of the statement."""
    return PACKAGE.disclose(indexes)


@dataclass(frozen=True)
class Story:
    """Everything that one check of a grant looks at; `replace` changes one thing."""

    request: Request = REQUEST
    requester: PrivateKey = BANK
    person: PrivateKey = PERSON
    receiver: str = BANK.did
    manifest: Manifest = MANIFEST
    disclosure: Disclosure = field(default_factory=lambda: disclose(0, 2)[0])
    language: Language = Language.ZH
    now: int = NOW + 60

    @property
    def signed_request(self) -> Signed[Request]:
        """The request, signed."""
        return envelope.sign(self.request, self.requester)

    def choice(self, request: Request | None = None) -> Choice:
        """Return the usual choice."""
        return make_choice(request or self.request, [(self.manifest, self.disclosure)])

    def grant(self, request: Signed[Request], choice: Choice | None = None) -> Grant:
        """Return the grant that answers a request."""
        return build_grant(
            request,
            choice or self.choice(request.body),
            grant_id=bytes(15) + b"\x09",
            subject=self.person.did,
            language=self.language,
            now=self.now,
            how=HOW_TERMINAL,
        )


STORY = Story()
