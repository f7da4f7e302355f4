"""The witness: a neutral third party that sees digests and never data (spec/09-ledger s.8), pure.

It attests that a fingerprint was stored, when the person asks for it, and it cosigns the checkpoints of logs that have
only grown since it last saw them. Both are decisions on values; whoever calls them keeps the state.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from ddtp.chain.checkpoint import Checkpoint, Cosignature, check_growth, check_succession, verify_checkpoint
from ddtp.chain.statement import AnchorRole, AnchorStatement, coarse, make_statement
from ddtp.errors import LedgerInconsistent, PolicyRefused, SignatureInvalid
from ddtp.protocol import codec, envelope
from ddtp.protocol.envelope import Signed, Signer
from ddtp.protocol.record import Digest, PublicKey, Record, Seconds

REQUEST_WINDOW_SECONDS: Final = 300
"""How far the time of a request may be from the witness's clock: a recorded request is useless after five minutes."""

MAX_AHEAD_SECONDS: Final = 120
"""How far a log's clock may be ahead of the witness's: the default skew of verification (spec/10)."""


@dataclass(frozen=True, slots=True)
class AttestRequest(Record):
    """A person's signed wish that a witness attests a blinded digest.

    Attributes:
        digest: The blinded digest; nothing else about the package is told.
        witness: Key of the witness that is asked, 33 bytes, so that no other one can use the request.
        at: When it was asked, in seconds.
    """

    KIND: ClassVar[str] = "attest-request"
    MAX_BYTES: ClassVar[int] = 512

    digest: Digest
    witness: PublicKey
    at: Seconds


def attest(request: codec.Buffer, *, signer: Signer, now: int) -> Signed[AnchorStatement]:
    """Attest a digest because its owner asks for it.

    Args:
        request: Envelope of an `AttestRequest`, by any key: the person's key for this witness.
        signer: The witness.
        now: Its time in seconds.

    Returns:
        The statement for the entry, which must have the same hour.

    Raises:
        DecodeError: The request is malformed.
        SignatureInvalid: The request is not signed as it says.
        PolicyRefused: The request is for another witness, or too old.
    """
    wish = envelope.verify(AttestRequest, request).body
    if wish.witness != signer.public_key:
        raise PolicyRefused("expected a request to this witness, found one to another")
    if abs(now - wish.at) > REQUEST_WINDOW_SECONDS:
        raise PolicyRefused(
            f"expected a request made within {REQUEST_WINDOW_SECONDS} seconds, found one {abs(now - wish.at)} away"
        )
    return make_statement(wish.digest, hour=coarse(now), role=AnchorRole.WITNESS, signer=signer)


def cosign(
    checkpoint: Signed[Checkpoint],
    *,
    last: Signed[Checkpoint] | None,
    path: Sequence[bytes],
    signer: Signer,
    now: int,
) -> Signed[Cosignature]:
    """Cosign a checkpoint of a log that has only grown.

    The caller holds the state of a log alone while it loads `last`, calls this, and makes `checkpoint` the new state,
    and gives the cosignature away only when that is durable. Otherwise two heads of one size could be cosigned.

    Args:
        checkpoint: The new checkpoint, from `verify_checkpoint`.
        last: The checkpoint of this log that was cosigned last; None for a log that is new to the witness.
        path: The consistency path from `last`, empty if there is none or the sizes are equal.
        signer: The witness.
        now: Its time in seconds.

    Raises:
        LedgerInconsistent: The log rolled back, forked, or its time went back. Both checkpoints are signed by the log,
            so together they are evidence, which the caller keeps.
        PolicyRefused: The checkpoint is from the future.
    """
    new = checkpoint.body
    if new.time > now + MAX_AHEAD_SECONDS:
        raise PolicyRefused(f"expected a checkpoint of about {now}, found one of {new.time}")
    if last is not None:
        verify_checkpoint(checkpoint.envelope, origin=last.body.origin, public_key=last.signer)
        check_succession(last.body, new)
        check_growth(last.body, new, path)
    return envelope.sign(Cosignature(origin=new.origin, size=new.size, root=new.root, time=now), signer)


def verify_cosignature(
    cosignature: codec.Buffer, checkpoint: Checkpoint, *, witnesses: Collection[bytes]
) -> Signed[Cosignature]:
    """Check that a trusted witness saw the very tree of a checkpoint.

    Args:
        cosignature: The received envelope.
        checkpoint: The checkpoint.
        witnesses: Keys of trusted witnesses, 33 bytes each.

    Returns:
        The cosignature; its time is by the witness's clock, and so says how fresh the checkpoint is.

    Raises:
        DecodeError: The cosignature is malformed.
        SignatureInvalid: No trusted witness signed it.
        LedgerInconsistent: It is about another tree.
    """
    signed = envelope.verify(Cosignature, cosignature)
    if signed.signer not in witnesses:
        raise SignatureInvalid("expected a cosignature by a trusted witness, found one by another key")
    seen = signed.body
    if (seen.origin, seen.size, seen.root) != (checkpoint.origin, checkpoint.size, checkpoint.root):
        raise LedgerInconsistent(f"expected a cosignature of {checkpoint.size} entries, found one of another tree")
    return signed
