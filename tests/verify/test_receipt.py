"""Receipts: two per transfer, chained, and "verified" only for what was verified."""

from dataclasses import replace

import pytest

from ddtp.errors import (
    ContentMismatch,
    DdtpError,
    DecodeError,
    EvidenceError,
    InternalError,
    SignatureInvalid,
    VerificationFailed,
)
from ddtp.protocol import envelope
from ddtp.protocol.envelope import Signed
from ddtp.verify.receipt import (
    Receipt,
    ReceiptStage,
    check_receipt,
    check_receipts,
    cipher_receipt,
    rejected_receipt,
    verified_receipt,
)
from ddtp.verify.steps import Step, failed
from ddtp.verify.verified import VerifiedPackage
from ddtp.verify.verifier import check_content, verify_evidence
from tests.vectors import Case, load
from tests.worlds import CIPHERTEXT_ROOT, NOW, RECEIVER, STRANGER, TRANSFER_ID, World

ROOT = b"\x51" * 32
GRANT = b"\x52" * 32
FAILURE = VerificationFailed("expected a, found b", step=14, step_name="content", cause_code="content-mismatch")
CIPHER = envelope.sign(
    cipher_receipt(transfer_id=TRANSFER_ID, grant=GRANT, ciphertext_root=CIPHERTEXT_ROOT, at=NOW), RECEIVER
)


@pytest.fixture
def verified(world: World) -> VerifiedPackage:
    evidence = verify_evidence(world.evidence().encode(), policy=world.policy(), receiver=RECEIVER.did, now=NOW)
    return check_content(evidence, world.openings, files=world.files())


def check(receipt: Signed[Receipt], **changes: object) -> Signed[Receipt]:
    known = {
        "receiver": RECEIVER.did,
        "grant": GRANT,
        "package_root": ROOT,
        "transfer_id": TRANSFER_ID,
        "ciphertext_root": CIPHERTEXT_ROOT,
        "earliest": NOW - 3600,
        "latest": NOW + 120,
    }
    return check_receipt(receipt.envelope, **(known | changes))


def test_both_receipts_of_a_verified_package(world: World, verified: VerifiedPackage) -> None:
    """A verified package gives a receipt that names it and follows the one for the ciphertext."""
    grant = verified.evidence.grant
    cipher = world.cipher_receipt(grant)
    receipt = verified_receipt(verified, cipher=cipher, at=NOW)
    assert (receipt.stage, receipt.at, receipt.previous) == (ReceiptStage.VERIFIED, NOW, cipher.digest)
    assert receipt.package_root == world.package.root
    signed = envelope.sign(receipt, RECEIVER)
    chain = check_receipts(
        [cipher.envelope, signed.envelope],
        receiver=RECEIVER.did,
        grant=grant.digest,
        package_root=verified.evidence.manifest.body.root,
        earliest=NOW - 3600,
        latest=NOW + 120,
    )
    assert chain == (cipher, signed)


def test_verified_receipt_needs_the_receipt_of_its_transfer(verified: VerifiedPackage) -> None:
    """A receipt of another grant cannot be continued."""
    with pytest.raises(InternalError, match="one grant"):
        verified_receipt(verified, cipher=CIPHER, at=NOW)


def test_rejected_receipt_names_the_step() -> None:
    """A rejection carries the number of the step and the reason, and passes the check."""
    receipt = rejected_receipt(FAILURE, cipher=CIPHER, at=NOW + 5)
    assert (receipt.stage, receipt.step, receipt.reason) == (ReceiptStage.REJECTED, 14, "expected a, found b")
    assert check(envelope.sign(receipt, RECEIVER), previous=CIPHER).body == receipt


@pytest.mark.parametrize("step", Step, ids=lambda step: step.label)
def test_rejected_receipt_of_a_failed_step_can_be_sent(step: Step) -> None:
    """What a step of the verifier raises becomes a receipt that survives encoding, for every step."""
    receipt = rejected_receipt(failed(step, ContentMismatch("expected a, found b")), cipher=CIPHER, at=NOW)
    assert Receipt.parse(receipt.encode()).step == step.value


