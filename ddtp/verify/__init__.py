"""Verification of evidence and content, offline (spec/10-verification, spec/11-receipts).

Pure: bytes, a policy, a receiver and a time go in; `VerifiedEvidence`, `VerifiedPackage` or a typed failure come out.
"""

from ddtp.verify.evidence import Bundle, Evidence, encode_bundle, parse_bundle
from ddtp.verify.policy import Attestation, TrustedIssuer, TrustPolicy, parse_policy
from ddtp.verify.receipt import (
    Receipt,
    ReceiptStage,
    check_receipt,
    check_receipts,
    cipher_receipt,
    rejected_receipt,
    verified_receipt,
)
from ddtp.verify.report import Report, StepReport, StepState, explain, run_report, to_json
from ddtp.verify.steps import Step, checking
from ddtp.verify.verdict import Verdict, accept_verdict, negative_verdict, positive_verdict
from ddtp.verify.verified import VerifiedEvidence, VerifiedPackage
from ddtp.verify.verifier import check_content, verify_evidence

__all__ = [
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
