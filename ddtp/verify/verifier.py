"""The steps of verification (spec/10-verification s.3).

Pure: everything comes in as an argument, trust and time included. `verify_evidence` and `check_content` stop at the
first step that fails; `report` runs the same steps and lists the outcome of each.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import final

from ddtp.chain import proof as proofs
from ddtp.chain import statement as statements
from ddtp.chain.checkpoint import Checkpoint
from ddtp.chain.proof import AnchorProof
from ddtp.chain.statement import AnchorRole, Entry, EntryKind
from ddtp.consent import grant as grants
from ddtp.consent.choice import check_covered
from ddtp.consent.grant import Grant
from ddtp.consent.request import Request
from ddtp.crypto import sm3
from ddtp.errors import (
    ConsentInvalid,
    ContentMismatch,
    EvidenceError,
    NotAnchored,
    PolicyRefused,
    ProofInvalid,
    SignatureInvalid,
)
from ddtp.identity import did as dids
from ddtp.protocol import canonical, envelope
from ddtp.protocol import openings as opened
from ddtp.protocol.canonical import Likeness
from ddtp.protocol.codec import Buffer
from ddtp.protocol.envelope import Signed
from ddtp.protocol.leaves import FileHead
from ddtp.protocol.openings import Disclosure, Openings
from ddtp.protocol.package import Manifest
from ddtp.verify.evidence import Evidence
from ddtp.verify.policy import Attestation, TrustPolicy
from ddtp.verify.receipt import Receipt, check_receipts
from ddtp.verify.steps import Step, checking
from ddtp.verify.verified import PASSED, VerifiedEvidence, VerifiedOpenings, VerifiedPackage

# The steps, in their order. Numbers and names are those of spec/10 s.3.
#
#      1  bundle-form        the evidence is well-formed; each part is parsed in the step that uses it
#      2  issuer-signature   the manifest is signed by the DID that it names as issuer
#      3  issuer-trusted     the policy trusts who attests, for the manifest's schema
#      4  manifest-time      the manifest is in time
#      5  disclosure         the disclosed leaves lead to the signed root, groups whole
#      6  package-anchor     the ledger entry is that of this package, stated by whom the policy demands
#      7  ledger-inclusion   a trusted log's signed checkpoint includes the entry, and is fresh enough
#      8  request-signature  the request is signed by the receiver that it names, and is for me
#      9  grant-binding      the grant is the holder's, for this request, screen, package, leaf set and receiver
#     10  grant-time         the grant is in time
#     11  grant-anchor       a trusted log includes the grant, before it was used
#     12  receipts           the receipts, if any, are a chain signed by the receiver
#     13  openings           the openings match the disclosure
#     14  content            the bytes of every file match


def verify_evidence(evidence: Buffer, *, policy: TrustPolicy, receiver: str | None, now: int) -> VerifiedEvidence:
    """Check steps 1 to 12: everything that can be checked without the payload.

    Args:
        evidence: Encoded `Evidence`.
        policy: Whom to trust.
        receiver: DID that the evidence must be for; None accepts any, as an auditor does.
        now: The time for which the question is asked, in seconds.

    Raises:
        VerificationFailed: A step refused the evidence; the first one that did is named.
    """
    examination = Examination(evidence, policy=policy, receiver=receiver, now=now)
    for check in examination.steps().values():
        check()
    return examination.verified_evidence()


def check_content(verified: VerifiedEvidence, openings: Openings, *, files: Mapping[str, FileHead]) -> VerifiedPackage:
    """Check steps 13 and 14, where the payload is.

    Args:
        verified: The evidence of the package.
        openings: The disclosed values.
        files: Fingerprints of the received files by path, computed from the bytes with the file key of the opening.

    Raises:
        VerificationFailed: Step 13 or 14 refused the content.
    """
    return verify_files(verify_openings(verified, openings), files)


def verify_openings(verified: VerifiedEvidence, openings: Openings) -> VerifiedOpenings:
    """Check step 13; raises as `check_openings`.

    Args:
        verified: The evidence of the package.
        openings: The disclosed values.
    """
    check_openings(
        openings, disclosure=verified.disclosure, manifest=verified.manifest.body, request=verified.request.body
    )
    return VerifiedOpenings(verified, openings, PASSED)


def verify_files(verified: VerifiedOpenings, files: Mapping[str, FileHead]) -> VerifiedPackage:
    """Check step 14, the last one; raises as `check_files`.

    Args:
        verified: The openings of the package.
        files: Fingerprints of the received files by path, computed from the bytes with the file key of the opening.
    """
    check_files(verified.openings, files)
    return VerifiedPackage(verified.evidence, verified.openings, files, PASSED)


def check_openings(openings: Openings, *, disclosure: Disclosure, manifest: Manifest, request: Request) -> None:
    """Check step 13.

    Args:
        openings: The disclosed values.
        disclosure: The verified disclosure.
        manifest: The verified manifest.
        request: The verified request.

    Raises:
        VerificationFailed: A disclosed leaf has no opening, an opening no leaf, their hashes differ, or a field or file
            is shown that was not asked for.
    """
    with checking(Step.OPENINGS):
        opened.check_openings(openings, disclosure)
        ask = request.ask_for(manifest.schema)
        if ask is None:
            raise ConsentInvalid(f"expected a package of a kind that is asked for, found {manifest.schema!r}")
        check_covered(ask, openings)


def check_files(openings: Openings, files: Mapping[str, FileHead]) -> None:
    """Check step 14.

    Raises:
        VerificationFailed: A file is missing, extra, or has other bytes; its cause, `ContentMismatch`, tells whether
            the content is the same.
    """
    with checking(Step.CONTENT):
        expected = {opening.head.path: opening.head for opening in openings.files}
        missing, extra = len(expected.keys() - files.keys()), len(files.keys() - expected.keys())
        if missing or extra:
            raise ContentMismatch(f"expected {len(expected)} files, found {missing} missing and {extra} others")
        likenesses = {_compare(head, files[path]) for path, head in expected.items()} - {Likeness.SAME}
        if likenesses:
            # One file that differs outweighs others that were only saved again
            same_content = likenesses == {Likeness.SAME_CONTENT}
            found = "the same content in other bytes" if same_content else "other content"
            raise ContentMismatch(f"expected files with the signed bytes, found {found}", same_content=same_content)


@final
class Examination:
    """One run of the steps over one piece of evidence.

    What a step gives is a property; a step that uses the property of a failed step fails with the number of that one.
    """

    def __init__(self, evidence: Buffer, *, policy: TrustPolicy, receiver: str | None, now: int) -> None:
        self._encoded = bytes(evidence)
        self._policy = policy
        self._receiver = receiver
        self._now = now

    def steps(self) -> Mapping[Step, Callable[[], object]]:
        """Return the checks of steps 1 to 12, in their order."""
        return {
            Step.BUNDLE_FORM: lambda: self.evidence,
            Step.ISSUER_SIGNATURE: lambda: self.manifest,
            Step.ISSUER_TRUSTED: self.check_issuer_trusted,
            Step.MANIFEST_TIME: self.check_manifest_time,
            Step.DISCLOSURE: lambda: self.disclosure,
            Step.PACKAGE_ANCHOR: lambda: self.package_anchor,
            Step.LEDGER_INCLUSION: self.check_ledger_inclusion,
            Step.REQUEST_SIGNATURE: lambda: self.request,
            Step.GRANT_BINDING: lambda: self.grant,
            Step.GRANT_TIME: self.check_grant_time,
            Step.GRANT_ANCHOR: lambda: self.grant_entry,
            Step.RECEIPTS: lambda: self.receipts,
        }

    def verified_evidence(self) -> VerifiedEvidence:
        """Return the result; only for callers that have run `steps`, or believe a verifier who has."""
        return VerifiedEvidence(
            sm3.digest(self._encoded),
            self.manifest,
            self.disclosure,
            self.request,
            self.grant,
            self._now,
            PASSED,
        )

    @cached_property
    def evidence(self) -> Evidence:
        """The evidence, well-formed but not believed."""
        with checking(Step.BUNDLE_FORM):
            return Evidence.parse(self._encoded)

    @cached_property
    def manifest(self) -> Signed[Manifest]:
        """The manifest, signed by its issuer."""
        with checking(Step.ISSUER_SIGNATURE):
            signed = envelope.verify(Manifest, self.evidence.manifest)
            if signed.signer != dids.public_key_of(signed.body.issuer):
                raise SignatureInvalid("expected the manifest to be signed by the issuer that it names")
            return signed

    def check_issuer_trusted(self) -> None:
        """Check that the policy lets this issuer, or some witness, attest this schema."""
        with checking(Step.ISSUER_TRUSTED):
            manifest, policy = self.manifest.body, self._policy
            issuer = policy.trusts_issuer(manifest.issuer, manifest.schema)
            if not _suffices(policy.attestation, issuer=issuer, witness=bool(policy.witnesses)):
                raise PolicyRefused(
                    f"expected an attestation by {policy.attestation.value}, "
                    f"found no such trust in the policy for schema {manifest.schema!r}"
                )

    def check_manifest_time(self) -> None:
        """Check that the manifest is neither expired nor from the future."""
        with checking(Step.MANIFEST_TIME):
            manifest = self.manifest.body
            if manifest.issued > self._latest:
                raise EvidenceError(f"expected a manifest issued by {self._now}, found {manifest.issued}")
            if manifest.expires < self._now:
                raise EvidenceError(f"expected a manifest in force at {self._now}, found one until {manifest.expires}")

    @cached_property
    def disclosure(self) -> Disclosure:
        """The disclosure, which leads to the signed root."""
        with checking(Step.DISCLOSURE):
            manifest = self.manifest.body
            disclosure = Disclosure.parse(self.evidence.disclosure)
            if disclosure.schema != manifest.schema:
                raise ProofInvalid(f"expected a disclosure of {manifest.schema!r}, found one of {disclosure.schema!r}")
            if disclosure.root() != manifest.root:
                raise ProofInvalid("expected the disclosure to lead to the root of the manifest, found another root")
            return disclosure

    @cached_property
    def package_anchor(self) -> AnchorProof:
        """The anchor of this package, with the statements that the policy demands."""
        with checking(Step.PACKAGE_ANCHOR):
            manifest = self.manifest
            subject = statements.package_subject(manifest.body.root, manifest.digest)
            anchor = AnchorProof.parse(self.evidence.package_anchor)
            entry = proofs.open_entry(anchor, subject, kind=EntryKind.ANCHOR)
            issuer, witness = self._attestors(entry)
            trusted = self._policy.trusts_issuer(manifest.body.issuer, manifest.body.schema)
            attestation = self._policy.attestation
            if not _suffices(attestation, issuer=issuer and trusted, witness=witness):
                raise NotAnchored(f"expected a ledger entry stated by {attestation.value}, found none of these")
            return anchor

    def check_ledger_inclusion(self) -> None:
        """Check that a trusted log includes the package's entry, at a head that is fresh enough."""
        with checking(Step.LEDGER_INCLUSION):
            self._check_inclusion(self.package_anchor)

    @cached_property
    def request(self) -> Signed[Request]:
        """The request, signed by the receiver that it names, who is we."""
        with checking(Step.REQUEST_SIGNATURE):
            signed = envelope.verify(Request, self.evidence.request)
            named = signed.body.receiver.did
            if signed.signer != dids.public_key_of(named):
                raise SignatureInvalid("expected the request to be signed by the receiver that it names")
            if self._receiver is not None and named != self._receiver:
                raise ConsentInvalid("expected a request of our own, found one of another receiver")
            return signed

    @cached_property
    def grant(self) -> Signed[Grant]:
        """The holder's grant, bound to everything else."""
        with checking(Step.GRANT_BINDING):
            signed = envelope.verify(Grant, self.evidence.grant)
            grants.check_binding(
                signed,
                self.request,
                receiver=self.request.body.receiver.did,
                manifest=self.manifest.body,
                disclosure=self.disclosure,
            )
            return signed

    def check_grant_time(self) -> None:
        """Check that the grant is in force, and the package not older than was asked."""
        with checking(Step.GRANT_TIME):
            grants.check_in_force(self.grant.body, now=self._now, skew_seconds=self._policy.clock_skew_seconds)
            manifest = self.manifest.body
            ask = self.request.body.ask_for(manifest.schema)
            limit = ask.max_age_seconds if ask else None
            if limit is not None and self._now - manifest.issued > limit:
                raise ConsentInvalid(f"expected a package of the last {limit} seconds, found one of {manifest.issued}")

    @cached_property
    def grant_entry(self) -> Entry:
        """The ledger entry of the grant, on a log that the request accepts."""
        with checking(Step.GRANT_ANCHOR):
            anchor = AnchorProof.parse(self.evidence.grant_anchor)
            entry = proofs.open_entry(anchor, self.grant.digest, kind=EntryKind.GRANT)
            checkpoint = self._check_inclusion(anchor)
            accepted = self.request.body.logs
            if accepted and checkpoint.origin not in accepted:
                raise NotAnchored(f"expected the grant on a log of the request, found it on {checkpoint.origin!r}")
            if entry.hour > self._latest:
                raise EvidenceError(f"expected a ledger entry of the grant by {self._now}, found {entry.hour}")
            return entry

    @cached_property
    def receipts(self) -> tuple[Signed[Receipt], ...]:
        """The receipts, a chain signed by the receiver, none older than the grant's entry."""
        with checking(Step.RECEIPTS):
            grant, receipts = self.grant, self.evidence.receipts
            if not receipts:
                return ()
            return check_receipts(
                receipts,
                receiver=self.request.body.receiver.did,
                grant=grant.digest,
                package_root=self.manifest.body.root,
                earliest=self.grant_entry.hour - self._policy.clock_skew_seconds,
                latest=self._latest,
            )

    def check_openings(self, openings: Openings) -> None:
        """Check step 13 against the verified parts."""
        check_openings(openings, disclosure=self.disclosure, manifest=self.manifest.body, request=self.request.body)

    @property
    def _latest(self) -> int:
        """The latest time that is not in the future, in seconds."""
        return self._now + self._policy.clock_skew_seconds

    def _attestors(self, entry: Entry) -> tuple[bool, bool]:
        """Tell whether the issuer, and whether a trusted witness, has signed a statement in an entry."""
        issuer = dids.public_key_of(self.manifest.body.issuer)
        witnesses = {dids.public_key_of(each) for each in self._policy.witnesses}
        found = {(each.body.role, each.signer) for each in statements.verify_statements(entry)}
        return (AnchorRole.ISSUER, issuer) in found, any((AnchorRole.WITNESS, each) in found for each in witnesses)

    def _check_inclusion(self, anchor: AnchorProof) -> Checkpoint:
        checkpoint = proofs.verify_anchored(anchor, logs=self._policy.logs).body
        if checkpoint.time > self._latest:
            raise ProofInvalid(f"expected a checkpoint signed by {self._now}, found one of {checkpoint.time}")
        limit = self._policy.max_checkpoint_age_seconds
        if limit is not None and self._now - checkpoint.time > limit:
            raise PolicyRefused(f"expected a checkpoint of the last {limit} seconds, found one of {checkpoint.time}")
        return checkpoint


def _suffices(attestation: Attestation, *, issuer: bool, witness: bool) -> bool:
    match attestation:
        case Attestation.ISSUER:
            return issuer
        case Attestation.WITNESS:
            return witness
        case Attestation.EITHER:
            return issuer or witness
        case Attestation.BOTH:
            return issuer and witness


def _compare(expected: FileHead, found: FileHead) -> Likeness:
    if found.canonical_form is None or found.canonical is None:
        return canonical.compare(expected, found.root, None)
    return canonical.compare(expected, found.root, (found.canonical_form, found.canonical))
