"""The receiver's side: it stores, answers, and ends cleanly whatever the holder does; and both over real streams."""

import dataclasses
import itertools
from collections.abc import Awaitable, Callable, Sequence

import pytest
import trio
from trio.testing import MockClock

from ddtp.errors import (
    ContentMismatch,
    DdtpError,
    DecodeError,
    DiskFull,
    PeerAborted,
    PeerStalled,
    PeerVanished,
    ProtocolViolation,
)
from ddtp.protocol.chunks import RUN_CHUNKS
from ddtp.protocol.framing import HEADER
from ddtp.protocol.messages import Abort, Ack, ChunkFrame, MessageType, Offer, ReceiptMessage
from ddtp.protocol.states import Role, State
from ddtp.transfer.ports import Arrival
from ddtp.transfer.receiver import SYNC_BYTES, SYNC_SECONDS, receive_transfer
from ddtp.transfer.records import WINDOW_BYTES
from ddtp.transfer.sender import BATCH_BYTES, send_transfer
from ddtp.transfer.stream import FlowStream, open_flow_stream
from tests.sessions import (
    ABORT,
    CHUNK_SIZE,
    CIPHER,
    DECLINE,
    HOLDER_HELLO,
    KEY,
    REJECTED,
    SMALL_CHUNK,
    SMALL_FINISH,
    SMALL_OFFER,
    VERIFIED,
    make_accept,
    make_finish,
    make_offer,
    raw_frame,
    sealed_chunks,
)
from tests.transfer.conftest import MemoryRaw, make_raw_pair
from tests.transfer.exchange import (
    BUFFER_BYTES,
    DEADLINES,
    LONGEST_SECONDS,
    HolderSide,
    Puppet,
    ReceiverSide,
    stream_pair,
)

Act = Callable[[Puppet], Awaitable[None]]

WAITING = [State.START, State.READY, State.SENDING, State.RECEIPTED]
"""States in which the receiver waits for the holder."""
WORKING = {State.GREETED: "greet", State.OFFERED: "admit", State.FINISHED: "complete", State.KEYED: "conclude"}
"""States in which it is the receiver's turn, and what it does there."""


async def lead(puppet: Puppet, state: State) -> None:
    """Play the holder until the session is in a state."""
    said = {
        State.START: [HOLDER_HELLO],
        State.READY: [SMALL_OFFER],
        State.SENDING: [SMALL_CHUNK, SMALL_FINISH],
        State.RECEIPTED: [KEY],
    }
    while puppet.session.state is not state:
        if puppet.session.state in said:
            await puppet.say(*said[puppet.session.state])
        else:
            await puppet.hear()


async def against(act: Act, port: ReceiverSide | None = None, *, buffer_bytes: int = BUFFER_BYTES) -> None:
    """Run the receiver against a puppet; whatever happens, the stream is closed and no task is left."""
    theirs, ours = stream_pair(buffer_bytes=buffer_bytes)
    tasks_before = trio.lowlevel.current_statistics().tasks_living
    failure: DdtpError | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(act, Puppet(theirs, Role.HOLDER))
        try:
            with trio.fail_after(LONGEST_SECONDS):
                await receive_transfer(ours, port or ReceiverSide(), deadlines=DEADLINES)
        except DdtpError as err:
            failure = err
        assert ours.closed
        nursery.cancel_scope.cancel()
    assert trio.lowlevel.current_statistics().tasks_living == tasks_before
    if failure is not None:
        raise failure


# --- what succeeds ---


async def test_chunks_are_stored_and_receipts_returned(autojump_clock: MockClock) -> None:
    """The receiver answers the finish with the first receipt and the key with the last."""
    heard = []

    async def act(puppet: Puppet) -> None:
        await lead(puppet, State.KEYED)
        heard.append(await puppet.hear())
        await puppet.drain()

    port = ReceiverSide(verdict=REJECTED)
    await against(act, port)
    assert heard == [REJECTED]
    assert port.stored == {0: SMALL_CHUNK.sealed}
    assert port.finish == SMALL_FINISH


@pytest.mark.parametrize("decision", [DECLINE, VERIFIED, REJECTED])
async def test_a_declined_or_repeated_offer_ends_the_session(
    decision: ReceiptMessage, autojump_clock: MockClock
) -> None:
    """After a decline or an old receipt nothing more is expected."""
    heard = []

    async def act(puppet: Puppet) -> None:
        await lead(puppet, State.OFFERED)
        heard.append(await puppet.hear())
        await puppet.drain()

    await against(act, ReceiverSide(decision=decision))
    assert heard == [decision]


