"""Finding peers by multicast: on loopback, and across two network namespaces; nothing leaves either."""

import math
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Network

import pytest
import trio
from trio.testing import MockClock

from ddtp.errors import EnvironmentProblem, PeerUnreachable
from ddtp.transfer import lan
from ddtp.transfer.host import Host, open_host, peer_id_of
from ddtp.transfer.lan import GROUP, PORT, announce, numbers_in, search
from ddtp.transfer.mdns import Query, encode_answer, encode_query, find_addresses, find_query
from ddtp.transfer.racing import Target
from tests.daemons import ROOT, environment
from tests.namespaces import Link, needs_namespaces, open_link
from tests.transfer.test_host import PROTOCOL, answer_who, read_all

LOOPBACK = ["127.0.0.0/8"]


async def look(peer_id: str, networks: Sequence[str] = LOOPBACK, seconds: float = 1.0) -> list[str]:
    """Search for some seconds; end with the first answer."""
    found: list[Target] = []
    with trio.move_on_after(seconds) as scope:

        def add(target: Target) -> None:
            found.append(target)
            scope.cancel()

        await search([peer_id], networks)(add)
    return [target.address.multiaddr for target in found]


async def find(peer_id: str) -> list[str]:
    """Search for a peer that is there; a busy machine may take its time."""
    return await look(peer_id, seconds=math.inf)


@asynccontextmanager
async def server(listen: str = "/ip4/127.0.0.1/tcp/0", networks: Sequence[str] = LOOPBACK) -> AsyncIterator[Host]:
    async with open_host(network_key=os.urandom(32), listen=[listen]) as host:
        host.serve(PROTOCOL, answer_who)
        async with trio.open_nursery() as nursery:
            await nursery.start(announce, host.addresses, networks)
            yield host
            nursery.cancel_scope.cancel()


def dead(peer_id: str) -> str:
    return f"/ip4/127.0.0.1/tcp/1/p2p/{peer_id}"


@pytest.mark.slow
async def test_a_peer_whose_address_is_old_is_found() -> None:
    """The card has an address where nobody answers; the local network knows better, and the identity is proven."""
    async with server() as host, open_host(network_key=os.urandom(32)) as client:
        sources = [search([host.peer_id], LOOPBACK)]
        stream = await client.dial([dead(host.peer_id)], PROTOCOL, timeout_seconds=10, sources=sources)
        async with stream:
            assert stream.remote_peer_id == host.peer_id
            assert (await read_all(stream)).decode() == client.peer_id


@pytest.mark.slow
async def test_several_peers_answer_each_for_itself() -> None:
    """And one that listens on every interface names the number at which it was asked."""
    async with server() as one, server("/ip4/0.0.0.0/tcp/0") as two:
        assert await find(one.peer_id) == list(one.addresses)
        assert await find(two.peer_id) == [two.addresses[0].replace("0.0.0.0", "127.0.0.1")]
        assert await look(peer_id_of(bytes(32))) == []


@pytest.mark.slow
async def test_who_is_not_to_be_found_is_not() -> None:
    """No network in the settings, or one where it does not listen: no socket, no answer."""
    for networks in ([], ["198.51.100.0/24"]):
        async with server(networks=networks) as host:
            assert await look(host.peer_id) == []
    async with server("/ip4/127.0.0.2/tcp/0") as elsewhere:
        assert await look(elsewhere.peer_id) == []


@pytest.mark.slow
async def test_a_search_that_finds_nobody_says_where_it_looked() -> None:
    """So that the error of a dial names it beside the addresses."""
    async with open_host(network_key=os.urandom(32)) as client:
        peer_id = peer_id_of(bytes(32))
        with pytest.raises(PeerUnreachable, match=r"nobody answered for it on the local network at 127\.0\.0\.1"):
            await client.dial([dead(peer_id)], PROTOCOL, timeout_seconds=10, sources=[search([peer_id], LOOPBACK)])


@pytest.mark.slow
async def test_nobody_can_send_us_elsewhere() -> None:
    """A hint that points to another machine than the one that sent it is dropped."""
    peer_id = peer_id_of(bytes(32))
    liar = [f"/ip4/127.0.0.9/tcp/22/p2p/{peer_id}", f"/dns/printer.local/tcp/22/p2p/{peer_id}", "nonsense"]
    async with announced_raw(liar):
        assert await look(peer_id) == []


