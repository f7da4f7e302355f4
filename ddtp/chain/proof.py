"""Proofs that a ledger holds an entry, checked offline (spec/09-ledger s.5).

A proof is a signed checkpoint and an audit path. It does not depend on the engine that stores the log, stays valid when
the log moves or ends, and tells a verifier nothing about other entries.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from ddtp.chain.checkpoint import MAX_CHECKPOINT_BYTES, Checkpoint, verify_checkpoint
from ddtp.chain.statement import MAX_ENTRY_BYTES, Entry, EntryKind, blind
from ddtp.errors import NotAnchored, ProofInvalid, SignatureInvalid
from ddtp.protocol import codec, envelope, merkle
from ddtp.protocol.envelope import Signed
from ddtp.protocol.merkle import LeafType
from ddtp.protocol.record import Digest, Limit, Record, Salt

MAX_PATH_HASHES = 63
"""Longest path: sizes have at most 63 bits."""

MAX_PROOF_BYTES = 5 << 10
"""Longest encoded proof: a checkpoint and 63 hashes."""


@dataclass(frozen=True, slots=True)
class LedgerProof(Record):
    """Proof that one entry stands in a log.

    Attributes:
        checkpoint: Envelope of the checkpoint that covers the entry.
        index: Position of the entry.
        path: Audit path from the entry to the checkpoint's root, lowest sibling first.
    """

    MAX_BYTES: ClassVar[int] = MAX_PROOF_BYTES

    checkpoint: Annotated[bytes, Limit(MAX_CHECKPOINT_BYTES, least=1)]
    index: int
    path: Annotated[tuple[Digest, ...], Limit(MAX_PATH_HASHES)]


@dataclass(frozen=True, slots=True)
class AnchorProof(Record):
    """All that shows that something is anchored; confidential, because the salt opens the entry.

    Attributes:
        salt: What the digest was blinded with.
        entry: The encoded entry.
        proof: The encoded `LedgerProof`.
    """

    MAX_BYTES: ClassVar[int] = MAX_ENTRY_BYTES + MAX_PROOF_BYTES + 128

    salt: Salt
    entry: Annotated[bytes, Limit(MAX_ENTRY_BYTES)]
    proof: Annotated[bytes, Limit(MAX_PROOF_BYTES)]


@dataclass(frozen=True, slots=True)
class OfferAnchors(Record):
    """The anchors that an offer carries (spec/08).

    Attributes:
        package: Anchor of the package.
        grant: Anchor of the grant.
    """

    package: AnchorProof
    grant: AnchorProof


def entry_hash(entry: codec.Buffer) -> bytes:
    """Return the leaf hash of an encoded entry."""
    return merkle.leaf_hash(LeafType.LEDGER_ENTRY, entry)


def open_entry(anchor: AnchorProof, subject: bytes, *, kind: EntryKind) -> Entry:
    """Check that an anchor's entry is about a subject; that the entry stands on a ledger is not checked here.

    Args:
        anchor: The anchor.
        subject: What was anchored: `statement.package_subject`, or the digest of a signed object.
        kind: The kind that the entry must have.

    Raises:
        DecodeError: The entry is malformed.
        NotAnchored: The entry is about something else, or of another kind.
    """
    entry = Entry.parse(anchor.entry)
    if entry.kind is not kind:
        raise NotAnchored(f"expected an entry of kind {kind.value}, found {entry.kind.value}")
    if entry.digest != blind(anchor.salt, subject):
        raise NotAnchored("expected the entry to be about this subject, found that its digest opens to another one")
    return entry


def verify_inclusion(entry: codec.Buffer, proof: LedgerProof, *, log_key: bytes, origin: str) -> Signed[Checkpoint]:
    """Check that a log holds an entry.

    Args:
        entry: The encoded entry.
        proof: Its proof.
        log_key: Public key of the log, 33 bytes.
        origin: Name of the log.

    Returns:
        The checkpoint that covers the entry.

    Raises:
        DecodeError: The checkpoint is malformed.
        SignatureInvalid: The log did not sign the checkpoint.
        LedgerInconsistent: The checkpoint is of another origin.
        ProofInvalid: The path does not lead from the entry to the signed root.
    """
    signed = verify_checkpoint(proof.checkpoint, origin=origin, public_key=log_key)
    _check_path(entry, proof, signed.body)
    return signed


def verify_anchored(anchor: AnchorProof, *, logs: Mapping[str, bytes]) -> Signed[Checkpoint]:
    """Check that the entry of an anchor stands on one of some logs.

    Args:
        anchor: The anchor.
        logs: Public keys of trusted logs by origin.

    Raises:
        DecodeError: The proof is malformed.
        NotAnchored: The log is none of `logs`.
        SignatureInvalid: The log did not sign the checkpoint.
        ProofInvalid: The path does not lead from the entry to the signed root.
    """
    proof = LedgerProof.parse(anchor.proof)
    signed = envelope.verify(Checkpoint, proof.checkpoint)
    log_key = logs.get(signed.body.origin)
    if log_key is None:
        raise NotAnchored(f"expected an anchor on a trusted log, found one on {signed.body.origin!r}")
    if signed.signer != log_key:
        raise SignatureInvalid(f"expected the checkpoint to be signed by the key of {signed.body.origin!r}")
    _check_path(anchor.entry, proof, signed.body)
    return signed


def _check_path(entry: codec.Buffer, proof: LedgerProof, checkpoint: Checkpoint) -> None:
    found = merkle.root_from_inclusion(entry_hash(entry), proof.index, size=checkpoint.size, path=proof.path)
    if found != checkpoint.root:
        raise ProofInvalid("expected the audit path to lead to the signed root, found another root")
