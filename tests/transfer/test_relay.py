"""Circuits through our own relay: reaching a peer that nobody can connect to, the bounds, and what the relay sees."""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
import trio
from trio.testing import MockClock

from ddtp.errors import PeerUnreachable
from ddtp.transfer import crowd
from ddtp.transfer import relay as relay_module
from ddtp.transfer.addresses import PeerAddress
from ddtp.transfer.bridge import bridged
from ddtp.transfer.circuit import (
    HOP,
    STOP,
    HopType,
    Limit,
    Message,
    Status,
    encode_hop,
    offer,
    parse_hop,
    read_message,
    reserve,
)
from ddtp.transfer.host import Host, open_host, peer_id_of
from ddtp.transfer.libp2p import Connection, RawYamux
from ddtp.transfer.relay import Relay, RelayLimits
from ddtp.transfer.reservation import Reservations, circuit_address
from tests.daemons import ROOT, environment
from tests.transfer.test_host import PROTOCOL, answer_who, dialler, hold, read_all

LIMITS = RelayLimits(reservation_seconds=600, circuit_seconds=600)


def now() -> int:
    return int(time.time())


@dataclass
class Ring:
    """A relay, and a peer that listens nowhere and holds a place there."""

    relay: Host
    hidden: Host
    address: str


@asynccontextmanager
async def open_relay(limits: RelayLimits = LIMITS) -> AsyncIterator[Host]:
    async with open_host(network_key=os.urandom(32), listen=["/ip4/127.0.0.1/tcp/0"], limits=limits.for_host()) as host:
        Relay(limits, clock=now).serve(host)
        yield host


@asynccontextmanager
async def reserved(host: Host, *relays: str) -> AsyncIterator[Reservations]:
    reservations = Reservations(host, relays, clock=now)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reservations.run)
        with trio.fail_after(10):
            await reservations.wait_any()
        yield reservations
        nursery.cancel_scope.cancel()


