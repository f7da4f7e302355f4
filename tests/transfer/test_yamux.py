"""Yamux on real connections: streams as the layers above need them, and peers that do what they must not."""

import itertools
import os
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ddtp.errors import ProtocolViolation
from ddtp.transfer.frames import ACK, FIN, MAX_FRAME_BYTES, RST, SYN, Frame, FrameDecoder, FrameType
from ddtp.transfer.records import WINDOW_BYTES
from ddtp.transfer.relay import RelayLimits
from ddtp.transfer.yamux import CIRCUIT_WINDOW_BYTES, FIRST_WINDOW_BYTES, LENT_BYTES, MAX_STREAMS, Yamux
from tests.transfer.sockets import open_accepted, read_exactly, secure_pair, socket_pair
from tests.transfer.turns import counted_turns

DATA, UPDATE, PING, GO_AWAY = FrameType


def frame(frame_type, stream_id=0, flags=0, number=0):
    return Frame(frame_type, stream_id, flags, number).encode()


OPEN = frame(UPDATE, 1, SYN)


class Peer:
    """A peer that sends what it likes, and the connection that has to bear it."""

    def __init__(self, session, muxer):
        self._session = session
        self._decoder = FrameDecoder()
        self.muxer = muxer
        self.write = session.write
        self.close_now = session.close_now
        self.outcome = None
        self.ended = trio.Event()

    async def run(self):
        try:
            await self.muxer.run()
        except ProtocolViolation as err:
            self.outcome = err
        self.ended.set()

    async def write_all(self, batches):
        for batch in batches:
            await self.write(batch)

    async def read_frames(self):
        """What one read of ours brings, payload left out."""
        return [
            found
            for data in await self._session.receive()
            for found in self._decoder.feed(data)
            if isinstance(found, Frame)
        ]

    async def wait_for(self, frame_type, flags):
        while True:
            for found in await self.read_frames():
                if found.type is frame_type and found.flags == flags:
                    return found

    async def opened(self):
        """A stream that this peer opens."""
        await self.write(OPEN)
        stream = await self.muxer.accept_stream()
        assert stream is not None
        return stream


@asynccontextmanager
async def against_peer():
    """A running muxer that a peer has dialled."""
    async with socket_pair() as (left, right):
        dialled, accepted = await secure_pair(left, right)
        peer = Peer(dialled._muxer._session, accepted._muxer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.run)
            with trio.fail_after(20):
                yield peer
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def stream_pair():
    """Both ends of a stream, dialled first, with the nursery of their connections."""
    async with socket_pair() as (left, right), trio.open_nursery() as nursery:
        dialled, accepted = await secure_pair(left, right)
        ours, theirs = await open_accepted(dialled, accepted, nursery)
        with trio.fail_after(20):
            yield ours, theirs, nursery
        nursery.cancel_scope.cancel()


# --- streams ---


@pytest.mark.slow
async def test_both_directions_at_once_and_an_end_of_each():
    """More than a window goes each way at the same time, and each side ends when it wants."""
    async with stream_pair() as (left, right, _):
        sent = {left: os.urandom(3 * WINDOW_BYTES), right: os.urandom(2 * WINDOW_BYTES)}

        async def send(stream):
            await stream.write(sent[stream])
            await stream.close()

        async def receive(stream, expected):
            assert await read_exactly(stream, len(expected)) == expected
            assert await stream.read(1) == b""

        async with trio.open_nursery() as nursery:
            for stream, other in ((left, right), (right, left)):
                nursery.start_soon(send, stream)
                nursery.start_soon(receive, other, sent[stream])
        assert not left._muxer._streams
        assert not right._muxer._streams
        assert left._muxer._spare_bytes == right._muxer._spare_bytes == LENT_BYTES


async def test_many_streams_do_not_mix():
    """Each of twenty streams at once brings back its own bytes."""
    async with socket_pair() as (left, right), trio.open_nursery() as nursery:
        dialled, accepted = await secure_pair(left, right)
        nursery.start_soon(dialled.run)
        nursery.start_soon(accepted.run)

        async def echo(stream):
            assert await stream.negotiate(["/echo"]) == "/echo"
            while piece := await stream.read(5000):
                await stream.write(piece)
            await stream.close()

        async def serve():
            while (stream := await accepted.accept_stream()) is not None:
                nursery.start_soon(echo, stream)

        async def ask(number):
            stream = await dialled.open_stream("/echo")
            data = bytes([number]) * 50_000
            await stream.write(data)
            await stream.close()
            assert await read_exactly(stream, len(data)) == data

        nursery.start_soon(serve)
        with trio.fail_after(20):
            async with trio.open_nursery() as asking:
                for number in range(20):
                    asking.start_soon(ask, number)
        nursery.cancel_scope.cancel()


