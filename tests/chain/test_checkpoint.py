"""Checkpoints and what must follow from them."""

from dataclasses import replace

import pytest

from ddtp.chain.checkpoint import (
    MAX_CHECKPOINT_BYTES,
    Checkpoint,
    Cosignature,
    check_growth,
    check_succession,
    verify_checkpoint,
)
from ddtp.errors import DecodeError, LedgerInconsistent, SignatureInvalid
from ddtp.protocol import envelope, merkle
from tests.ledgers import NOW, make_key

LOG, STRANGER = make_key("log"), make_key("stranger")
LEAVES = [merkle.leaf_hash(merkle.LeafType.LEDGER_ENTRY, bytes([number])) for number in range(20)]
ORIGIN = "log.example/2026"


def checkpoint(size: int, *, time: int = NOW) -> Checkpoint:
    return Checkpoint(origin=ORIGIN, size=size, root=merkle.root(LEAVES[:size]), time=time)


def path(old: int, new: int) -> tuple[bytes, ...]:
    return merkle.consistency_path(old, new, merkle.subtrees(LEAVES[:new]))


def test_checkpoint_of_the_log_is_accepted() -> None:
    """A checkpoint by the right key and origin gives its content."""
    signed = envelope.sign(checkpoint(5), LOG)
    assert verify_checkpoint(signed.envelope, origin=ORIGIN, public_key=LOG.public_key) == signed


def test_longest_origin_fits() -> None:
    """The bound of an envelope holds 200 characters of any script."""
    longest = replace(checkpoint(1), origin="\U00020000" * 200, size=(1 << 63) - 1, time=1 << 40)
    assert len(envelope.sign(longest, LOG).envelope) <= MAX_CHECKPOINT_BYTES


def test_forged_checkpoint_is_refused() -> None:
    """Another key's checkpoint is not the log's."""
    signed = envelope.sign(checkpoint(5), STRANGER)
    with pytest.raises(SignatureInvalid):
        verify_checkpoint(signed.envelope, origin=ORIGIN, public_key=LOG.public_key)


def test_size_is_signed() -> None:
    """Changing the size breaks the signature."""
    signed = envelope.sign(checkpoint(5), LOG)
    body, other = checkpoint(5).encode(), replace(checkpoint(5), size=6).encode()
    assert body in signed.envelope
    with pytest.raises(SignatureInvalid):
        verify_checkpoint(signed.envelope.replace(body, other), origin=ORIGIN, public_key=LOG.public_key)


def test_checkpoint_of_another_origin_is_refused() -> None:
    """One key may serve two logs; a checkpoint counts for its own only."""
    signed = envelope.sign(replace(checkpoint(5), origin="other.example/2026"), LOG)
    with pytest.raises(LedgerInconsistent, match="other"):
        verify_checkpoint(signed.envelope, origin=ORIGIN, public_key=LOG.public_key)


def test_cosignature_is_no_checkpoint() -> None:
    """A log's key cannot be made to sign a checkpoint by asking it for a cosignature."""
    body = checkpoint(5)
    signed = envelope.sign(Cosignature(origin=ORIGIN, size=5, root=body.root, time=NOW), LOG)
    with pytest.raises(DecodeError):
        verify_checkpoint(signed.envelope, origin=ORIGIN, public_key=LOG.public_key)


@pytest.mark.parametrize("old", range(13))
@pytest.mark.parametrize("new", [12, 13, 20])
def test_growth_is_accepted(old: int, new: int) -> None:
    """Every honest growth is proven by its path."""
    check_succession(checkpoint(old), checkpoint(new))
    check_growth(checkpoint(old), checkpoint(new), path(old, new))


def test_rollback_is_refused() -> None:
    """A log never gets shorter."""
    with pytest.raises(LedgerInconsistent, match="rolled back"):
        check_succession(checkpoint(6), checkpoint(5))


def test_time_going_back_is_refused() -> None:
    """A log never signs an earlier time after a later one."""
    with pytest.raises(LedgerInconsistent, match="time went back"):
        check_succession(checkpoint(5), checkpoint(6, time=NOW - 1))


def test_two_trees_of_one_size_are_refused() -> None:
    """Two roots for one size are a fork, whatever the path."""
    with pytest.raises(LedgerInconsistent):
        check_succession(checkpoint(5), replace(checkpoint(5), root=bytes(32)))


def test_fork_that_grew_is_refused() -> None:
    """A longer tree that does not contain the old one is a fork."""
    forked = replace(checkpoint(9), root=merkle.root([bytes(32), *LEAVES[1:9]]))
    with pytest.raises(LedgerInconsistent):
        check_growth(checkpoint(5), forked, path(5, 9))


@pytest.mark.parametrize("change", ["missing", "short", "long", "altered"])
def test_growth_without_its_path_is_refused(change: str) -> None:
    """A growth that is not proven is treated as a fork."""
    good = path(5, 13)
    paths = {"missing": (), "short": good[:-1], "long": (*good, bytes(32)), "altered": (bytes(32), *good[1:])}
    with pytest.raises(LedgerInconsistent):
        check_growth(checkpoint(5), checkpoint(13), paths[change])
