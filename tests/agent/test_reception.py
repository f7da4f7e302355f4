"""What all exchanges of a receiver share: large packages wait for each other, small ones for nobody."""

import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio

from ddtp.agent.claims import Claims
from ddtp.agent.reception import HOLDER_SHARE, KEPT_FREE_BYTES, LARGE_BYTES, SMALL_OPENINGS_BYTES, Reception
from ddtp.agent.tidying import INCOMING
from ddtp.agent.workers import WORKERS
from ddtp.errors import DiskFull, Overloaded, StorageFailed
from ddtp.protocol.chunks import sealed_bytes
from ddtp.protocol.messages import Offer
from ddtp.store.blobs import SealedBlob, blob_names
from ddtp.transfer.pacing import SMALL_BYTES
from tests.attacks import quiet
from tests.sessions import make_offer
from tests.town import Town


async def test_small_packages_wait_for_no_turn(town: Town) -> None:
    """Only chunks of large packages, and their opening, are bounded for all together."""
    settings = town.receiver.config.receiver
    assert settings is not None
    shared = Reception(town.receiver.agent.context, settings, judge=None, notify=print, claims=Claims())  # type: ignore[arg-type]
    small, medium, large = (make_offer(100) for _ in range(3))
    medium = replace(medium, seal=replace(medium.seal, content_bytes=SMALL_BYTES))
    large = replace(large, seal=replace(large.seal, content_bytes=LARGE_BYTES))
    assert shared.storing_for(small) is None
    assert shared.storing_for(medium) is shared.storing_for(large) is shared.storing
    assert shared.storing.total_tokens == WORKERS
    async with shared.turn_to_open(small):
        assert [limiter.borrowed_tokens for limiter in shared.opening] == [0, 0]
    async with shared.turn_to_open(medium):
        assert [limiter.borrowed_tokens for limiter in shared.opening] == [1, 0]
    async with shared.turn_to_open(large):
        assert [limiter.borrowed_tokens for limiter in shared.opening] == [0, 1]


async def test_a_small_package_passes_while_large_ones_have_every_turn(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all turns of large packages taken for ever, a small one is verified all the same."""
    taken: list[Reception] = []
    real = Reception.reserved

    @asynccontextmanager
    async def take_all_turns(shared: Reception, offer: Offer, holder: str, *, known: bool) -> AsyncIterator[SealedBlob]:
        taken.append(shared)
        for limiter in (*shared.opening, shared.storing):
            for number in range(int(limiter.total_tokens)):
                await limiter.acquire_on_behalf_of((limiter, number))
        async with real(shared, offer, holder, known=known) as blob:
            yield blob

    monkeypatch.setattr(Reception, "reserved", take_all_turns)
    person = await town.person()
    package = await town.issue(person)
    with trio.fail_after(30):
        sent = await person.send(await person.prepare(package.path, card=town.receiver.card))
    assert sent.verified
    assert taken


async def test_parallel_offers_do_not_pass_the_bound_together(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room that is still being reserved for one package counts for the next; another one need not wait for it."""
    context, settings = town.receiver.agent.context, town.receiver.config.receiver
    assert settings is not None
    first, second, third = make_offer(65536), make_offer(65537), make_offer(100)
    offers = [replace(each, transfer_id=bytes([number] * 16)) for number, each in enumerate((first, second, third))]
    settings = replace(settings, max_incoming_bytes=sealed_bytes(first.seal) + 1000)
    shared = Reception(context, settings, judge=None, notify=print, claims=Claims())  # type: ignore[arg-type]
    begun, go_on = threading.Event(), threading.Event()
    real = Reception._open_blob

    def open_slowly(self: Reception, offer: Offer) -> SealedBlob:
        if offer is offers[0]:
            begun.set()
            assert go_on.wait(30)
        return real(self, offer)

    monkeypatch.setattr(Reception, "_open_blob", open_slowly)
    blobs: list[SealedBlob] = []

    async def reserve(offer: Offer) -> None:
        async with shared.reserved(offer, f"holder of {offer.transfer_id.hex()}", known=False) as blob:
            blobs.append(blob)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reserve, offers[0])
        await trio.to_thread.run_sync(begun.wait)
        try:
            with pytest.raises(Overloaded):
                await reserve(offers[1])
            await reserve(offers[2])
        finally:
            go_on.set()
    assert len(blobs) == 2
    for blob in blobs:
        blob.close()
    assert shared.promised == {}