async def test_a_writer_waits_for_the_window_and_for_nothing_else():
    """Exactly the first window goes out; the grant of one byte lets exactly one byte follow, at once."""
    async with against_peer() as peer, trio.open_nursery() as nursery:
        stream = await peer.opened()
        nursery.start_soon(stream.write, bytes(FIRST_WINDOW_BYTES + 2))
        received = 0
        while received < FIRST_WINDOW_BYTES:
            received += sum(each.number for each in await peer.read_frames() if each.type is DATA)
        assert received == FIRST_WINDOW_BYTES
        await trio.testing.wait_all_tasks_blocked(0.01)
        for _ in range(2):
            await peer.write(frame(UPDATE, 1, number=1))
            assert (await peer.wait_for(DATA, 0)).number == 1


async def test_a_stream_starts_small_and_is_widened_when_its_protocol_is_known():
    """A stranger's stream may fill 256 KiB; one that is served, a whole window."""
    async with against_peer() as peer, trio.open_nursery() as nursery:
        stream = await peer.opened()
        assert await peer.read_frames() == [Frame(UPDATE, 1, ACK)]
        nursery.start_soon(stream.negotiate, ["/x"])
        proposal = b"\x13/multistream/1.0.0\n\x03/x\n"
        await peer.write(frame(DATA, 1, number=len(proposal)), proposal)
        granted = await peer.wait_for(UPDATE, 0)
        assert granted.number == WINDOW_BYTES - FIRST_WINDOW_BYTES + len(proposal)


async def test_a_cancelled_wait_for_the_window_spares_the_connection():
    """Nothing was torn, and the other streams go on."""
    async with stream_pair() as (left, right, _):
        with trio.move_on_after(0.05) as scope:
            await left.write(bytes(2 * WINDOW_BYTES))
        assert scope.cancelled_caught
        await left.reset()
        with pytest.raises(trio.BrokenResourceError):
            await read_exactly(right, 2 * WINDOW_BYTES)
        other = right._muxer.open_stream()
        await other.write(b"still here")
        accepted = await left._muxer.accept_stream()
        assert await read_exactly(accepted, 10) == b"still here"


async def test_a_write_that_is_cancelled_on_the_socket_spares_the_connection():
    """Its frame arrives whole, before whatever comes next, though nobody else writes; other streams never notice."""
    async with socket_pair() as (left, right), trio.open_nursery() as nursery:
        dialled, accepted = await secure_pair(left, right)
        nursery.start_soon(dialled._muxer.run)
        whole = 0
        while True:  # until the system takes no more, as nobody reads
            with trio.move_on_after(0.2):
                await dialled._muxer.open_stream().write(bytes(FIRST_WINDOW_BYTES))
            if dialled._muxer._session.is_behind:
                break
            whole += 1
        nursery.start_soon(accepted._muxer.run)
        with trio.fail_after(20):
            theirs = [await accepted._muxer.accept_stream() for _ in range(whole + 1)]
            for stream in theirs:
                assert await read_exactly(stream, FIRST_WINDOW_BYTES) == bytes(FIRST_WINDOW_BYTES)
            other = dialled._muxer.open_stream()
            await other.write(b"still here")
            while (found := await accepted._muxer.accept_stream()).stream_id != other.stream_id:
                pass
            assert await read_exactly(found, 10) == b"still here"
        nursery.cancel_scope.cancel()


async def test_a_write_that_waits_for_its_turn_takes_nothing_with_it():
    """Cancelled before it began, it leaves the window and the frames for other streams as they were."""
    session = Reluctant()
    muxer = Yamux(session, is_initiator=True)
    stream = muxer.open_stream()
    with trio.move_on_after(0.01):
        await muxer.send_data(stream, memoryview(b"never"))
    session.is_willing = True
    await muxer.flush()
    await muxer.flush()
    assert session.written == [frame(UPDATE, 1, SYN, WINDOW_BYTES - FIRST_WINDOW_BYTES)]
    assert stream.spend_window(WINDOW_BYTES) == FIRST_WINDOW_BYTES


class Reluctant:
    """A session that has something left to send, and sends it only when it is willing."""

    def __init__(self):
        self.is_willing = False
        self.written = []

    @property
    def is_behind(self):
        return not self.is_willing

    async def flush(self):
        if not self.is_willing:
            await trio.sleep_forever()

    async def write(self, *parts):
        self.written.append(b"".join(parts))


