"""Requests and responses over flow streams in memory."""

import itertools
from contextlib import suppress

import pytest
import trio

from ddtp.errors import ConsentInvalid, PeerRefused, PeerStalled, PeerVanished, ProtocolViolation
from ddtp.transfer.pump import SLOWEST_BYTES_PER_SECOND
from ddtp.transfer.rpc import IDLE_SECONDS, answer, call


async def _echo(request: bytes, peer_id: str) -> bytes:
    return peer_id.encode() + b":" + request


async def _serve(stream, handle=_echo, *, max_request_bytes=100, timeout_seconds=5):
    await answer(stream, handle, max_request_bytes=max_request_bytes, timeout_seconds=timeout_seconds)


async def _call(stream, request=b"hi", *, max_response_bytes=2000, timeout_seconds=5):
    return await call(stream, request, max_response_bytes=max_response_bytes, timeout_seconds=timeout_seconds)


async def test_several_requests_follow_each_other(make_flow_pair, nursery):
    """Each request gets its response and the handler knows who asks; the end of the stream ends the answering."""
    client, server = make_flow_pair()
    async with trio.open_nursery() as inner:
        inner.start_soon(_serve, server)
        assert await _call(client, b"one") == b"left:one"
        assert await _call(client, b"") == b"left:"
        await client.send_eof()


async def test_an_error_of_ours_reaches_the_caller_with_its_code(make_flow_pair, nursery):
    """A handler's DdtpError arrives as code and text, and the stream goes on."""
    client, server = make_flow_pair()

    async def handle(request, peer_id):
        if request == b"bad":
            raise ConsentInvalid("expected a grant\x1b[2J, found none")
        return b"fine"

    nursery.start_soon(_serve, server, handle)
    with pytest.raises(PeerRefused) as refused:
        await _call(client, b"bad")
    assert refused.value.reason_code == "consent-invalid"
    assert refused.value.message == "expected a grant?[2J, found none"
    assert await _call(client, b"good") == b"fine"


async def test_a_defect_is_told_by_code_only(make_flow_pair):
    """An unexpected exception is raised at the server; its text does not leave the machine."""
    client, server = make_flow_pair()
    outcome = []

    async def handle(request, peer_id):
        raise RuntimeError("secret path")

    async def serve():
        with pytest.raises(RuntimeError):
            await _serve(server, handle)
        outcome.append("raised")

    async with trio.open_nursery() as inner:
        inner.start_soon(serve)
        with pytest.raises(PeerRefused) as refused:
            await _call(client)
    assert refused.value.reason_code == "internal"
    assert "secret" not in refused.value.message
    assert outcome == ["raised"]


async def test_a_long_request_is_refused_unread(make_flow_pair):
    """The announced length decides: both sides learn it before the bytes are there."""
    client, server = make_flow_pair()

    async def serve():
        with pytest.raises(ProtocolViolation):
            await _serve(server)

    async with trio.open_nursery() as inner:
        inner.start_soon(serve)
        with pytest.raises(PeerRefused) as refused:
            await _call(client, bytes(101))
    assert refused.value.reason_code == "protocol-violation"


@pytest.mark.parametrize(
    "response",
    [
        b"\x00\x00\x10\x00",
        b"\x00\x00\x00\x00",
        b"\x00\x00\x00\x01\x02",
        b"\x00\x00\x00\x01\x01",
        b"\x00\x00\x00\x03\x01\x01\xff",
        b"\x00\x00\x00\x03\x01\x01A",
    ],
    ids=["too long", "no status", "unknown status", "no code", "code not text", "code in capitals"],
)
async def test_a_malformed_response_is_a_violation(make_flow_pair, response):
    """What the format does not allow is refused by the caller."""
    client, server = make_flow_pair()
    await server.send_all(response)
    with pytest.raises(ProtocolViolation):
        await _call(client)


async def test_a_response_above_the_callers_limit_is_refused(make_flow_pair):
    """The limit holds even where an error response might have been that long."""
    client, server = make_flow_pair()
    await server.send_all(b"\x00\x00\x00\x0c\x00" + bytes(11))
    with pytest.raises(ProtocolViolation):
        await _call(client, max_response_bytes=10)


