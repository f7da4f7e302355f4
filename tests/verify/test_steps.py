"""Spec, comment and code name the same steps."""

import inspect
import re
from pathlib import Path

import pytest

from ddtp.errors import DecodeError, InternalError, PolicyRefused, VerificationFailed
from ddtp.verify import verifier
from ddtp.verify.steps import MAX_REASON_CHARACTERS, Step, checking, failed, plain_reason

SPEC = Path(__file__).parents[2] / "spec" / "10-verification.md"
STEPS = [(str(step.value), step.label) for step in Step]


def test_spec_lists_the_steps() -> None:
    """The table of spec/10 s.3 has the numbers and names of the code, in order."""
    rows = re.findall(r"^\| (\d+) \| ([a-z-]+) \|", SPEC.read_text("utf-8"), re.MULTILINE)
    assert rows == STEPS


def test_comment_lists_the_steps() -> None:
    """The numbered comment of the verifier has the numbers and names of the code, in order."""
    rows = re.findall(r"^# +(\d+) +([a-z-]+) +\S", inspect.getsource(verifier), re.MULTILINE)
    assert rows == STEPS


@pytest.mark.parametrize("step", Step, ids=lambda step: step.label)
def test_each_step_is_marked_once_in_the_verifier(step: Step) -> None:
    """Each step is one marked block, so a reader finds it."""
    source = inspect.getsource(verifier)
    assert source.count(f"checking(Step.{step.name})") == 1


def test_refusal_inside_a_step_carries_its_number() -> None:
    """An error in a step becomes a failure of that step, with the error's code and as its cause."""
    error = DecodeError("expected this, found that", hint="try")
    with pytest.raises(VerificationFailed) as caught, checking(Step.GRANT_TIME):
        raise error
    failure = caught.value
    assert (failure.step, failure.step_name, failure.cause_code) == (10, "grant-time", "malformed")
    assert (failure.message, failure.hint, failure.__cause__) == (error.message, "try", error)


def test_refusal_by_policy_is_a_failure_too() -> None:
    """What our own policy forbids fails the step."""
    with pytest.raises(VerificationFailed, match="not trusted"), checking(Step.ISSUER_TRUSTED):
        raise PolicyRefused("not trusted")


def test_failure_of_an_earlier_step_keeps_its_number() -> None:
    """A step that needs the result of a failed step does not take the blame."""
    with pytest.raises(VerificationFailed) as caught, checking(Step.GRANT_TIME):
        raise failed(Step.BUNDLE_FORM, DecodeError("broken"))
    assert caught.value.step == Step.BUNDLE_FORM


def test_defects_are_not_failures() -> None:
    """A defect of our own is not reported as bad evidence."""
    with pytest.raises(InternalError), checking(Step.GRANT_TIME):
        raise InternalError("a defect")


def test_reason_is_plain_text() -> None:
    """A reason that quotes hostile text is shown harmless, bounded and never empty."""
    assert plain_reason("found '\u202egrab\n'") == "found '?grab?'"
    assert plain_reason("e\u0301") == "\u00e9"
    assert len(plain_reason("x" * 10_000)) == MAX_REASON_CHARACTERS
    assert plain_reason("")
