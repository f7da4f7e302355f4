"""A ledger that lies: each lie is noticed, and what was accepted before stays."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import trio
import trio.testing

from ddtp.chain.checkpoint import Checkpoint
from ddtp.chain.ledger_messages import Growth, Head, Page, Positions, Question
from ddtp.chain.ledger_service import LedgerService
from ddtp.chain.memory_ledger import MemoryLedger
from ddtp.chain.proof import LedgerProof
from ddtp.chain.remote_ledger import RemoteLedger
from ddtp.errors import (
    DecodeError,
    LedgerInconsistent,
    NotFound,
    PeerRefused,
    PeerVanished,
    ProtocolViolation,
    SignatureInvalid,
)
from ddtp.protocol import envelope
from tests.ledgers import NOW, Clock, Heads, Key, make_entry, make_key, network

LOG, STRANGER = make_key("log"), make_key("stranger")
ORIGIN = "log.example/2026"


class Peer:
    """A peer with a log of its own, whose answers a test replaces by kind of question."""

    def __init__(self, *numbers: int, key: Key = LOG, origin: str = ORIGIN, now: int = NOW) -> None:
        self.clock = Clock(now)
        self.ledger = MemoryLedger(origin, key, clock=self.clock)
        self.numbers = numbers
        self.lies: dict[str, Callable[[bytes], bytes]] = {}
        self.asked: list[str] = []

    async def call(self, request: bytes) -> bytes:
        if self.numbers:
            await self.ledger.append([make_entry(number) for number in self.numbers])
            self.numbers = ()
        (kind,) = Question.parse(request).to_value()
        self.asked.append(kind)
        answer = await network(LedgerService(self.ledger))(request)
        return self.lies[kind](answer) if kind in self.lies else answer


def remote(peer: Peer, heads: Heads) -> RemoteLedger:
    return RemoteLedger(ORIGIN, LOG.public_key, call=peer.call, heads=heads)


async def accepted(*numbers: int, now: int = NOW) -> Heads:
    """Return the heads of a home that has seen a log with these entries."""
    heads = Heads()
    await remote(Peer(*numbers, now=now), heads).head()
    return heads


def resigned(checkpoint: bytes, key: Key = LOG, **changes: object) -> bytes:
    body = envelope.verify(Checkpoint, checkpoint).body
    return envelope.sign(replace(body, **changes), key).envelope


async def test_first_head_is_believed_and_kept() -> None:
    """The first checkpoint of a log is the one that all later ones must extend."""
    heads, peer = Heads(), Peer(1, 2, 3)
    head = await remote(peer, heads).head()
    assert heads.stored == {ORIGIN: head.envelope}
    assert peer.asked == ["head"]


async def test_growth_is_demanded_and_kept() -> None:
    """A longer log must prove that it extends the last head."""
    heads, peer = await accepted(1, 2), Peer(1, 2, 3, 4)
    head = await remote(peer, heads).head()
    assert peer.asked == ["head", "growth"]
    assert heads.stored == {ORIGIN: head.envelope}
    again = await remote(peer, heads).head()
    assert again == head


async def test_rollback_is_refused() -> None:
    """A log that is shorter than before is refused, in a head and in a proof."""
    heads = await accepted(1, 2, 3)
    before = dict(heads.stored)
    for question in (lambda ledger: ledger.head(), lambda ledger: ledger.prove(0)):
        with pytest.raises(LedgerInconsistent, match="rolled back"):
            await question(remote(Peer(1, 2), heads))
    assert heads.stored == before


async def test_log_that_begins_again_is_refused() -> None:
    """A log that lost everything is refused."""
    with pytest.raises(LedgerInconsistent, match="rolled back"):
        await remote(Peer(), await accepted(1)).head()


async def test_fork_of_the_same_size_is_refused() -> None:
    """Two trees of one size are a fork."""
    heads = await accepted(1, 2, 3)
    before = dict(heads.stored)
    with pytest.raises(LedgerInconsistent):
        await remote(Peer(1, 2, 4), heads).head()
    assert heads.stored == before


@pytest.mark.parametrize("numbers", [(1, 2, 4, 5), (9, 2, 3, 4), (1, 3, 2, 4, 5, 6, 7)])
async def test_fork_that_grew_is_refused(numbers: tuple[int, ...]) -> None:
    """A longer log with another past is refused, whatever path it gives."""
    heads = await accepted(1, 2, 3)
    before = dict(heads.stored)
    for question in (lambda ledger: ledger.head(), lambda ledger: ledger.prove(0)):
        with pytest.raises(LedgerInconsistent):
            await question(remote(Peer(*numbers), heads))
    assert heads.stored == before


async def test_growth_that_is_not_proven_is_refused() -> None:
    """A log that has grown honestly but does not prove it is refused."""
    heads, peer = await accepted(1, 2, 3), Peer(1, 2, 3, 4, 5)
    for path in ((), (bytes(32),) * 3):
        peer.lies["growth"] = lambda _, path=path: Growth(path=path).encode()
        with pytest.raises(LedgerInconsistent):
            await remote(peer, heads).head()
    peer.lies.clear()
    await remote(peer, heads).head()


async def test_time_going_back_is_refused() -> None:
    """A log whose clock went back is refused: its times would mean nothing."""
    heads = await accepted(1, 2, now=NOW + 10)
    with pytest.raises(LedgerInconsistent, match="time went back"):
        await remote(Peer(1, 2, 3), heads).head()


async def test_forged_checkpoint_is_refused() -> None:
    """A peer without the log's key cannot speak for it."""
    with pytest.raises(SignatureInvalid):
        await remote(Peer(1, key=STRANGER), Heads()).head()
    peer = Peer(1)
    peer.lies["prove"] = lambda answer: replace(
        LedgerProof.parse(answer), checkpoint=resigned(LedgerProof.parse(answer).checkpoint, STRANGER)
    ).encode()
    with pytest.raises(SignatureInvalid):
        await remote(peer, Heads()).prove(0)


