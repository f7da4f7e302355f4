"""Receipts: the receiver's signed word on what arrived (spec/11-receipts).

A transfer has two. The first says that the ciphertext is held, and frees the key; the second says that the content was
verified, or which step of spec/10 refused it. Only a `VerifiedPackage` makes a "verified" receipt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, ClassVar

from ddtp.errors import DecodeError, EvidenceError, InternalError, VerificationFailed
from ddtp.identity import did as dids
from ddtp.protocol import envelope
from ddtp.protocol.codec import Buffer
from ddtp.protocol.envelope import Signed
from ddtp.protocol.record import Digest, Identifier, Limit, Range, Record, Seconds
from ddtp.verify.steps import MAX_REASON_CHARACTERS, Step, plain_reason
from ddtp.verify.verified import VerifiedPackage


class ReceiptStage(Enum):
    """What a receipt says."""

    CIPHER = "cipher"
    VERIFIED = "verified"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Receipt(Record):
    """What a receiver signs about a transfer.

    Attributes:
        transfer_id: The transfer.
        grant: SM3 of the grant's envelope.
        stage: What this receipt says.
        at: When it was signed.
        ciphertext_root: Root of the sealed chunks (spec/07).
        package_root: ROOT of the verified package; only in "verified".
        step: Number of the step that refused; only in "rejected".
        reason: Why, for people; only in "rejected".
        previous: SM3 of the "cipher" receipt's envelope; in all but "cipher".
    """

    KIND: ClassVar[str] = "receipt"
    MAX_BYTES: ClassVar[int] = 8 << 10

    transfer_id: Identifier
    grant: Digest
    stage: ReceiptStage
    at: Seconds
    ciphertext_root: Digest
    package_root: Digest | None = None
    step: Annotated[int, Range(1, len(Step))] | None = None
    reason: Annotated[str, Limit(MAX_REASON_CHARACTERS, least=1)] | None = None
    previous: Digest | None = None

    def __post_init__(self) -> None:
        """Check that exactly the fields of the stage are there."""
        Record.__post_init__(self)
        optional = {
            "package_root": self.package_root,
            "step": self.step,
            "reason": self.reason,
            "previous": self.previous,
        }
        present = {name for name, value in optional.items() if value is not None}
        expected = _FIELDS_OF[self.stage]
        if present != expected:
            raise DecodeError(
                f"expected the fields {sorted(expected)} in a receipt {self.stage.value!r}, found {sorted(present)}"
            )


_FIELDS_OF = {
    ReceiptStage.CIPHER: set[str](),
    ReceiptStage.VERIFIED: {"package_root", "previous"},
    ReceiptStage.REJECTED: {"step", "reason", "previous"},
}


def cipher_receipt(*, transfer_id: bytes, grant: bytes, ciphertext_root: bytes, at: int) -> Receipt:
    """Return the receipt for the ciphertext, to be signed once every sealed chunk is durable.

    Args:
        transfer_id: 16 bytes.
        grant: SM3 of the grant's envelope.
        ciphertext_root: Root of the sealed chunks.
        at: The time, in seconds.
    """
    return Receipt(transfer_id, grant, ReceiptStage.CIPHER, at, ciphertext_root)


def verified_receipt(verified: VerifiedPackage, *, cipher: Signed[Receipt], at: int) -> Receipt:
    """Return the receipt for a package that has been verified.

    Args:
        verified: What verification gave.
        cipher: Our receipt for the ciphertext of the same transfer.
        at: The time, in seconds.

    Raises:
        InternalError: The receipt is one of another grant or stage.
    """
    if cipher.body.grant != verified.evidence.grant.digest:
        raise InternalError("expected the receipt and the package of one grant")
    return _second(cipher, ReceiptStage.VERIFIED, at=at, package_root=verified.evidence.manifest.body.root)


def rejected_receipt(failure: VerificationFailed, *, cipher: Signed[Receipt], at: int) -> Receipt:
    """Return the receipt for a package that verification refused.

    Args:
        failure: The step that refused, and why.
        cipher: Our receipt for the ciphertext of the same transfer.
        at: The time, in seconds.

    Raises:
        InternalError: The receipt is one of another stage.
    """
    return _second(cipher, ReceiptStage.REJECTED, at=at, step=failure.step, reason=plain_reason(failure.message))


def check_receipt(
    receipt: Buffer,
    *,
    receiver: str,
    grant: bytes,
    package_root: bytes,
    earliest: int,
    latest: int,
    transfer_id: bytes | None = None,
    ciphertext_root: bytes | None = None,
    previous: Signed[Receipt] | None = None,
) -> Signed[Receipt]:
    """Check a received receipt.

    Args:
        receipt: The envelope.
        receiver: DID that must have signed.
        grant: SM3 of the grant's envelope.
        package_root: ROOT of the package that was sent.
        earliest: Its time must not be before this, in seconds: the hour of the grant's ledger entry, less the skew.
        latest: Its time must not be after this, in seconds: now, and the skew.
        transfer_id: The transfer; None accepts any, for a verifier who took no part.
        ciphertext_root: Root of the chunks that were sent; None accepts any, likewise.
        previous: The checked "cipher" receipt, if this is to be the second one.

    Returns:
        The receipt: "cipher" without `previous`, otherwise "verified" or "rejected".

    Raises:
        DecodeError: The receipt is malformed.
        SignatureInvalid: Another key signed, or the signature does not verify.
        EvidenceError: It is about another grant, transfer, content or stage, or its time cannot be true.
    """
    signed = envelope.verify(Receipt, receipt, signer=dids.public_key_of(receiver))
    body = signed.body
    if body.grant != grant:
        raise EvidenceError("expected a receipt for this grant, found one for another grant")
    if transfer_id is not None and body.transfer_id != transfer_id:
        raise EvidenceError("expected a receipt for this transfer, found one for another transfer")
    if ciphertext_root is not None and body.ciphertext_root != ciphertext_root:
        raise EvidenceError("expected a receipt for the chunks that were sent, found another ciphertext root")
    if body.package_root is not None and body.package_root != package_root:
        raise EvidenceError("expected a receipt for the package of the manifest, found another root")
    if not earliest <= body.at <= latest:
        raise EvidenceError(f"expected a receipt of {earliest} to {latest}, found one of {body.at}")
    _check_order(body, previous)
    return signed


def check_receipts(
    receipts: Sequence[Buffer], *, receiver: str, grant: bytes, package_root: bytes, earliest: int, latest: int
) -> tuple[Signed[Receipt], ...]:
    """Check the receipts of one transfer, the first first.

    Args:
        receipts: Envelopes; none is a valid number of them.
        receiver: DID that must have signed.
        grant: SM3 of the grant's envelope.
        package_root: ROOT of the package.
        earliest: As for `check_receipt`.
        latest: As for `check_receipt`.

    Raises:
        DecodeError: A receipt is malformed.
        SignatureInvalid: Another key signed, or a signature does not verify.
        EvidenceError: A receipt is about something else or of a time that cannot be true, or they are no chain.
    """
    chain: list[Signed[Receipt]] = []
    for receipt in receipts:
        previous = chain[-1] if chain else None
        chain.append(
            check_receipt(
                receipt,
                receiver=receiver,
                grant=grant,
                package_root=package_root,
                earliest=earliest,
                latest=latest,
                previous=previous,
            )
        )
    return tuple(chain)


def _check_order(body: Receipt, previous: Signed[Receipt] | None) -> None:
    if previous is None:
        if body.stage is not ReceiptStage.CIPHER:
            raise EvidenceError(f"expected the receipt 'cipher' first, found {body.stage.value!r}")
        return
    if previous.body.stage is not ReceiptStage.CIPHER or body.previous != previous.digest:
        raise EvidenceError("expected a receipt that follows the receipt 'cipher', found one that does not")
    if (body.transfer_id, body.ciphertext_root) != (previous.body.transfer_id, previous.body.ciphertext_root):
        raise EvidenceError("expected both receipts to be about one transfer, found two")
    if body.at < previous.body.at:
        raise EvidenceError("expected the second receipt not to be older than the first, found it older")


def _second(
    cipher: Signed[Receipt],
    stage: ReceiptStage,
    *,
    at: int,
    package_root: bytes | None = None,
    step: int | None = None,
    reason: str | None = None,
) -> Receipt:
    first = cipher.body
    if first.stage is not ReceiptStage.CIPHER:
        raise InternalError(f"expected our receipt 'cipher', found {first.stage.value!r}")
    return Receipt(
        first.transfer_id,
        first.grant,
        stage,
        # A clock that was set back between the two receipts must not make ours look forged
        max(at, first.at),
        first.ciphertext_root,
        package_root,
        step,
        reason,
        cipher.digest,
    )