@pytest.fixture
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is turned away comes back as often as always, and at once."""
    monkeypatch.setattr(crowd, "FIRST_PAUSE_SECONDS", 0.001)


@asynccontextmanager
async def open_ring(limits: RelayLimits = LIMITS) -> AsyncIterator[Ring]:
    async with open_relay(limits) as relay, dialler() as hidden:
        hidden.serve(PROTOCOL, answer_who)
        hidden.serve("/ddtp/hold/1", hold)
        async with reserved(hidden, relay.addresses[0]) as reservations:
            yield Ring(relay, hidden, reservations.addresses[0])


async def test_a_peer_that_listens_nowhere_is_reached() -> None:
    """Both ends prove who they are to each other, not to the relay; the address is that of a circuit."""
    async with open_ring() as ring, dialler() as client:
        assert ring.address == f"{ring.relay.addresses[0]}/p2p-circuit/p2p/{ring.hidden.peer_id}"
        stream = await client.dial([ring.address], PROTOCOL, timeout_seconds=10)
        async with stream:
            assert stream.remote_peer_id == ring.hidden.peer_id
            assert (await read_all(stream)).decode() == client.peer_id


async def test_a_relay_cannot_play_the_peer() -> None:
    """A place taken under another identity leads to a handshake that fails."""
    async with open_ring() as ring, dialler() as client:
        wrong = ring.address.replace(ring.hidden.peer_id, peer_id_of(bytes(32)))
        with pytest.raises(PeerUnreachable, match="no reservation"):
            await client.dial([wrong], PROTOCOL, timeout_seconds=10)


async def test_much_passes_in_both_directions() -> None:
    """Unchanged, and to the confirmed end of the stream."""
    data = os.urandom(3 << 20)

    async def echo(stream) -> None:  # type: ignore[no-untyped-def]
        await stream.send_all(await read_all(stream))

    async with open_ring() as ring, dialler() as client:
        ring.hidden.serve("/ddtp/echo/1", echo)
        stream = await client.dial([ring.address], "/ddtp/echo/1", timeout_seconds=10)
        async with stream, trio.open_nursery() as nursery:

            async def send() -> None:
                await stream.send_all(data)
                await stream.send_eof()

            nursery.start_soon(send)
            with trio.fail_after(30):
                assert await read_all(stream) == data


async def test_a_circuit_is_cut_at_its_bytes() -> None:
    """What had not arrived is not taken for complete."""
    async with open_ring(replace(LIMITS, circuit_bytes=300_000)) as ring, dialler() as client:
        got = bytearray()
        broken = trio.Event()

        async def take(stream) -> None:  # type: ignore[no-untyped-def]
            try:
                async for piece in stream:
                    got.extend(piece)
            except trio.BrokenResourceError:
                broken.set()
                raise

        ring.hidden.serve("/ddtp/take/1", take)
        stream = await client.dial([ring.address], "/ddtp/take/1", timeout_seconds=10)

        async def give() -> None:
            await stream.send_all(bytes(2_000_000))
            await stream.aclose()

        with pytest.raises(trio.BrokenResourceError), trio.fail_after(10):
            await give()
        with trio.fail_after(10):
            await broken.wait()
        assert len(got) <= 300_000


async def test_a_circuit_is_cut_at_its_time() -> None:
    """Also one on which nothing happens."""
    async with open_ring(replace(LIMITS, circuit_seconds=1)) as ring, dialler() as client:
        stream = await client.dial([ring.address], "/ddtp/hold/1", timeout_seconds=10)
        assert await stream.receive_some() == b"held"
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(10):
            await stream.receive_some()


@pytest.mark.parametrize(("bound", "places"), [("circuits", 2), ("circuits_from_peer", 2), ("circuits_to_peer", 4)])
@pytest.mark.usefixtures("soon_again")
async def test_one_peer_cannot_take_all_circuits(bound: str, places: int) -> None:
    """Above a bound the newcomer tries again, and hears why if that does not help; a freed place is free."""
    async with open_ring(replace(LIMITS, **{bound: places})) as ring, dialler() as client:
        held = [await client.dial([ring.address], "/ddtp/hold/1", timeout_seconds=10) for _ in range(2)]
        with pytest.raises(PeerUnreachable, match="resource limit exceeded"):
            await client.dial([ring.address], PROTOCOL, timeout_seconds=10)
        await held[0].aclose()
        await held[0].wait_finished()
        await eventually(lambda: client.dial([ring.address], PROTOCOL, timeout_seconds=10))


@pytest.mark.usefixtures("soon_again")
async def test_who_holds_many_circuits_to_a_peer_leaves_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of them at most, if others come from elsewhere."""
    # here all come from one address; each is given one of its own
    numbers = itertools.count()
    monkeypatch.setattr(relay_module, "address_group", lambda _host: str(next(numbers)))
    async with open_ring(replace(LIMITS, circuits_to_peer=4)) as ring, dialler() as greedy, dialler() as other:
        for _ in range(2):
            await greedy.dial([ring.address], "/ddtp/hold/1", timeout_seconds=10)
        with pytest.raises(PeerUnreachable, match="resource limit exceeded"):
            await greedy.dial([ring.address], PROTOCOL, timeout_seconds=10)
        assert await answer_of(other, ring) == other.peer_id


@pytest.mark.usefixtures("soon_again")
async def test_nor_do_several_at_one_address() -> None:
    """Identities cost nothing."""
    async with (
        open_ring(replace(LIMITS, circuits_to_peer=4)) as ring,
        dialler() as one,
        dialler() as two,
        dialler() as three,
    ):
        for each in (one, two):
            await each.dial([ring.address], "/ddtp/hold/1", timeout_seconds=10)
        with pytest.raises(PeerUnreachable, match="resource limit exceeded"):
            await three.dial([ring.address], PROTOCOL, timeout_seconds=10)


@pytest.mark.usefixtures("soon_again")
async def test_a_renewed_reservation_forgets_no_circuit() -> None:
    """Those that were made before it still count."""
    async with open_ring(replace(LIMITS, circuits_to_peer=4)) as ring, dialler() as greedy:
        for _ in range(2):
            await greedy.dial([ring.address], "/ddtp/hold/1", timeout_seconds=10)
        async with ring.hidden.attached(PeerAddress(ring.relay.addresses[0])) as connection:
            await reserve(await connection.open_stream(HOP))
            with pytest.raises(PeerUnreachable, match="resource limit exceeded"):
                await greedy.dial([ring.address], PROTOCOL, timeout_seconds=10)