async def test_damaged_signature_is_refused() -> None:
    """One bit of the signature decides."""
    peer = Peer(1)
    peer.lies["head"] = lambda answer: answer[:-1] + bytes([answer[-1] ^ 1])
    with pytest.raises(SignatureInvalid):
        await remote(peer, Heads()).head()


async def test_another_log_of_the_same_key_is_refused() -> None:
    """A checkpoint of another origin does not count, though the key is right."""
    with pytest.raises(LedgerInconsistent, match="other"):
        await remote(Peer(1, origin="other.example/2026"), Heads()).head()


async def test_proof_of_another_position_is_refused() -> None:
    """The peer answers the question that was asked."""
    peer = Peer(1, 2, 3)
    peer.lies["prove"] = lambda answer: replace(LedgerProof.parse(answer), index=1).encode()
    with pytest.raises(ProtocolViolation, match="position 0"):
        await remote(peer, Heads()).prove(0)


@pytest.mark.parametrize("positions", [(), (0, 1)])
async def test_wrong_number_of_positions_is_refused(positions: tuple[int, ...]) -> None:
    """Each entry has one position."""
    peer = Peer(1, 2, 3)
    peer.lies["append"] = lambda _: Positions(positions=positions).encode()
    with pytest.raises(ProtocolViolation, match="1 positions"):
        await remote(peer, Heads()).append([make_entry(1)])


async def test_wrong_number_of_entries_is_refused() -> None:
    """A range is given whole."""
    peer = Peer(1, 2, 3)
    peer.lies["entries"] = lambda _: Page(entries=(make_entry(1),)).encode()
    with pytest.raises(ProtocolViolation, match="2 entries"):
        await remote(peer, Heads()).entries(0, 2)


@pytest.mark.parametrize("answer", [b"", b"\x00", bytes(3_000_000), Growth(path=()).encode()])
async def test_malformed_answer_is_refused(answer: bytes) -> None:
    """What is no answer to the question is the peer's fault."""
    peer = Peer(1)
    peer.lies["head"] = lambda _: answer
    with pytest.raises(ProtocolViolation):
        await remote(peer, Heads()).head()


async def test_malformed_checkpoint_is_refused() -> None:
    """A head that is no signed checkpoint is refused."""
    peer = Peer(1)
    peer.lies["head"] = lambda _: Head(checkpoint=b"\xd2").encode()
    with pytest.raises(DecodeError):
        await remote(peer, Heads()).head()


