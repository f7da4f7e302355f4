"""Flow streams over memory: trio's own contract suite, and what spec/14 adds to it."""

import random

import pytest
import trio
import trio.testing

from ddtp.errors import ProtocolViolation
from ddtp.transfer.records import PAYLOAD_BYTES, PIECE_BYTES, WINDOW_BYTES, RecordType, encode_data, encode_record
from ddtp.transfer.stream import CLOSE_SECONDS, open_flow_stream
from ddtp.transfer.turns import MANY
from tests.transfer.turns import counted_turns


@pytest.mark.slow
async def test_follows_the_contract_of_a_half_closeable_stream(make_flow_pair):
    """Trio's suite for streams finds nothing, also when the sender is out of credit."""

    async def make():
        return make_flow_pair()

    async def make_clogged():
        left, right = make_flow_pair()
        await left.send_all(bytes(WINDOW_BYTES))
        await right.send_all(bytes(WINDOW_BYTES))
        return left, right

    with trio.fail_after(60):
        await trio.testing.check_two_way_stream(make, make_clogged)
        await trio.testing.check_half_closeable_stream(make, make_clogged)


async def read_to_end(stream):
    with trio.fail_after(5):
        async for _ in stream:
            pass


async def _start_raw(raw_pair, nursery):
    ours, theirs = raw_pair
    return open_flow_stream(ours, nursery, remote_peer_id="peer"), ours, theirs


async def test_a_pausing_reader_neither_breaks_the_stream_nor_leaves_it_undrained(
    make_flow_pair, nursery, autojump_clock
):
    """A day's pause: one window is taken from the raw stream, the sender waits, and nothing is lost."""
    left, right = make_flow_pair()
    data = random.Random(1).randbytes(3 * WINDOW_BYTES)

    async def send():
        await left.send_all(data)
        await left.aclose()

    nursery.start_soon(send)
    await trio.testing.wait_all_tasks_blocked()
    assert len(right._arrived) == WINDOW_BYTES
    await trio.sleep(86_400)
    received = bytearray()
    async for piece in right:
        received += piece
    assert received == data


async def test_several_records_go_out_in_one_write(raw_pair, nursery, monkeypatch):
    """A large send costs one write for each four records, and a credit that ends inside a record is used up."""
    stream, ours, theirs = await _start_raw(raw_pair, nursery)
    written = []

    async def write(data):
        written.append(data)

    monkeypatch.setattr(ours, "write", write)
    payload = bytes(WINDOW_BYTES)
    await stream.send_all(payload)
    assert [len(data) for data in written[:-1]] == [4 * PIECE_BYTES] * 16
    assert b"".join(written) == encode_data(payload)
    await theirs.write(encode_record(RecordType.CREDIT, 1))
    with trio.fail_after(5):
        await stream.send_all(b"x")
    assert written[-1] == encode_data(b"x")


async def test_an_end_of_the_raw_stream_is_not_the_end(raw_pair, nursery):
    """Without END the reader gets what arrived and then learns that the connection broke."""
    stream, ours, theirs = await _start_raw(raw_pair, nursery)
    await theirs.write(encode_data(b"half"))
    await theirs.close()
    assert await stream.receive_some() == b"half"
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    await stream.wait_finished()
    assert ours.was_reset


async def test_a_flood_of_tiny_records_lets_others_have_their_turn(raw_pair, nursery):
    """A peer that sends single bytes does not hold the event loop for as long as they last."""
    stream, _ours, theirs = await _start_raw(raw_pair, nursery)
    await theirs.write(encode_data(b"x") * 20 * MANY)
    received = b""
    async with counted_turns() as turns:
        while len(received) < 20 * MANY:
            received += await stream.receive_some()
    assert received == b"x" * 20 * MANY
    assert turns.count >= 10


async def test_closing_waits_until_the_peer_has_confirmed_the_end(raw_pair, nursery, autojump_clock):
    """`aclose` returns when END_ACK arrives, not before."""
    stream, _, theirs = await _start_raw(raw_pair, nursery)
    await stream.send_all(b"last")

    async def peer():
        expected = encode_data(b"last") + encode_record(RecordType.END)
        while expected:
            expected = expected.removeprefix(await theirs.read(len(expected)))
        await trio.sleep(7)
        await theirs.write(encode_record(RecordType.END_ACK))

    nursery.start_soon(peer)
    before = trio.current_time()
    await stream.aclose()
    assert trio.current_time() - before >= 7


