"""Choices: which part of a request a person agrees to (spec/06-consent s.3).

A choice is what the screen shows and what the grant then says; it exists before anything is signed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Annotated, ClassVar, Final

from ddtp.consent.request import Ask, Keep, Level, Request, When
from ddtp.errors import ConsentInvalid, DecodeError
from ddtp.identity.did import public_key_of
from ddtp.identity.naming import check_wording
from ddtp.protocol.package import Disclosure, Manifest, Openings
from ddtp.protocol.record import Did, Digest, Identifier, Limit, Name, Range, Record

MAX_PACKAGES: Final = 64
"""Packages of one grant: five years of monthly statements."""
WITHDRAWAL_DELAY_SECONDS: Final = 24 * 3600
"""How long after its anchoring a withdrawal takes effect at the latest, unless agreed otherwise (spec/06 s.7)."""

PurposeIndexes = Annotated[tuple[Annotated[int, Range(0, 15)], ...], Limit(16, least=1)]
"""Positions in the purposes of a request, ascending."""
WithdrawalDelay = Annotated[int, Range(0, 30 * 86400)]


class ConsentKind(Enum):
    """In which form the person agreed."""

    EXPLICIT = "explicit"
    SEPARATE = "separate"
    WRITTEN = "written"
    ONCE = "once"


@dataclass(frozen=True, slots=True)
class GrantedPackage(Record):
    """A package, or a part of one, that the receiver may have.

    Attributes:
        package_id: Which package.
        schema: Its kind.
        root: Root of its tree.
        issuer: Who issued it.
        level: How much is disclosed.
        leaf_set: Digest of the disclosed positions (spec/03).
        predicates: Statements that are proven about it, at level 3.
    """

    KIND: ClassVar[str] = "granted-package"

    package_id: Identifier
    schema: Name
    root: Digest
    issuer: Did
    level: Level
    leaf_set: Digest
    predicates: Annotated[tuple[Name, ...], Limit(16)] = ()

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        # the screen shows an issuer as our own words, so it must be an identifier and nothing else
        public_key_of(self.issuer)
        for text in (self.schema, *self.predicates):
            check_wording(text)


PackageSet = Annotated[tuple[GrantedPackage, ...], Limit(MAX_PACKAGES, least=1)]


@dataclass(frozen=True, slots=True)
class Choice(Record):
    """What a person agrees to.

    Attributes:
        kind: In which form.
        packages: Which data.
        purposes: Which purposes of the request.
        when: Limits, none wider than those asked.
        keep: How long, not longer than asked.
        withdrawal_delay_seconds: By when a withdrawal takes effect.
    """

    KIND: ClassVar[str] = "choice"

    kind: ConsentKind
    packages: PackageSet
    purposes: PurposeIndexes
    when: When
    keep: Keep
    withdrawal_delay_seconds: WithdrawalDelay = WITHDRAWAL_DELAY_SECONDS

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        check_ascending(self.purposes)
        if len({package.package_id for package in self.packages}) != len(self.packages):
            raise DecodeError("expected each package once in a choice, found one twice")


def check_ascending(purposes: Sequence[int]) -> None:
    """Check the order of purposes, of which there is one only.

    Raises:
        DecodeError: They are not ascending, or one is there twice.
    """
    if any(second <= first for first, second in pairwise(purposes)):
        raise DecodeError("expected purposes in ascending order, each once")


def granted_package(manifest: Manifest, disclosure: Disclosure, *, level: int) -> GrantedPackage:
    """Return how a grant names a disclosed package."""
    return GrantedPackage(
        package_id=manifest.package_id,
        schema=manifest.schema,
        root=manifest.root,
        issuer=manifest.issuer,
        level=level,
        leaf_set=disclosure.leaf_set(),
    )


def make_choice(
    request: Request,
    packages: Sequence[tuple[Manifest, Disclosure]],
    *,
    purposes: Sequence[int] | None = None,
    when: When | None = None,
    keep: Keep | None = None,
    withdrawal_delay_seconds: int = WITHDRAWAL_DELAY_SECONDS,
) -> Choice:
    """Return a choice that answers a request.

    Args:
        request: What is asked.
        packages: What is disclosed of which packages; each at the level that is asked.
        purposes: Positions of the purposes; None takes the required ones, or the first if none is required.
        when: Narrower limits; None takes those asked.
        keep: A shorter time; None takes the one asked.
        withdrawal_delay_seconds: By when a withdrawal takes effect.

    Raises:
        ConsentInvalid: The choice is not within the request.
    """
    chosen = tuple(sorted(set(required_purposes(request) or (0,) if purposes is None else purposes)))
    levels = [(manifest, disclosure, _asked(request, manifest.schema)) for manifest, disclosure in packages]
    sensitive = any(ask.sensitive for _, _, ask in levels)
    choice = Choice(
        kind=ConsentKind.SEPARATE if sensitive else ConsentKind.EXPLICIT,
        packages=tuple(
            granted_package(manifest, disclosure, level=_level(ask, disclosure)) for manifest, disclosure, ask in levels
        ),
        purposes=chosen,
        when=when or request.when,
        keep=keep or request.keep,
        withdrawal_delay_seconds=withdrawal_delay_seconds,
    )
    check_choice(request, choice)
    return choice


def check_choice(request: Request, choice: Choice) -> None:
    """Check that a choice permits nothing that was not asked, and leaves out nothing that is required.

    Raises:
        ConsentInvalid: It does.
    """
    _check_purposes(request, choice)
    for package in choice.packages:
        _check_package(_asked(request, package.schema), package, kind=choice.kind)
    if not choice.when.within(request.when):
        raise ConsentInvalid("expected a permission within the time and number of uses asked, found a wider one")
    if not choice.keep.within(request.keep):
        raise ConsentInvalid("expected data to be kept no longer than asked, found longer")


def required_purposes(request: Request) -> tuple[int, ...]:
    """Return the positions of the purposes that cannot be left out."""
    return tuple(index for index, purpose in enumerate(request.purposes) if purpose.required)


def check_covered(ask: Ask, openings: Openings) -> None:
    """Check that nothing is shown that was not asked for.

    The holder checks this before signing, the receiver when it opens the content; a separate verifier sees no openings.

    Raises:
        ConsentInvalid: A field or file is outside the items of the ask.
    """
    paths = [opening.field.path for opening in openings.fields] + [opening.head.path for opening in openings.files]
    surplus = sum(not ask.covers(path) for path in paths)
    if surplus:
        raise ConsentInvalid(f"expected only what was asked for, found {surplus} fields or files beyond")


def _level(ask: Ask, disclosure: Disclosure) -> int:
    complete = len(disclosure.leaves) == disclosure.leaf_count
    return 2 if ask.level == 1 and not complete else ask.level


def _check_purposes(request: Request, choice: Choice) -> None:
    if choice.purposes[-1] >= len(request.purposes):
        raise ConsentInvalid(
            f"expected purposes of the request below {len(request.purposes)}, found {choice.purposes[-1]}"
        )
    missing = set(required_purposes(request)) - set(choice.purposes)
    if missing:
        raise ConsentInvalid(f"expected the required purpose {min(missing)} to be granted, found that it is not")


def _check_package(ask: Ask, package: GrantedPackage, *, kind: ConsentKind) -> None:
    # a higher number discloses less; spec/06 s.3: less than asked is the person's right, more is nobody's
    if package.level < ask.level:
        raise ConsentInvalid(f"expected disclosure at level {ask.level} as asked, found level {package.level}")
    if ask.sensitive and kind not in {ConsentKind.SEPARATE, ConsentKind.WRITTEN}:
        raise ConsentInvalid(f"expected separate or written consent for sensitive data, found {kind.value}")


def _asked(request: Request, schema: str) -> Ask:
    ask = request.ask_for(schema)
    if ask is None:
        raise ConsentInvalid(f"expected a package of a kind that is asked for, found {schema!r}")
    return ask
