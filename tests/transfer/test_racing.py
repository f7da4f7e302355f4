"""RFC 8305: order, head starts, names and losers, with attempts that are played and a clock that jumps."""

import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence

import pytest
import trio
from trio.testing import MockClock

from ddtp.errors import PeerUnreachable
from ddtp.transfer.addresses import PeerAddress
from ddtp.transfer.racing import MAX_ADDRESSES, RESOLUTION_SECONDS, STAGGER_SECONDS, Add, Target, race
from tests.transfer.test_addresses import PEER

RELAY = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X"


def at(place: str, port: int = 4001) -> str:
    return f"/{place}/tcp/{port}/p2p/{PEER}"


class Line:
    """Answers after a time for some numbers, fails after a time for others, and hangs for all that are not named."""

    def __init__(self, answers: Mapping[str, float] | None = None, failures: Mapping[str, float] | None = None) -> None:
        self.answers, self.failures = answers or {}, failures or {}
        self.started: dict[str, float] = {}
        self.given_up: list[str] = []
        self.won: list[str] = []

    async def attempt(self, target: Target) -> None:
        self.started[target.host] = trio.current_time()
        try:
            if target.host in self.failures:
                await trio.sleep(self.failures[target.host])
                raise PeerUnreachable("connection refused")
            await trio.sleep(self.answers.get(target.host, 1000))
            self.won.append(target.host)
        except trio.Cancelled:
            self.given_up.append(target.host)
            raise

    async def run(self, *addresses: str, sources: Sequence[Callable[[Add], Awaitable[None]]] = ()) -> list[str]:
        return await race(addresses, self.attempt, timeout_seconds=15, sources=sources)


class Names(trio.abc.HostnameResolver):
    """Names that stand for numbers; the answer for one family may be slow, or may never come."""

    def __init__(self, numbers: Mapping[str, Sequence[str]], slow: Mapping[int, float] | None = None) -> None:
        self.numbers, self.slow = numbers, slow or {}

    async def getaddrinfo(  # type: ignore[no-untyped-def]
        self,
        host,
        port,
        family=0,
        type=0,  # noqa: A002 - the name in trio's interface
        *_rest,
    ):
        await trio.sleep(self.slow.get(family, 0))
        wanted = family == socket.AF_INET6
        found = [number for number in self.numbers.get(host.decode(), ()) if (":" in number) == wanted]
        if not found:
            raise socket.gaierror("no such name")
        return [(family, type, 6, "", (number, port)) for number in found]

    async def getnameinfo(self, sockaddr, flags):  # type: ignore[no-untyped-def]
        raise NotImplementedError


def name(numbers: Sequence[str], slow: Mapping[int, float] | None = None) -> None:
    """Give `bank.example` numbers until the test ends."""
    trio.socket.set_custom_hostname_resolver(Names({"bank.example": numbers}, slow))


async def test_a_dead_address_costs_one_head_start(autojump_clock: MockClock) -> None:
    """The second starts after it, the third not at all once the second has answered; the first is given up."""
    line = Line({"192.0.2.2": 0.1})
    assert await line.run(*(at(f"ip4/192.0.2.{n}") for n in (1, 2, 3))) == []
    assert line.started == {"192.0.2.1": 0, "192.0.2.2": STAGGER_SECONDS}
    assert (line.won, line.given_up) == (["192.0.2.2"], ["192.0.2.1"])


async def test_a_closed_port_costs_nothing(autojump_clock: MockClock) -> None:
    """What fails makes room for the next at once."""
    line = Line({"192.0.2.2": 0}, {"192.0.2.1": 0.01})
    await line.run(at("ip4/192.0.2.1"), at("ip4/192.0.2.2"))
    assert line.started["192.0.2.2"] == pytest.approx(0.01)


async def test_a_slow_first_may_still_win(autojump_clock: MockClock) -> None:
    """Nobody is given up before somebody has answered."""
    line = Line({"192.0.2.1": STAGGER_SECONDS + 0.1})
    await line.run(at("ip4/192.0.2.1"), at("ip4/192.0.2.2"))
    assert (line.won, line.given_up) == (["192.0.2.1"], ["192.0.2.2"])