async def test_who_finds_no_place_waits_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dial lasts until somebody else has gone, within its time."""
    monkeypatch.setattr(crowd, "FIRST_PAUSE_SECONDS", 0.05)
    async with open_ring(replace(LIMITS, circuits=1)) as ring, dialler() as client, trio.open_nursery() as nursery:
        held = await client.dial([ring.address], "/ddtp/hold/1", timeout_seconds=10)

        async def leave() -> None:
            await trio.sleep(0.2)
            await held.aclose()

        nursery.start_soon(leave)
        assert await answer_of(client, ring) == client.peer_id


async def test_reservations_are_bounded_and_may_be_for_some_only() -> None:
    """A stranger above the bound, or not on the list, gets no place; others keep theirs."""
    for limits in (replace(LIMITS, reservations=1), replace(LIMITS, reservations_per_address=1)):
        async with open_ring(limits) as ring, dialler() as late, dialler() as client:
            assert await refusal(late, ring.relay.addresses[0]) == 200
            assert await answer_of(client, ring) == client.peer_id
    allowed = os.urandom(32)
    async with (
        open_relay(replace(LIMITS, peers=frozenset({peer_id_of(allowed)}))) as relay,
        open_host(network_key=allowed) as member,
        dialler() as stranger,
        reserved(member, relay.addresses[0]),
    ):
        assert await refusal(stranger, relay.addresses[0]) == 202


async def test_a_place_is_free_when_its_holder_has_gone() -> None:
    """The connection is the reservation: nobody is connected to who is not there."""
    async with open_relay(replace(LIMITS, reservations=1)) as relay, dialler() as client:
        async with dialler() as first, reserved(first, relay.addresses[0]) as reservations:
            address = reservations.addresses[0]
        with pytest.raises(PeerUnreachable):
            await client.dial([address], PROTOCOL, timeout_seconds=10)
        async with dialler() as second:
            second.serve(PROTOCOL, answer_who)
            async with reserved(second, relay.addresses[0]) as reservations:
                assert await ask(client, reservations.addresses[0]) == client.peer_id


async def test_the_newer_reservation_of_a_peer_counts() -> None:
    """Made on another connection, or again on the same one; others reach the peer by the place that it has now."""
    async with open_ring() as ring, dialler() as client:
        relay = PeerAddress(ring.relay.addresses[0])
        async with ring.hidden.attached(relay) as connection:
            raw = await connection.open_stream(HOP)
            await raw.write(encode_hop(Message(HopType.RESERVE)))
            answer = parse_hop(await read_message(raw))
            assert answer.status == 100
            assert answer.expires is not None
            assert now() <= answer.expires <= now() + LIMITS.reservation_seconds + 1
            assert answer.limit is not None
            assert await answer_of(client, ring) == client.peer_id


async def test_a_stranger_cannot_pass_for_a_relay() -> None:
    """Who has no place of ours may not offer circuits; the host serves the protocol, and refuses."""
    async with (
        open_relay() as relay,
        open_host(network_key=os.urandom(32), listen=["/ip4/127.0.0.1/tcp/0"]) as host,
        reserved(host, relay.addresses[0]),
        dialler() as stranger,
        stranger.attached(PeerAddress(host.addresses[0])) as connection,
    ):
        raw = await connection.open_stream(STOP)
        with pytest.raises(PeerUnreachable, match="permission denied"):
            await offer(raw, stranger.peer_id, Limit())


async def test_other_messages_are_refused() -> None:
    """Nonsense ends the stream, an answer instead of a question is told so; the relay goes on."""
    async with open_ring() as ring, dialler() as client:
        for data in (encode_hop(Message(HopType.STATUS, status=100)), encode_hop(Message(HopType.CONNECT))):
            assert await refusal(client, ring.relay.addresses[0], data) == 401
        assert await refusal(client, ring.relay.addresses[0], b"\x05\xff\xff\xff\xff\xff") is None
        assert await refusal(client, ring.relay.addresses[0], b"\xff\xff\x7f") is None
        assert await answer_of(client, ring) == client.peer_id


async def refusal(client: Host, relay: str, data: bytes = encode_hop(Message(HopType.RESERVE))) -> int | None:
    """What a relay answers; None if it breaks the stream."""
    async with client.attached(PeerAddress(relay)) as connection:
        raw = await connection.open_stream(HOP)
        await raw.write(data)
        try:
            with trio.fail_after(10):
                return parse_hop(await read_message(raw)).status
        except trio.BrokenResourceError:
            return None


async def ask(client: Host, address: str) -> str:
    stream = await client.dial([address], PROTOCOL, timeout_seconds=10)
    async with stream:
        return (await read_all(stream)).decode()


async def answer_of(client: Host, ring: Ring) -> str:
    return await ask(client, ring.address)


async def eventually(call: Callable[[], object]) -> None:
    with trio.fail_after(10):
        while True:
            try:
                stream = await call()  # type: ignore[misc]
            except PeerUnreachable:
                continue
            stream.abort()
            return


def test_addresses_of_circuits() -> None:
    """Made from the relay's own address."""
    peer_id = peer_id_of(bytes(32))
    relay = f"/ip4/192.0.2.1/tcp/4001/p2p/{peer_id_of(bytes(31) + bytes([1]))}"
    assert PeerAddress(circuit_address(relay, peer_id)).peer_id == peer_id