@pytest.mark.parametrize("messages", [[frame(UPDATE, 7) * 5000] * 8, [frame(UPDATE, 7)] * 5000, [b""] * 5000])
async def test_a_flood_of_small_frames_lets_others_have_their_turn(messages):
    """A peer that sends nothing but headers, or nothing at all, does not hold the event loop for as long as that."""
    async with counted_turns() as turns:
        await Yamux(OneBatch(messages), is_initiator=True)._receive_all()
    assert turns.count >= 10


class OneBatch:
    """A session that brings so many messages at once, and no more."""

    def __init__(self, messages):
        self._messages = messages

    async def receive(self):
        if not self._messages:
            raise trio.BrokenResourceError
        messages, self._messages = self._messages, []
        return messages


async def test_a_reset_ends_both_directions_at_once():
    """The one that resets and the one that is reset cannot go on; it may be repeated."""
    async with stream_pair() as (left, right, _):
        await left.reset()
        await left.reset()
        for stream in (left, right):
            with pytest.raises(trio.BrokenResourceError):
                await stream.read(1)
            with pytest.raises(trio.BrokenResourceError):
                await stream.write(b"x")
            with pytest.raises(trio.BrokenResourceError):
                await stream.close()


async def test_nothing_is_written_after_the_end():
    """A side that has ended its half may end it again, and may not write; the other half goes on."""
    async with stream_pair() as (left, right, _):
        await left.close()
        await left.close()
        with pytest.raises(trio.BrokenResourceError):
            await left.write(b"x")
        assert await right.read(1) == b""
        await right.write(b"go on")
        assert await read_exactly(left, 5) == b"go on"
        await right.close()
        assert await left.read(1) == b""
        await left.reset()
        assert await right.read(1) == b""


async def test_what_arrived_before_the_connection_ended_is_read():
    """The reader gets the bytes, then learns that the stream broke, unless its end had come too."""
    async with stream_pair() as (left, right, _):
        ended = left._muxer.open_stream()
        await ended.write(b"whole")
        await ended.close()
        await left.write(b"half")
        accepted = await right._muxer.accept_stream()
        left._muxer.close_now()
        assert await right._muxer.accept_stream() is None
        assert await read_exactly(accepted, 5) == b"whole"
        assert await accepted.read(1) == b""
        assert await read_exactly(right, 4) == b"half"
        with pytest.raises(trio.BrokenResourceError):
            await right.read(1)
        with pytest.raises(trio.BrokenResourceError):
            right._muxer.open_stream()


async def test_two_peers_that_only_write_do_not_wait_for_each_other():
    """Whoever reads never waits for its own answers to be written."""
    async with stream_pair() as (left, right, nursery):
        for stream in (left, right):
            nursery.start_soon(stream.write, bytes(WINDOW_BYTES))
        with trio.fail_after(10):
            await read_exactly(right, WINDOW_BYTES)
            await read_exactly(left, WINDOW_BYTES)


async def test_a_peer_that_says_goodbye_gets_no_new_stream():
    """GO_AWAY ends nothing that is open."""
    async with against_peer() as peer:
        stream = await peer.opened()
        await peer.write(frame(GO_AWAY), frame(PING, flags=SYN))
        await peer.wait_for(PING, ACK)
        with pytest.raises(trio.BrokenResourceError):
            peer.muxer.open_stream()
        await peer.write(frame(DATA, 1, number=2), b"on")
        assert await read_exactly(stream, 2) == b"on"


async def test_pings_are_answered_with_their_number():
    """Other implementations measure and keep alive with them; an answer that nobody asked for is ignored."""
    async with against_peer() as peer:
        await peer.write(frame(PING, flags=ACK, number=5), frame(PING, flags=SYN, number=77))
        assert await peer.read_frames() == [Frame(PING, 0, ACK, 77)]


# --- hostile peers ---


