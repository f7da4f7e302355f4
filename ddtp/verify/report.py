"""The answer of verification as a table for people and as data for machines (spec/10-verification s.5).

A report holds no values of the package. The words stand in `wording`; this module arranges them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from ddtp.crypto import sm3
from ddtp.errors import ContentMismatch, VerificationFailed
from ddtp.identity.language import Language
from ddtp.protocol.codec import Buffer
from ddtp.protocol.leaves import FileHead
from ddtp.protocol.openings import Openings
from ddtp.verify.policy import TrustPolicy
from ddtp.verify.steps import CONTENT_STEPS, Step
from ddtp.verify.verifier import Examination, check_files
from ddtp.verify.wording import words

REPORT_VERSION = 1
"""Version of the JSON form: names in it are only ever added."""


class StepState(Enum):
    """How a step ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class StepReport:
    """The outcome of one step.

    Attributes:
        step: The step.
        state: How it ended.
        detail: Why it failed or was skipped, in technical words; empty if it passed.
        cause_code: Code (spec/12) of the error behind a failure, else None.
        same_content: True if the content is equal although the bytes differ (spec/03 s.6).
    """

    step: Step
    state: StepState
    detail: str = ""
    cause_code: str | None = None
    same_content: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of all steps, in their order.

    Attributes:
        evidence_digest: SM3 of the encoded evidence.
        receiver: DID that the evidence had to be for, if one was given.
        at: The time for which the steps were checked, in seconds.
        steps: One entry for each step.
    """

    evidence_digest: bytes
    receiver: str | None
    at: int
    steps: tuple[StepReport, ...]

    @property
    def passed(self) -> bool:
        """True if no step refused the evidence."""
        return all(each.state is not StepState.FAILED for each in self.steps)

    @property
    def content_checked(self) -> bool:
        """True if the content was there and is what the evidence says."""
        return all(each.state is StepState.PASSED for each in self.steps if each.step in CONTENT_STEPS)

    @property
    def failures(self) -> tuple[StepReport, ...]:
        """The steps that refused the evidence."""
        return tuple(each for each in self.steps if each.state is StepState.FAILED)


def run_report(
    evidence: Buffer,
    *,
    policy: TrustPolicy,
    receiver: str | None,
    now: int,
    openings: Openings | None = None,
    files: Mapping[str, FileHead] | None = None,
) -> Report:
    """Run every step that can be run, and report all of them.

    Args:
        evidence: Encoded `Evidence`.
        policy: Whom to trust.
        receiver: DID that the evidence must be for, or None.
        now: The time for which the question is asked, in seconds.
        openings: The disclosed values, if they are there.
        files: Fingerprints of the received files by path, if they are there; computed as for `check_content`.
    """
    examination = Examination(evidence, policy=policy, receiver=receiver, now=now)
    steps = [_outcome(step, check) for step, check in examination.steps().items()]
    if steps[-1].state is StepState.PASSED and not examination.receipts:
        steps[-1] = StepReport(Step.RECEIPTS, StepState.SKIPPED, "there are no receipts")
    if openings is None:
        steps += [StepReport(step, StepState.SKIPPED, "the values are not there") for step in CONTENT_STEPS]
    else:
        values = openings
        steps.append(_outcome(Step.OPENINGS, lambda: examination.check_openings(values)))
        if steps[-1].state is not StepState.PASSED:
            steps.append(_skipped(Step.CONTENT, because=Step.OPENINGS))
        elif files is None and openings.files:
            steps.append(StepReport(Step.CONTENT, StepState.SKIPPED, "the files are not there"))
        else:
            received = files or {}
            steps.append(_outcome(Step.CONTENT, lambda: check_files(values, received)))
    return Report(sm3.digest(bytes(evidence)), receiver, now, tuple(steps))


def explain(report: Report, language: Language) -> str:
    """Return the report as text for people: the verdict, the steps, and what a failure means.

    Args:
        report: The outcome.
        language: Language of the text.

    Returns:
        Lines of at most 80 columns where the words allow it, with a newline after each.
    """
    text = words(language)
    lines = [_verdict(report, language), _when(report, language), ""]
    lines += [
        f"{text.states[each.state.value]} {each.step.value:>2}  {text.steps[each.step].title}" for each in report.steps
    ]
    for failure in report.failures:
        step = text.steps[failure.step]
        meaning = text.same_content if failure.same_content else step.meaning
        cause = failure.cause_code or ""
        lines += ["", text.failure_heading.format(number=failure.step.value, title=step.title)]
        lines += [f"  {text.meaning_label}{meaning}", f"  {text.advice_label}{step.advice}"]
        lines += [f"  {text.detail_label}{failure.detail} [{failure.step.label}/{cause}]"]
    return "\n".join(lines) + "\n"


def to_json(report: Report) -> dict[str, object]:
    """Return the report as a JSON object whose names stay stable (spec/10 s.5)."""
    return {
        "version": REPORT_VERSION,
        "evidence": report.evidence_digest.hex(),
        "receiver": report.receiver,
        "at": report.at,
        "passed": report.passed,
        "content_checked": report.content_checked,
        "steps": [
            {
                "number": each.step.value,
                "name": each.step.label,
                "state": each.state.value,
                "detail": each.detail,
                "cause": each.cause_code,
                "same_content": each.same_content,
            }
            for each in report.steps
        ],
    }


def _outcome(step: Step, check: Callable[[], object]) -> StepReport:
    try:
        check()
    except VerificationFailed as failure:
        if failure.step != step:
            return _skipped(step, because=Step(failure.step))
        cause = failure.__cause__
        return StepReport(
            step,
            StepState.FAILED,
            failure.message,
            cause_code=failure.cause_code,
            same_content=isinstance(cause, ContentMismatch) and cause.same_content,
        )
    return StepReport(step, StepState.PASSED)


def _skipped(step: Step, *, because: Step) -> StepReport:
    return StepReport(step, StepState.SKIPPED, f"needs the result of step {because.value}")


def _verdict(report: Report, language: Language) -> str:
    text = words(language)
    if not report.passed:
        return text.refused
    return text.accepted if report.content_checked else text.accepted_without_content


def _when(report: Report, language: Language) -> str:
    moment = datetime.fromtimestamp(report.at, UTC)
    return words(language).checked_for.format(time=f"{moment:%Y-%m-%d %H:%M:%S} UTC")
