"""Hosts over real loopback connections: dialling, serving, limits, and the end of everything."""

import errno
import logging
import os
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio
import trio.testing

from ddtp.errors import AlreadyRunning, ConfigInvalid, PeerUnreachable, UsageError
from ddtp.transfer.addresses import PeerAddress
from ddtp.transfer.host import _reason, open_host, peer_id_of
from ddtp.transfer.libp2p import BULK, Identity, secure
from ddtp.transfer.limits import HostLimits
from ddtp.transfer.racing import MAX_ADDRESSES
from ddtp.transfer.records import WINDOW_BYTES, RecordType, encode_data, encode_record

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
PROTOCOL = "/ddtp/test/1"


async def answer_who(stream):
    await stream.send_all(stream.remote_peer_id.encode())


async def hold(stream):
    await stream.send_all(b"held")
    await read_all(stream)


async def read_all(stream):
    return b"".join([piece async for piece in stream])


async def ask_who(client, addresses):
    stream = await client.dial(addresses, PROTOCOL, timeout_seconds=5)
    async with stream:
        return (await read_all(stream)).decode()


async def answers(client, addresses, protocol=PROTOCOL):
    """Whether the server sends something; a refused newcomer may learn it in either of two ways."""
    try:
        stream = await client.dial(addresses, protocol, timeout_seconds=5)
        async with stream:
            return bool(await stream.receive_some())
    except (PeerUnreachable, trio.BrokenResourceError):
        return False


async def eventually_answers(client, addresses):
    """The other side notices a closed connection a moment later; each attempt is a real one, so nothing spins."""
    with trio.fail_after(5):
        while not await answers(client, addresses):
            pass


@pytest.fixture
def never_again(monkeypatch):
    """Who is turned away does not come back."""
    monkeypatch.setattr("ddtp.transfer.crowd.TRIES", 1)


@asynccontextmanager
async def silent_port():
    """A port where connections are accepted by the system and nobody speaks."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        yield listener.socket.getsockname()[1]


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def dialler():
    return open_host(network_key=os.urandom(32))


async def test_both_sides_know_whom_they_talk_to(hosts):
    """The identities are proven, and come from the network keys; the dialling host listens nowhere."""
    server, client = hosts
    server.serve(PROTOCOL, answer_who)
    stream = await client.dial(server.addresses, PROTOCOL, timeout_seconds=5)
    async with stream:
        assert stream.remote_peer_id == server.peer_id
        assert stream.remote_address == server.addresses[0].partition("/p2p/")[0]
        assert (await read_all(stream)).decode() == client.peer_id
    assert client.addresses == ()


def test_the_peer_id_is_that_of_the_key():
    """The identity of an Ed25519 seed is the one that other libp2p implementations compute."""
    assert peer_id_of(bytes(32)) == "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
    with pytest.raises(UsageError):
        peer_id_of(bytes(31))


@pytest.mark.slow
async def test_streams_follow_the_contract_on_the_network(make_network_pair):
    """Trio's suite for streams finds nothing over TCP, Noise and Yamux either."""

    async def make_clogged():
        left, right = await make_network_pair()
        await left.send_all(bytes(WINDOW_BYTES))
        await right.send_all(bytes(WINDOW_BYTES))
        return left, right

    with trio.fail_after(60):
        await trio.testing.check_two_way_stream(make_network_pair, make_clogged)
        await trio.testing.check_half_closeable_stream(make_network_pair, make_clogged)


async def test_an_impostor_is_not_taken_for_the_peer(hosts):
    """Who answers at the address but cannot prove the identity is not talked to."""
    server, client = hosts
    server.serve(PROTOCOL, answer_who)
    address = server.addresses[0].replace(server.peer_id, peer_id_of(os.urandom(32)))
    with pytest.raises(PeerUnreachable):
        await client.dial([address], PROTOCOL, timeout_seconds=5)