@pytest.mark.parametrize("chunk_size", [CHUNK_SIZE, 1 << 20])
async def test_acks_come_now_and_then(chunk_size: int, autojump_clock: MockClock) -> None:
    """What was stored is made durable and acknowledged, in steps of some mebibytes or of a second."""
    offer = make_offer(4 * SYNC_BYTES - 1, chunk_size=chunk_size)
    heard = []

    async def listen(puppet: Puppet) -> None:
        while puppet.session.state in {State.SENDING, State.FINISHED}:
            heard.append(await puppet.hear())

    async def act(puppet: Puppet) -> None:
        await lead(puppet, State.READY)
        await puppet.say(offer)
        await puppet.hear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, puppet)
            await puppet.say(*(ChunkFrame(i, sealed) for i, sealed in enumerate(sealed_chunks(offer))))
            await puppet.say(make_finish(offer))
        await puppet.say(KEY)
        await puppet.hear()
        await puppet.drain()

    port = ReceiverSide(store_seconds=SYNC_SECONDS * chunk_size / SYNC_BYTES / 2)
    await against(act, port)
    acks = [message.durable_chunks for message in heard if isinstance(message, Ack)]
    assert heard == [*(Ack(durable_chunks=count) for count in acks), CIPHER]
    assert acks == sorted(set(acks))
    # half of a step per half a second: as many acks as steps, and one more at the end of the last second
    assert 3 <= len(acks) <= 6


async def test_acks_count_chunks_that_were_held_before(autojump_clock: MockClock) -> None:
    """A resumed transfer acknowledges only what is new."""
    offer = make_offer(SYNC_BYTES + 5)
    count = len(sealed_chunks(offer))
    heard = []

    async def act(puppet: Puppet) -> None:
        await lead(puppet, State.READY)
        await puppet.say(offer)
        await puppet.hear()
        await puppet.say(ChunkFrame(count - 1, sealed_chunks(offer)[-1]), make_finish(offer))
        heard.append(await puppet.hear())

    port = ReceiverSide(decision=make_accept((0, count - 1)), stored=dict.fromkeys(range(count - 1), b"held"))
    with pytest.raises(PeerStalled):
        await against(act, port)
    assert heard == [CIPHER]


async def test_a_slow_link_is_waited_for(autojump_clock: MockClock) -> None:
    """An offer that takes longer than its deadline is fine if its bytes keep coming."""
    offer = dataclasses.replace(SMALL_OFFER, disclosure=bytes(2 << 20))
    frame = raw_frame(MessageType.OFFER, offer)

    async def act(puppet: Puppet) -> None:
        await lead(puppet, State.READY)
        for start in range(0, len(frame), 10_000):
            await trio.sleep(1)
            await puppet.blurt(frame[start : start + 10_000])

    port = ReceiverSide(decision=DECLINE)
    await against(act, port)
    assert port.offer == offer
    assert trio.current_time() > 3 * DEADLINES.decision_seconds


# --- what goes wrong ---


@pytest.mark.parametrize("state", WAITING)
async def test_a_holder_that_stalls_in_any_state_is_left_and_told(state: State, autojump_clock: MockClock) -> None:
    """Silence ends within the deadline of the state."""
    told = []

    async def act(puppet: Puppet) -> None:
        await lead(puppet, state)
        told.append(await puppet.hear())

    with pytest.raises(PeerStalled):
        await against(act)
    assert isinstance(told[0], Abort)
    assert told[0].code == "stalled"
    assert trio.current_time() <= DEADLINES.receipt_seconds + 60


async def test_a_holder_that_drips_single_bytes_is_left(autojump_clock: MockClock) -> None:
    """A chunk must come at some speed."""

    async def act(puppet: Puppet) -> None:
        await lead(puppet, State.SENDING)
        for byte in raw_frame(MessageType.CHUNK, SMALL_CHUNK):
            await puppet.blurt(bytes([byte]))
            await trio.sleep(DEADLINES.chunk_seconds / 2)

    with pytest.raises(PeerStalled):
        await against(act)
    assert trio.current_time() < 2 * DEADLINES.chunk_seconds


