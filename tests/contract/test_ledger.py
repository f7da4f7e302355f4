"""The contract of ledgers (ddtp/chain/ledger.py), kept by every implementation."""

import itertools

import pytest
import trio

from ddtp.chain.admission import AdmissionPolicy
from ddtp.chain.checkpoint import check_growth, check_succession, verify_checkpoint
from ddtp.chain.ledger import MAX_SAME_DIGEST, PAGE_ENTRIES, Ledger
from ddtp.chain.proof import entry_hash, verify_inclusion
from ddtp.chain.statement import AnchorRole, Entry, EntryKind
from ddtp.crypto import sm3
from ddtp.errors import DdtpError, DecodeError, NotFound, PeerRefused, PolicyRefused, SignatureInvalid
from ddtp.protocol import merkle
from tests.contract.conftest import LOG, ORIGIN, OpenLedger
from tests.ledgers import HOUR, NOW, Clock, make_anchor, make_entry, make_key

ISSUER = make_key("issuer")
DIGEST = sm3.digest(b"digest")


async def check_ledger(ledger: Ledger, entries: list[bytes]) -> None:
    """Check that a ledger holds exactly these entries and proves them."""
    head = await ledger.head()
    assert verify_checkpoint(head.envelope, origin=ORIGIN, public_key=LOG.public_key) == head
    assert head.body.size == len(entries)
    assert head.body.root == merkle.root([entry_hash(entry) for entry in entries])
    stored: list[bytes] = []
    while len(stored) < len(entries):
        stored += await ledger.entries(len(stored), min(len(stored) + PAGE_ENTRIES, len(entries)))
    assert stored == entries
    for index in {0, 1, len(entries) // 2, len(entries) - 1} & set(range(len(entries))):
        proof = await ledger.prove(index)
        verify_inclusion(entries[index], proof, log_key=LOG.public_key, origin=ORIGIN)


async def refused(ledger: Ledger, entries: list[bytes]) -> str:
    """Return the code with which a ledger refuses entries, itself or as a peer."""
    with pytest.raises((DecodeError, SignatureInvalid, PolicyRefused, PeerRefused)) as caught:
        await ledger.append(entries)
    error: DdtpError = caught.value
    return error.reason_code if isinstance(error, PeerRefused) else error.code


async def test_empty_ledger(open_ledger: OpenLedger) -> None:
    """A new log signs that it is empty."""
    async with open_ledger() as ledger:
        assert (ledger.origin, ledger.public_key) == (ORIGIN, LOG.public_key)
        await check_ledger(ledger, [])
        assert await ledger.entries(0, 0) == ()
        assert await ledger.lookup(DIGEST) == ()


async def test_appends_in_order(open_ledger: OpenLedger) -> None:
    """Positions count up across calls, and an empty call appends nothing."""
    async with open_ledger() as ledger:
        entries = [make_entry(number) for number in range(5)]
        assert await ledger.append(entries[:1]) == (0,)
        assert await ledger.append([]) == ()
        assert await ledger.append(entries[1:]) == (1, 2, 3, 4)
        await check_ledger(ledger, entries)


@pytest.mark.parametrize("count", [255, 256, 257, 700])
async def test_bundle_borders(open_ledger: OpenLedger, count: int) -> None:
    """Nothing changes where storage changes: at 256 entries."""
    async with open_ledger() as ledger:
        entries = [make_entry(number) for number in range(count)]
        await ledger.append(entries[:200])
        await ledger.append(entries[200:])
        await check_ledger(ledger, entries)
        proof = await ledger.prove(count - 3)
        verify_inclusion(entries[count - 3], proof, log_key=LOG.public_key, origin=ORIGIN)


async def test_entry_is_looked_up_by_digest(open_ledger: OpenLedger) -> None:
    """Every entry is found, in old bundles and new, and what is not there is not found."""
    async with open_ledger() as ledger:
        await ledger.append([make_entry(number) for number in range(300)])
        for number in (0, 255, 256, 299):
            assert await ledger.lookup(Entry.parse(make_entry(number)).digest) == (number,)
        assert await ledger.lookup(DIGEST) == ()


async def test_same_digest_of_another_kind_is_another_entry(open_ledger: OpenLedger) -> None:
    """Entries are equal only if their bytes are."""
    async with open_ledger() as ledger:
        pair = [make_entry(1), make_entry(1, kind=EntryKind.RECEIPT)]
        assert await ledger.append(pair) == (0, 1)
        assert await ledger.lookup(Entry.parse(pair[0]).digest) == (0, 1)


async def test_same_entry_keeps_its_position(open_ledger: OpenLedger) -> None:
    """Asking again, in the same call, a later one, or when the bundle is full, gives the first position."""
    async with open_ledger() as ledger:
        entries = [make_entry(number) for number in range(300)]
        assert await ledger.append([entries[0], entries[1], entries[0]]) == (0, 1, 0)
        assert await ledger.append([entries[1], entries[2]]) == (1, 2)
        await ledger.append(entries)
        assert await ledger.append([entries[299], entries[7]]) == (299, 7)
        await check_ledger(ledger, entries)


async def test_many_entries_of_one_digest_are_refused(open_ledger: OpenLedger) -> None:
    """Nobody can bury a digest under entries that repeat it."""
    async with open_ledger() as ledger:
        kinds = [kind for kind in EntryKind if kind not in {EntryKind.ANCHOR, EntryKind.STATUS, EntryKind.POLICY}]
        variants = [
            Entry(kind=kind, digest=DIGEST, hour=HOUR - 3600 * age).encode() for age in range(20) for kind in kinds[:5]
        ]
        await ledger.append(variants[: MAX_SAME_DIGEST - 1])
        assert await refused(ledger, variants[MAX_SAME_DIGEST - 1 : MAX_SAME_DIGEST + 1]) == "policy-refused"
        await ledger.append(variants[MAX_SAME_DIGEST - 1 : MAX_SAME_DIGEST])
        assert await refused(ledger, variants[-1:]) == "policy-refused"
        await check_ledger(ledger, variants[:MAX_SAME_DIGEST])


@pytest.mark.parametrize("defect", ["malformed", "bad-signature", "policy-refused"])
async def test_refused_entry_takes_its_call_with_it(open_ledger: OpenLedger, defect: str) -> None:
    """Of a call with one bad entry, nothing is appended."""
    signed = make_anchor(DIGEST, (AnchorRole.ISSUER, ISSUER)).encode()
    bad = {
        "malformed": b"\x00",
        "bad-signature": signed[:-1] + bytes([signed[-1] ^ 1]),
        "policy-refused": make_entry(9, hour=HOUR + 7200),
    }[defect]
    async with open_ledger() as ledger:
        assert await refused(ledger, [make_entry(1), bad]) == defect
        assert await ledger.append([signed]) == (0,)
        await check_ledger(ledger, [signed])


async def test_policy_of_the_log_is_kept(open_ledger: OpenLedger) -> None:
    """A log takes only the kinds and attestors of its policy."""
    policy = AdmissionPolicy(kinds=(EntryKind.ANCHOR,), attestors=(ISSUER.public_key,))
    async with open_ledger(policy) as ledger:
        assert await refused(ledger, [make_entry(1)]) == "policy-refused"
        stranger = make_anchor(DIGEST, (AnchorRole.ISSUER, make_key("stranger")))
        assert await refused(ledger, [stranger.encode()]) == "policy-refused"
        await ledger.append([make_anchor(DIGEST, (AnchorRole.ISSUER, ISSUER)).encode()])


async def test_growth_is_proven(open_ledger: OpenLedger, clock: Clock) -> None:
    """Every head is proven to extend every earlier one."""
    async with open_ledger() as ledger:
        heads = [await ledger.head()]
        for size in (1, 2, 7, 256, 300, 513):
            await ledger.append([make_entry(number) for number in range(heads[-1].body.size, size)])
            clock.now += 1
            heads.append(await ledger.head())
        for old in heads:
            path = await ledger.prove_growth(old.body.size, 513)
            check_succession(old.body, heads[-1].body)
            check_growth(old.body, heads[-1].body, path)
        assert await ledger.prove_growth(256, 300) != await ledger.prove_growth(256, 513)


async def test_head_covers_what_was_appended(open_ledger: OpenLedger) -> None:
    """Whoever has appended gets a head and a proof over the entry at once."""
    async with open_ledger() as ledger:
        for number in range(3):
            await ledger.append([make_entry(number)])
            assert (await ledger.head()).body.size == number + 1
            verify_inclusion(make_entry(number), await ledger.prove(number), log_key=LOG.public_key, origin=ORIGIN)


async def test_quiet_log_keeps_its_head_fresh(open_ledger: OpenLedger, clock: Clock) -> None:
    """The head of a log that does not move says within ten seconds that it is still there."""
    async with open_ledger() as ledger:
        await ledger.append([make_entry(1)])
        first = await ledger.head()
        clock.now += 3600
        later = await ledger.head()
        assert (first.body.time, later.body.time) == (NOW, NOW + 3600)
        assert first.body.root == later.body.root


async def test_clock_that_goes_back_does_not_take_the_log_along(open_ledger: OpenLedger, clock: Clock) -> None:
    """A log never signs an earlier time after a later one."""
    async with open_ledger() as ledger:
        await ledger.append([make_entry(1)])
        clock.now -= 500
        await ledger.append([make_entry(2)])
        assert (await ledger.head()).body.time == NOW


async def test_questions_beyond_the_log_are_refused(open_ledger: OpenLedger) -> None:
    """Positions and sizes outside the log, falling, or too many at once, are not found."""
    async with open_ledger() as ledger:
        await ledger.append([make_entry(number) for number in range(300)])
        for index in (300, -1, 1 << 40):
            with pytest.raises(NotFound):
                await ledger.prove(index)
        for sizes in ((5, 301), (6, 5), (-1, 5)):
            with pytest.raises(NotFound):
                await ledger.prove_growth(*sizes)
        for start, stop in ((0, 257), (299, 301), (5, 4), (-1, 3)):
            with pytest.raises(NotFound):
                await ledger.entries(start, stop)


async def test_many_callers_at_once(open_ledger: OpenLedger) -> None:
    """Concurrent callers get different positions, each proven; heads read meanwhile never contradict each other."""
    async with open_ledger() as ledger:
        positions: dict[int, int] = {}
        heads = []

        async def append(number: int) -> None:
            (positions[number],) = await ledger.append([make_entry(number)])
            proof = await ledger.prove(positions[number])
            verify_inclusion(make_entry(number), proof, log_key=LOG.public_key, origin=ORIGIN)

        async def read() -> None:
            for _ in range(5):
                heads.append((await ledger.head()).body)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            for number in range(40):
                nursery.start_soon(append, number)
        assert sorted(positions.values()) == list(range(40))
        order = sorted(positions, key=lambda number: positions[number])
        await check_ledger(ledger, [make_entry(number) for number in order])
        for old, new in itertools.pairwise(heads):
            check_succession(old, new)


async def test_cancelled_caller_leaves_a_sound_log(open_ledger: OpenLedger) -> None:
    """Whether or not a cancelled append happened, the log works, and asking again gives one position."""
    async with open_ledger() as ledger:
        with trio.CancelScope() as scope:
            scope.cancel()
            await ledger.append([make_entry(1)])
        assert await ledger.append([make_entry(1)]) == (0,)
        await check_ledger(ledger, [make_entry(1)])