@pytest.mark.slow
async def test_dialling_goes_on_to_the_address_that_answers(hosts):
    """Malformed, closed and silent addresses cost only a moment each."""
    server, client = hosts
    server.serve(PROTOCOL, answer_who)
    closed = f"/ip4/127.0.0.1/tcp/1/p2p/{server.peer_id}"
    async with silent_port() as port:
        hanging = f"/ip4/127.0.0.1/tcp/{port}/p2p/{server.peer_id}"
        assert await ask_who(client, ["/dns/", closed, hanging, *server.addresses]) == client.peer_id


async def test_what_was_tried_is_named(hosts):
    """The error lists each address with its reason."""
    server, client = hosts
    closed = f"/ip4/127.0.0.1/tcp/1/p2p/{server.peer_id}"
    with pytest.raises(PeerUnreachable) as unreachable:
        await client.dial([closed, server.addresses[0]], PROTOCOL, timeout_seconds=5)
    assert closed in unreachable.value.message
    assert server.addresses[0] in unreachable.value.message
    with pytest.raises(PeerUnreachable):
        await client.dial([], PROTOCOL, timeout_seconds=5)


async def test_losers_are_closed(hosts):
    """Once a peer has answered, nothing stays of the attempts beside it, not even an open socket."""
    server, client = hosts
    server.serve(PROTOCOL, answer_who)
    async with silent_port() as port:
        before = open_files()
        hanging = f"/ip4/127.0.0.1/tcp/{port}/p2p/{server.peer_id}"
        stream = await client.dial([hanging, server.addresses[0]], PROTOCOL, timeout_seconds=5)
        async with stream:
            await read_all(stream)
        await stream.wait_finished()
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert open_files() <= before + 1  # the other end of the given up attempt is still in the port's queue


async def test_a_closed_port_says_so(hosts):
    """The reason is in words, with the address in front and no number of an error."""
    _, client = hosts
    address = f"/ip4/127.0.0.1/tcp/1/p2p/{peer_id_of(bytes(32))}"
    with pytest.raises(PeerUnreachable) as caught:
        await client.dial([address], PROTOCOL, timeout_seconds=5)
    assert caught.value.message.endswith(f"{address}: refused the connection")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ECONNREFUSED, "refused the connection"),
        (errno.ETIMEDOUT, "no answer"),
        (errno.EHOSTUNREACH, "no route"),
        (errno.ENETUNREACH, "no route"),
        (errno.ECONNRESET, "broke the connection"),
        (errno.EMFILE, "OSError: [Errno 24] x"),
    ],
)
def test_errors_of_the_system_are_in_words(number, words):
    """What a person may meet; what is trouble of this machine stays as the system has it."""
    error = OSError("all attempts to connect to 1.2.3.4:5 failed")
    error.__cause__ = ExceptionGroup("", [OSError(number, "x")])
    assert _reason(error) == words


async def test_dialling_ends_at_its_deadline(hosts):
    """A peer that accepts and says nothing does not hold the caller longer than asked."""
    _, client = hosts
    async with silent_port() as port:
        address = f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer_id_of(bytes(32))}"
        with trio.fail_after(5), pytest.raises(PeerUnreachable):
            await client.dial([address], PROTOCOL, timeout_seconds=0.2)


async def test_a_failing_handler_ends_its_stream_only(hosts, caplog):
    """The failure is logged with its traceback, the caller sees a broken stream, and the next stream is served."""
    server, client = hosts

    async def fail(stream):
        raise RuntimeError("boom")

    server.serve("/ddtp/fail/1", fail)
    server.serve(PROTOCOL, answer_who)
    stream = await client.dial(server.addresses, "/ddtp/fail/1", timeout_seconds=5)
    with caplog.at_level(logging.ERROR), pytest.raises(trio.BrokenResourceError):
        await read_all(stream)
    assert "boom" in caplog.text
    assert await ask_who(client, server.addresses) == client.peer_id


