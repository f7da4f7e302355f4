"""The last words of a transfer: what was proven, or what failed and what to do."""

import json
from dataclasses import replace

import pytest

from ddtp.agent.sending import SentTransfer
from ddtp.cli import outcomes
from ddtp.cli._console import Console
from ddtp.cli.options import Options
from ddtp.cli.outcomes import Outcome, report
from ddtp.cli.wording import words
from ddtp.errors import VerificationFailed
from ddtp.identity.language import Language
from ddtp.protocol import envelope
from ddtp.protocol.envelope import Signed
from ddtp.verify.receipt import Receipt, ReceiptStage
from ddtp.verify.steps import Step
from tests.worlds import NOW, RECEIVER

ROOT = bytes.fromhex("c0ffee") + bytes(29)
VERIFIED = Receipt(bytes(16), bytes(32), ReceiptStage.VERIFIED, NOW, bytes(32), package_root=ROOT, previous=bytes(32))


def rejected(step: Step, reason: str) -> Receipt:
    return replace(VERIFIED, stage=ReceiptStage.REJECTED, package_root=None, step=step.value, reason=reason)


def outcome(receipt: Receipt) -> Outcome:
    signed: Signed[Receipt] = envelope.sign(receipt, RECEIVER)
    verified = receipt.stage is ReceiptStage.VERIFIED
    sent = SentTransfer(bytes(16), RECEIVER.did, "Bank B", signed, verified, receipt.step, receipt.reason, 5 << 20)
    return Outcome(sent, 12.34)


@pytest.mark.parametrize("language", Language)
def test_it_says_who_proved_what_and_when(capsys: pytest.CaptureFixture[str], language: Language) -> None:
    """The signer, the time of the signature, the content and the receipt by their digests, size, time and transfer."""
    found = outcome(VERIFIED)
    report(Console(Options(language=language)), found)
    out = capsys.readouterr().out
    shown = (
        "Bank B",
        "2026-09-21 14:13 UTC",
        "5.0 MiB",
        "12.3 s",
        "c0ffee0000000000",
        found.sent.receipt.digest.hex()[:16],
    )
    for part in (*shown, "ddtp show 00000000"):
        assert part in out


def test_json_has_the_whole_digests(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs find the same, in full."""
    report(Console(Options(json_output=True)), outcome(VERIFIED))
    data = json.loads(capsys.readouterr().out)
    assert (data["package_root"], data["signed"], data["seconds"]) == (ROOT.hex(), NOW, 12.34)


def test_a_rejection_names_the_step_of_the_specification(capsys: pytest.CaptureFixture[str]) -> None:
    """Step, name and code are those of spec/10 and spec/12; the receiver's words are quoted, apart from our advice."""
    console = Console(Options(json_output=True))
    with pytest.raises(VerificationFailed, match=r'check 14 failed .*It says: "pay here"') as caught:
        report(console, outcome(rejected(Step.CONTENT, "pay here")))
    assert "2026-09-21 14:13 UTC" in caught.value.message
    assert caught.value.hint is not None
    assert "pay" not in caught.value.hint
    assert console.fail(caught.value) == 6
    fields = json.loads(capsys.readouterr().err)["error"]
    assert (fields["step"], fields["step_name"], fields["cause_code"]) == (14, "content", "evidence-invalid")


@pytest.mark.parametrize("language", Language)
def test_every_step_has_advice(language: Language) -> None:
    """Whatever failed, a person reads in their language what to do."""
    assert len(outcomes._ADVICE) == len(Step)
    for step in Step:
        with pytest.raises(VerificationFailed) as caught:
            report(Console(Options(language=language)), outcome(rejected(step, "no")))
        assert caught.value.hint in {text.format(name="Bank B") for text in words(language).advice.values()}
