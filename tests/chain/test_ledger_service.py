"""A ledger that answers the network."""

import pytest
import trio
from trio.testing import MockClock

from ddtp.chain.allowance import ADDRESS_RATE, PEER_RATE
from ddtp.chain.ledger import PAGE_ENTRIES
from ddtp.chain.ledger_messages import Growth, Head, Page, Positions, Question, Span
from ddtp.chain.ledger_service import LedgerService
from ddtp.chain.memory_ledger import MemoryLedger
from ddtp.chain.proof import LedgerProof
from ddtp.chain.statement import Entry, EntryKind
from ddtp.errors import DecodeError, NotFound, Overloaded, PolicyRefused
from tests.ledgers import Clock, make_entry, make_key

LOG = make_key("log")


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger("log.example/2026", LOG, clock=Clock())


async def ask(service: LedgerService, question: Question, peer_id: str = "peer") -> bytes:
    return await service.handle(question.encode(), peer_id)


async def test_every_question_has_its_answer(ledger: MemoryLedger) -> None:
    """Append, lookup, head, proof, growth and pages are answered with what the ledger says."""
    service, entries = LedgerService(ledger), (make_entry(1), make_entry(2))
    digest = Entry.parse(entries[1]).digest
    assert Positions.parse(await ask(service, Question(append=entries))).positions == (0, 1)
    assert Positions.parse(await ask(service, Question(lookup=digest))).positions == (1,)
    assert Head.parse(await ask(service, Question(head=True))).checkpoint == (await ledger.head()).envelope
    assert LedgerProof.parse(await ask(service, Question(prove=1))) == await ledger.prove(1)
    path = Growth.parse(await ask(service, Question(growth=Span(start=1, stop=2)))).path
    assert path == await ledger.prove_growth(1, 2)
    assert Page.parse(await ask(service, Question(entries=Span(start=0, stop=2)))).entries == entries


@pytest.mark.parametrize(
    "question",
    [
        Question(prove=5),
        Question(growth=Span(start=2, stop=1)),
        Question(entries=Span(start=0, stop=1)),
        Question(entries=Span(start=0, stop=PAGE_ENTRIES + 1)),
    ],
)
async def test_question_beyond_the_log_is_not_found(ledger: MemoryLedger, question: Question) -> None:
    """A position that is not there is told as such."""
    with pytest.raises(NotFound):
        await ask(LedgerService(ledger), question)


async def test_peer_cannot_speak_for_the_operator(ledger: MemoryLedger) -> None:
    """What only the operator says is refused from the network, though the ledger itself takes it."""
    entry = make_entry(1, kind=EntryKind.STATUS)
    with pytest.raises(PolicyRefused):
        await ask(LedgerService(ledger), Question(append=(entry,)))
    assert await ledger.append([entry]) == (0,)


async def test_only_listed_writers_append(ledger: MemoryLedger) -> None:
    """A closed log can be read by all and written by its members."""
    service = LedgerService(ledger, writers={"member"}, closed=True)
    with pytest.raises(PolicyRefused):
        await ask(service, Question(append=(make_entry(1),)), "stranger")
    await ask(service, Question(append=(make_entry(1),)), "member")
    await ask(service, Question(head=True), "stranger")


async def test_a_stranger_cannot_fill_the_disk(ledger: MemoryLedger) -> None:
    """After its allowance a peer is refused, others and known writers go on, and everybody still reads."""
    service = LedgerService(ledger, writers={"issuer"})
    batch = Question(append=tuple(make_entry(number) for number in range(256)))
    for _ in range(PEER_RATE.burst // 256):
        await ask(service, batch, "stranger")
    with pytest.raises(Overloaded):
        await ask(service, Question(append=(make_entry(1),)), "stranger")
    await ask(service, Question(head=True), "stranger")
    await ask(service, batch, "another")
    for _ in range(PEER_RATE.burst // 256 + 1):
        await ask(service, batch, "issuer")


async def test_new_identities_do_not_help(ledger: MemoryLedger) -> None:
    """The address counts as well, and another address has an allowance of its own."""
    service = LedgerService(ledger)
    batch = Question(append=tuple(make_entry(number) for number in range(256))).encode()
    for number in range(ADDRESS_RATE.burst // 256):
        await service.handle(batch, f"peer {number}", address="192.0.2.7")
    with pytest.raises(Overloaded):
        await service.handle(batch, "fresh", address="192.0.2.7")
    await service.handle(batch, "fresh", address="192.0.2.8")


async def test_an_allowance_comes_back(ledger: MemoryLedger, autojump_clock: MockClock) -> None:
    """What flows in is what may be appended, and no more than the burst gathers."""
    service = LedgerService(ledger)
    batch = Question(append=tuple(make_entry(number) for number in range(256)))
    for pause in (0.0, 1e9):
        await trio.sleep(pause)
        for _ in range(PEER_RATE.burst // 256):
            await ask(service, batch)
        with pytest.raises(Overloaded):
            await ask(service, batch)
    await trio.sleep(256 / PEER_RATE.per_second)
    await ask(service, batch)


@pytest.mark.parametrize("request_bytes", [b"", b"\xa0", b"\x00", bytes(100)])
async def test_malformed_question_is_refused(ledger: MemoryLedger, request_bytes: bytes) -> None:
    """What is no question is not answered."""
    with pytest.raises(DecodeError):
        await LedgerService(ledger).handle(request_bytes, "peer")