async def test_a_port_is_not_shared(hosts):
    """A second host on the same port is refused, and says why."""
    server, _ = hosts
    taken = server.addresses[0].partition("/p2p/")[0]
    with pytest.raises(AlreadyRunning):
        async with open_host(network_key=os.urandom(32), listen=[LOOPBACK, taken]):
            pass


async def test_a_malformed_listening_address_is_refused():
    """QUIC, names and nonsense are settings that cannot be used."""
    for text in ("/ip4/127.0.0.1/udp/1/quic-v1", "/dns/localhost/tcp/1", "/ip4/::1/tcp/1", "", "/ip4/127.0.0.1/tcp/-1"):
        with pytest.raises(ConfigInvalid):
            async with open_host(network_key=os.urandom(32), listen=[text]):
                pass


async def test_one_peer_cannot_take_all_places(never_again):
    """Above the bound per peer the newcomer is refused; others are served, and a freed place is free."""
    limits = HostLimits(connections_per_peer=2)
    async with open_host(network_key=os.urandom(32), listen=[LOOPBACK], limits=limits) as server, dialler() as greedy:
        server.serve(PROTOCOL, answer_who)
        server.serve("/ddtp/hold/1", hold)
        held = [await greedy.dial(server.addresses, "/ddtp/hold/1", timeout_seconds=5) for _ in range(2)]
        with pytest.raises(PeerUnreachable):
            await greedy.dial(server.addresses, PROTOCOL, timeout_seconds=5)
        async with dialler() as other:
            assert await ask_who(other, server.addresses) == other.peer_id
        for stream in held:
            await stream.aclose()
            await stream.wait_finished()
        await eventually_answers(greedy, server.addresses)


async def test_a_busy_protocol_refuses_the_newcomer(hosts, never_again):
    """Above the bound per protocol a stream is reset, while another protocol goes on."""
    limits = HostLimits(streams_per_protocol=1)
    async with open_host(network_key=os.urandom(32), listen=[LOOPBACK], limits=limits) as server, dialler() as client:
        server.serve("/ddtp/hold/1", hold)
        server.serve(PROTOCOL, answer_who)
        first = await client.dial(server.addresses, "/ddtp/hold/1", timeout_seconds=5)
        assert await first.receive_some() == b"held"
        assert not await answers(client, server.addresses, "/ddtp/hold/1")
        assert await ask_who(client, server.addresses) == client.peer_id


async def test_one_peer_cannot_take_a_protocol_away(never_again):
    """With half of the places taken, who holds its share is refused until there is room; another one is served."""
    limits = HostLimits(streams_per_protocol=4, stream_share=1)
    other_place = "127.0.0.2"  # all of 127/8 is this machine, so two addresses can be played
    async with (
        open_host(network_key=os.urandom(32), listen=["/ip4/0.0.0.0/tcp/0"], limits=limits) as server,
        dialler() as greedy,
    ):
        server.serve(PROTOCOL, hold)
        port = server.addresses[0].split("/")[4]
        here = [f"/ip4/127.0.0.1/tcp/{port}/p2p/{server.peer_id}"]
        held = [await greedy.dial(here, PROTOCOL, timeout_seconds=5) for _ in range(2)]
        assert [await stream.receive_some() for stream in held] == [b"held"] * 2
        async with dialler() as accomplice:
            assert not await answers(accomplice, here)
        assert await answers_from(other_place, int(port), server.peer_id)
        await held[0].aclose()
        await held[0].wait_finished()
        await eventually_answers(greedy, here)