@pytest.mark.parametrize("state", WORKING)
async def test_a_holder_that_does_not_read_is_left(state: State, autojump_clock: MockClock) -> None:
    """Our answers wait no longer than our patience."""

    async def act(puppet: Puppet) -> None:
        await lead(puppet, state)
        await trio.sleep_forever()

    with pytest.raises(PeerStalled, match="to take"):
        await against(act, buffer_bytes=8)
    assert trio.current_time() <= DEADLINES.receipt_seconds + 60


@pytest.mark.parametrize("state", [*WAITING, *WORKING])
async def test_a_holder_that_vanishes_in_any_state_is_noticed(state: State, autojump_clock: MockClock) -> None:
    """A closed stream ends the session at once, or as soon as our own work is done."""

    async def act(puppet: Puppet) -> None:
        await lead(puppet, state)
        await puppet.stream.aclose()

    with pytest.raises(PeerVanished):
        await against(act)
    assert trio.current_time() <= 2


async def test_a_holder_that_vanishes_within_a_frame_is_noticed(autojump_clock: MockClock) -> None:
    """Half a chunk is not stored."""

    async def act(puppet: Puppet) -> None:
        await lead(puppet, State.SENDING)
        await puppet.stream.send_all(raw_frame(MessageType.CHUNK, SMALL_CHUNK)[:-1])
        await puppet.stream.aclose()

    port = ReceiverSide()
    with pytest.raises(PeerVanished):
        await against(act, port)
    assert not port.stored


@pytest.mark.parametrize("state", [*WAITING, State.GREETED, State.OFFERED, State.FINISHED])
async def test_an_abort_in_any_state_is_raised_with_its_code(state: State, autojump_clock: MockClock) -> None:
    """The holder may give up at any time, also while it is our turn."""

    async def act(puppet: Puppet) -> None:
        await lead(puppet, state)
        await puppet.say(ABORT)
        await puppet.stream.aclose()

    with pytest.raises(PeerAborted) as caught:
        await against(act)
    assert caught.value.reason_code == "disk-full"


async def test_an_abort_after_the_verdict_comes_too_late(autojump_clock: MockClock) -> None:
    """The content is judged and the judgement durable; all that is left to say is that nobody was there to hear it."""

    async def act(puppet: Puppet) -> None:
        await lead(puppet, State.KEYED)
        await puppet.say(ABORT)
        await puppet.stream.aclose()

    with pytest.raises(PeerVanished):
        await against(act)


@pytest.mark.parametrize("state", WAITING)
async def test_a_message_out_of_order_in_any_state_ends_the_session(state: State, autojump_clock: MockClock) -> None:
    """The holder is told that it broke the protocol."""
    told = []

    async def act(puppet: Puppet) -> None:
        await lead(puppet, state)
        await puppet.blurt(raw_frame(MessageType.ACK, Ack(durable_chunks=1)))
        told.append(await puppet.hear())

    with pytest.raises(ProtocolViolation):
        await against(act)
    assert isinstance(told[0], Abort)
    assert told[0].code == "protocol-violation"


async def test_an_oversized_frame_ends_the_session(autojump_clock: MockClock) -> None:
    """A large offer is refused at its header."""

    async def act(puppet: Puppet) -> None:
        await lead(puppet, State.READY)
        await puppet.blurt(HEADER.pack(Offer.MAX_BYTES + 1, MessageType.OFFER))
        await puppet.drain()

    with pytest.raises(ProtocolViolation):
        await against(act)


async def test_noise_instead_of_a_hello_ends_the_session(autojump_clock: MockClock) -> None:
    """A stranger that speaks something else is told so and left."""

    async def act(puppet: Puppet) -> None:
        await puppet.blurt(HEADER.pack(3, MessageType.HELLO) + b"GET")
        await puppet.drain()

    with pytest.raises(DecodeError):
        await against(act)


# --- what our own side does ---


@pytest.mark.parametrize("method", ["greet", "admit", "store", "complete", "conclude"])
@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ContentMismatch("expected another root"), "expected another root"),
        (DiskFull("no room in /var/lib/ddtp"), ""),
    ],
    ids=["evidence", "own-machine"],
)
async def test_a_failure_of_the_port_is_told_and_raised(
    method: str, failure: DdtpError, reason: str, autojump_clock: MockClock
) -> None:
    """The holder learns the code, and the reason unless it is about our machine."""
    told = []

    async def act(puppet: Puppet) -> None:
        answers = {
            State.READY: [SMALL_OFFER],
            State.SENDING: [SMALL_CHUNK, SMALL_FINISH],
            State.RECEIPTED: [KEY],
        }
        await puppet.say(HOLDER_HELLO)
        while not isinstance(event := await puppet.hear(), Abort):
            await puppet.say(*answers[puppet.session.state])
        told.append(event)

    with pytest.raises(type(failure)):
        await against(act, ReceiverSide(fail_in=method, failure=failure))
    assert told == [Abort(code=failure.code, reason=reason)]


