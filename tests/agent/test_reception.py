"""What all exchanges of a receiver share: large packages wait for each other, small ones for nobody."""

import threading
from dataclasses import replace

import pytest
import trio

from ddtp.agent import reception as module
from ddtp.agent.reception import LARGE_BYTES, SMALL_BYTES, Reception
from ddtp.agent.workers import WORKERS
from ddtp.errors import Overloaded
from ddtp.protocol.chunks import sealed_bytes
from ddtp.protocol.messages import Offer
from ddtp.store.blobs import SealedBlob
from tests.sessions import make_offer
from tests.town import Town


async def test_small_packages_wait_for_no_turn(town: Town) -> None:
    """Only chunks of large packages, and their opening, are bounded for all together."""
    settings = town.receiver.config.receiver
    assert settings is not None
    shared = Reception(town.receiver.agent.context, settings, judge=None, notify=print, active={})  # type: ignore[arg-type]
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
    real = Reception.claim

    async def take_all_turns(shared: Reception, *arguments: object) -> object:
        if not taken:
            taken.append(shared)
            for limiter in (*shared.opening, shared.storing):
                for number in range(int(limiter.total_tokens)):
                    await limiter.acquire_on_behalf_of((limiter, number))
        return await real(shared, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module.Reception, "claim", take_all_turns)
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
    shared = Reception(context, settings, judge=None, notify=print, active={})  # type: ignore[arg-type]
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
        blobs.append(await shared.reserve(offer, "somebody"))

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