def test_one_machine_cannot_take_all_places() -> None:
    """Whatever it makes up on its own number, the address of the peer itself is taken too, if it comes behind."""
    peer_id = peer_id_of(bytes(32))
    liar = [f"/ip4/10.0.0.66/tcp/{port}/p2p/{peer_id}" for port in range(1, 2 * lan.MAX_FOUND)]
    own = f"/ip4/10.0.0.5/tcp/4001/p2p/{peer_id}"
    added: list[Target] = []
    found: set[str] = set()
    lan._take(added.append, [peer_id], found, "10.0.0.66", liar)
    lan._take(added.append, [peer_id], found, "10.0.0.66", liar[1:])
    lan._take(added.append, [peer_id], found, "10.0.0.5", [own])
    assert [target.address.multiaddr for target in added] == [liar[0], own]


async def test_a_socket_that_cannot_speak_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interface that went away after its number was read is an error of the environment, and nothing leaks."""
    opened: list[trio.socket.SocketType] = []
    real = trio.socket.socket

    def keep(family: int, kind: int) -> trio.socket.SocketType:
        opened.append(real(family, kind))
        return opened[0]

    monkeypatch.setattr(trio.socket, "socket", keep)
    with pytest.raises(EnvironmentProblem, match="expected to speak"):
        # a socket can be bound to the number of a group, and no interface has it
        await lan._speaking_socket(GROUP, 0)
    assert opened[0].fileno() == -1


@asynccontextmanager
async def announced_raw(addresses: Sequence[str]) -> AsyncIterator[None]:
    """An announcer without scruples: the real one, with an answer of our own."""
    async with trio.open_nursery() as nursery:
        listener = await lan._listening_socket("127.0.0.1")
        with listener:
            nursery.start_soon(lan._answer, listener, "127.0.0.1", addresses, [IPv4Network("127.0.0.0/8")])
            yield
            nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_another_implementation_is_answered_too() -> None:
    """One that asks from the port of multicast DNS hears the answer as everybody does."""
    async with server() as host:
        with await lan._listening_socket("127.0.0.1") as ear, trio.fail_after(5):
            await lan._say(encode_query(0), "127.0.0.1", to=(GROUP, PORT))
            while not (found := find_addresses((await ear.recvfrom(9000))[0], 0)):
                pass
        assert found == list(host.addresses)


def test_only_the_peer_id_is_said() -> None:
    """No name of a person, an institution or a machine."""
    answer = encode_answer(Query(1), [dead(peer_id_of(bytes(32)))], instance="0" * 32)
    assert os.uname().nodename.encode() not in answer


def test_the_numbers_of_this_machine() -> None:
    """Only those on the networks that the settings name."""
    assert numbers_in(LOOPBACK) == ("127.0.0.1",)
    assert numbers_in(["198.51.100.0/24"]) == ()
    assert numbers_in([]) == ()


# --- on a network of their own ---

SERVER = """
import os, sys, trio
from ddtp.transfer.host import open_host
from ddtp.transfer.lan import announce

async def main():
    async with open_host(network_key=bytes.fromhex(sys.argv[1]), listen=["/ip4/0.0.0.0/tcp/0"]) as host:
        async def answer(stream):
            await stream.send_all(b"here")
        host.serve("/ddtp/test/1", answer)
        async with trio.open_nursery() as nursery:
            await nursery.start(announce, host.addresses, ["10.77.0.0/24"])
            print("ready", flush=True)

trio.run(main)
"""

CLIENT = """
import os, sys, trio
from ddtp.transfer.host import open_host
from ddtp.transfer.lan import search

async def main():
    async with open_host(network_key=os.urandom(32)) as host:
        peer_id = sys.argv[1]
        addresses = [f"/ip4/10.77.0.9/tcp/4001/p2p/{peer_id}"]
        sources = [search([peer_id], ["10.77.0.0/24"])]
        stream = await host.dial(addresses, "/ddtp/test/1", timeout_seconds=15, sources=sources)
        print(stream.remote_address, bytes(await stream.receive_some()).decode())