@pytest.mark.parametrize("limits", [HostLimits(connections_per_peer=1), HostLimits(streams_per_protocol=1)])
async def test_who_is_turned_away_comes_back(limits):
    """A dial that finds no place waits for one, whichever bound was reached."""
    async with open_host(network_key=os.urandom(32), listen=[LOOPBACK], limits=limits) as server, dialler() as client:
        server.serve(PROTOCOL, hold)
        first = await client.dial(server.addresses, PROTOCOL, timeout_seconds=5)
        assert await first.receive_some() == b"held"
        served = trio.Event()

        async def wait_for_a_place():
            async with await client.dial(server.addresses, PROTOCOL, timeout_seconds=15) as second:
                assert await second.receive_some() == b"held"
                served.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_a_place)
            with trio.move_on_after(0.2):
                await served.wait()
            assert not served.is_set()
            await first.aclose()


async def answers_from(place, port, peer_id):
    """Whether a stranger with an address of its own is served."""
    raw_socket = trio.socket.socket()
    await raw_socket.bind((place, 0))
    await raw_socket.connect(("127.0.0.1", port))
    async with trio.SocketStream(raw_socket) as socket, trio.open_nursery() as nursery:
        connection = await secure(socket, Identity(os.urandom(32)), expected_peer_id=peer_id)
        nursery.start_soon(connection.run)
        with trio.fail_after(5):
            raw = await connection.open_stream(PROTOCOL)
            served = b"held" in bytes(await raw.read(100))
        nursery.cancel_scope.cancel()
    return served


@pytest.mark.slow
async def test_a_stranger_who_says_nothing_loses_the_place(never_again):
    """A connection without a handshake is closed at its deadline, and its place serves the next one."""
    limits = HostLimits(connections_per_address=1, handshake_seconds=0.2)
    async with open_host(network_key=os.urandom(32), listen=[LOOPBACK], limits=limits) as server, dialler() as client:
        server.serve(PROTOCOL, answer_who)
        stranger = await trio.open_tcp_stream("127.0.0.1", int(server.addresses[0].split("/")[4]))
        async with stranger:
            assert not await answers(client, server.addresses)
            with trio.fail_after(5):
                assert b"multistream" in await stranger.receive_some()
                assert await stranger.receive_some() == b""
        await eventually_answers(client, server.addresses)


@pytest.mark.slow
async def test_a_stream_that_does_not_choose_its_protocol_is_reset(caplog):
    """The time from a new stream to its protocol is bounded, the connection goes on, and the log stays short."""
    caplog.set_level(logging.INFO)
    limits = HostLimits(handshake_seconds=0.2)
    async with open_host(network_key=os.urandom(32), listen=[LOOPBACK], limits=limits) as server:
        server.serve(PROTOCOL, answer_who)
        async with await trio.open_tcp_stream("127.0.0.1", int(server.addresses[0].split("/")[4])) as socket:
            connection = await secure(socket, Identity(os.urandom(32)), expected_peer_id=server.peer_id)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.run)
                raw = connection._muxer.open_stream()
                with trio.fail_after(5), suppress(trio.BrokenResourceError):
                    while await raw.read(100):  # its greeting, then the end
                        pass
                await connection.open_stream(PROTOCOL)
                assert not caplog.records
                nursery.cancel_scope.cancel()


async def test_a_card_does_not_make_us_a_scanner(hosts):
    """Of many addresses only the first ones are tried, even if a later one would answer."""
    server, client = hosts
    server.serve(PROTOCOL, answer_who)
    wrong = ["/dns/"] * (MAX_ADDRESSES - 1)
    assert await ask_who(client, [*wrong, *server.addresses]) == client.peer_id
    with pytest.raises(PeerUnreachable):
        await client.dial(["/dns/", *wrong, *server.addresses], PROTOCOL, timeout_seconds=5)


@pytest.mark.slow
async def test_three_hundred_connections_one_after_the_other(hosts):
    """libp2p's own host stops for ever after 250; a connection that ended gives its place back."""
    server, client = hosts
    server.serve(PROTOCOL, answer_who)
    for _ in range(300):
        assert await ask_who(client, server.addresses) == client.peer_id


