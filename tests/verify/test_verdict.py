"""Verdicts: the answer of a verifier on another host."""

from dataclasses import replace

import pytest

from ddtp.errors import (
    ConsentInvalid,
    DecodeError,
    EvidenceError,
    PolicyRefused,
    SignatureInvalid,
    VerificationFailed,
)
from ddtp.identity.keys import PrivateKey
from ddtp.protocol import envelope
from ddtp.verify.steps import Step, failed
from ddtp.verify.verdict import MAX_VERDICT_AGE_SECONDS, Verdict, accept_verdict, negative_verdict, positive_verdict
from ddtp.verify.verified import VerifiedEvidence
from ddtp.verify.verifier import check_content, verify_evidence
from tests.worlds import NOW, RECEIVER, STRANGER, VERIFIER, World

FAILURE = VerificationFailed("expected a, found b", step=3, step_name="issuer-trusted", cause_code="policy-refused")


def judge(world: World, evidence: bytes, *, now: int = NOW) -> Verdict:
    """What the verifier answers."""
    return positive_verdict(verify_evidence(evidence, policy=world.policy(), receiver=RECEIVER.did, now=now))


def accept(
    world: World, verdict: Verdict, evidence: bytes, *, signer: PrivateKey = VERIFIER, now: int = NOW
) -> VerifiedEvidence:
    """Take over a verdict as the transport does, whose policy names verifiers and nobody else."""
    policy = world.policy(issuers={}, logs={}, witnesses={})
    signed = envelope.sign(verdict, signer).envelope
    return accept_verdict(signed, evidence, policy=policy, receiver=RECEIVER.did, now=now)


def test_positive_verdict_is_taken_over(world: World) -> None:
    """A verifier's answer replaces the own check; content is then checked where it is."""
    evidence = world.evidence().encode()
    verified = accept(world, judge(world, evidence), evidence)
    assert verified.at == NOW
    assert check_content(verified, world.openings, files=world.files()).evidence is verified


def test_failure_is_the_same_on_both_sides(world: World) -> None:
    """What a step raises at the verifier arrives at the receiver with the same number, name and cause."""
    evidence = world.evidence().encode()
    failure = failed(Step.GRANT_TIME, ConsentInvalid("expected a, found b"))
    verdict = negative_verdict(evidence, failure, receiver=RECEIVER.did, at=NOW)
    with pytest.raises(VerificationFailed) as caught:
        accept(world, Verdict.parse(verdict.encode()), evidence)
    told = caught.value
    assert (type(told.step), told.step, told.step_name, told.cause_code) == (int, 10, "grant-time", "consent-invalid")


def test_negative_verdict_names_the_step(world: World) -> None:
    """A refusal comes out as if the step had failed here."""
    evidence = world.evidence().encode()
    verdict = negative_verdict(evidence, FAILURE, receiver=RECEIVER.did, at=NOW)
    with pytest.raises(VerificationFailed, match="expected a, found b") as caught:
        accept(world, verdict, evidence)
    assert (caught.value.step, caught.value.step_name) == (Step.ISSUER_TRUSTED, "issuer-trusted")
    assert caught.value.cause_code == "policy-refused"


def test_verdict_by_a_stranger_is_refused(world: World) -> None:
    """Only verifiers of the policy are believed."""
    evidence = world.evidence().encode()
    with pytest.raises(PolicyRefused):
        accept(world, judge(world, evidence), evidence, signer=STRANGER)


def test_forged_verdict_is_refused(world: World) -> None:
    """A verdict whose signature does not verify is refused."""
    evidence = world.evidence().encode()
    data = bytearray(envelope.sign(judge(world, evidence), VERIFIER).envelope)
    data[-1] ^= 1
    with pytest.raises(SignatureInvalid):
        accept_verdict(bytes(data), evidence, policy=world.policy(), receiver=RECEIVER.did, now=NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"evidence": bytes(32)},
        {"receiver": STRANGER.did},
        {"at": NOW - MAX_VERDICT_AGE_SECONDS - 1},
        {"at": NOW + 121},
    ],
    ids=["other-evidence", "other-receiver", "too-old", "from-future"],
)
def test_verdict_about_something_else_is_refused(world: World, changes: dict[str, object]) -> None:
    """A verdict counts for its evidence, its receiver and its time."""
    evidence = world.evidence().encode()
    with pytest.raises(EvidenceError) as caught:
        accept(world, replace(judge(world, evidence), **changes), evidence)
    assert caught.value.code == "evidence-invalid"


def test_verdict_holds_for_its_time(world: World) -> None:
    """At the bounds of its time a verdict is accepted."""
    evidence = world.evidence().encode()
    verdict = judge(world, evidence)
    accept(world, verdict, evidence, now=NOW + MAX_VERDICT_AGE_SECONDS)
    accept(world, verdict, evidence, now=NOW - 120)


@pytest.mark.parametrize(
    "changes",
    [
        {"passed": False},
        {"step": 3},
        {"reason": "x"},
        {"passed": False, "step": 3, "cause": "malformed"},
        {"passed": False, "step": 13, "cause": "malformed", "reason": "x"},
    ],
    ids=["nothing-said", "step-of-success", "reason-of-success", "no-reason", "content-step"],
)
def test_verdict_describes_a_failure_and_only_a_failure(world: World, changes: dict[str, object]) -> None:
    """A verdict without its reason, or with one too many, is malformed."""
    verdict = Verdict(bytes(32), RECEIVER.did, NOW, passed=True)
    with pytest.raises(DecodeError):
        replace(verdict, **changes)


def test_verdict_on_malformed_evidence(world: World) -> None:
    """A verifier can answer to anything, and what it answered is accepted."""
    verdict = negative_verdict(
        b"\x00", VerificationFailed("no", step=1, step_name="bundle-form", cause_code="malformed"),
        receiver=RECEIVER.did, at=NOW,
    )  # fmt: skip
    with pytest.raises(VerificationFailed, match="no"):
        accept(world, verdict, b"\x00")