trio.run(main)
"""


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    async with open_link() as link:
        yield link


@needs_namespaces
@pytest.mark.slow
async def test_two_machines_on_one_network_find_each_other(link: Link) -> None:
    """The address on the card is that of nobody; the peer is found at the number that it has now."""
    key = os.urandom(32)
    here = [sys.executable, "-c", SERVER, key.hex()]
    async with link.running(0, here) as process:
        assert process.stdout is not None
        with trio.fail_after(30):
            assert b"ready" in await process.stdout.receive_some()
        done = await link.run(1, [sys.executable, "-c", CLIENT, peer_id_of(key)], env=environment(), cwd=ROOT)
    assert done.startswith("/ip4/10.77.0.1/tcp/")
    assert done.strip().endswith("here")


# --- what strangers can make us do ---


def speaker(number: str) -> socket.socket:
    """A socket that asks the group on loopback as from some number of it."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setblocking(False)
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
    opened.bind((number, 0))
    return opened


async def test_a_question_from_outside_the_network_is_not_answered() -> None:
    """Else whoever names somebody as its source could have answers, which are larger, sent to them."""
    own = dead(peer_id_of(os.urandom(32)))
    async with trio.open_nursery() as nursery:
        await nursery.start(announce, [own], ["127.0.0.0/24"])
        with speaker("127.0.1.1") as outside, speaker("127.0.0.7") as inside, trio.fail_after(10):
            outside.sendto(encode_query(7), (GROUP, PORT))
            inside.sendto(encode_query(7), (GROUP, PORT))
            answer = b""
            while own not in find_addresses(answer, 7):
                await trio.lowlevel.wait_readable(inside)
                answer = inside.recv(9000)
            # it was asked first, so its answer would be here; others on this machine may answer too
            with suppress(BlockingIOError):
                while True:
                    assert own not in find_addresses(outside.recv(9000), 7)
        nursery.cancel_scope.cancel()


async def collect(peer_id: str) -> list[Target]:
    """Return all that a whole search finds."""
    found: list[Target] = []
    with suppress(PeerUnreachable):
        await search([peer_id], LOOPBACK)(found.append)
    return found


async def asked(ear: trio.socket.SocketType) -> tuple[Query, tuple[str, int]]:
    """Wait for a question; return it, and who asks."""
    while True:
        packet, asker = await ear.recvfrom(9000)
        if (query := find_query(packet)) is not None:
            return query, asker


async def test_a_search_takes_a_few_places_only(hasty_clock: MockClock) -> None:
    """However many machines answer: the addresses of the card must have their turns."""
    peer_id = peer_id_of(os.urandom(32))

    async def answer(ear: trio.socket.SocketType) -> None:
        query, asker = await asked(ear)
        for number in (f"127.0.0.{last}" for last in range(2, 2 + 3 * lan.MAX_FOUND)):
            with speaker(number) as machine:
                place = f"/ip4/{number}/tcp/1/p2p/{peer_id}"
                machine.sendto(encode_answer(query, [place], instance="0" * 32), asker)

    async with trio.open_nursery() as nursery:
        with await lan._listening_socket("127.0.0.1") as ear:
            nursery.start_soon(answer, ear)
            assert len(await collect(peer_id)) == lan.MAX_FOUND
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("packets", "places"), [(lan.MAX_PACKETS // 2, 1), (lan.MAX_PACKETS, 0)])
async def test_a_search_reads_so_many_packets_only(packets: int, places: int, hasty_clock: MockClock) -> None:
    """Who floods it keeps it from finding somebody, and not busy."""
    peer_id, other = peer_id_of(os.urandom(32)), peer_id_of(os.urandom(32))

    async def flood(ear: trio.socket.SocketType) -> None:
        query, asker = await asked(ear)
        for _ in range(packets):
            await ear.sendto(encode_answer(query, [dead(other)], instance="0" * 32), asker)
        # from the number that it names, as everything that counts
        with speaker("127.0.0.1") as machine:
            machine.sendto(encode_answer(query, [dead(peer_id)], instance="0" * 32), asker)

    async with trio.open_nursery() as nursery:
        with await lan._listening_socket("127.0.0.1") as ear:
            nursery.start_soon(flood, ear)
            assert len(await collect(peer_id)) == places
            nursery.cancel_scope.cancel()