async def test_families_take_turns_and_relays_come_last(autojump_clock: MockClock) -> None:
    """A network without working IPv6, or without IPv4, costs one head start however many addresses a card lists."""
    relayed = f"/ip4/192.0.2.9/tcp/1/p2p/{RELAY}/p2p-circuit/p2p/{PEER}"
    line = Line()
    card = [relayed, at("ip4/192.0.2.1"), at("ip4/192.0.2.2"), at("ip6/2001:db8::1"), at("ip6/2001:db8::2")]
    reasons = await line.run(*card)
    assert list(line.started) == ["192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2", "192.0.2.9"]
    assert reasons == [f"{address}: no answer within 15 s" for address in (*card[1::2], *card[2::2], relayed)]


async def test_a_name_is_all_its_numbers(autojump_clock: MockClock) -> None:
    """One that takes connections and says nothing holds the others up for a moment only; the error names each."""
    name(["192.0.2.1", "192.0.2.2", "2001:db8::1"])
    line = Line({"192.0.2.2": 0}, {"2001:db8::1": 0.1})
    (reason,) = await line.run(at("dns/bank.example"))
    assert reason == f"{at('dns/bank.example')} at 2001:db8::1: connection refused"
    assert line.started == {"2001:db8::1": 0, "192.0.2.1": 0.1, "192.0.2.2": 0.1 + STAGGER_SECONDS}


@pytest.mark.parametrize(("kind", "number"), [("dns4", "192.0.2.1"), ("dns6", "2001:db8::1")])
async def test_a_name_of_one_family_is_asked_for_that_family(autojump_clock: MockClock, kind: str, number: str) -> None:
    """As the address says."""
    name(["192.0.2.1", "2001:db8::1"])
    line = Line({number: 0})
    await line.run(at(f"{kind}/bank.example"))
    assert list(line.started) == [number]


async def test_names_hold_nobody_up(autojump_clock: MockClock) -> None:
    """Numbers start at once, and IPv4 does not wait for a server that never answers for IPv6."""
    name(["192.0.2.1", "2001:db8::1"], slow={socket.AF_INET6: 1000, socket.AF_INET: 0.2})
    line = Line({"192.0.2.1": 0.1})
    await line.run(at("dns/bank.example"), at("ip4/192.0.2.7"))
    assert line.started == {"192.0.2.7": 0, "192.0.2.1": STAGGER_SECONDS}
    alone = Line({"192.0.2.1": 0.1})
    begin = trio.current_time()
    await alone.run(at("dns/bank.example"))
    assert alone.started["192.0.2.1"] - begin == pytest.approx(0.2 + RESOLUTION_SECONDS)


async def test_a_name_that_stands_for_nothing_says_so(autojump_clock: MockClock) -> None:
    """Also one that cannot be asked for at all."""
    name([])
    assert sorted(await Line().run(at("dns/bank.example"), at(f"dns/{'a' * 70}.example"))) == [
        f"{at('dns/' + 'a' * 70 + '.example')}: the name stands for no address",
        f"{at('dns/bank.example')}: the name stands for no address",
    ]


async def test_a_name_does_not_make_us_a_scanner(autojump_clock: MockClock) -> None:
    """However many numbers somebody's name server returns."""
    name([f"192.0.2.{n}" for n in range(100)])
    line = Line()
    await line.run(at("dns/bank.example"))
    assert len(line.started) == MAX_ADDRESSES


async def test_what_is_found_elsewhere_takes_part(autojump_clock: MockClock) -> None:
    """Also after everything known has failed; a search that fails gives its reason."""

    async def search(add: Add) -> None:
        await trio.sleep(2)
        add(Target(PeerAddress(at("ip4/192.0.2.5")), "192.0.2.5"))

    async def fail(add: Add) -> None:
        raise PeerUnreachable("nobody on the local network")

    line = Line({"192.0.2.5": 0}, {"192.0.2.1": 0})
    reasons = await line.run(at("ip4/192.0.2.1"), sources=[search, fail])
    assert line.won == ["192.0.2.5"]
    assert sorted(reasons) == [f"{at('ip4/192.0.2.1')}: connection refused", "nobody on the local network"]


async def test_a_long_card_asks_for_so_many_names_only(autojump_clock: MockClock) -> None:
    """Further addresses are not even read, so a card makes nobody look up hundreds of names."""
    name([])
    reasons = await Line().run(*(at(f"dns4/bank-{n}.example") for n in range(2 * MAX_ADDRESSES)))
    assert sorted(reasons) == sorted(
        f"{at(f'dns4/bank-{n}.example')}: the name stands for no address" for n in range(MAX_ADDRESSES)
    )
