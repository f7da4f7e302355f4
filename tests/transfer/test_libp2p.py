"""Each defect of libp2p 0.8.1 that is kept out, shown on real sockets; without its containment the test fails."""

import os
import subprocess
import sys
from contextlib import suppress
from functools import partial

import pytest
import trio
from libp2p.crypto.secp256k1 import create_new_key_pair as create_secp256k1_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.peer.id import ID
from libp2p.protocol_muxer.exceptions import MultiselectError
from libp2p.protocol_muxer.multiselect import Multiselect
from libp2p.protocol_muxer.multiselect_client import MultiselectClient
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport

from ddtp.errors import EnvironmentProblem, PeerUnreachable, ProtocolViolation, UsageError
from ddtp.transfer import libp2p, multistream
from ddtp.transfer.host import open_host
from ddtp.transfer.libp2p import Identity, secure
from ddtp.transfer.limits import HostLimits
from tests.transfer.sockets import PROTOCOL, open_accepted, secure_pair, socket_pair

PLAINTEXT = "/plaintext/2.0.0"
HUGE_LENGTH = b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f"
"""A varint of 63 bits."""


class Dribble:
    """A socket whose bytes arrive one by one, as over a slow link."""

    def __init__(self, inner):
        self.socket = self
        self.send_all, self.send = inner.send_all, inner.socket.send
        self.getpeername = inner.socket.getpeername
        self.close = inner.socket.close
        self._inner = inner

    async def receive_some(self, max_bytes):
        return await self._inner.receive_some(min(max_bytes, 1))

    async def recv_into(self, buffer, max_bytes):
        return await self._inner.socket.recv_into(buffer, min(max_bytes, 1))


def link_of(socket):
    return libp2p._Link(socket)


async def test_a_server_does_not_accept_plaintext(hosts):
    """Upstream's host accepts anyone's identity without proof; here only Noise is on offer."""
    server, _ = hosts
    socket = await trio.open_tcp_stream("127.0.0.1", int(server.addresses[0].split("/")[4]))
    async with socket:
        with pytest.raises(Exception, match="not supported"):
            await MultiselectClient().select_one_of([PLAINTEXT], MultiselectCommunicator(link_of(socket)), 5)


async def test_a_client_does_not_fall_back_to_plaintext(hosts):
    """A man in the middle that offers only plaintext gets no connection."""
    _, client = hosts
    chosen = []

    async def plaintext_only(socket):
        async with socket:
            with suppress(MultiselectError, trio.BrokenResourceError):
                responder = Multiselect({PLAINTEXT: None})
                chosen.append(await responder.negotiate(MultiselectCommunicator(link_of(socket)), 5))

    victim = Identity(os.urandom(32)).peer_id
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, plaintext_only, [listener])
        address = f"/ip4/127.0.0.1/tcp/{listener.socket.getsockname()[1]}/p2p/{victim}"
        with pytest.raises(PeerUnreachable):
            await client.dial([address], PROTOCOL, timeout_seconds=5)
        nursery.cancel_scope.cancel()
    assert chosen == []


async def test_slow_links_do_not_break_the_connection():
    """Upstream gives up after 100 partial reads; single bytes pass here, through handshake and transfer."""
    async with socket_pair() as (left, right), trio.open_nursery() as nursery:
        dialled, accepted = await secure_pair(Dribble(left), Dribble(right))
        ours, theirs = await open_accepted(dialled, accepted, nursery)
        received = bytearray()
        with trio.fail_after(10):
            await ours.write(bytes(2_000))
            while len(received) < 2_000:
                received += await theirs.read(65_536)
        nursery.cancel_scope.cancel()


async def test_what_libp2p_says_about_bad_peers_is_not_logged(hosts, caplog):
    """Upstream writes ERROR when a signature is wrong; here it is the reason why the peer was not reached."""
    _, client = hosts
    liar = Identity(os.urandom(32))
    liar.noise.libp2p_privkey = Liar(liar.noise.libp2p_privkey)

    async def answer(socket):
        with suppress(trio.BrokenResourceError):
            await secure(socket, liar, expected_peer_id=None)

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        address = f"/ip4/127.0.0.1/tcp/{listener.socket.getsockname()[1]}/p2p/{liar.peer_id}"
        with pytest.raises(PeerUnreachable, match="InvalidSignature"):
            await client.dial([address], PROTOCOL, timeout_seconds=5)
        nursery.cancel_scope.cancel()
    assert not [record for record in caplog.records if record.name.startswith("libp2p")]


class Liar:
    """A key that signs something else than what it is given."""

    def __init__(self, inner):
        self.get_public_key = inner.get_public_key
        self._inner = inner

    def sign(self, data):
        return self._inner.sign(data + b"!")