async def test_closing_tells_that_the_last_bytes_may_be_lost(raw_pair, nursery, autojump_clock):
    """A peer that never confirms is an error of `aclose`, after its deadline."""
    stream, _, _theirs = await _start_raw(raw_pair, nursery)
    await stream.send_all(b"last")
    before = trio.current_time()
    with pytest.raises(trio.BrokenResourceError):
        await stream.aclose()
    assert trio.current_time() - before >= CLOSE_SECONDS


async def test_closing_an_unused_stream_to_a_dead_peer_is_quiet(raw_pair, nursery):
    """Nothing was sent, so nothing can be lost."""
    stream, _, theirs = await _start_raw(raw_pair, nursery)
    await theirs.reset()
    await stream.aclose()


async def test_a_cancelled_send_breaks_the_stream_for_both(make_flow_pair):
    """The sender cannot go on, and the receiver does not take the part for the whole."""
    left, right = make_flow_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_all, bytes(2 * WINDOW_BYTES))
        assert await right.receive_some(1)
        nursery.cancel_scope.cancel()
    with trio.fail_after(5), pytest.raises(trio.BrokenResourceError):
        await left.send_all(b"more")
    with pytest.raises(trio.BrokenResourceError):
        await read_to_end(right)


@pytest.mark.parametrize(
    "sent",
    [
        encode_data(bytes(PAYLOAD_BYTES)) * (WINDOW_BYTES // PAYLOAD_BYTES + 1),
        encode_record(RecordType.CREDIT, 1),
        encode_record(RecordType.END_ACK),
        b"\xff\0\0\0\0",
    ],
    ids=["beyond the window", "credit for nothing", "confirmation of no end", "unknown type"],
)
async def test_a_violation_is_named_and_resets_the_stream(raw_pair, nursery, sent):
    """The peer broke the protocol: every call says so, and the raw stream is reset."""
    stream, ours, theirs = await _start_raw(raw_pair, nursery)
    await theirs.write(sent)
    with trio.fail_after(5):
        await stream.wait_finished()
    assert ours.was_reset
    with pytest.raises(ProtocolViolation):
        await read_to_end(stream)
    with pytest.raises(ProtocolViolation):
        await stream.send_all(b"x")


async def test_cancelling_the_nursery_breaks_the_stream(raw_pair):
    """A stream whose background is gone does not wait for ever."""
    async with trio.open_nursery() as inner:
        stream, ours, _ = await _start_raw(raw_pair, inner)
        await trio.testing.wait_all_tasks_blocked()
        inner.cancel_scope.cancel()
    assert ours.was_reset
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()


async def test_a_peer_that_stays_open_after_both_ends_is_left(raw_pair, nursery, autojump_clock):
    """After both ends are confirmed the raw stream is reset if the peer does not end it."""
    stream, ours, theirs = await _start_raw(raw_pair, nursery)
    await theirs.write(encode_record(RecordType.END))
    assert await stream.receive_some() == b""
    assert await theirs.read(100) == encode_record(RecordType.END_ACK)
    nursery.start_soon(stream.aclose)
    assert await theirs.read(100) == encode_record(RecordType.END)
    await theirs.write(encode_record(RecordType.END_ACK))
    with trio.fail_after(60):
        await stream.wait_finished()
    assert ours.was_reset


async def test_two_full_pipes_do_not_wait_for_each_other(nursery, lockstep_pair):
    """Both sides send and receive at once over a raw pair without any buffer."""
    left_raw, right_raw = lockstep_pair
    left = open_flow_stream(left_raw, nursery, remote_peer_id="right")
    right = open_flow_stream(right_raw, nursery, remote_peer_id="left")
    total = 3 * WINDOW_BYTES

    async def receive(stream):
        received = 0
        async for piece in stream:
            received += len(piece)
        assert received == total

    async def send(stream):
        await stream.send_all(bytes(total))
        await stream.send_eof()

    with trio.fail_after(20):
        async with trio.open_nursery() as inner:
            for stream in (left, right):
                inner.start_soon(receive, stream)
                inner.start_soon(send, stream)