# --- beside py-libp2p's own circuits ---

STOCK = [sys.executable, "-m", "tests.transfer.stock_circuits"]


@pytest.mark.slow
async def test_the_relay_of_py_libp2p_leads_to_us() -> None:
    """It grants us a place, and another of our hosts reaches us through it, end to end under our own handshake."""
    data = os.urandom(500_000)

    async def echo(stream) -> None:  # type: ignore[no-untyped-def]
        await stream.send_all(await read_all(stream))

    process = await trio.lowlevel.open_process([*STOCK, "relay"], stdout=subprocess.PIPE, env=environment(), cwd=ROOT)
    try:
        assert process.stdout is not None
        with trio.fail_after(60):
            address = (await process.stdout.receive_some()).decode().strip()
            async with dialler() as hidden, dialler() as client, reserved(hidden, address) as reservations:
                hidden.serve("/ddtp/echo/1", echo)
                stream = await client.dial(reservations.addresses, "/ddtp/echo/1", timeout_seconds=15)
                async with stream:
                    assert stream.remote_peer_id == hidden.peer_id
                    await stream.send_all(data)
                    await stream.send_eof()
                    assert await read_all(stream) == data
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            assert process.stdout is not None
            await process.stdout.aclose()


@pytest.mark.slow
async def test_our_relay_leads_to_peers_of_py_libp2p() -> None:
    """One takes a place, the other dials through it, and what they say comes through unchanged."""
    async with open_relay() as relay:
        with trio.fail_after(60):
            done = await trio.run_process(
                [*STOCK, "pair", relay.addresses[0]], capture_stdout=True, env=environment(), cwd=ROOT
            )
    assert done.stdout.decode().split("\n")[:2] == ["reserved True", "echo True"]


# --- relays that nobody should trust ---


class Ear:
    """A raw stream that keeps what passes."""

    def __init__(self, raw: RawYamux, heard: bytearray) -> None:
        self._raw, self._heard = raw, heard

    async def read(self, max_bytes: int) -> bytes:
        data = await self._raw.read(max_bytes)
        self._heard.extend(data)
        return data

    async def write(self, data: bytes) -> None:
        self._heard.extend(data)
        await self._raw.write(data)

    async def close(self) -> None:
        await self._raw.close()

    async def reset(self) -> None:
        await self._raw.reset()


async def test_a_relay_hears_nothing_of_what_is_said() -> None:
    """Noise runs from end to end: neither the bytes nor the name of the protocol are in what passes."""
    heard, secret = bytearray(), b"the balance of the account" * 1000

    async def take(stream) -> None:  # type: ignore[no-untyped-def]
        assert await read_all(stream) == secret
        await stream.send_all(secret)

    async with open_host(network_key=os.urandom(32), listen=["/ip4/127.0.0.1/tcp/0"]) as host:
        curious = Relay(LIMITS, clock=now)
        host.serve_raw(HOP, lambda raw, connection: curious._answer(Ear(raw, heard), connection))  # type: ignore[arg-type]
        async with dialler() as hidden, dialler() as client, reserved(hidden, host.addresses[0]) as reservations:
            hidden.serve("/ddtp/take/1", take)
            stream = await client.dial(reservations.addresses, "/ddtp/take/1", timeout_seconds=10)
            async with stream:
                await stream.send_all(secret)
                await stream.send_eof()
                assert await read_all(stream) == secret
    assert len(heard) > 2 * len(secret)
    assert secret[:26] not in heard
    assert b"/ddtp/take" not in heard