@pytest.mark.parametrize("method", ["greet", "admit", "store", "complete", "conclude"])
async def test_a_cancelled_receiver_says_so(method: str, autojump_clock: MockClock) -> None:
    """A service that shuts down tells the holders that are connected."""
    ours, theirs = stream_pair()
    holder = HolderSide()
    failures: list[DdtpError] = []

    async def send() -> None:
        try:
            await send_transfer(ours, holder, progress=holder.progress.append, deadlines=DEADLINES)
        except DdtpError as err:
            failures.append(err)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        with trio.move_on_after(3) as scope:
            await receive_transfer(theirs, ReceiverSide(block_in=method), deadlines=DEADLINES)
        assert scope.cancelled_caught
        assert trio.current_time() <= 3 + 1
    assert isinstance(failures[0], PeerAborted)
    assert failures[0].reason_code == "cancelled"


# --- both sides over the streams of the network door ---

FlowPair = tuple[FlowStream, FlowStream]


def flow_pair(raw_pair: tuple[MemoryRaw, MemoryRaw], nursery: trio.Nursery) -> FlowPair:
    """The holder's and the receiver's end of one flow stream."""
    return (
        open_flow_stream(raw_pair[0], nursery, remote_peer_id="receiver"),
        open_flow_stream(raw_pair[1], nursery, remote_peer_id="holder"),
    )


async def exchange(pair: FlowPair, holder: HolderSide, receiver: ReceiverSide) -> list[DdtpError | ReceiptMessage]:
    """Run both drivers; return what the sender gets and, if it fails, what the receiver gets."""
    results: list[DdtpError | ReceiptMessage] = []

    async def send() -> None:
        try:
            results.append(await send_transfer(pair[0], holder, progress=holder.progress.append, deadlines=DEADLINES))
        except DdtpError as err:
            results.append(err)

    async def receive() -> None:
        try:
            await receive_transfer(pair[1], receiver, deadlines=DEADLINES)
        except DdtpError as err:
            results.append(err)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        nursery.start_soon(receive)
    return sorted(results, key=lambda result: isinstance(result, DdtpError))


