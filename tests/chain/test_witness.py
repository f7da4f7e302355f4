"""The witness: what it attests and cosigns, and what it refuses."""

from dataclasses import replace

import pytest

from ddtp.chain.checkpoint import Checkpoint
from ddtp.chain.memory_ledger import MemoryLedger
from ddtp.chain.statement import AnchorRole, Entry, EntryKind, verify_statements
from ddtp.chain.witness import AttestRequest, attest, cosign, verify_cosignature
from ddtp.crypto import sm3
from ddtp.errors import LedgerInconsistent, PolicyRefused, SignatureInvalid
from ddtp.protocol import envelope
from ddtp.protocol.envelope import Signed
from tests.ledgers import HOUR, NOW, Clock, Key, make_entry, make_key

LOG, WITNESS, OTHER, PERSON = make_key("log"), make_key("witness"), make_key("other"), make_key("person")
DIGEST = sm3.digest(b"digest")


def request(*, witness: Key = WITNESS, at: int = NOW) -> bytes:
    return envelope.sign(AttestRequest(digest=DIGEST, witness=witness.public_key, at=at), PERSON).envelope


def test_attests_what_its_owner_asks_for() -> None:
    """A request becomes a statement that fits an entry of the same hour."""
    statement = attest(request(), signer=WITNESS, now=NOW)
    entry = Entry(kind=EntryKind.ANCHOR, digest=DIGEST, hour=HOUR, statements=(statement.envelope,))
    (checked,) = verify_statements(entry)
    assert (checked.signer, checked.body.role) == (WITNESS.public_key, AnchorRole.WITNESS)


def test_request_to_another_witness_is_refused() -> None:
    """A request cannot be shown to a witness that was not asked."""
    with pytest.raises(PolicyRefused, match="another"):
        attest(request(witness=OTHER), signer=WITNESS, now=NOW)


@pytest.mark.parametrize("seconds", [-301, 301])
def test_request_of_another_time_is_refused(seconds: int) -> None:
    """A recorded request cannot be used later."""
    attest(request(), signer=WITNESS, now=NOW + seconds // 2)
    with pytest.raises(PolicyRefused, match="300 seconds"):
        attest(request(), signer=WITNESS, now=NOW + seconds)


def test_forged_request_is_refused() -> None:
    """A witness attests nothing without a signed request."""
    forged = request()[:-1] + bytes([request()[-1] ^ 1])
    with pytest.raises(SignatureInvalid):
        attest(forged, signer=WITNESS, now=NOW)


class Log:
    """A log and what its witness remembers."""

    def __init__(self, origin: str = "log.example/2026") -> None:
        self.clock = Clock()
        self.ledger = MemoryLedger(origin, LOG, clock=self.clock)
        self.last: Signed[Checkpoint] | None = None

    async def grow(self, *numbers: int) -> Signed[Checkpoint]:
        await self.ledger.append([make_entry(number) for number in numbers])
        self.clock.now += 1
        return await self.ledger.head()

    async def path(self, checkpoint: Signed[Checkpoint]) -> tuple[bytes, ...]:
        return await self.ledger.prove_growth(self.last.body.size if self.last else 0, checkpoint.body.size)


async def test_cosigns_a_log_that_grows() -> None:
    """From the first checkpoint on, every growth is cosigned, and the cosignature carries the witness's time."""
    log = Log()
    for numbers in [(), (1,), (2, 3, 4), (), tuple(range(5, 300))]:
        checkpoint = await log.grow(*numbers)
        signed = cosign(checkpoint, last=log.last, path=await log.path(checkpoint), signer=WITNESS, now=NOW + 50)
        seen = verify_cosignature(signed.envelope, checkpoint.body, witnesses={WITNESS.public_key})
        assert seen.body.time == NOW + 50
        log.last = checkpoint


async def test_fork_is_not_cosigned() -> None:
    """A log that shows another tree of the same size, or grown from another tree, gets no cosignature."""
    log, fork = Log(), Log()
    log.last = await log.grow(1, 2, 3)
    same_size = await fork.grow(1, 2, 4)
    with pytest.raises(LedgerInconsistent):
        cosign(same_size, last=log.last, path=(), signer=WITNESS, now=NOW)
    grown = await fork.grow(5, 6)
    with pytest.raises(LedgerInconsistent):
        cosign(grown, last=log.last, path=await fork.ledger.prove_growth(3, 5), signer=WITNESS, now=NOW)


async def test_rollback_is_not_cosigned() -> None:
    """A log that got shorter gets no cosignature."""
    log = Log()
    early = await log.grow(1)
    log.last = await log.grow(2)
    with pytest.raises(LedgerInconsistent, match="rolled back"):
        cosign(early, last=log.last, path=(), signer=WITNESS, now=NOW)


async def test_checkpoint_from_the_future_is_not_cosigned() -> None:
    """A log whose clock is wrong would block itself later, so the witness refuses at once."""
    checkpoint = await Log().grow(1)
    with pytest.raises(PolicyRefused):
        cosign(checkpoint, last=None, path=(), signer=WITNESS, now=NOW - 200)


async def test_state_of_another_log_is_not_used() -> None:
    """A checkpoint is compared with the state of its own log only."""
    other = Log("other.example/2026")
    log = Log()
    log.last = await log.grow(1)
    with pytest.raises(LedgerInconsistent, match="other"):
        cosign(await other.grow(1), last=log.last, path=(), signer=WITNESS, now=NOW)


async def test_cosignature_must_be_by_a_trusted_witness() -> None:
    """A stranger's cosignature counts for nothing."""
    checkpoint = await Log().grow(1)
    signed = cosign(checkpoint, last=None, path=(), signer=OTHER, now=NOW)
    with pytest.raises(SignatureInvalid):
        verify_cosignature(signed.envelope, checkpoint.body, witnesses={WITNESS.public_key})


async def test_cosignature_of_another_tree_is_refused() -> None:
    """A cosignature covers origin, size and root."""
    checkpoint = await Log().grow(1)
    signed = cosign(checkpoint, last=None, path=(), signer=WITNESS, now=NOW)
    for change in ({"origin": "other"}, {"size": 2}, {"root": bytes(32)}):
        with pytest.raises(LedgerInconsistent):
            verify_cosignature(signed.envelope, replace(checkpoint.body, **change), witnesses={WITNESS.public_key})