async def test_a_silent_peer_stalls_both_sides(make_flow_pair, autojump_clock):
    """Waiting ends at the deadline, for the caller and for the server."""
    client, _server = make_flow_pair()
    with pytest.raises(PeerStalled):
        await _call(client, timeout_seconds=3)
    with pytest.raises(PeerStalled):
        await _serve(client, timeout_seconds=3)


async def test_a_vanished_peer_is_told_from_a_silent_one(make_flow_pair):
    """A broken stream and a stream that ends without a response are both PeerVanished."""
    client, server = make_flow_pair()
    await server.send_eof()
    with pytest.raises(PeerVanished):
        await _call(client)
    client, server = make_flow_pair()
    server.abort()
    with pytest.raises(PeerVanished):
        await _call(client)


async def test_a_request_cut_short_is_a_violation(make_flow_pair):
    """A stream that ends inside a request is not a clean end."""
    client, server = make_flow_pair()
    await client.send_all(b"\x00\x00\x00\x05hel")
    await client.send_eof()
    with pytest.raises(ProtocolViolation):
        await _serve(server)


async def test_a_long_error_text_is_cut_at_a_character(make_flow_pair, nursery):
    """The text of an error is bounded, in whole characters."""
    client, server = make_flow_pair()

    async def handle(request, peer_id):
        raise ConsentInvalid("许" * 1000)

    nursery.start_soon(_serve, server, handle)
    with pytest.raises(PeerRefused) as refused:
        await _call(client, max_response_bytes=10)
    assert set(refused.value.message) == {"许"}
    assert 300 < len(refused.value.message) < 342


async def test_a_refusal_arrives_although_the_stream_ends_with_it(hosts):
    """Over the network, where a reset overtakes data, the caller still learns why."""
    server, client = hosts
    server.serve("/ddtp/echo/1", _serve)
    for _ in range(20):
        stream = await client.dial(server.addresses, "/ddtp/echo/1", timeout_seconds=5)
        with pytest.raises(PeerRefused) as refused:
            await _call(stream, bytes(101))
        assert refused.value.reason_code == "protocol-violation"
        await stream.aclose()


async def test_a_place_is_not_held_by_asking_now_and_then(make_flow_pair, autojump_clock):
    """Each question comes in time, and still the stream ends when its waits have added up."""
    client, server = make_flow_pair()
    began = trio.current_time()

    async def ask():
        with suppress(PeerVanished):
            while True:
                await _call(client)
                await trio.sleep(4)

    async with trio.open_nursery() as inner:
        inner.start_soon(ask)
        with trio.fail_after(10 * IDLE_SECONDS), pytest.raises(PeerStalled):
            await _serve(server)
        server.abort()
    assert trio.current_time() - began < 2 * IDLE_SECONDS


@pytest.mark.parametrize("quick", [0, 1000])
async def test_nor_by_taking_each_answer_just_in_time(quick, autojump_clock):
    """A client that has asked much ahead, and makes room for one answer at a time; quick ones before earn nothing."""
    stream = Reluctant(quick)
    with trio.fail_after(10 * IDLE_SECONDS), pytest.raises(PeerStalled, match="the response to be taken"):
        await _serve(stream)
    assert trio.current_time() < 2 * IDLE_SECONDS


async def test_a_slow_client_gets_long_answers(autojump_clock):
    """Their bytes earn the time that they take on the slowest link."""
    with trio.move_on_after(10 * IDLE_SECONDS) as scope:
        await _serve(Reluctant(0), handle=long_answer)
    assert scope.cancelled_caught


async def long_answer(_request, _peer_id):
    return bytes(4 * SLOWEST_BYTES_PER_SECOND)


class Reluctant:
    """A stream with questions without end; after the first answers each one waits almost as long as it may."""

    remote_peer_id = "left"

    def __init__(self, quick):
        self._quick = quick
        self._questions = itertools.cycle((b"\0\0\0\2", b"hi"))

    async def receive_some(self, _max_bytes):
        return next(self._questions)

    async def send_all(self, _data):
        self._quick -= 1
        if self._quick < 0:
            await trio.sleep(4.9)


async def test_a_client_that_keeps_asking_keeps_its_stream(make_flow_pair, nursery, autojump_clock):
    """Fetching something large in pieces may take as long as it takes."""
    client, server = make_flow_pair()
    nursery.start_soon(_serve, server)
    for _ in range(int(3 * IDLE_SECONDS)):
        assert await _call(client) == b"left:hi"
        await trio.sleep(0.99)
