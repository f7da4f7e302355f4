"""Reports: every step, in words for people and in data for machines."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ddtp.identity.language import Language
from ddtp.verify.report import Report, StepState, explain, run_report, to_json
from ddtp.verify.steps import Step
from ddtp.verify.wording import words
from tests.verify.attacks import ATTACKS, Attack, receipts
from tests.worlds import FIELDS, NOW, RECEIVER, World

SPEC = Path(__file__).parents[2] / "spec" / "10-verification.md"
PASSED, FAILED, SKIPPED = StepState


def report(world: World, *, content: bool = True, **changes: object) -> Report:
    arguments: dict[str, object] = {
        "evidence": world.evidence().encode(),
        "policy": world.policy(),
        "receiver": RECEIVER.did,
        "now": NOW,
    }
    if content:
        arguments |= {"openings": world.openings, "files": world.files()}
    arguments |= changes
    return run_report(arguments.pop("evidence"), **arguments)


def states(found: Report) -> list[StepState]:
    return [each.state for each in found.steps]


def test_complete_report(world: World) -> None:
    """A valid transfer with both receipts passes all steps, in their order."""
    evidence = receipts()(world).encode()
    found = report(world, evidence=evidence)
    assert [each.step for each in found.steps] == list(Step)
    assert states(found) == [PASSED] * 14
    assert found.passed
    assert found.content_checked


def test_report_without_content(world: World) -> None:
    """Steps that need what is not there are skipped, and the evidence still passes."""
    found = report(world, content=False)
    assert states(found) == [PASSED] * 11 + [SKIPPED] * 3
    assert found.passed
    assert not found.content_checked


def test_report_with_values_but_without_files(world: World) -> None:
    """Values are checked even if no file came along."""
    found = report(world, files=None)
    assert states(found)[-2:] == [PASSED, SKIPPED]


def test_package_without_files_is_complete_without_files() -> None:
    """Where nothing but values was sent, content is checked by the values."""
    world = World(shown=("age", "name"))
    assert report(world, files=None).content_checked


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_report_and_verifier_agree(world: World, attack: Attack) -> None:
    """The first failed step of the report is the one that the verifier names."""
    found = report(
        world,
        content=False,
        evidence=attack.make(world).encode(),
        policy=world.policy(**attack.policy),
        receiver=attack.receiver,
    )
    assert not found.passed
    assert (found.failures[0].step, found.failures[0].cause_code) == (attack.step, attack.cause)


def test_independent_failures_are_all_reported(world: World) -> None:
    """One look shows everything that is wrong; what depends on a failed step is skipped and says so."""
    evidence = world.evidence(manifest=world.manifest(expires=NOW - 1))
    found = report(world, evidence=replace(evidence, grant=b"x").encode(), policy=world.policy(issuers={}))
    failed = {each.step for each in found.failures}
    assert failed == {Step.ISSUER_TRUSTED, Step.MANIFEST_TIME, Step.PACKAGE_ANCHOR, Step.GRANT_BINDING}
    needs = {each.step: each.needs for each in found.steps if each.needs}
    assert needs == {
        Step.LEDGER_INCLUSION: Step.PACKAGE_ANCHOR,
        Step.GRANT_TIME: Step.GRANT_BINDING,
        Step.GRANT_ANCHOR: Step.GRANT_BINDING,
        Step.RECEIPTS: Step.GRANT_BINDING,
    }


def test_report_on_garbage(world: World) -> None:
    """Anything can be reported on: one failure, and the rest needs its result."""
    found = report(world, evidence=b"garbage")
    assert states(found) == [FAILED] + [SKIPPED] * 13
    assert {each.needs for each in found.steps[1:]} == {Step.BUNDLE_FORM}


def test_failed_values_leave_files_unchecked(world: World) -> None:
    """Files are compared with openings only if these are the issuer's."""
    found = report(world, openings=world.package.openings)
    assert states(found)[-2:] == [FAILED, SKIPPED]
    assert found.steps[-1].needs is Step.OPENINGS


def test_same_content_is_explained(world: World) -> None:
    """A file that was saved again is not called forged."""
    found = report(world, files=world.files(grades=b'{"physics":2,"mathematics":1}'))
    assert found.failures[0].same_content
    for language in Language:
        text = explain(found, language)
        meaning, advice = words(language).same_content
        assert meaning in text
        assert advice in text
        assert words(language).steps[Step.CONTENT].meaning not in text


