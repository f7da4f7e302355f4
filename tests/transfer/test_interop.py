"""Other implementations at the other end of a real connection: libp2p's own session and muxer, and js-libp2p."""

import os
import shutil
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from libp2p.peer.id import ID
from libp2p.protocol_muxer.multiselect import Multiselect
from libp2p.protocol_muxer.multiselect_client import MultiselectClient
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.stream_muxer.exceptions import MuxedStreamEOF
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux as StockYamux

from ddtp.transfer.addresses import PeerAddress
from ddtp.transfer.libp2p import Identity, _Link, secure
from tests.transfer.sockets import read_exactly, socket_pair

PROTOCOL = "/ddtp/echo/1"
ECHO_BYTES = 10 << 20
JS = Path(__file__).parent / "js"
JS_SECONDS = 60
SECONDS = 30


async def echo(stream):
    """Send back what comes, until its end."""
    while piece := await stream.read(65_536):
        await stream.write(bytes(piece))
    await stream.close()


async def compare(stream):
    """Send much, and check that the same comes back, then the end."""
    sent = os.urandom(ECHO_BYTES)

    async def send():
        await stream.write(sent)
        await stream.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        assert await read_exactly(stream, ECHO_BYTES) == sent
        assert await stream.read(1) == b""


@asynccontextmanager
async def running(connection):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        yield connection
        nursery.cancel_scope.cancel()


class Stock:
    """libp2p's own objects from the handshake to the stream."""

    def __init__(self, socket, identity):
        self._link = _Link(socket, most_bytes=65_535)  # everything, not the handshake only
        self._identity = identity

    async def dial(self, peer_id):
        client = MultiselectClient()
        await client.select_one_of([NOISE], MultiselectCommunicator(self._link), SECONDS)
        session = await self._identity.noise.secure_outbound(self._link, ID.from_base58(peer_id))
        await client.select_one_of([YAMUX], MultiselectCommunicator(session), SECONDS)
        return StockYamux(session, session.get_remote_peer(), is_initiator=True)

    async def accept(self):
        await Multiselect({NOISE: None}).negotiate(MultiselectCommunicator(self._link), SECONDS)
        session = await self._identity.noise.secure_inbound(self._link)
        await Multiselect({YAMUX: None}).negotiate(MultiselectCommunicator(session), SECONDS)
        return StockYamux(session, session.get_remote_peer(), is_initiator=False)


class StockStream:
    """Its stream with the end of ours."""

    def __init__(self, inner):
        self.write = inner.write
        self.close = inner.close
        self._inner = inner

    async def read(self, max_bytes):
        try:
            return await self._inner.read(max_bytes)
        except MuxedStreamEOF:
            return b""


@pytest.mark.slow
@pytest.mark.parametrize("echoing", ["stock", "ours"])
async def test_we_dial_libp2p(echoing):
    """A stream that we open carries 10 MiB each way, whoever echoes."""
    ours, theirs, done = Identity(os.urandom(32)), Identity(os.urandom(32)), trio.Event()
    async with socket_pair() as (left, right), trio.open_nursery() as nursery:

        async def peer():
            muxer = await Stock(right, theirs).accept()
            nursery.start_soon(muxer.start)
            stream = await muxer.accept_stream()
            await Multiselect({PROTOCOL: None}).negotiate(MultiselectCommunicator(stream), SECONDS)
            await (echo if echoing == "stock" else compare)(StockStream(stream))
            done.set()

        nursery.start_soon(peer)
        with trio.fail_after(SECONDS):
            async with running(await secure(left, ours, expected_peer_id=theirs.peer_id)) as connection:
                stream = await connection.open_stream(PROTOCOL)
                await (compare if echoing == "stock" else echo)(stream)
                await done.wait()  # a connection that closes resets what libp2p still writes
        nursery.cancel_scope.cancel()


@pytest.mark.slow
@pytest.mark.parametrize("echoing", ["stock", "ours"])
async def test_libp2p_dials_us(echoing):
    """A stream that libp2p opens carries 10 MiB each way, whoever echoes."""
    ours, theirs, done = Identity(os.urandom(32)), Identity(os.urandom(32)), trio.Event()
    async with socket_pair() as (left, right), trio.open_nursery() as nursery:

        async def peer():
            muxer = await Stock(left, theirs).dial(ours.peer_id)
            nursery.start_soon(muxer.start)
            await muxer.event_started.wait()
            stream = await muxer.open_stream()
            await MultiselectClient().select_one_of([PROTOCOL], MultiselectCommunicator(stream), SECONDS)
            await (echo if echoing == "stock" else compare)(StockStream(stream))
            done.set()

        nursery.start_soon(peer)
        with trio.fail_after(SECONDS):
            async with running(await secure(right, ours, expected_peer_id=None)) as connection:
                assert connection.peer_id == theirs.peer_id
                stream = await connection.accept_stream()
                assert await stream.negotiate([PROTOCOL]) == PROTOCOL
                await (compare if echoing == "stock" else echo)(stream)
                await done.wait()  # a connection that closes resets what libp2p still writes
        nursery.cancel_scope.cancel()


def why_without_js():
    """What is missing for js-libp2p, or nothing."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not (JS / "node_modules").is_dir():
        return "`npm install --no-package-lock` was not run in tests/transfer/js"
    return ""


needs_js = pytest.mark.skipif(bool(why_without_js()), reason=why_without_js() or "js-libp2p is there")


@pytest.mark.slow
@needs_js
async def test_we_dial_js():
    """js-libp2p echoes 10 MiB."""
    node = await trio.lowlevel.open_process(
        ["node", JS / "echo.mjs", "listen"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    try:
        with trio.fail_after(JS_SECONDS):
            line = b""
            while not line.endswith(b"\n"):
                line += await node.stdout.receive_some() or pytest.fail("node ended")
            address = PeerAddress(line.decode().strip())
            async with await trio.open_tcp_stream(address.host, address.port) as socket:
                connection = await secure(socket, Identity(os.urandom(32)), expected_peer_id=address.peer_id)
                async with running(connection):
                    await compare(await connection.open_stream(PROTOCOL))
    finally:
        node.kill()
        await node.wait()
        await node.stdout.aclose()


@pytest.mark.slow
@needs_js
async def test_js_dials_us():
    """js-libp2p gets the 10 MiB back that it sends."""
    identity = Identity(os.urandom(32))
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, trio.open_nursery() as nursery:
        served = []

        async def serve_stream(stream):
            assert await stream.negotiate([PROTOCOL]) == PROTOCOL
            await echo(stream)
            served.append(stream)

        async def serve():
            socket = await listener.accept()
            async with socket, running(await secure(socket, identity, expected_peer_id=None)) as connection:
                while (stream := await connection.accept_stream()) is not None:
                    nursery.start_soon(serve_stream, stream)

        nursery.start_soon(serve)
        address = f"/ip4/127.0.0.1/tcp/{listener.socket.getsockname()[1]}/p2p/{identity.peer_id}"
        with trio.fail_after(JS_SECONDS):
            done = await trio.run_process(
                ["node", JS / "echo.mjs", "dial", address, str(ECHO_BYTES)], capture_stdout=True
            )
        assert done.stdout == b"same\n"
        assert len(served) == 1
        nursery.cancel_scope.cancel()
