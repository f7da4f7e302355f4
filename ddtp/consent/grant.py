"""Grants: a person's signed permission, bound to everything it is about (spec/06-consent s.5 and s.6).

A grant names the exact request, the exact text the person saw, the exact leaves of the exact package, and one receiver.
Change any of them and it permits nothing.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from ddtp.consent import screen
from ddtp.consent.choice import (
    Choice,
    ConsentKind,
    PackageSet,
    PurposeIndexes,
    WithdrawalDelay,
    check_choice,
)
from ddtp.consent.request import Keep, Party, Request, Sentence, When
from ddtp.errors import ConsentInvalid, DecodeError
from ddtp.identity.did import public_key_of
from ddtp.identity.document import CLOCK_SKEW_SECONDS
from ddtp.identity.language import Language
from ddtp.identity.naming import check_wording
from ddtp.protocol.envelope import Signed
from ddtp.protocol.package import Disclosure, Manifest
from ddtp.protocol.record import Did, Digest, Identifier, Limit, Moment, Range, Record

_Evidence = Annotated[bytes, Limit(8 << 10, least=1)]
"""A signed object of another chapter or another system, kept as it came."""


@dataclass(frozen=True, slots=True)
class Grant(Record):
    """What a person permits; they sign this.

    Attributes:
        grant_id: Random.
        issued: When it was signed.
        subject: The person, and whose key signs; the holder of every package in `data`.
        receiver: Who may have the data.
        request: Digest of the request that this answers.
        screen: Digest of the text that the person confirmed.
        screen_version: Version of the rules that made this text.
        language: Its language.
        kind: In which form the person agreed.
        how: By what act, for example "typed yes at the terminal".
        data: Which packages, and which parts.
        purposes: Positions of the granted purposes in the request.
        when: Limits by time and number.
        keep: How long the data may be kept.
        withdrawal_delay_seconds: A withdrawal takes effect this long after it was anchored, at the latest.
        authentication: How the person was identified to their own agent.
        previous: Digest of the grant that this one replaces.
        guardian: Who agreed for the person.
        guardian_proof: Evidence that they may.
        witness: Statement of a witness.
    """

    KIND: ClassVar[str] = "grant"
    MAX_BYTES: ClassVar[int] = 128 << 10

    grant_id: Identifier
    issued: Moment
    subject: Did
    receiver: Did
    request: Digest
    screen: Digest
    screen_version: Annotated[int, Range(1, 255)]
    language: Language
    kind: ConsentKind
    how: Sentence
    data: PackageSet
    purposes: PurposeIndexes
    when: When
    keep: Keep
    withdrawal_delay_seconds: WithdrawalDelay
    authentication: Sentence | None = None
    previous: Digest | None = None
    guardian: Party | None = None
    guardian_proof: _Evidence | None = None
    witness: _Evidence | None = None

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        check_wording(self.how)
        check_wording(self.authentication or "")
        if self.guardian_proof is not None and self.guardian is None:
            raise DecodeError("expected a guardian with the proof of guardianship")
        self.choice()

    def choice(self) -> Choice:
        """Return what was agreed to, as the screen showed it."""
        return Choice(
            kind=self.kind,
            packages=self.data,
            purposes=self.purposes,
            when=self.when,
            keep=self.keep,
            withdrawal_delay_seconds=self.withdrawal_delay_seconds,
        )


HOW_TERMINAL: Final = "confirmed at the terminal"
HOW_BEFOREHAND: Final = "agreed beforehand, by an option of the command line"
HOW_PROGRAM: Final = "confirmed in a program that the person uses"
"""Acts of consent that our own programs can vouch for; others say their own."""


def build_grant(
    request: Signed[Request],
    choice: Choice,
    *,
    grant_id: bytes,
    subject: str,
    language: Language,
    now: int,
    how: str,
    authentication: str | None = None,
) -> Grant:
    """Return the grant for a choice that the person has confirmed on its screen.

    Args:
        request: What was asked.
        choice: What the person agrees to.
        grant_id: 16 random bytes.
        subject: DID of the person: the holder of the packages, whose key will sign.
        language: In which language the screen was shown.
        now: The present time, in seconds.
        how: By what act the person agreed.
        authentication: How the person was identified.

    Raises:
        ConsentInvalid: The choice is not within the request.
    """
    check_choice(request.body, choice)
    return Grant(
        grant_id=grant_id,
        issued=now,
        subject=subject,
        receiver=request.body.receiver.did,
        request=request.digest,
        # made here and not passed in, so that a grant cannot name another text than that of its choice
        screen=screen.screen_digest(screen.render(request, choice, language)),
        screen_version=screen.VERSION,
        language=language,
        kind=choice.kind,
        how=how,
        data=choice.packages,
        purposes=choice.purposes,
        when=choice.when,
        keep=choice.keep,
        withdrawal_delay_seconds=choice.withdrawal_delay_seconds,
        authentication=authentication,
    )


def check_grant(
    grant: Signed[Grant],
    request: Signed[Request],
    *,
    receiver: str,
    manifest: Manifest,
    disclosure: Disclosure,
    now: int,
) -> None:
    """Check that a grant permits this receiver to have this part of this package now.

    Args:
        grant: The grant, its signature already checked against its own key.
        request: The request, likewise.
        receiver: DID of who wants to use the grant.
        manifest: Manifest of the package, already found to be the issuer's.
        disclosure: What is disclosed of it, already found to lead to the manifest's root.
        now: The present time, in seconds.

    Raises:
        ConsentInvalid: It does not.
        DecodeError: An identifier in it is malformed.
    """
    check_binding(grant, request, receiver=receiver, manifest=manifest, disclosure=disclosure)
    check_in_force(grant.body, now=now)


def check_binding(
    grant: Signed[Grant],
    request: Signed[Request],
    *,
    receiver: str,
    manifest: Manifest,
    disclosure: Disclosure,
) -> None:
    """Check everything about a grant but the present time; arguments as in `check_grant`.

    Raises:
        ConsentInvalid: The grant is about something else.
        DecodeError: An identifier in it is malformed.
    """
    # Order of spec/06 s.6: who to whom, in answer to what, about which data, within what was asked, on which screen.
    _check_parties(grant, request, receiver=receiver, holder=manifest.holder)
    _check_answer(grant.body, request)
    _check_data(grant.body, manifest, disclosure)
    check_choice(request.body, grant.body.choice())
    _check_screen(grant.body, request)


def check_in_force(grant: Grant, *, now: int, skew_seconds: int = CLOCK_SKEW_SECONDS) -> None:
    """Check that a grant is in force; how often it was used is for the caller to count.

    Args:
        grant: The grant.
        now: The present time, in seconds.
        skew_seconds: How far its start may lie in the future. Its end has no tolerance.

    Raises:
        ConsentInvalid: It is not.
    """
    latest = now + skew_seconds
    if grant.issued > latest:
        raise ConsentInvalid(f"expected a grant signed by {now}, found one of {grant.issued}")
    if grant.when.not_before > latest:
        raise ConsentInvalid(f"expected a grant in force at {now}, found one from {grant.when.not_before}")
    if grant.when.expires < now:
        raise ConsentInvalid(f"expected a grant in force at {now}, found one until {grant.when.expires}")


def _check_parties(grant: Signed[Grant], request: Signed[Request], *, receiver: str, holder: str) -> None:
    body = grant.body
    if grant.signer != public_key_of(body.subject):
        raise ConsentInvalid("expected the grant to be signed by the person that it names, found another signer")
    if body.subject != holder:
        raise ConsentInvalid("expected the grant of the package's holder, found one of somebody else")
    if request.signer != public_key_of(request.body.receiver.did):
        raise ConsentInvalid("expected the request to be signed by the receiver that it names, found another signer")
    if not receiver == body.receiver == request.body.receiver.did:
        raise ConsentInvalid("expected a grant to this receiver, found one to another")


def _check_answer(grant: Grant, request: Signed[Request]) -> None:
    if grant.request != request.digest:
        raise ConsentInvalid("expected a grant that answers this request, found one that answers another")
    if grant.issued > request.body.expires:
        raise ConsentInvalid("expected a grant signed before the request expired, found a later one")
    if grant.issued + CLOCK_SKEW_SECONDS < request.body.issued:
        raise ConsentInvalid("expected a grant signed after the request, found an earlier one")


def _check_data(grant: Grant, manifest: Manifest, disclosure: Disclosure) -> None:
    granted = next((package for package in grant.data if package.package_id == manifest.package_id), None)
    if granted is None:
        raise ConsentInvalid("expected a grant for this package, found one for others")
    expected = (manifest.root, manifest.issuer, manifest.schema)
    if (granted.root, granted.issuer, granted.schema) != expected:
        raise ConsentInvalid("expected a grant for this root, issuer and schema, found another")
    if granted.leaf_set != disclosure.leaf_set():
        raise ConsentInvalid("expected the disclosure that was granted, found another set of leaves")


def _check_screen(grant: Grant, request: Signed[Request]) -> None:
    if grant.screen_version != screen.VERSION:
        raise ConsentInvalid(f"expected a screen of version {screen.VERSION}, found {grant.screen_version}")
    shown = screen.render(request, grant.choice(), grant.language)
    if grant.screen != screen.screen_digest(shown):
        raise ConsentInvalid("expected the screen of this request and choice to have been shown, found another")