async def test_nothing_is_left_behind():
    """Sockets and tasks are gone when the hosts are, even with streams open in both directions."""
    files = open_files()
    tasks = trio.lowlevel.current_statistics().tasks_living
    async with open_host(network_key=os.urandom(32), listen=[LOOPBACK]) as server, dialler() as client:
        server.serve(PROTOCOL, hold)
        stream = await client.dial(server.addresses, PROTOCOL, timeout_seconds=5)
        assert await stream.receive_some() == b"held"
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    await trio.testing.wait_all_tasks_blocked()
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert open_files() == files


async def test_an_error_of_the_caller_comes_out_as_it_is():
    """The host's nursery does not wrap what its user raises."""
    with pytest.raises(UsageError):
        async with dialler():
            raise UsageError("expected nothing")


async def test_ordinary_disconnects_are_not_errors(hosts, caplog, capfd):
    """Neither our log nor libp2p's output complains about a peer that leaves."""
    server, client = hosts
    server.serve(PROTOCOL, answer_who)
    stream = await client.dial(server.addresses, PROTOCOL, timeout_seconds=5)
    stream.abort()
    await stream.wait_finished()
    assert await ask_who(client, server.addresses) == client.peer_id
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    assert capfd.readouterr().err == ""


async def test_a_handler_may_finish_after_the_peer_has_left(hosts):
    """The peer closes and goes at once; what it sent completely is still handled to the end."""
    server, client = hosts
    handled = trio.Event()

    async def handler(stream):
        await stream_is_over.wait()
        assert await read_all(stream) == bytes(100_000)
        handled.set()

    stream_is_over = trio.Event()
    server.serve(PROTOCOL, handler)
    stream = await client.dial(server.addresses, PROTOCOL, timeout_seconds=5)
    await stream.send_all(bytes(100_000))
    await stream.aclose()
    await stream.wait_finished()
    await trio.testing.wait_all_tasks_blocked(0.05)
    stream_is_over.set()
    with trio.fail_after(5):
        await handled.wait()


async def test_a_violation_is_logged_and_spares_what_was_complete(hosts, caplog):
    """The connection of a peer that breaks Yamux ends by name; a stream that had ended is handled to its end."""
    server, _ = hosts
    violated, handled = trio.Event(), trio.Event()

    async def handler(stream):
        await violated.wait()
        assert await read_all(stream) == b"complete"
        handled.set()

    server.serve(PROTOCOL, handler)
    async with await trio.open_tcp_stream("127.0.0.1", int(server.addresses[0].split("/")[4])) as socket:
        connection = await secure(socket, Identity(os.urandom(32)), expected_peer_id=server.peer_id)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run)
            raw = await connection.open_stream(PROTOCOL)
            await raw.write(encode_data(b"complete") + encode_record(RecordType.END))
            assert await raw.read(100) == encode_record(RecordType.END_ACK)
            with caplog.at_level(logging.INFO):
                await connection._muxer._session.write(b"\xff" * 12)
                with trio.fail_after(5):
                    assert await connection.accept_stream() is None
            violated.set()
            with trio.fail_after(5):
                await handled.wait()
    assert "Yamux frame of version 0, found 255" in caplog.text


async def test_a_bulk_connection_without_a_ticket_is_closed(hasty_clock):
    """Within the time of a handshake: a stranger who proves an identity and says nothing holds no place."""
    async with open_host(network_key=os.urandom(32), listen=[LOOPBACK]) as server:
        address = PeerAddress(server.addresses[0])
        async with await trio.open_tcp_stream(address.host, address.port) as socket:
            connection = await secure(socket, Identity(bytes(32)), expected_peer_id=address.peer_id, inner=BULK)
            with trio.fail_after(1000), pytest.raises(trio.BrokenResourceError):
                await connection.read(1)
        assert trio.current_time() == pytest.approx(HostLimits().handshake_seconds, abs=1)
