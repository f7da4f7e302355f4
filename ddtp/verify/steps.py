"""The numbered steps of verification (spec/10-verification s.3).

Only numbers and stable names; what each step checks stands in `verifier`. Receipts, verdicts and reports name steps by
these numbers, so a number is never given to another check.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from ddtp.errors import EvidenceError, PolicyRefused, VerificationFailed
from ddtp.protocol.plain_text import plain

MAX_REASON_CHARACTERS = 500
"""Longest reason in a receipt or verdict: a sentence for people, not a report."""


class Step(IntEnum):
    """One step of verification."""

    BUNDLE_FORM = 1
    ISSUER_SIGNATURE = 2
    ISSUER_TRUSTED = 3
    MANIFEST_TIME = 4
    DISCLOSURE = 5
    PACKAGE_ANCHOR = 6
    LEDGER_INCLUSION = 7
    REQUEST_SIGNATURE = 8
    GRANT_BINDING = 9
    GRANT_TIME = 10
    GRANT_ANCHOR = 11
    RECEIPTS = 12
    OPENINGS = 13
    CONTENT = 14

    @property
    def label(self) -> str:
        """The stable name of spec/10, in lower case with hyphens."""
        return self.name.lower().replace("_", "-")


CONTENT_STEPS = (Step.OPENINGS, Step.CONTENT)
"""Steps that need the content, which a separate verifier never sees."""


def failed(step: Step, cause: EvidenceError | PolicyRefused) -> VerificationFailed:
    """Return the failure of a step, which the caller raises from `cause`.

    Args:
        step: The step that refused the evidence.
        cause: Why it did.
    """
    # the plain number: receipts and verdicts hold numbers, and records refuse what only looks like one
    return VerificationFailed(
        cause.message, step=step.value, step_name=step.label, cause_code=cause.code, hint=cause.hint
    )


@contextmanager
def checking(step: Step) -> Iterator[None]:
    """Mark a block as one step: whatever it refuses is reported as a failure of that step.

    Raises:
        VerificationFailed: The block refused the evidence, or used the result of an earlier step that did.
    """
    try:
        yield
    except VerificationFailed:
        # An earlier step, whose result this one needs, has failed: its own number is the right one.
        raise
    except (EvidenceError, PolicyRefused) as err:
        raise failed(step, err) from err


def plain_reason(message: str) -> str:
    """Return a message as text that a record can hold (spec/01 s.4).

    A message may quote what a peer sent, so it is normalised, freed of what does not print, and cut.
    """
    return plain(message, most=MAX_REASON_CHARACTERS) or "no reason given"
