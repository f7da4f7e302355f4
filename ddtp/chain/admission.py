"""Which entries a log accepts, from whom (spec/09-ledger s.7).

All rules are here and nowhere else. The policy is public: its digest is itself an entry of the log, so an operator
cannot change the rules in silence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Final

from ddtp.chain.statement import HOUR_SECONDS, Entry, EntryKind, coarse, verify_all_statements
from ddtp.crypto import sm3
from ddtp.errors import PolicyRefused
from ddtp.protocol.record import Limit, PublicKey, Range, Record

OPERATOR_KINDS: Final = frozenset({EntryKind.STATUS, EntryKind.REGISTRY, EntryKind.POLICY})
"""What only the operator itself says on its log; refused when it comes over the network."""

MAX_DELAY_SECONDS: Final = 24 * HOUR_SECONDS
"""How old the hour of an entry may be unless the policy says otherwise: a phone without network for a day."""


@dataclass(frozen=True, slots=True)
class AdmissionPolicy(Record):
    """The rules of one log.

    Attributes:
        kinds: Kinds of entries it accepts.
        max_delay_seconds: How far the hour of an entry may lie in the past.
        attestors: Keys whose statements it accepts; None accepts anybody's.
    """

    kinds: Annotated[tuple[EntryKind, ...], Limit(len(EntryKind), least=1)] = tuple(EntryKind)
    max_delay_seconds: Annotated[int, Range(HOUR_SECONDS, 1 << 40)] = MAX_DELAY_SECONDS
    attestors: Annotated[tuple[PublicKey, ...], Limit(4096, least=1)] | None = None


def admit(entries: Sequence[bytes], policy: AdmissionPolicy, *, now: int) -> tuple[Entry, ...]:
    """Check entries before they are appended.

    Args:
        entries: Encoded entries.
        policy: The rules.
        now: The log's time in seconds.

    Returns:
        The entries, parsed.

    Raises:
        DecodeError: An entry or statement is malformed.
        SignatureInvalid: A statement is not signed as it says.
        PolicyRefused: The rules forbid an entry.
    """
    parsed = tuple(Entry.parse(entry) for entry in entries)
    for entry in parsed:
        _check_entry(entry, policy, now=now)
    for statement in chain.from_iterable(verify_all_statements(parsed)):
        if policy.attestors is not None and statement.signer not in policy.attestors:
            raise PolicyRefused("expected statements by attestors of this log, found one by another key")
    return parsed


def check_remote(entries: Sequence[bytes]) -> None:
    """Check that entries which came over the network do not speak for the operator.

    Raises:
        DecodeError: An entry is malformed.
        PolicyRefused: An entry has a kind of `OPERATOR_KINDS`.
    """
    for entry in entries:
        kind = Entry.parse(entry).kind
        if kind in OPERATOR_KINDS:
            raise PolicyRefused(f"expected an entry of a kind open to all, found {kind.value}")


def policy_entry(policy: AdmissionPolicy, *, now: int) -> Entry:
    """Return the entry that an operator appends when a policy comes into force; its digest is not blinded."""
    return Entry(kind=EntryKind.POLICY, digest=sm3.digest(policy.encode()), hour=coarse(now))


def _check_entry(entry: Entry, policy: AdmissionPolicy, *, now: int) -> None:
    if entry.kind not in policy.kinds:
        raise PolicyRefused(f"expected an entry of a kind that this log accepts, found {entry.kind.value}")
    # spec/09 s.7: one hour of tolerance towards the future, for a clock that is ahead over a full hour
    if not now - policy.max_delay_seconds - HOUR_SECONDS < entry.hour <= now + HOUR_SECONDS:
        raise PolicyRefused(f"expected an entry of about the hour {coarse(now)}, found one of {entry.hour}")
