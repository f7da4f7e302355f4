"""Use case: who judges evidence for a receiver: this process, or a verifier elsewhere (spec/10 s.6, spec/15 s.2)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol

import trio

from ddtp.agent.context import CALL_TIMEOUT_SECONDS, VERIFY_PROTOCOL, Context
from ddtp.agent.dialing import questions
from ddtp.errors import VerificationFailed
from ddtp.identity.document import Card
from ddtp.identity.keys import PrivateKey
from ddtp.protocol import envelope
from ddtp.protocol.envelope import Signed
from ddtp.protocol.record import Did, Limit, Record
from ddtp.transfer import rpc
from ddtp.verify.evidence import Evidence
from ddtp.verify.policy import TrustPolicy
from ddtp.verify.verdict import Verdict, accept_verdict, negative_verdict, positive_verdict
from ddtp.verify.verified import VerifiedEvidence
from ddtp.verify.verifier import verify_evidence

MAX_QUESTION_BYTES = Evidence.MAX_BYTES + 1024


@dataclass(frozen=True, slots=True)
class VerifyQuestion(Record):
    """What a verifier is asked.

    Attributes:
        receiver: DID that the evidence must be for.
        evidence: Encoded evidence.
    """

    KIND: ClassVar[str] = "verify-question"
    MAX_BYTES: ClassVar[int] = MAX_QUESTION_BYTES

    receiver: Did
    evidence: Annotated[bytes, Limit(Evidence.MAX_BYTES, least=1)]


class Judge(Protocol):
    """Verifies evidence for one receiver."""

    async def __call__(self, evidence: Evidence, *, now: int) -> VerifiedEvidence:
        """Return verified evidence.

        Raises:
            VerificationFailed: A step failed.
            PeerError, EnvironmentProblem: The verifier could not be asked.
        """


def local_judge(policy: TrustPolicy, receiver: str) -> Judge:
    """Return a judge that decides in this process."""

    async def judge(evidence: Evidence, *, now: int) -> VerifiedEvidence:
        encoded = evidence.encode()
        return await trio.to_thread.run_sync(
            lambda: verify_evidence(encoded, policy=policy, receiver=receiver, now=now)
        )

    return judge


def remote_judge(context: Context, card: Signed[Card], *, policy: TrustPolicy, receiver: str) -> Judge:
    """Return a judge that asks the verifier of a card, and believes only verifiers of the policy."""

    async def judge(evidence: Evidence, *, now: int) -> VerifiedEvidence:
        encoded = evidence.encode()
        async with questions(context, card.body.addresses, VERIFY_PROTOCOL, who=card.body.name) as stream:
            answer = await rpc.call(
                stream,
                VerifyQuestion(receiver=receiver, evidence=encoded).encode(),
                max_response_bytes=Verdict.MAX_BYTES + 1024,
                timeout_seconds=CALL_TIMEOUT_SECONDS,
            )
        return accept_verdict(answer, encoded, policy=policy, receiver=receiver, now=now)

    return judge


def answer_question(question: bytes, *, policy: TrustPolicy, signer: PrivateKey, now: int) -> bytes:
    """Judge evidence that somebody sent, and return the signed verdict.

    Args:
        question: Encoded `VerifyQuestion`.
        policy: Whom to trust.
        signer: The verifier's key.
        now: Seconds since the epoch.

    Raises:
        DecodeError: The question is malformed.
    """
    asked = VerifyQuestion.parse(question)
    try:
        verdict = positive_verdict(verify_evidence(asked.evidence, policy=policy, receiver=asked.receiver, now=now))
    except VerificationFailed as failure:
        verdict = negative_verdict(asked.evidence, failure, receiver=asked.receiver, at=now)
    return envelope.sign(verdict, signer).envelope
