"""Checkpoints: what a log signs about itself, and how a later one must follow from an earlier (spec/09-ledger s.4).

The size is inside the signed part. A signature over the root alone would let one proof claim many positions and sizes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ddtp.errors import LedgerInconsistent, ProofInvalid
from ddtp.protocol import codec, envelope, merkle
from ddtp.protocol.envelope import Signed
from ddtp.protocol.record import Digest, Name, Record, Seconds

MAX_CHECKPOINT_BYTES = 2 << 10
"""Longest envelope of a checkpoint or cosignature: 240 bytes for a short origin, 830 for 200 Chinese characters."""


@dataclass(frozen=True, slots=True)
class Checkpoint(Record):
    """The state of a log at one time.

    Attributes:
        origin: Name of the log, unique for ever, for example "bank-a.example/ddtp/2026".
        size: Number of entries.
        root: Root of the tree over them.
        time: When the log signed, in seconds; never before that of an earlier checkpoint.
    """

    KIND: ClassVar[str] = "checkpoint"
    MAX_BYTES: ClassVar[int] = 1 << 10

    origin: Name
    size: int
    root: Digest
    time: Seconds


@dataclass(frozen=True, slots=True)
class Cosignature(Record):
    """A witness's word that a log has only grown, up to this size and root, as it saw it at this time.

    Attributes:
        origin: Name of the log.
        size: Number of entries.
        root: Root of the tree over them.
        time: When the witness saw it, by its own clock, in seconds.
    """

    KIND: ClassVar[str] = "cosignature"
    MAX_BYTES: ClassVar[int] = 1 << 10

    origin: Name
    size: int
    root: Digest
    time: Seconds


def verify_checkpoint(checkpoint: codec.Buffer, *, origin: str, public_key: bytes) -> Signed[Checkpoint]:
    """Check that a checkpoint is that of a known log.

    Args:
        checkpoint: The received envelope.
        origin: Name of the log.
        public_key: Its key, 33 bytes.

    Raises:
        DecodeError: The envelope is malformed.
        SignatureInvalid: Another key signed, or the signature does not verify.
        LedgerInconsistent: The log signed under another origin.
    """
    signed = envelope.verify(Checkpoint, checkpoint, signer=public_key)
    if signed.body.origin != origin:
        raise LedgerInconsistent(f"expected a checkpoint of {origin!r}, found one of {signed.body.origin!r}")
    return signed


def check_succession(old: Checkpoint, new: Checkpoint) -> None:
    """Check what needs no proof: the new checkpoint is not shorter, not earlier, and not another tree of one size.

    Raises:
        LedgerInconsistent: The log rolled back, forked, or its time went back.
    """
    if new.size < old.size:
        raise LedgerInconsistent(f"expected a log of at least {old.size} entries, found {new.size}: it rolled back")
    if new.time < old.time:
        raise LedgerInconsistent(f"expected a checkpoint not before {old.time}, found {new.time}: its time went back")
    if new.size == old.size:
        check_growth(old, new, ())


def check_growth(old: Checkpoint, new: Checkpoint, path: Sequence[bytes]) -> None:
    """Check the proof that a newer checkpoint extends an older one.

    Args:
        old: The smaller one.
        new: The larger one, or one of the same size.
        path: The consistency path, empty for equal sizes.

    Raises:
        LedgerInconsistent: The log forked, or did not prove that it has not.
    """
    try:
        merkle.check_consistency(old.size, old.root, new_size=new.size, new_root=new.root, path=path)
    except ProofInvalid as err:
        raise LedgerInconsistent(
            f"expected the log of {new.size} entries to extend that of {old.size}, found no proof: {err.message}"
        ) from err