async def test_parallel_offers_of_one_person_share_a_fourth(town: Town) -> None:
    """Room counts for a person's share from the moment in which it is promised, before any record tells of it."""
    context, settings = town.receiver.agent.context, town.receiver.config.receiver
    assert settings is not None
    offers = [replace(make_offer(65536), transfer_id=bytes([number] * 16)) for number in range(3)]
    settings = replace(settings, max_incoming_bytes=HOLDER_SHARE * 2 * sealed_bytes(offers[0].seal))
    shared = Reception(context, settings, judge=None, notify=print, claims=Claims())  # type: ignore[arg-type]
    async with shared.reserved(offers[0], "one", known=False), shared.reserved(offers[1], "one", known=False):
        with pytest.raises(Overloaded):
            async with shared.reserved(offers[2], "one", known=False):
                raise AssertionError("there is no room")
        async with shared.reserved(offers[2], "another", known=False) as blob:
            blob.close()


@pytest.mark.parametrize("known", [False, True])
async def test_an_offer_that_fails_leaves_no_room_taken(town: Town, *, known: bool) -> None:
    """What was reserved for a transfer that did not begin is free again; what there was of it before stays."""
    context, settings = town.receiver.agent.context, town.receiver.config.receiver
    assert settings is not None
    shared = Reception(context, settings, judge=None, notify=print, claims=Claims())  # type: ignore[arg-type]
    offer = make_offer(65536)
    with pytest.raises(StorageFailed):
        async with shared.reserved(offer, "one", known=known):
            raise StorageFailed("the record could not be written")
    assert shared.promised == {}
    assert bool(blob_names(town.receiver.config.vault / INCOMING)) is known


async def test_large_openings_take_a_turn_too(town: Town) -> None:
    """Content that is small and names very much is not opened beside any number of others."""
    settings = town.receiver.config.receiver
    assert settings is not None
    shared = Reception(town.receiver.agent.context, settings, judge=None, notify=print, claims=Claims())  # type: ignore[arg-type]
    offer = make_offer(SMALL_OPENINGS_BYTES + 1)
    offer = replace(offer, seal=replace(offer.seal, openings_bytes=SMALL_OPENINGS_BYTES + 1))
    async with shared.turn_to_open(offer):
        assert [limiter.borrowed_tokens for limiter in shared.opening] == [1, 0]


async def test_what_was_synced_is_remembered_until_the_transfer_goes_on(town: Town) -> None:
    """Whoever comes back often to a transfer that rests costs the disk nothing but the first time."""
    reception = quiet.serve_port(town.receiver, lambda receiver, _stream: receiver)
    person = await town.person()
    row = await quiet.break_off(town, person, sends=4)
    await quiet.until(lambda: row.transfer_id in reception.synced)
    assert reception.synced[row.transfer_id] > 0
    assert (await person.resume(row.transfer_id)).verified
    assert reception.synced == {}


async def test_what_is_being_opened_does_not_count_twice(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room for its files is taken already, so a small package is not turned away because of it."""
    context, settings = town.receiver.agent.context, town.receiver.config.receiver
    assert settings is not None
    shared = Reception(context, settings, judge=None, notify=print, claims=Claims())  # type: ignore[arg-type]
    large, small = (replace(make_offer(size), transfer_id=bytes([size % 251] * 16)) for size in (40 << 20, 100))
    disk = shutil.disk_usage(town.folder)._replace(total=1 << 30, free=KEPT_FREE_BYTES)  # what a twentieth of it is
    monkeypatch.setattr("ddtp.agent.reception.shutil.disk_usage", lambda _folder: disk)
    with pytest.raises(DiskFull):
        async with shared.reserved(large, "one", known=False):
            raise AssertionError("there is no room")
    monkeypatch.undo()
    async with shared.reserved(large, "one", known=False) as blob:
        monkeypatch.setattr("ddtp.agent.reception.shutil.disk_usage", lambda _folder: disk)
    with pytest.raises(DiskFull):
        async with shared.reserved(small, "another", known=False):
            raise AssertionError("what waits to be opened needs its room")
    async with shared.turn_to_open(large), shared.reserved(small, "another", known=False) as other:
        other.close()
    blob.close()