async def test_content_arrives_over_a_flow_stream(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Over the real stream both sides finish without waiting for any deadline, and the stream is gone."""
    pair = flow_pair(make_raw_pair(), nursery)
    holder, receiver = HolderSide(make_offer(100 * CHUNK_SIZE + 3)), ReceiverSide()
    assert await exchange(pair, holder, receiver) == [VERIFIED]
    assert [receiver.stored[index] for index in range(101)] == sealed_chunks(holder.offered)
    with trio.fail_after(10):
        await pair[0].wait_finished()
        await pair[1].wait_finished()
    assert trio.current_time() < 1


async def test_a_slow_store_holds_back_a_flow_stream(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """What was produced and not yet stored never exceeds the window and the batches and runs on the way."""
    pair = flow_pair(make_raw_pair(), nursery)
    holder, receiver = HolderSide(make_offer(200 * CHUNK_SIZE)), ReceiverSide(store_seconds=1)
    ahead = []
    receiver_store = receiver.store

    async def store(arrivals: Sequence[Arrival]) -> None:
        ahead.append(holder.yielded - len(receiver.stored))
        await receiver_store(arrivals)

    receiver.store = store  # type: ignore[method-assign]
    assert await exchange(pair, holder, receiver) == [VERIFIED]
    assert max(ahead) <= (WINDOW_BYTES + 2 * BATCH_BYTES) // CHUNK_SIZE + 2 * RUN_CHUNKS + 2


async def test_a_failing_store_is_told_over_a_flow_stream(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """The sender learns of a full disk although it is in the middle of writing."""
    pair = flow_pair(make_raw_pair(), nursery)
    receiver = ReceiverSide(fail_in="store", failure=DiskFull("no room"))
    failures = await exchange(pair, HolderSide(make_offer(200 * CHUNK_SIZE)), receiver)
    codes = {(type(failure), getattr(failure, "reason_code", "")) for failure in failures}
    assert codes == {(PeerAborted, "disk-full"), (DiskFull, "")}


async def test_a_cancelled_sender_is_told_over_a_flow_stream(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Ctrl-C in the middle of the chunks reaches the receiver as an abort."""
    pair = flow_pair(make_raw_pair(), nursery)
    holder = HolderSide(make_offer(200 * CHUNK_SIZE))

    async def send() -> None:
        with trio.move_on_after(1):
            await send_transfer(pair[0], holder, progress=holder.progress.append, deadlines=DEADLINES)

    nursery.start_soon(send)
    with pytest.raises(PeerAborted) as caught:
        await receive_transfer(pair[1], ReceiverSide(store_seconds=0.01), deadlines=DEADLINES)
    assert caught.value.reason_code == "cancelled"


async def test_a_broken_connection_ends_both_sides(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """When the connection below breaks in the middle of the chunks, both sides see a peer that vanished."""
    raw_pair = make_raw_pair()
    pair = flow_pair(raw_pair, nursery)

    async def cut() -> None:
        await trio.sleep(20)
        await raw_pair[0].reset()

    nursery.start_soon(cut)
    failures = await exchange(pair, HolderSide(make_offer(200 * CHUNK_SIZE)), ReceiverSide(store_seconds=1))
    assert [type(failure) for failure in failures] == [PeerVanished, PeerVanished]


async def test_a_silent_connection_is_left_without_ceremony(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """A peer that is silent on every layer costs its deadline and one second for the goodbye."""
    ours, _silent = make_raw_pair()
    stream = open_flow_stream(ours, nursery, remote_peer_id="holder")
    with pytest.raises(PeerStalled):
        await receive_transfer(stream, ReceiverSide(), deadlines=DEADLINES)
    assert trio.current_time() <= DEADLINES.greeting_seconds + 1.1
    await stream.wait_finished()


# --- what has arrived, and what is said of it ---


@pytest.mark.parametrize(("closes", "raised"), [(True, PeerVanished), (False, PeerStalled)])
async def test_what_arrived_whole_is_stored_although_the_holder_is_gone(
    closes: bool, raised: type[DdtpError], autojump_clock: MockClock
) -> None:
    """A disk that is slow has not had its turn yet; nobody has to send these chunks again."""
    offer = make_offer(9 * CHUNK_SIZE)
    chunks = sealed_chunks(offer)

    async def act(puppet: Puppet) -> None:
        await lead(puppet, State.READY)
        await puppet.say(offer)
        await puppet.hear()
        await puppet.say(*(ChunkFrame(index, chunks[index]) for index in range(5)))
        await puppet.blurt(raw_frame(MessageType.CHUNK, ChunkFrame(5, chunks[5]))[:-1])
        if closes:
            await puppet.stream.aclose()

    port = ReceiverSide(store_seconds=DEADLINES.chunk_seconds / 2)
    with pytest.raises(raised):
        await against(act, port)
    assert port.stored == dict(enumerate(chunks[:5]))


async def test_a_slow_link_gets_few_acks(autojump_clock: MockClock) -> None:
    """Not more than one for each mebibyte or in ten seconds (spec/08 s.3): each is a sync of the receiver's disk."""
    offer = make_offer(64 * CHUNK_SIZE)
    chunks = sealed_chunks(offer)
    acks: list[tuple[float, int]] = []

    async def listen(puppet: Puppet) -> None:
        while isinstance(ack := await puppet.hear(), Ack):
            acks.append((trio.current_time(), ack.durable_chunks))

    async def act(puppet: Puppet) -> None:
        await lead(puppet, State.READY)
        await puppet.say(offer)
        await puppet.hear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, puppet)
            for index, chunk in enumerate(chunks):
                # a chunk in two seconds at first, then four in a second
                await trio.sleep(2 if index < 20 else 0.25)
                await puppet.say(ChunkFrame(index, chunk))
            await puppet.say(make_finish(offer))
        await puppet.say(KEY)
        await puppet.hear()
        await puppet.drain()

    await against(act)
    assert len(acks) >= 4
    for (before, held), (now, more) in itertools.pairwise([(0.0, 0), *acks]):
        assert now - before >= 10 or (more - held) * CHUNK_SIZE >= 1 << 20