@pytest.mark.parametrize(
    "sent",
    [
        frame(DATA, 1, SYN, MAX_FRAME_BYTES + 1),
        b"\1" + OPEN[1:],
        b"\0\4" + OPEN[2:],
        b"\xff" * 100,
        OPEN + frame(DATA, 1, 0, FIRST_WINDOW_BYTES + 1),
        OPEN + 2 * (frame(DATA, 1, 0, FIRST_WINDOW_BYTES // 2 + 1) + bytes(FIRST_WINDOW_BYTES // 2 + 1)),
        OPEN + OPEN,
        frame(UPDATE, 2, SYN),
        OPEN + frame(UPDATE, 1, FIN) + frame(DATA, 1, 0, 1) + b"x",
    ],
    ids=[
        "giant frame",
        "other version",
        "unknown type",
        "noise",
        "more than the window in one frame",
        "more than the window in two",
        "a stream opened twice",
        "a stream with our number",
        "data after the end",
    ],
)
async def test_a_violation_ends_the_connection_by_name(sent):
    """The peer is told why, the socket is closed, and `run` says what was wrong."""
    async with against_peer() as peer:
        await peer.write(sent)
        assert (await peer.wait_for(GO_AWAY, 0)).number == 1
        await peer.ended.wait()
        assert isinstance(peer.outcome, ProtocolViolation)
        with pytest.raises(trio.BrokenResourceError):
            await peer.wait_for(PING, 0)


@pytest.mark.parametrize("sent", [b"", OPEN[:5], OPEN + frame(DATA, 1, 0, 100), OPEN + frame(DATA, 1, 0, 9) + b"torn"])
async def test_a_torn_frame_ends_with_the_connection(sent):
    """What was announced and never came is no end of the stream."""
    async with against_peer() as peer:
        if sent:
            await peer.write(sent)
        await trio.testing.wait_all_tasks_blocked(0.01)
        peer.close_now()
        await peer.ended.wait()
        assert peer.outcome is None
        stream = await peer.muxer.accept_stream()
        if stream is not None:
            with pytest.raises(trio.BrokenResourceError):
                await read_exactly(stream, 5)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (OPEN + frame(DATA, 1, RST, 1) + b"x" + frame(UPDATE, 1, FIN), "broken"),
        (OPEN + frame(DATA, 1, FIN, 1) + b"x" + frame(UPDATE, 1, RST), "ended"),
        (frame(DATA, 1, SYN | FIN, 1) + b"x" + frame(DATA, 1, FIN) + frame(DATA, 1, RST), "ended"),
        (OPEN + frame(DATA, 1, RST | FIN, 1) + b"x", "broken"),
        (OPEN + frame(DATA, 1, 0, 1) + b"x" + frame(UPDATE, 1, RST) + frame(DATA, 1, 0, 3) + b"yyy", "broken"),
        (frame(DATA, 1, SYN | RST, 1) + b"x", "broken"),
    ],
    ids=["reset, end", "end, reset", "in empty frames of data", "both at once", "data after reset", "opened and reset"],
)
async def test_ends_and_resets_in_any_order(sent, expected):
    """What came before a reset is read, what comes after it is ignored, and the connection goes on."""
    async with against_peer() as peer:
        await peer.write(sent)
        stream = await peer.muxer.accept_stream()
        await peer.write(frame(PING, flags=SYN))
        await peer.wait_for(PING, ACK)
        assert await stream.read(5) == b"x"
        if expected == "ended":
            assert await stream.read(5) == b""
        else:
            with pytest.raises(trio.BrokenResourceError):
                await stream.read(5)
        with pytest.raises(trio.BrokenResourceError):
            await stream.write(b"x")
        assert peer.muxer._streams == {}


async def test_frames_for_streams_that_are_not_there_are_ignored():
    """Such frames may have been on their way when a stream ended; they are dropped as they come."""
    async with against_peer() as peer:
        for flags in (0, ACK, FIN, RST):
            await peer.write(frame(DATA, 7, flags, 100_000), bytes(100_000), frame(UPDATE, 7, flags, 5))
        await peer.write(frame(PING, flags=SYN))
        await peer.wait_for(PING, ACK)
        assert peer.muxer._streams == {}


async def test_a_flood_of_streams_is_refused_one_by_one():
    """Above the bound a new stream is reset; those that are open stay."""
    async with against_peer() as peer:
        numbers = range(1, 2 * MAX_STREAMS + 21, 2)
        await peer.write(b"".join(frame(UPDATE, number, SYN) for number in numbers))
        answers = []
        while len(answers) < len(numbers):
            answers += await peer.read_frames()
        assert [each.flags for each in answers] == [ACK] * MAX_STREAMS + [RST] * 10
        for _ in range(MAX_STREAMS):
            await peer.muxer.accept_stream()
        # they are served now, and still open
        await peer.write(frame(UPDATE, 2 * MAX_STREAMS + 21, SYN))
        assert (await peer.wait_for(UPDATE, RST)).stream_id == 2 * MAX_STREAMS + 21
        assert len(peer.muxer._streams) == MAX_STREAMS


