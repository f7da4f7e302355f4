"""Proofs that a ledger holds an entry."""

from dataclasses import replace

import pytest

from ddtp.chain.checkpoint import Checkpoint
from ddtp.chain.memory_ledger import MemoryLedger
from ddtp.chain.proof import (
    AnchorProof,
    LedgerProof,
    OfferAnchors,
    open_entry,
    verify_anchored,
    verify_inclusion,
)
from ddtp.chain.statement import AnchorRole, EntryKind, blind
from ddtp.crypto import sm3
from ddtp.errors import DecodeError, LedgerInconsistent, NotAnchored, ProofInvalid, SignatureInvalid
from ddtp.protocol import envelope
from tests.ledgers import NOW, Clock, make_anchor, make_entry, make_key, verify_anchor

LOG, ISSUER, STRANGER = make_key("log"), make_key("issuer"), make_key("stranger")
ORIGIN, SALT, SUBJECT = "log.example/2026", sm3.digest(b"salt"), sm3.digest(b"subject")
LOGS = {ORIGIN: LOG.public_key}


async def anchored(*, before: int = 3, after: int = 5) -> AnchorProof:
    ledger = MemoryLedger(ORIGIN, LOG, clock=Clock())
    await ledger.append([make_entry(number) for number in range(before)])
    entry = make_anchor(blind(SALT, SUBJECT), (AnchorRole.ISSUER, ISSUER)).encode()
    (index,) = await ledger.append([entry])
    await ledger.append([make_entry(100 + number) for number in range(after)])
    proof = await ledger.prove(index)
    return AnchorProof(salt=SALT, entry=entry, proof=proof.encode())


async def test_anchor_is_verified_offline() -> None:
    """An anchor gives its entry and the checkpoint that covers it."""
    anchor = await anchored()
    entry, checkpoint = verify_anchor(anchor, SUBJECT, kind=EntryKind.ANCHOR, logs=LOGS)
    assert entry.digest == blind(SALT, SUBJECT)
    assert (checkpoint.body.size, checkpoint.body.time, checkpoint.signer) == (9, NOW, LOG.public_key)


async def test_first_entry_of_a_log_has_an_empty_path() -> None:
    """The smallest log proves its only entry with no hashes."""
    anchor = await anchored(before=0, after=0)
    assert LedgerProof.parse(anchor.proof).path == ()
    verify_anchor(anchor, SUBJECT, kind=EntryKind.ANCHOR, logs=LOGS)


async def test_anchors_of_an_offer_round_trip() -> None:
    """An offer's anchors are what their bytes say."""
    anchors = OfferAnchors(package=await anchored(), grant=await anchored(before=1))
    assert OfferAnchors.parse(anchors.encode()) == anchors


async def test_anchor_of_another_subject_is_refused() -> None:
    """A stolen anchor does not open to another package."""
    anchor = await anchored()
    with pytest.raises(NotAnchored, match="subject"):
        open_entry(anchor, sm3.digest(b"other"), kind=EntryKind.ANCHOR)


async def test_anchor_with_another_salt_is_refused() -> None:
    """Without its salt an entry is about nothing."""
    with pytest.raises(NotAnchored, match="subject"):
        open_entry(replace(await anchored(), salt=bytes(32)), SUBJECT, kind=EntryKind.ANCHOR)


async def test_entry_of_another_kind_is_refused() -> None:
    """The anchor of a package is no grant."""
    with pytest.raises(NotAnchored, match="kind grant"):
        verify_anchor(await anchored(), SUBJECT, kind=EntryKind.GRANT, logs=LOGS)


async def test_unknown_log_is_refused() -> None:
    """Only the logs of the policy count."""
    with pytest.raises(NotAnchored, match="trusted log"):
        verify_anchored(await anchored(), logs={"other.example/2026": LOG.public_key})


async def test_checkpoint_by_another_key_is_refused() -> None:
    """A log's name without its key is worth nothing."""
    with pytest.raises(SignatureInvalid):
        verify_anchored(await anchored(), logs={ORIGIN: STRANGER.public_key})


async def test_entry_that_is_not_in_the_log_is_refused() -> None:
    """A proof of one entry does not prove another."""
    anchor = await anchored()
    with pytest.raises(ProofInvalid):
        verify_anchored(replace(anchor, entry=make_entry(77)), logs=LOGS)


@pytest.mark.parametrize("index", [0, 2, 4, 8, 9, 1 << 62])
async def test_proof_of_another_position_is_refused(index: int) -> None:
    """The position is bound by the path and the signed size."""
    anchor = await anchored()
    proof = replace(LedgerProof.parse(anchor.proof), index=index)
    with pytest.raises(ProofInvalid):
        verify_inclusion(anchor.entry, proof, log_key=LOG.public_key, origin=ORIGIN)


async def test_proof_under_another_size_is_refused() -> None:
    """A path that also fits another size fails, because the size is signed."""
    anchor = await anchored()
    proof = LedgerProof.parse(anchor.proof)
    checkpoint = envelope.verify(Checkpoint, proof.checkpoint).body
    forged = envelope.sign(replace(checkpoint, size=10), STRANGER)
    with pytest.raises(SignatureInvalid):
        verify_anchored(replace(anchor, proof=replace(proof, checkpoint=forged.envelope).encode()), logs=LOGS)


@pytest.mark.parametrize("change", ["missing", "short", "long", "altered"])
async def test_altered_path_is_refused(change: str) -> None:
    """A path has exactly its hashes."""
    anchor = await anchored()
    proof = LedgerProof.parse(anchor.proof)
    good = proof.path
    paths = {"missing": (), "short": good[:-1], "long": (*good, bytes(32)), "altered": (bytes(32), *good[1:])}
    with pytest.raises(ProofInvalid):
        verify_inclusion(anchor.entry, replace(proof, path=paths[change]), log_key=LOG.public_key, origin=ORIGIN)


async def test_inclusion_under_another_origin_is_refused() -> None:
    """The caller says which log it means."""
    anchor = await anchored()
    with pytest.raises(LedgerInconsistent):
        verify_inclusion(anchor.entry, LedgerProof.parse(anchor.proof), log_key=LOG.public_key, origin="other")


async def test_every_bit_of_an_anchor_matters() -> None:
    """An anchor with any one bit flipped is refused with a typed error."""
    good = (await anchored()).encode()
    for position in range(0, len(good), 7):
        bad = bytearray(good)
        bad[position] ^= 1 << position % 8
        with pytest.raises((DecodeError, NotAnchored, ProofInvalid, SignatureInvalid, LedgerInconsistent)):
            verify_anchor(AnchorProof.parse(bytes(bad)), SUBJECT, kind=EntryKind.ANCHOR, logs=LOGS)
