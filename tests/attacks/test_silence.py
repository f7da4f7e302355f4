"""Peers that stall or vanish at every moment: a typed error, nothing half-written, and a way to go on."""

import pytest
import trio
from trio.testing import MockClock

from ddtp.errors import PeerRefused, PeerStalled, PeerVanished
from ddtp.protocol.messages import Offer, Stage
from ddtp.store.records import TransferState
from tests.attacks.imposter import Imposter
from tests.attacks.quiet import Leaving, Way, descriptors, leaving_holder, make_receiver_leave, until
from tests.town import FILES, Town, names, read_files

LONGEST_SECONDS = 700
"""Beyond every deadline of an exchange."""
ERRORS = {Way.SILENT: PeerStalled, Way.GONE: PeerVanished}

pytestmark = pytest.mark.slow


@pytest.fixture
def time(mock_clock: MockClock) -> MockClock:
    """The real time, which a test can advance."""
    mock_clock.rate = 1.0
    return mock_clock


async def check_resume(town: Town, person: object, *, transfer_id: bytes) -> None:
    """The same transfer comes to its good end."""
    sent = await person.resume(transfer_id)
    assert sent.verified
    assert read_files(town.receiver.inbox / transfer_id.hex() / "files") == FILES
    assert town.receiver.remains() == [transfer_id.hex()]


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("moment", ["greet", "admit", "store", "complete", "conclude"])
async def test_a_receiver_that_leaves_ends_the_exchange_for_now(
    time: MockClock, town: Town, moment: str, way: Way
) -> None:
    """The holder gets a typed error within the deadline, keeps the transfer, and can resume it."""
    person = await town.person()
    before = descriptors()
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    leaving = Leaving(way)
    make_receiver_leave(town.receiver, moment, leaving=leaving)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def wait() -> None:
            await leaving.reached.wait()
            # the other side has got everything that it can get
            await trio.sleep(0.05)
            time.jump(LONGEST_SECONDS if way is Way.SILENT else 0)

        with pytest.raises(ERRORS[way]):
            await person.send(prepared)
    leaving.over.set()
    (row,) = await person.transfers()
    assert row.state is (TransferState.KEYED if moment == "conclude" else TransferState.FAILED)
    assert names(town.receiver.inbox) == []
    released = "key-release" in await person.records.receipts(row.transfer_id)
    assert released is (moment == "conclude"), "a key that nobody signs for is on the ledger"
    await until(lambda: descriptors() <= before)
    town.receiver.service.register()
    await check_resume(town, person, transfer_id=row.transfer_id)


async def test_a_verdict_that_got_lost_is_asked_for_again(town: Town) -> None:
    """The receiver had concluded when the connection broke: a resume brings the receipt that was signed then."""
    person = await town.person()
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    make_receiver_leave(town.receiver, "conclude", leaving=Leaving(Way.GONE), after=True)
    with pytest.raises(PeerVanished):
        await person.send(prepared)
    (there,) = await town.receiver.agent.transfers()
    assert there.state is TransferState.VERIFIED
    signed = (await town.receiver.agent.records.receipts(there.transfer_id))[Stage.VERIFIED.value]
    town.receiver.service.register()
    sent = await person.resume(there.transfer_id)
    assert sent.verified
    assert sent.receipt.envelope == signed.envelope


async def test_a_holder_who_ends_after_the_key_knows_that_it_is_out(town: Town) -> None:
    """Before the key leaves, it is written down that the receiver may be able to read; no crash can unmake that."""
    person = await town.person()
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    leaving = Leaving(Way.SILENT)
    make_receiver_leave(town.receiver, "conclude", leaving=leaving)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(person.send, prepared)
        await leaving.reached.wait()
        nursery.cancel_scope.cancel()
    leaving.over.set()
    (row,) = await person.transfers()
    assert row.state is TransferState.KEYED
    town.receiver.service.register()
    await check_resume(town, person, transfer_id=row.transfer_id)


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("sends", [1, 2, 3, 4], ids=["offer", "chunks", "finish", "key"])
async def test_a_holder_who_leaves_ends_the_exchange_for_now(time: MockClock, town: Town, sends: int, way: Way) -> None:
    """The receiver ends the exchange within its deadlines, releases nothing, and takes the transfer again."""
    person = await town.person()
    before = descriptors()
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    leaving = Leaving(way)
    service = town.receiver.service
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def wait() -> None:
            await leaving.reached.wait()
            await trio.sleep(0.05)
            time.jump(LONGEST_SECONDS if way is Way.SILENT else 0)

        with pytest.raises(ERRORS[way]):
            await leaving_holder(person, sends=sends, leaving=leaving).send(prepared)
    leaving.over.set()
    await until(lambda: not service._streams)
    assert names(town.receiver.inbox) == []
    await until(lambda: descriptors() <= before)
    (row,) = await person.transfers()
    await check_resume(town, person, transfer_id=row.transfer_id)


async def test_the_newer_connection_of_a_holder_takes_the_transfer_over(town: Town) -> None:
    """A holder whose connection died unnoticed goes on at once: nobody waits for the deadline of the older exchange."""
    person = await town.person()
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    leaving = Leaving(Way.SILENT)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(leaving_holder(person, sends=3, leaving=leaving).send, prepared)
        await leaving.reached.wait()
        (row,) = await person.transfers()
        await check_resume(town, person, transfer_id=row.transfer_id)
        nursery.cancel_scope.cancel()
    await until(lambda: not town.receiver.service._streams)


async def test_nobody_else_takes_a_running_transfer_over(town: Town) -> None:
    """Who has learnt the id of a transfer that runs is told "not now", and the holder's exchange goes on."""
    person, mallory = await town.person(), await town.person("mallory")
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    leaving = Leaving(Way.SILENT)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(leaving_holder(person, sends=3, leaving=leaving).send, prepared)
        await leaving.reached.wait()
        (row,) = await person.transfers()
        key = mallory.context.seed.holder_key(town.issuer.did)
        with pytest.raises(PeerRefused) as caught:
            await Imposter(mallory, key, Offer.parse(row.offer)).run(town.receiver.card)
        assert caught.value.reason_code == "overloaded"
        with town.receiver.service._claims.keeping(row.transfer_id) as free:
            assert not free
        nursery.cancel_scope.cancel()
    await until(lambda: not town.receiver.service._streams)
    await check_resume(town, person, transfer_id=row.transfer_id)
