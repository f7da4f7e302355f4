"""The public names: what programs may rely on, compared with this committed list."""

import importlib
import subprocess
import sys

import pytest

from ddtp import errors

AGENT = [
    "Agent",
    "BlockingAgent",
    "Direction",
    "Draft",
    "ExportedTransfer",
    "IssuedPackage",
    "Pace",
    "PackageRow",
    "Phase",
    "PreparedTransfer",
    "Progress",
    "ReceivedData",
    "SentTransfer",
    "TransferRow",
    "TransferState",
    "open_agent",
]
VERIFY = [
    "Attestation",
    "Bundle",
    "Evidence",
    "Receipt",
    "ReceiptStage",
    "Report",
    "Step",
    "StepReport",
    "StepState",
    "TrustPolicy",
    "TrustedIssuer",
    "Verdict",
    "VerifiedEvidence",
    "VerifiedPackage",
    "accept_verdict",
    "check_content",
    "check_receipt",
    "check_receipts",
    "checking",
    "cipher_receipt",
    "encode_bundle",
    "explain",
    "negative_verdict",
    "parse_bundle",
    "parse_policy",
    "positive_verdict",
    "rejected_receipt",
    "run_report",
    "to_json",
    "verified_receipt",
    "verify_evidence",
]
ERRORS = [
    "AlreadyRunning",
    "AuthenticationFailed",
    "Cancelled",
    "ConfigInvalid",
    "ConfirmationMissing",
    "ConsentInvalid",
    "ContentMismatch",
    "CryptoUnavailable",
    "DdtpError",
    "DecodeError",
    "DiskFull",
    "EnvironmentProblem",
    "EvidenceError",
    "IdentityMissing",
    "InputError",
    "InternalError",
    "LedgerInconsistent",
    "NotAnchored",
    "NotFound",
    "Overloaded",
    "PassphraseWrong",
    "PeerAborted",
    "PeerError",
    "PeerRefused",
    "PeerStalled",
    "PeerUnreachable",
    "PeerVanished",
    "PolicyRefused",
    "ProofInvalid",
    "ProtocolViolation",
    "ResultLost",
    "SignatureInvalid",
    "SourceChanged",
    "StorageFailed",
    "StoreDamaged",
    "UsageError",
    "VerificationFailed",
]


@pytest.mark.parametrize(("module", "names"), [("ddtp.agent", AGENT), ("ddtp.verify", VERIFY)])
def test_public_names_are_the_committed_ones(module: str, names: list[str]) -> None:
    """A name appears or goes only on purpose, and every one of them is there."""
    found = importlib.import_module(module)
    assert sorted(found.__all__) == names
    for name in names:
        assert getattr(found, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = found.no_such_name


def test_public_errors_are_the_committed_ones() -> None:
    """All classes of the tree are public, and nothing else is defined beside them."""
    assert sorted(name for name, value in vars(errors).items() if isinstance(value, type)) == ERRORS


@pytest.mark.parametrize("module", ["ddtp", "ddtp.agent", "ddtp.verify", "ddtp.agent.checking"])
def test_checking_does_not_load_the_network(module: str) -> None:
    """Whoever only verifies does not wait for libp2p, and does not need it."""
    code = f"import sys, {module}; sys.exit(int('libp2p' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
