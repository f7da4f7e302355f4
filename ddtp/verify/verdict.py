"""Verdicts: a verifier's signed answer to whoever holds the payload (spec/10-verification s.6).

The verifier of an institution may run apart from its transport, on another host: it is sent evidence, never a payload,
and answers with a verdict.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from ddtp.crypto import sm3
from ddtp.errors import DecodeError, EvidenceError, PolicyRefused, VerificationFailed
from ddtp.identity import did as dids
from ddtp.protocol import envelope
from ddtp.protocol.codec import Buffer
from ddtp.protocol.envelope import Signed
from ddtp.protocol.record import Did, Digest, Limit, Name, Range, Record, Seconds
from ddtp.verify.policy import TrustPolicy
from ddtp.verify.steps import CONTENT_STEPS, MAX_REASON_CHARACTERS, Step, plain_reason
from ddtp.verify.verified import VerifiedEvidence
from ddtp.verify.verifier import Examination

MAX_VERDICT_AGE_SECONDS = 300
"""How long a verdict holds: a transfer starts within it, and a change of the policy takes effect soon."""

_LAST_STEP = len(Step) - len(CONTENT_STEPS)


@dataclass(frozen=True, slots=True)
class Verdict(Record):
    """What a verifier says about evidence.

    Attributes:
        evidence: Digest of the evidence.
        receiver: DID that the evidence was checked for.
        at: The time for which the steps were checked, in seconds.
        passed: True if steps 1 to 12 passed.
        step: Number of the failed step, if one failed.
        cause: Code of its cause (spec/12), if one failed.
        reason: Why, for people, if one failed.
    """

    KIND: ClassVar[str] = "verdict"
    MAX_BYTES: ClassVar[int] = 8 << 10

    evidence: Digest
    receiver: Did
    at: Seconds
    passed: bool
    step: Annotated[int, Range(1, _LAST_STEP)] | None = None
    cause: Name | None = None
    reason: Annotated[str, Limit(MAX_REASON_CHARACTERS, least=1)] | None = None

    def __post_init__(self) -> None:
        """Check that a failure is described, and only a failure."""
        Record.__post_init__(self)
        described = [value is not None for value in (self.step, self.cause, self.reason)]
        if described != [not self.passed] * 3:
            raise DecodeError("expected step, cause and reason in a verdict exactly if it is negative")


def positive_verdict(verified: VerifiedEvidence) -> Verdict:
    """Return the verdict on evidence that passed; the receiver and the time are those it was checked for."""
    receiver = verified.request.body.receiver.did
    return Verdict(verified.evidence_digest, receiver, verified.at, passed=True)


def negative_verdict(evidence: Buffer, failure: VerificationFailed, *, receiver: str, at: int) -> Verdict:
    """Return the verdict on evidence that a step refused.

    Args:
        evidence: Encoded evidence, as it was received.
        failure: The step and its cause.
        receiver: DID that the evidence was checked for.
        at: The time for which it was checked, in seconds.
    """
    return Verdict(
        sm3.digest(bytes(evidence)),
        receiver,
        at,
        passed=False,
        step=failure.step,
        cause=failure.cause_code,
        reason=plain_reason(failure.message),
    )


def accept_verdict(
    verdict: Buffer, evidence: Buffer, *, policy: TrustPolicy, receiver: str, now: int
) -> VerifiedEvidence:
    """Take over the answer of a verifier.

    Args:
        verdict: Envelope of the verdict.
        evidence: The encoded evidence that was sent to the verifier.
        policy: Names the verifiers that are believed.
        receiver: DID of our own institution.
        now: The present time, in seconds.

    Returns:
        The evidence, which steps 1 to 12 have accepted at the verifier.

    Raises:
        DecodeError: The verdict is malformed.
        SignatureInvalid: Its signature does not verify.
        PolicyRefused: Its signer is no verifier of the policy.
        EvidenceError: It is about other evidence, for another receiver, too old or from the future.
        VerificationFailed: It is negative, or the evidence itself is malformed.
    """
    signed = envelope.verify(Verdict, verdict)
    _check_verifier(signed, policy)
    body = signed.body
    if (body.evidence, body.receiver) != (sm3.digest(bytes(evidence)), receiver):
        raise EvidenceError("expected a verdict on this evidence for this receiver, found one on another")
    if not now - MAX_VERDICT_AGE_SECONDS <= body.at <= now + policy.clock_skew_seconds:
        raise EvidenceError(f"expected a verdict of the last {MAX_VERDICT_AGE_SECONDS} seconds, found one of {body.at}")
    if body.step is not None:
        step = Step(body.step)
        raise VerificationFailed(
            body.reason or "", step=step.value, step_name=step.label, cause_code=body.cause or EvidenceError.code
        )
    return Examination(evidence, policy=policy, receiver=receiver, now=body.at).verified_evidence()


def _check_verifier(signed: Signed[Verdict], policy: TrustPolicy) -> None:
    trusted = {dids.public_key_of(each) for each in policy.verifiers}
    if signed.signer not in trusted:
        raise PolicyRefused("expected a verdict by a verifier of the policy, found another signer")
