"""Two parties compare what they have seen of a log."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import pytest

from ddtp.agent.comparing import compare_heads
from ddtp.agent.context import Context
from ddtp.chain.checkpoint import Checkpoint
from ddtp.chain.ledger import Ledger
from ddtp.chain.memory_ledger import MemoryLedger
from ddtp.config import Config
from ddtp.errors import EvidenceError, LedgerInconsistent, PeerUnreachable
from ddtp.identity.keys import Seed
from ddtp.protocol import envelope
from ddtp.store.records import Records, open_records
from tests.ledgers import NOW, Clock, make_entry

ORIGIN = "ledger.example/2026"
LOG = Seed(bytes(range(32))).log_key()
OTHER = Seed(bytes(range(1, 33))).log_key()


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[Records]:
    """What the one who compares remembers."""
    async with open_records(tmp_path / "home") as opened:
        yield opened


def surroundings(records: Records) -> Context:
    config = Config(home=Path("nowhere"), vault=Path("nowhere"))
    return Context(config, Seed(bytes(32)), records, Clock(), bytes, "peer", None)


async def grow(entries: Sequence[bytes], *, clock: Clock | None = None) -> tuple[MemoryLedger, list[bytes]]:
    """A log with some entries, and its head after each of them."""
    log = MemoryLedger(ORIGIN, LOG, clock=clock or Clock())
    heads = []
    for entry in entries:
        await log.append([entry])
        heads.append((await log.head()).envelope)
    return log, heads


def opened(log: Ledger) -> nullcontext[Ledger]:
    return nullcontext(log)


@asynccontextmanager
async def away() -> AsyncIterator[Ledger]:
    """A log that does not answer."""
    raise PeerUnreachable("nobody there")
    yield


ENTRIES = [make_entry(number) for number in range(5)]


@pytest.mark.parametrize(("ours", "theirs"), [(2, 2), (1, 4), (4, 1), (0, 3)])
async def test_states_of_one_history_agree(records: Records, ours: int, theirs: int) -> None:
    """Whoever has seen more of it."""
    log, heads = await grow(ENTRIES)
    await records.save(ORIGIN, heads[ours])
    await compare_heads(surroundings(records), [heads[theirs]], ledger=opened(log))


async def test_two_states_of_one_size_are_found_out_without_asking_anybody(records: Records) -> None:
    """Both are signed by the log: that is all the proof there need be."""
    _, heads = await grow(ENTRIES[:3])
    _, others = await grow([*ENTRIES[:2], ENTRIES[4]])
    await records.save(ORIGIN, heads[2])
    with pytest.raises(LedgerInconsistent):
        await compare_heads(surroundings(records), [others[2]], ledger=away())


@pytest.mark.parametrize(("ours", "theirs"), [(1, 3), (3, 1)])
async def test_two_histories_of_different_length_are_found_out(records: Records, ours: int, theirs: int) -> None:
    """The log cannot prove that the longer one extends the shorter one."""
    log, heads = await grow(ENTRIES)
    _, others = await grow([ENTRIES[4], *ENTRIES[:4]])
    await records.save(ORIGIN, heads[ours])
    with pytest.raises(LedgerInconsistent):
        await compare_heads(surroundings(records), [others[theirs]], ledger=opened(log))


async def test_a_log_that_denies_what_it_signed_is_found_out(records: Records) -> None:
    """A log that was put back to an earlier state has no entries for the head that the other side shows."""
    _, heads = await grow(ENTRIES)
    shorter, _ = await grow(ENTRIES[:2])
    await records.save(ORIGIN, heads[1])
    with pytest.raises(LedgerInconsistent):
        await compare_heads(surroundings(records), [heads[4]], ledger=opened(shorter))


async def test_heads_of_others_say_nothing(records: Records) -> None:
    """Anybody can sign under any name; only the key that we follow can convict its log."""
    _, heads = await grow(ENTRIES)
    await records.save(ORIGIN, heads[0])
    claim = Checkpoint(origin=ORIGIN, size=1, root=bytes(32), time=NOW)
    await compare_heads(surroundings(records), [envelope.sign(claim, OTHER).envelope], ledger=away())
    unknown = Checkpoint(origin="elsewhere", size=1, root=bytes(32), time=NOW)
    await compare_heads(surroundings(records), [envelope.sign(unknown, OTHER).envelope], ledger=away())


async def test_a_log_that_is_away_convicts_nobody(records: Records) -> None:
    """Its silence is noted, and the exchange goes on."""
    _, heads = await grow(ENTRIES)
    await records.save(ORIGIN, heads[0])
    await compare_heads(surroundings(records), [heads[4]], ledger=away())


async def test_noise_is_refused(records: Records) -> None:
    """What is no checkpoint is the other side's fault."""
    with pytest.raises(EvidenceError):
        await compare_heads(surroundings(records), [b"noise"], ledger=away())