def test_hostile_reason_is_made_plain() -> None:
    """A reason that quotes control characters is still a receipt."""
    failure = VerificationFailed("\u202e\n" * 1000, step=1, step_name="x", cause_code="malformed")
    assert rejected_receipt(failure, cipher=CIPHER, at=NOW).reason == "?" * 500


def test_clock_set_back_does_not_break_the_chain() -> None:
    """The second receipt is never older than the first."""
    receipt = rejected_receipt(FAILURE, cipher=CIPHER, at=NOW - 3600)
    assert receipt.at == NOW
    check(envelope.sign(receipt, RECEIVER), previous=CIPHER)


def test_a_final_receipt_is_not_continued() -> None:
    """Nothing follows a rejection."""
    final = envelope.sign(rejected_receipt(FAILURE, cipher=CIPHER, at=NOW), RECEIVER)
    with pytest.raises(InternalError, match="cipher"):
        rejected_receipt(FAILURE, cipher=final, at=NOW)
    with pytest.raises(EvidenceError, match="follows"):
        check(final, previous=final)
    after = envelope.sign(replace(final.body, previous=final.digest), RECEIVER)
    with pytest.raises(EvidenceError, match="follows"):
        check(after, previous=final)


def test_cipher_receipt_passes_with_and_without_the_transfer() -> None:
    """A party knows the transfer, a verifier does not; both accept the receipt."""
    assert check(CIPHER) == CIPHER
    assert check(CIPHER, transfer_id=None, ciphertext_root=None) == CIPHER


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"receiver": STRANGER.did}, SignatureInvalid),
        ({"grant": bytes(32)}, EvidenceError),
        ({"transfer_id": bytes(16)}, EvidenceError),
        ({"ciphertext_root": bytes(32)}, EvidenceError),
        ({"previous": CIPHER}, EvidenceError),
        ({"earliest": CIPHER.body.at + 1}, EvidenceError),
        ({"latest": CIPHER.body.at - 1}, EvidenceError),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value.__name__,
)
def test_receipt_about_something_else_is_refused(change: dict[str, object], error: type[EvidenceError]) -> None:
    """Each thing that is known must be equal."""
    with pytest.raises(error):
        check(CIPHER, **change)


def test_verified_receipt_of_another_package_is_refused() -> None:
    """The root in the receipt is that of the manifest."""
    receipt = Receipt(
        TRANSFER_ID, GRANT, ReceiptStage.VERIFIED, NOW, CIPHERTEXT_ROOT, bytes(32), previous=CIPHER.digest
    )
    with pytest.raises(EvidenceError, match="root"):
        check(envelope.sign(receipt, RECEIVER), previous=CIPHER)


def test_no_receipts_are_a_valid_chain() -> None:
    """Before the transfer there are none."""
    assert check_receipts([], receiver=RECEIVER.did, grant=GRANT, package_root=ROOT, earliest=NOW, latest=NOW) == ()


def test_step_of_a_receipt_is_one_of_the_steps() -> None:
    """A rejection names an existing step."""
    with pytest.raises(DecodeError):
        replace(rejected_receipt(FAILURE, cipher=CIPHER, at=NOW), step=len(Step) + 1)


@pytest.mark.parametrize("case", load("11-receipts"), ids=str)
def test_vectors(case: Case) -> None:
    """The vectors of spec/11: each changes one thing in a valid chain."""
    chain = [bytes.fromhex(each) for each in case.input["receipts"]]
    known = {
        "receiver": case.input["receiver"],
        "grant": case.data("grant"),
        "package_root": case.data("package_root"),
        "earliest": case.input["earliest"],
        "latest": case.input["latest"],
    }
    if case.expect == "ok":
        stages = [receipt.body.stage.value for receipt in check_receipts(chain, **known)]
        assert stages == case.output
        return
    with pytest.raises(DdtpError) as caught:
        check_receipts(chain, **known)
    assert caught.value.code == case.expect