async def test_a_flood_of_streams_that_are_reset_at_once_is_bounded_too():
    """Nobody has accepted them yet, and they do not pile up."""
    async with against_peer() as peer:
        for number in range(1, 4 * MAX_STREAMS, 2):
            await peer.write(frame(UPDATE, number, SYN) + frame(UPDATE, number, RST))
        await peer.write(frame(PING, flags=SYN))
        await peer.wait_for(PING, ACK)
        assert peer.muxer._newcomers.statistics().current_buffer_used == MAX_STREAMS


def pings(_start):
    return frame(PING, flags=SYN) * 5000


def openings(start):
    return b"".join(frame(UPDATE, 10_000 * start + 2 * each + 1, SYN) for each in range(5000))


@pytest.mark.parametrize("ask", [pings, openings])
async def test_who_asks_and_does_not_read_is_cut_off(ask):
    """Answers that nobody takes do not pile up."""
    async with against_peer() as peer:
        with pytest.raises(trio.BrokenResourceError):
            await peer.write_all(map(ask, itertools.count()))
        await peer.ended.wait()
        assert isinstance(peer.outcome, ProtocolViolation)
        assert len(peer.muxer._answers) < 200_000


@pytest.mark.slow
async def test_what_nobody_reads_is_bounded_on_the_whole_connection():
    """Windows grow together up to the bound; a peer that fills every one of them is not cut off for it."""
    async with against_peer() as peer:
        numbers = range(1, 25, 2)
        streams = []
        for number in numbers:
            await peer.write(frame(UPDATE, number, SYN))
            streams.append(await peer.muxer.accept_stream())
            streams[-1].widen(WINDOW_BYTES)
        sizes = [stream._granted_bytes for stream in streams]
        assert sizes == [WINDOW_BYTES] * 8 + [FIRST_WINDOW_BYTES] * 4
        await peer.write_all(
            frame(DATA, number, 0, size) + bytes(size) for number, size in zip(numbers, sizes, strict=True)
        )
        await peer.write(frame(PING, flags=SYN))
        await peer.wait_for(PING, ACK)
        assert sum(len(stream._unread) for stream in streams) == LENT_BYTES + 12 * FIRST_WINDOW_BYTES
        # what one does not need any more another one gets, once it is read
        await streams[0].reset()
        await read_exactly(streams[8], FIRST_WINDOW_BYTES)
        assert streams[8]._window_bytes == WINDOW_BYTES


@pytest.mark.parametrize("flag", [FIN, RST])
@pytest.mark.parametrize("end", ["read", "reset"])
async def test_a_window_stays_lent_while_its_bytes_are_unread(flag, end):
    """A stream that the peer has ended keeps what it brought; reading that, or dropping it, gives the room back."""
    async with against_peer() as peer:
        stream = await peer.opened()
        stream.widen(WINDOW_BYTES)
        await peer.write(frame(DATA, 1, 0, 1_000_000) + bytes(1_000_000), frame(UPDATE, 1, flag))
        await peer.write(frame(PING, flags=SYN))
        await peer.wait_for(PING, ACK)
        assert peer.muxer._spare_bytes == LENT_BYTES - (WINDOW_BYTES - FIRST_WINDOW_BYTES)
        if end == "read":
            await read_exactly(stream, 1_000_000)
        else:
            await stream.reset()
        assert peer.muxer._spare_bytes == LENT_BYTES


async def test_a_frame_that_is_on_its_way_counts():
    """A reader that is faster than the peer does not grant the same room twice."""
    async with against_peer() as peer:
        stream = await peer.opened()
        stream.widen(WINDOW_BYTES)
        await peer.write(frame(DATA, 1, 0, WINDOW_BYTES) + b"x")
        assert await stream.read(1) == b"x"
        assert stream._granted_bytes == 0


async def test_a_stream_that_was_reset_before_anybody_looked_is_passed_over():
    """It costs no task; one that brought something is still served."""
    async with against_peer() as peer:
        await peer.write(frame(UPDATE, 1, SYN | RST) + frame(DATA, 3, SYN | RST, 1) + b"x" + frame(UPDATE, 5, SYN))
        first, second = await peer.muxer.accept_stream(), await peer.muxer.accept_stream()
        assert (first.stream_id, second.stream_id) == (3, 5)