async def test_refusals_keep_their_code() -> None:
    """A refusal is the peer's, with its code; only what is not found is told as such."""

    def broken(code: str) -> Callable[[bytes], Awaitable[bytes]]:
        async def call(_request: bytes) -> bytes:
            raise PeerRefused("told by the peer", reason_code=code)

        return call

    ledger = RemoteLedger(ORIGIN, LOG.public_key, call=broken("disk-full"), heads=Heads())
    with pytest.raises(PeerRefused) as caught:
        await ledger.append([make_entry(1)])
    assert caught.value.reason_code == "disk-full"
    ledger = RemoteLedger(ORIGIN, LOG.public_key, call=broken("not-found"), heads=Heads())
    with pytest.raises(NotFound):
        await ledger.prove(7)


@pytest.mark.parametrize("span", [(-1, 1), (2, 1), (0, 1 << 63), (1 << 63, 1 << 63)])
async def test_what_no_log_can_answer_is_not_asked(span: tuple[int, int]) -> None:
    """Positions rise from 0 and have 63 bits; nobody is asked for others."""
    peer = Peer(1, 2, 3)
    ledger = remote(peer, Heads())
    with pytest.raises(NotFound):
        await ledger.entries(*span)
    with pytest.raises(NotFound):
        await ledger.prove_growth(*span)
    assert peer.asked == []


async def test_long_append_is_sent_in_pages() -> None:
    """More entries than one message holds are appended in order."""
    peer = Peer()
    positions = await remote(peer, Heads()).append([make_entry(number) for number in range(600)])
    assert positions == tuple(range(600))
    assert peer.asked == ["append"] * 3


async def test_concurrent_homes_do_not_accuse_an_honest_log() -> None:
    """An answer that comes late is no rollback: another task may have accepted a newer head meanwhile."""
    heads, peer = Heads(), Peer(1, 2)
    slow_may_go = trio.Event()

    async def slow_call(request: bytes) -> bytes:
        answer = await peer.call(request)
        if not slow_may_go.is_set():
            await slow_may_go.wait()
        return answer

    slow = RemoteLedger(ORIGIN, LOG.public_key, call=slow_call, heads=heads)
    seen: list[int] = []

    async def ask() -> None:
        seen.append((await slow.head()).body.size)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        await peer.ledger.append([make_entry(3)])
        newer = await remote(peer, heads).head()
        slow_may_go.set()
    assert seen == [2]
    assert heads.stored == {ORIGIN: newer.envelope}


async def test_late_answer_of_a_fork_is_refused() -> None:
    """An answer that comes late must still lead to the newer head."""
    heads, peer = Heads(), Peer(1, 2)

    async def overtaken(request: bytes) -> bytes:
        answer = await peer.call(request)
        if not heads.stored:
            await remote(Peer(5, 6, 7), heads).head()
        return answer

    with pytest.raises((LedgerInconsistent, NotFound)):
        await RemoteLedger(ORIGIN, LOG.public_key, call=overtaken, heads=heads).head()


async def test_a_head_that_another_accepted_meanwhile_binds_too() -> None:
    """All that talk to a log in this home share its last head: what one has seen, no other can be talked out of."""
    heads, peer = Heads(), Peer(1)
    ledger = remote(peer, heads)
    for _ in range(2):
        await ledger.head()
    newer = await remote(Peer(1, 2, 3), heads).head()
    await peer.ledger.append([make_entry(2)])
    with pytest.raises(LedgerInconsistent, match="rolled back"):
        await ledger.head()
    assert heads.stored == {ORIGIN: newer.envelope}


async def test_break_of_the_connection_comes_out() -> None:
    """What the network says is not hidden."""

    async def call(_request: bytes) -> bytes:
        raise PeerVanished("expected a response, found the end of the stream")

    with pytest.raises(PeerVanished):
        await RemoteLedger(ORIGIN, LOG.public_key, call=call, heads=Heads()).head()


async def test_stored_head_that_was_tampered_with_is_refused() -> None:
    """A head that this home has not accepted is not built upon."""
    heads = await accepted(1)
    heads.stored[ORIGIN] = resigned(heads.stored[ORIGIN], STRANGER)
    with pytest.raises(SignatureInvalid):
        await remote(Peer(1, 2), heads).head()