async def test_a_peer_with_another_kind_of_key_is_refused():
    """Upstream takes RSA, ECDSA and secp256k1 identities too."""
    identity = Identity(os.urandom(32))
    stranger = Identity(os.urandom(32))
    stranger.noise = NoiseTransport(create_secp256k1_key_pair(), create_x25519_key_pair().private_key)
    async with socket_pair() as (left, right), trio.open_nursery() as nursery:
        nursery.start_soon(partial(secure, left, stranger, expected_peer_id=identity.peer_id))
        with trio.fail_after(5), pytest.raises(ProtocolViolation, match="Ed25519"):
            await secure(right, identity, expected_peer_id=None)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("dialled", [True, False], ids=["dialled", "accepted"])
async def test_a_long_handshake_message_is_not_even_read(dialled):
    """Upstream parses the key of whoever sends one, and an RSA key of 64 KiB holds its process for 13 s."""
    ours, stranger = Identity(os.urandom(32)), Identity(os.urandom(32))
    stranger.noise.libp2p_privkey = Verbose(stranger.noise.libp2p_privkey)
    expected = {True: stranger.peer_id, False: None}, {True: None, False: ours.peer_id}
    async with socket_pair() as (left, right), trio.open_nursery() as nursery:
        nursery.start_soon(partial(secure, left, stranger, expected_peer_id=expected[1][dialled]))
        with trio.fail_after(5), pytest.raises(ProtocolViolation, match="at most 1024 bytes, found 2"):
            await secure(right, ours, expected_peer_id=expected[0][dialled])
        nursery.cancel_scope.cancel()


class Verbose(Liar):
    """A key whose signatures are long."""

    def sign(self, _data):
        return bytes(2000)


@pytest.mark.parametrize("end", ["refused", "cancelled"])
async def test_a_stream_without_a_protocol_is_not_kept(end):
    """A relay opens one for every circuit; those that the peer does not take must not add up."""
    async with socket_pair() as (left, right), trio.open_nursery() as nursery:
        dialled, accepted = await secure_pair(left, right)
        nursery.start_soon(dialled.run)
        nursery.start_soon(accepted.run)
        with trio.fail_after(5):
            if end == "refused":
                async with trio.open_nursery() as both:
                    both.start_soon(refuse_one, accepted)
                    with pytest.raises(ProtocolViolation):
                        await dialled.open_stream(PROTOCOL)
            else:
                with trio.move_on_after(0.05):
                    await dialled.open_stream(PROTOCOL)
                await refuse_one(accepted)
        assert dialled._muxer._streams == accepted._muxer._streams == {}
        nursery.cancel_scope.cancel()


async def refuse_one(connection):
    """Offer another protocol, until the peer has reset the stream."""
    raw = await connection.accept_stream()
    with suppress(trio.BrokenResourceError, ProtocolViolation):
        await raw.negotiate(["/another/1"])
    with pytest.raises(trio.BrokenResourceError):
        await raw.read(1)


async def test_an_identity_is_the_one_expected_or_none():
    """The dialler refuses whoever proves another identity than the address says, before it gives its own away."""
    async with socket_pair() as (left, right), trio.open_nursery() as nursery:

        async def impostor():
            with suppress(trio.BrokenResourceError, ProtocolViolation):
                await secure(right, Identity(os.urandom(32)), expected_peer_id=None)

        nursery.start_soon(impostor)
        with trio.fail_after(5), pytest.raises(ProtocolViolation):
            await secure(left, Identity(os.urandom(32)), expected_peer_id=Identity(os.urandom(32)).peer_id)
        nursery.cancel_scope.cancel()


async def test_a_stranger_announces_more_than_is_buffered():
    """Upstream waits for as many bytes as are announced, up to 2^63, and keeps what comes; here they are not read."""
    async with socket_pair() as (left, right):
        await right.send_all(HUGE_LENGTH + bytes(100_000))
        with trio.fail_after(5), pytest.raises(ProtocolViolation):
            await secure(left, Identity(os.urandom(32)), expected_peer_id=None)


async def test_nor_does_a_peer_inside_noise():
    """The second negotiation has the same bounds as the first."""
    identity = Identity(os.urandom(32))
    async with socket_pair() as (left, right), trio.open_nursery() as nursery:

        async def announce():
            link = link_of(left)
            await multistream.select(NOISE, link)
            session = await Identity(os.urandom(32)).noise.secure_outbound(link, ID.from_base58(identity.peer_id))
            await session.write(HUGE_LENGTH)

        nursery.start_soon(announce)
        with trio.fail_after(5), pytest.raises(ProtocolViolation):
            await secure(right, identity, expected_peer_id=None)