@pytest.mark.parametrize("language", Language, ids=lambda language: language.value)
def test_result_is_the_first_line(world: World, language: Language) -> None:
    """People read the result first: genuine, only the proof genuine, or refused."""
    text = words(language)
    results = {
        text.accepted: report(world),
        text.accepted_without_content: report(world, content=False),
        text.refused: report(world, evidence=b"garbage"),
    }
    assert {explain(found, language).splitlines()[0] for found in results.values()} == set(results)
    for line, found in results.items():
        assert explain(found, language).startswith(line + "\n")


@pytest.mark.parametrize("language", Language, ids=lambda language: language.value)
@pytest.mark.parametrize("attack", ATTACKS[::6], ids=str)
def test_failure_says_what_it_means_and_what_to_do(world: World, attack: Attack, language: Language) -> None:
    """For each failed step there are its meaning, the next step and the detail for experts."""
    found = report(world, content=False, evidence=attack.make(world).encode(), policy=world.policy(**attack.policy))
    text = explain(found, language)
    for failure in found.failures:
        step = words(language).steps[failure.step]
        assert {step.meaning, step.advice} <= {
            line.split(":", 1)[-1].split("：", 1)[-1].strip() for line in text.split("\n")
        }
        assert f"[{failure.step.label}, {failure.cause_code}]" in text
    assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("language", Language, ids=lambda language: language.value)
def test_every_step_has_words(language: Language) -> None:
    """No step lacks a title, a meaning or an advice, and none are equal."""
    steps = words(language).steps
    assert set(steps) == set(Step)
    assert len({each.title for each in steps.values()}) == len(Step)
    assert all(each.title and each.meaning and each.advice for each in steps.values())


def test_report_shows_no_values(world: World) -> None:
    """Neither text nor JSON holds a value of the package."""
    first, *others = world.openings.fields
    wrong = replace(world.openings, fields=(replace(first, salt=bytes(32)), *others))
    for found in (report(world), report(world, openings=wrong)):
        everything = json.dumps(to_json(found), ensure_ascii=False) + explain(found, Language.ZH)
        assert not [each.value for each in FIELDS if each.value in everything and not each.value.isdigit()]


def test_summary_needs_signatures(world: World) -> None:
    """What a broken signature covers is not repeated to people."""
    assert report(world).summary.issuer == "First School"
    evidence = replace(world.evidence(), manifest=b"x", grant=b"x").encode()
    summary = report(world, evidence=evidence).summary
    assert (summary.issuer, summary.schema, summary.issued, summary.granted) == (None, None, None, None)
    assert summary.outcome is None
    assert summary.receiver == "Example University"


def test_unknown_issuer_is_shown_by_its_identifier(world: World) -> None:
    """A name is shown only if the policy gives it."""
    summary = report(world, policy=world.policy(issuers={})).summary
    assert summary.issuer is not None
    assert summary.issuer.startswith("did:key:")


def test_far_future_times_are_shown(world: World) -> None:
    """A time that no calendar has does not break the report."""
    found = report(world, content=False, now=1 << 40)
    assert "1099511627776 s" in explain(found, Language.EN)


def test_json_has_the_names_of_the_spec(world: World) -> None:
    """The JSON form has exactly the names that spec/10 s.5 lists."""
    value = json.loads(json.dumps(to_json(report(world))))
    block = SPEC.read_text("utf-8").split("report = {")[1].split("```")[0]
    names = set(re.findall(r"\b([a-z_]+):", re.sub(r";.*", "", block)))
    assert names == set(value) | set(value["summary"]) | set(value["steps"][0])
    assert value["version"] == 1
    assert value["steps"][0] == {
        "number": 1,
        "name": "bundle-form",
        "state": "passed",
        "detail": "",
        "cause": None,
        "same_content": False,
        "needs": None,
    }


def test_the_receivers_last_word_is_reported(world: World) -> None:
    """What the receiver signed last stands in summary and words, so that a rejection never reads as a success."""
    evidence = receipts()(world)
    last = run_report(evidence.encode(), policy=world.policy(), receiver=None, now=NOW)
    assert last.summary.outcome == "verified"
    assert "found everything genuine" in explain(last, Language.EN)
    first = replace(evidence, receipts=evidence.receipts[:1])
    only_cipher = run_report(first.encode(), policy=world.policy(), receiver=None, now=NOW)
    assert only_cipher.summary.outcome == "cipher"
    assert "尚无" in explain(only_cipher, Language.ZH)
