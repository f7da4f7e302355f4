"""What verification gives (spec/10-verification s.4).

These types are made by this package only, so whoever holds one holds the proof that the steps have passed: receipts
and plaintext are released for nothing else.
"""

from collections.abc import Mapping
from dataclasses import InitVar, dataclass
from typing import Final, final

from ddtp.consent.grant import Grant
from ddtp.consent.request import Request
from ddtp.errors import InternalError
from ddtp.protocol.envelope import Signed
from ddtp.protocol.leaves import FileHead
from ddtp.protocol.openings import Disclosure, Openings
from ddtp.protocol.package import Manifest

PASSED: Final = object()
"""Known to this package only: who passes it says that all steps have passed."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class VerifiedEvidence:
    """Evidence that passed steps 1 to 12.

    Attributes:
        evidence_digest: SM3 of the encoded evidence.
        manifest: The issuer's manifest.
        disclosure: Which leaves are shown.
        request: The receiver's request.
        grant: The holder's grant.
        at: The time for which the steps were checked, in seconds.
    """

    evidence_digest: bytes
    manifest: Signed[Manifest]
    disclosure: Disclosure
    request: Signed[Request]
    grant: Signed[Grant]
    at: int
    passed: InitVar[object]

    def __post_init__(self, passed: object) -> None:
        """Refuse to be made outside of verification."""
        _check_maker(passed)


@final
@dataclass(frozen=True, slots=True, eq=False)
class VerifiedOpenings:
    """Openings that passed step 13, before anything was made of the names and sizes in them.

    Attributes:
        evidence: The verified evidence.
        openings: The disclosed values.
    """

    evidence: VerifiedEvidence
    openings: Openings
    passed: InitVar[object]

    def __post_init__(self, passed: object) -> None:
        """Refuse to be made outside of verification."""
        _check_maker(passed)


@final
@dataclass(frozen=True, slots=True, eq=False)
class VerifiedPackage:
    """A package whose evidence and content passed all steps.

    Attributes:
        evidence: The verified evidence.
        openings: The disclosed values.
        files: The fingerprints of the disclosed files, by path, as computed from the bytes.
    """

    evidence: VerifiedEvidence
    openings: Openings
    files: Mapping[str, FileHead]
    passed: InitVar[object]

    def __post_init__(self, passed: object) -> None:
        """Refuse to be made outside of verification."""
        _check_maker(passed)


def _check_maker(passed: object) -> None:
    if passed is not PASSED:
        raise InternalError("expected verification to make this value, found another maker")
