"""The answer of verification as a table for people and as data for machines (spec/10-verification s.5).

A report holds no values of the package. The words stand in `wording`; this module arranges them.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import Enum

from ddtp.crypto import sm3
from ddtp.errors import ContentMismatch, VerificationFailed
from ddtp.identity.language import Language
from ddtp.protocol.codec import Buffer
from ddtp.protocol.leaves import FileHead
from ddtp.protocol.openings import Openings
from ddtp.verify.policy import TrustPolicy
from ddtp.verify.steps import CONTENT_STEPS, Step, plain_reason
from ddtp.verify.verifier import Examination, check_files
from ddtp.verify.wording import Words, words

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
        needs: The failed step whose result was missing, if the step was skipped for that.
    """

    step: Step
    state: StepState
    detail: str = ""
    cause_code: str | None = None
    same_content: bool = False
    needs: Step | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """What the evidence is about, as far as its signatures hold; None where they do not.

    Attributes:
        issuer: Name of the issuer in the policy, or its DID if the policy does not know it.
        schema: Kind of package.
        issued: When it was issued, in seconds.
        receiver: Name that the receiver gives itself in the request.
        granted: When the holder agreed, in seconds.
        outcome: Stage of the receiver's last receipt, None if there is none.
    """

    issuer: str | None = None
    schema: str | None = None
    issued: int | None = None
    receiver: str | None = None
    granted: int | None = None
    outcome: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of all steps, in their order.

    Attributes:
        evidence_digest: SM3 of the encoded evidence.
        receiver: DID that the evidence had to be for, if one was given.
        at: The time for which the steps were checked, in seconds.
        summary: What the evidence is about.
        steps: One entry for each step.
    """

    evidence_digest: bytes
    receiver: str | None
    at: int
    summary: Summary
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
    steps += _content_steps(examination, openings, files)
    passed = {each.step for each in steps if each.state is StepState.PASSED}
    return Report(sm3.digest(bytes(evidence)), receiver, now, _summary(examination, policy, passed), tuple(steps))


def explain(report: Report, language: Language) -> str:
    """Return the report as text for people: the result, the steps, and what each failure means.

    Args:
        report: The outcome.
        language: Language of the text; technical details stay in English.

    Returns:
        Lines, each with a newline at its end; they are not wrapped, because terminals differ.
    """
    text = words(language)
    lines = [_result(report, text), text.checked_for.format(time=_moment(report.at)), ""]
    lines += _summary_lines(report.summary, text)
    lines += [_step_line(each, text) for each in report.steps]
    for failure in report.failures:
        step = text.steps[failure.step]
        meaning, advice = text.same_content if failure.same_content else (step.meaning, step.advice)
        lines += ["", text.failure_heading.format(number=failure.step.value, title=step.title)]
        lines += [f"  {text.meaning_label}{meaning}", f"  {text.advice_label}{advice}"]
        lines += [f"  {text.detail_label}{failure.detail} [{failure.step.label}, {failure.cause_code}]"]
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
        "summary": asdict(report.summary),
        "steps": [
            {
                "number": each.step.value,
                "name": each.step.label,
                "state": each.state.value,
                "detail": each.detail,
                "cause": each.cause_code,
                "same_content": each.same_content,
                "needs": each.needs.value if each.needs else None,
            }
            for each in report.steps
        ],
    }


def _content_steps(
    examination: Examination, openings: Openings | None, files: Mapping[str, FileHead] | None
) -> tuple[StepReport, StepReport]:
    if openings is None:
        absent = [StepReport(step, StepState.SKIPPED, "the values are not there") for step in CONTENT_STEPS]
        return absent[0], absent[1]
    values = _outcome(Step.OPENINGS, lambda: examination.check_openings(openings))
    if values.state is not StepState.PASSED:
        return values, _skipped(Step.CONTENT, needs=values.needs or Step.OPENINGS)
    if files is None and openings.files:
        return values, StepReport(Step.CONTENT, StepState.SKIPPED, "the files are not there")
    return values, _outcome(Step.CONTENT, lambda: check_files(openings, files or {}))


def _outcome(step: Step, check: Callable[[], object]) -> StepReport:
    try:
        check()
    except VerificationFailed as failure:
        if failure.step != step:
            return _skipped(step, needs=Step(failure.step))
        cause = failure.__cause__
        return StepReport(
            step,
            StepState.FAILED,
            plain_reason(failure.message),
            cause_code=failure.cause_code,
            same_content=isinstance(cause, ContentMismatch) and cause.same_content,
        )
    return StepReport(step, StepState.PASSED)


def _skipped(step: Step, *, needs: Step) -> StepReport:
    return StepReport(step, StepState.SKIPPED, f"needs the result of step {needs.value}", needs=needs)


def _summary(examination: Examination, policy: TrustPolicy, passed: set[Step]) -> Summary:
    summary = Summary()
    if Step.ISSUER_SIGNATURE in passed:
        manifest = examination.manifest.body
        known = policy.issuers.get(manifest.issuer)
        issuer = known.name if known else manifest.issuer
        summary = replace(summary, issuer=issuer, schema=manifest.schema, issued=manifest.issued)
    if Step.REQUEST_SIGNATURE in passed:
        summary = replace(summary, receiver=examination.request.body.receiver.name)
    if Step.GRANT_BINDING in passed:
        summary = replace(summary, granted=examination.grant.body.issued)
    if Step.RECEIPTS in passed:
        summary = replace(summary, outcome=examination.receipts[-1].body.stage.value)
    return summary


def _result(report: Report, text: Words) -> str:
    if not report.passed:
        return text.refused
    return text.accepted if report.content_checked else text.accepted_without_content


def _summary_lines(summary: Summary, text: Words) -> list[str]:
    values = {
        text.issuer_label: summary.issuer,
        text.schema_label: summary.schema,
        text.issued_label: None if summary.issued is None else _moment(summary.issued),
        text.receiver_label: summary.receiver,
        text.granted_label: None if summary.granted is None else _moment(summary.granted),
        text.outcome_label: None if summary.outcome is None else text.outcomes[summary.outcome],
    }
    lines = [label + value for label, value in values.items() if value is not None]
    return [*lines, ""] if lines else []


def _step_line(step: StepReport, text: Words) -> str:
    line = f"{text.states[step.state.value]} {step.step.value:>2}  {text.steps[step.step].title}"
    if step.needs is not None:
        return line + text.needs.format(number=step.needs.value)
    return line + text.absent if step.state is StepState.SKIPPED else line


def _moment(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        # A record may hold a time that no calendar has
        return f"{seconds} s"
