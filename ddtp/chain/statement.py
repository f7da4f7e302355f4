"""What stands on a ledger: entries, and the signed statements inside them (spec/09-ledger s.2 and s.3).

An entry holds a blinded digest, a coarse time and nothing else: no name, no DID of a person, no size, no text. Without
the salt, which stays with the parties, nobody can tell what an entry is about.
"""

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Annotated, ClassVar, Final

from ddtp.crypto import sm3
from ddtp.errors import DecodeError, NotAnchored, SignatureInvalid
from ddtp.protocol import envelope
from ddtp.protocol.envelope import Signed, Signer
from ddtp.protocol.record import Digest, Limit, Record, Seconds

HOUR_SECONDS: Final = 3600
"""Times on a ledger are cut to this: an exact time would link an entry to a visit or a call."""

MAX_ENTRY_BYTES: Final = 8 << 10
"""Longest entry: four statements take under 2 KiB; the rest leaves room for a larger signature suite."""

MAX_STATEMENTS: Final = 4
"""Most statements of an entry: an issuer and up to three witnesses."""

_BLIND_BLOCK: Final = b"\x03" + bytes(63)


class EntryKind(Enum):
    """What an entry is a fingerprint of (spec/09 s.2)."""

    ANCHOR = "anchor"
    GRANT = "grant"
    RECEIPT = "receipt"
    KEY_RELEASE = "key-release"
    WITHDRAWAL = "withdrawal"
    ERASURE = "erasure"
    USE = "use"
    STATUS = "status"
    REGISTRY = "registry"
    POLICY = "policy"


class AnchorRole(Enum):
    """As what somebody attests a fingerprint."""

    ISSUER = "issuer"
    WITNESS = "witness"


@dataclass(frozen=True, slots=True)
class AnchorStatement(Record):
    """An institution's signed word that it issued, or saw, what a digest blinds.

    Attributes:
        digest: The blinded digest.
        hour: The full hour of the statement.
        role: As what the signer speaks.
    """

    KIND: ClassVar[str] = "anchor"
    MAX_BYTES: ClassVar[int] = 512

    digest: Digest
    hour: Seconds
    role: AnchorRole

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        _check_hour(self.hour)


@dataclass(frozen=True, slots=True)
class Entry(Record):
    """One leaf of a ledger.

    Attributes:
        kind: What the digest is a fingerprint of.
        digest: The blinded digest.
        hour: The full hour in which the appender made the entry; the appender's claim, not the ledger's.
        statements: Envelopes of `AnchorStatement`: one to four for an anchor, none for other kinds.
    """

    MAX_BYTES: ClassVar[int] = MAX_ENTRY_BYTES

    kind: EntryKind
    digest: Digest
    hour: Seconds
    statements: Annotated[tuple[Annotated[bytes, Limit(1 << 10, least=1)], ...], Limit(MAX_STATEMENTS)] = ()

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        _check_hour(self.hour)
        if (self.kind is EntryKind.ANCHOR) != bool(self.statements):
            raise DecodeError(
                f"expected statements in an anchor and in no other entry, "
                f"found {len(self.statements)} in one of kind {self.kind.value}"
            )


def coarse(now: int) -> int:
    """Cut a time in seconds to its full hour."""
    return now - now % HOUR_SECONDS


def blind(salt: bytes, subject: bytes) -> bytes:
    """Return the digest that stands on a ledger for a subject.

    Args:
        salt: 32 random bytes, fresh for every entry and every ledger.
        subject: A digest, or `package_subject`.

    Returns:
        32 bytes: SM3(0x03 ‖ 63 zero bytes ‖ salt ‖ subject).
    """
    return _blinding().digest(salt, subject)


def package_subject(root: bytes, manifest_digest: bytes) -> bytes:
    """Return what is blinded for a package: its root ‖ SM3 of its manifest's envelope."""
    return root + manifest_digest


def make_statement(digest: bytes, *, hour: int, role: AnchorRole, signer: Signer) -> Signed[AnchorStatement]:
    """Sign a statement about a blinded digest."""
    return envelope.sign(AnchorStatement(digest=digest, hour=hour, role=role), signer)


def verify_statements(entry: Entry) -> tuple[Signed[AnchorStatement], ...]:
    """Check every statement of an entry; whose they are is the caller's question.

    Returns:
        The statements in their order; `signer` says by whom, `body.role` as what.

    Raises:
        DecodeError: A statement is malformed, or two are by one key.
        SignatureInvalid: A statement is not signed as it says, or is about another digest or hour.
    """
    (signed,) = verify_all_statements([entry])
    return signed


def verify_all_statements(entries: Sequence[Entry]) -> list[tuple[Signed[AnchorStatement], ...]]:
    """Check the statements of many entries, their signatures all at once; see `verify_statements`."""
    signed = iter(envelope.verify_many(AnchorStatement, [each for entry in entries for each in entry.statements]))
    return [_check_own(entry, tuple(islice(signed, len(entry.statements)))) for entry in entries]


def _check_own(entry: Entry, signed: tuple[Signed[AnchorStatement], ...]) -> tuple[Signed[AnchorStatement], ...]:
    for each in signed:
        if each.body.digest != entry.digest or each.body.hour != entry.hour:
            raise SignatureInvalid("expected statements about the digest and hour of their entry, found others")
    if len({each.signer for each in signed}) != len(signed):
        raise DecodeError("expected statements by different keys, found two by one key")
    return signed


def check_statements(entry: Entry, *, issuers: Collection[bytes] = (), witnesses: Collection[bytes] = ()) -> None:
    """Check that an entry is attested by whom the caller trusts.

    Args:
        entry: The entry.
        issuers: Keys, 33 bytes each, of which one must attest as issuer; nobody is demanded if it is empty.
        witnesses: Keys of which one must attest as witness; nobody is demanded if it is empty.

    Raises:
        NotAnchored: A demanded statement is missing.
        DecodeError: A statement is malformed.
        SignatureInvalid: A statement is not signed as it says.
    """
    signed = verify_statements(entry)
    for role, keys in ((AnchorRole.ISSUER, issuers), (AnchorRole.WITNESS, witnesses)):
        if keys and not any(each.body.role is role and each.signer in keys for each in signed):
            raise NotAnchored(f"expected a statement by a trusted {role.value} in the entry, found none")


@functools.cache
def _blinding() -> sm3.Prefixed:
    return sm3.prefixed(_BLIND_BLOCK)


def _check_hour(hour: int) -> None:
    if hour % HOUR_SECONDS:
        raise DecodeError(f"expected a full hour, found {hour % HOUR_SECONDS} seconds past one")