async def test_nothing_follows_a_write_that_was_cut_short():
    """The peer would read on over a hole."""
    async with stream_pair() as (left, _, _):
        with trio.move_on_after(0.05):
            await left.write(bytes(2 * WINDOW_BYTES))
        with pytest.raises(trio.BrokenResourceError):
            await left.write(b"x")
        with pytest.raises(trio.BrokenResourceError):
            await left.close()


def test_all_circuits_of_a_relay_have_their_window():
    """Idle ones leave those of others as they are, and the stream of the reservation has its own."""
    muxer = Yamux(Reluctant(), is_initiator=True)
    muxer.open_stream()
    most = RelayLimits().circuits_to_peer
    windows = {muxer.open_stream(window_bytes=CIRCUIT_WINDOW_BYTES)._granted_bytes for _ in range(most)}
    assert windows == {CIRCUIT_WINDOW_BYTES}


def test_our_own_streams_are_bounded_too():
    """And do not take places of the peer's."""

    async def main():
        muxer = Yamux(Reluctant(), is_initiator=True)
        streams = [muxer.open_stream() for _ in range(MAX_STREAMS)]
        with pytest.raises(trio.BrokenResourceError):
            muxer.open_stream()
        muxer._handle(Frame(UPDATE, 2, SYN))
        assert len(muxer._streams) == MAX_STREAMS + 1
        streams[0].drop()
        muxer.open_stream()

    trio.run(main)


def test_the_dialler_has_odd_numbers_and_the_other_side_even_ones():
    """Two sides that open streams at the same time never choose the same number."""

    async def main():
        for is_initiator, expected in ((True, [1, 3]), (False, [2, 4])):
            muxer = Yamux(None, is_initiator=is_initiator)
            assert [muxer.open_stream().stream_id for _ in range(2)] == expected

    trio.run(main)


def any_frames():
    """Frames of any kind, flags and size, for few streams, so that they meet."""
    ids, flags = st.integers(1, 4), st.integers(0, 15)
    numbers = st.sampled_from([0, 1, FIRST_WINDOW_BYTES, FIRST_WINDOW_BYTES + 1, 2**32 - 1])
    data = st.tuples(ids, flags, st.sampled_from([0, 1, 100_000, FIRST_WINDOW_BYTES])).map(
        lambda parts: frame(DATA, *parts) + bytes(parts[2])
    )
    update = st.builds(frame, st.just(UPDATE), ids, flags, numbers)
    other = st.builds(frame, st.sampled_from([PING, GO_AWAY]), st.just(0), flags, numbers)
    return st.one_of(data, update, other)


@pytest.mark.slow
@settings(deadline=None)
@example(
    [
        (Frame(FrameType.DATA, 1, SYN).encode(), 1.0, "widen"),
        (Frame(FrameType.DATA, 1, FIN).encode(), 1.0, "wait"),
    ]
)
@given(
    st.lists(
        st.tuples(any_frames(), st.floats(0, 1), st.sampled_from(["wait", "read", "close", "reset", "widen"])),
        max_size=12,
    )
)
def test_whatever_frames_come_accounts_stay_right(steps):
    """Frames, and what the application does in between, lead to a violation or to sums that agree."""

    async def main():
        session = Reluctant()
        session.is_willing = True
        muxer = Yamux(session, is_initiator=False)
        streams = []
        late = b""
        for sent, border, action in steps:
            # what follows the border comes with the next frame, after the action
            cut = int(border * len(sent))
            try:
                for found in muxer._decoder.feed(late + sent[:cut]):
                    muxer._handle(found)
            except ProtocolViolation:
                break
            late = sent[cut:]
            while muxer._newcomers.statistics().current_buffer_used:
                streams.append(muxer._newcomers.receive_nowait())
            for stream in streams:
                if action == "read" and stream._unread:
                    await stream.read(50_000)
                elif action == "widen":
                    stream.widen(WINDOW_BYTES)
                elif action in {"close", "reset"}:
                    with suppress(trio.BrokenResourceError):
                        await getattr(stream, action)()
            live = [stream for stream in streams if not stream._is_broken]
            assert all(len(stream._unread) + stream._granted_bytes <= stream._window_bytes for stream in live)
        assert all(len(stream._unread) <= stream._window_bytes for stream in streams)
        lent = sum(stream._window_bytes - FIRST_WINDOW_BYTES for stream in streams)
        assert muxer._spare_bytes == LENT_BYTES - lent
        ended = [stream for stream in streams if stream._is_broken or (stream._has_ended and stream._peer_has_ended)]
        assert not set(ended) & set(muxer._streams.values())

    trio.run(main)
