"""Claims: one exchange has a transfer, and the newest of its holder gets it."""

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ddtp.agent.claims import TAKEOVER_SECONDS, Claims
from ddtp.errors import Overloaded

TRANSFER = b"t" * 16


class Exchange:
    """Claims a transfer, and lets go of it when it is told to end."""

    def __init__(self, claims: Claims, *, holder: str = "holder", obedient: bool = True) -> None:
        self._claims = claims
        self._holder = holder
        self._obedient = obedient
        self.scope = trio.CancelScope()
        self.has_it = False
        self.was_refused = False

    async def run(self) -> None:
        try:
            claim = await self._claims.take(TRANSFER, self._holder, self.scope)
        except Overloaded:
            self.was_refused = True
            return
        self.has_it = True
        with self.scope:
            await trio.sleep_forever()
        with trio.CancelScope(shield=not self._obedient):
            await trio.sleep(1 if self._obedient else TAKEOVER_SECONDS + 1)
        self.has_it = False
        self._claims.release(claim)


async def test_the_newest_of_three_connections_wins(autojump_clock: MockClock) -> None:
    """While the first one ends, two wait for it; the older of these two gives way, in whatever order they wake."""
    for _ in range(20):
        claims = Claims()
        exchanges = [Exchange(claims) for _ in range(3)]
        async with trio.open_nursery() as nursery:
            for exchange in exchanges:
                nursery.start_soon(exchange.run)
                await wait_all_tasks_blocked()
            await trio.sleep(2)
            assert [each.has_it for each in exchanges] == [False, False, True]
            assert [each.was_refused for each in exchanges] == [False, True, False]
            nursery.cancel_scope.cancel()


async def test_an_exchange_that_does_not_end_keeps_its_transfer(autojump_clock: MockClock) -> None:
    """Who wants to take it over is told "not now" after a bounded time."""
    claims = Claims()
    older, newer = Exchange(claims, obedient=False), Exchange(claims)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(older.run)
        await wait_all_tasks_blocked()
        nursery.start_soon(newer.run)
        await trio.sleep(TAKEOVER_SECONDS + 0.5)
        assert newer.was_refused
        assert older.has_it


async def test_somebody_else_disturbs_nobody(autojump_clock: MockClock) -> None:
    """A transfer id is no secret: who is not its holder is refused at once, and the exchange goes on."""
    claims = Claims()
    holder, stranger = Exchange(claims), Exchange(claims, holder="stranger")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(holder.run)
        await wait_all_tasks_blocked()
        await stranger.run()
        assert stranger.was_refused
        assert not holder.scope.cancel_called
        nursery.cancel_scope.cancel()


async def test_what_we_keep_nobody_gets_meanwhile() -> None:
    """A transfer that is put in order belongs to no exchange, and one that an exchange has is not put in order."""
    claims = Claims()
    came = Exchange(claims)
    async with trio.open_nursery() as nursery:
        with claims.keeping(TRANSFER) as ours:
            assert ours
            nursery.start_soon(came.run)
            await wait_all_tasks_blocked()
            assert not came.has_it
        await wait_all_tasks_blocked()
        assert came.has_it, "whoever came meanwhile was not turned away"
        nursery.cancel_scope.cancel()
    claims = Claims()
    claim = await claims.take(TRANSFER, "holder", trio.CancelScope())
    with claims.keeping(TRANSFER) as ours:
        assert not ours
    claims.release(claim)
    with claims.keeping(TRANSFER) as ours:
        assert ours