async def test_a_relay_that_answers_itself_is_found_out() -> None:
    """It grants the circuit and plays the peer; the handshake asks for the peer's own identity."""
    async with open_host(network_key=os.urandom(32), listen=["/ip4/127.0.0.1/tcp/0"]) as liar, dialler() as client:

        async def play(raw: RawYamux, _connection: Connection) -> None:
            await read_message(raw)
            await raw.write(encode_hop(Message(HopType.STATUS, status=100)))
            async with bridged(raw) as near:
                await liar.welcome(near, relay=("127.0.0.1", 1))

        liar.serve_raw(HOP, play)
        liar.serve(PROTOCOL, answer_who)
        victim = circuit_address(liar.addresses[0], peer_id_of(bytes(32)))
        with pytest.raises(PeerUnreachable, match="expected a handshake as in spec/14"):
            await client.dial([victim], PROTOCOL, timeout_seconds=10)


async def test_a_relay_that_says_nothing_holds_nobody_up() -> None:
    """Neither who dials through it nor who wants a place there."""
    async with open_host(network_key=os.urandom(32), listen=["/ip4/127.0.0.1/tcp/0"]) as mute, dialler() as client:

        async def say_nothing(_raw: RawYamux, _connection: Connection) -> None:
            await trio.sleep_forever()

        mute.serve_raw(HOP, say_nothing)
        address = circuit_address(mute.addresses[0], peer_id_of(bytes(32)))
        with trio.fail_after(5), pytest.raises(PeerUnreachable, match="no answer within"):
            await client.dial([address], PROTOCOL, timeout_seconds=0.5)


async def test_a_direct_address_is_taken_first() -> None:
    """A relay is for those whom nothing else leads to."""
    async with open_relay() as relay, open_host(network_key=os.urandom(32), listen=["/ip4/127.0.0.1/tcp/0"]) as host:
        host.serve(PROTOCOL, answer_who)
        async with reserved(host, relay.addresses[0]) as reservations, dialler() as client:
            stream = await client.dial([*reservations.addresses, *host.addresses], PROTOCOL, timeout_seconds=10)
            async with stream:
                assert stream.remote_address == host.addresses[0].partition("/p2p/")[0]
                await read_all(stream)


@pytest.mark.usefixtures("soon_again")
async def test_one_address_leaves_circuits_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once half of them are taken, to whomever they lead and however many identities there are at the address."""
    group = "a branch"
    # here all come from one address; for others it is changed
    monkeypatch.setattr(relay_module, "address_group", lambda _host: group)
    limits = replace(LIMITS, circuits=4, circuits_from_peer=1)
    async with open_ring(limits) as ring, dialler() as one, dialler() as two, dialler() as three:
        for each in (one, two):
            await each.dial([ring.address], "/ddtp/hold/1", timeout_seconds=10)
        with pytest.raises(PeerUnreachable, match="resource limit exceeded"):
            await three.dial([ring.address], PROTOCOL, timeout_seconds=10)
        group = "elsewhere"
        assert await answer_of(three, ring) == three.peer_id


async def test_a_reservation_that_nobody_renews_ends(hasty_clock: MockClock) -> None:
    """When its time is over, although its holder is still connected."""
    limits = RelayLimits()
    async with (
        open_relay(limits) as relay,
        dialler() as holder,
        dialler() as client,
        holder.attached(PeerAddress(relay.addresses[0])) as connection,
    ):
        await reserve(await connection.open_stream(HOP))
        question = encode_hop(Message(HopType.CONNECT, peer_id=holder.peer_id))
        await trio.sleep(limits.reservation_seconds - 1)
        # the holder, asked for a circuit, does not know that it is here for that
        assert await refusal(client, relay.addresses[0], question) == Status.CONNECTION_FAILED
        await trio.sleep(1)
        assert await refusal(client, relay.addresses[0], question) == Status.NO_RESERVATION