async def test_nor_does_a_stream():
    """The third negotiation, the one of a stream, has the same bounds."""
    async with socket_pair() as (left, right), trio.open_nursery() as nursery:
        dialled, accepted = await secure_pair(left, right)
        nursery.start_soon(dialled.run)
        nursery.start_soon(accepted.run)
        await dialled._muxer.open_stream().write(HUGE_LENGTH)
        with trio.fail_after(5):
            theirs = await accepted.accept_stream()
            with pytest.raises(ProtocolViolation):
                await theirs.negotiate([PROTOCOL])
        nursery.cancel_scope.cancel()


async def test_a_connection_can_be_closed_at_once():
    """Nothing is waited for, and the peer sees the end."""
    async with socket_pair() as (left, right), trio.open_nursery() as nursery:
        dialled, accepted = await secure_pair(left, right)
        nursery.start_soon(dialled.run)
        nursery.start_soon(accepted.run)
        dialled.close_now()
        with trio.fail_after(5):
            assert await accepted.accept_stream() is None
            assert await dialled.accept_stream() is None


async def test_a_connection_without_streams_is_closed():
    """A peer that connects and asks nothing gives its place back."""
    limits = HostLimits(idle_seconds=0.1)
    async with open_host(network_key=os.urandom(32), listen=["/ip4/127.0.0.1/tcp/0"], limits=limits) as server:
        socket = await trio.open_tcp_stream("127.0.0.1", int(server.addresses[0].split("/")[4]))
        async with socket:
            connection = await secure(socket, Identity(os.urandom(32)), expected_peer_id=server.peer_id)
            with trio.fail_after(5):
                await connection.run()


async def test_a_connection_carries_a_bounded_number_of_streams():
    """Above the bound a new stream is reset, and those that are open go on."""
    limits = HostLimits(streams_per_connection=2)
    async with open_host(network_key=os.urandom(32), listen=["/ip4/127.0.0.1/tcp/0"], limits=limits) as server:

        async def echo(stream):
            async for piece in stream:
                await stream.send_all(piece)

        server.serve(PROTOCOL, echo)
        socket = await trio.open_tcp_stream("127.0.0.1", int(server.addresses[0].split("/")[4]))
        async with socket, trio.open_nursery() as nursery:
            connection = await secure(socket, Identity(os.urandom(32)), expected_peer_id=server.peer_id)
            nursery.start_soon(connection.run)
            with trio.fail_after(5):
                first = await connection.open_stream(PROTOCOL)
                await connection.open_stream(PROTOCOL)
                with pytest.raises(trio.BrokenResourceError):
                    await connection.open_stream(PROTOCOL)
                await first.write(b"\0\0\0\0\2ok")
                assert await first.read(100) == b"\0\0\0\0\2ok"
            nursery.cancel_scope.cancel()


async def test_an_unknown_protocol_is_refused_by_name(hosts):
    """The peer is there but does not speak it."""
    server, client = hosts
    with pytest.raises(PeerUnreachable, match="not supported"):
        await client.dial(server.addresses, "/ddtp/nothing/1", timeout_seconds=5)


@pytest.mark.parametrize(
    "sent",
    [
        b"\0\x01x",
        b"\0\x20" + bytes(32),
        b"\0\x20" + bytes([9]) + bytes(31) + b"\0\x80" + bytes(128),
    ],
    ids=["no key", "a key of small order", "an answer that does not decrypt"],
)
async def test_bytes_that_are_no_handshake_are_a_violation(sent):
    """Whatever upstream and the libraries below it raise for bad bytes is the peer's fault here."""
    async with socket_pair() as (left, right):
        await right.send_all(b"\x13/multistream/1.0.0\n\x07/noise\n" + sent)
        with trio.fail_after(5), pytest.raises(ProtocolViolation, match="handshake"):
            await secure(left, Identity(os.urandom(32)), expected_peer_id=None)


async def test_bytes_that_are_no_text_are_a_violation():
    """The first negotiation expects ASCII."""
    async with socket_pair() as (left, right):
        await right.send_all(b"\x02\xff\n")
        with trio.fail_after(5), pytest.raises(ProtocolViolation):
            await secure(left, Identity(os.urandom(32)), expected_peer_id=None)


async def test_an_expected_identity_must_be_a_peer_id():
    """A text that is no base58 peer id is refused before anything is sent."""
    async with socket_pair() as (left, _):
        for text in ("0OIl", "did:key:z", "bafzaajaiaejca", "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"):
            with trio.fail_after(5), pytest.raises(UsageError):
                await secure(left, Identity(os.urandom(32)), expected_peer_id=text)


async def test_another_version_of_libp2p_is_refused(monkeypatch):
    """The containments were tested with one version only."""
    monkeypatch.setattr(libp2p, "TESTED_VERSION", "0.0.0")
    with pytest.raises(EnvironmentProblem):
        async with open_host(network_key=os.urandom(32)):
            pass


@pytest.mark.slow
def test_importing_it_warns_about_nothing():
    """No filter of warnings is needed for libp2p."""
    code = "import ddtp.transfer.host"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)
