"""The holder's side: it delivers, resumes, and ends cleanly whatever the receiver does."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock

from ddtp.errors import (
    ConsentInvalid,
    DdtpError,
    DecodeError,
    PeerAborted,
    PeerRefused,
    PeerStalled,
    PeerVanished,
    ProtocolViolation,
    SourceChanged,
)
from ddtp.protocol.chunks import RUN_CHUNKS, chunk_count
from ddtp.protocol.framing import HEADER
from ddtp.protocol.messages import Abort, Accept, Ack, Decline, MessageType, Offer, ReceiptMessage
from ddtp.protocol.states import Role, State
from ddtp.transfer import sender
from ddtp.transfer.ports import Arrival, Deadlines, Phase, Progress
from ddtp.transfer.pump import SLOWEST_BYTES_PER_SECOND
from ddtp.transfer.receiver import receive_transfer
from ddtp.transfer.refusal import NO_REASON
from ddtp.transfer.sender import BATCH_BYTES, send_transfer
from tests.sessions import (
    ABORT,
    CHUNK_SIZE,
    CIPHER,
    DECLINE,
    KEY,
    RECEIVER_HELLO,
    REJECTED,
    TRANSFER_ID,
    VERIFIED,
    make_accept,
    make_finish,
    make_offer,
    raw_frame,
    sealed_chunks,
)
from tests.transfer.exchange import (
    DEADLINES,
    LONGEST_SECONDS,
    HeldSide,
    HolderSide,
    Puppet,
    ReceiverSide,
    stream_pair,
)

Act = Callable[[Puppet], Awaitable[None]]

LIVE = [State.START, State.GREETED, State.OFFERED, State.SENDING, State.FINISHED, State.KEYED]
"""States in which the holder waits for the receiver, or the receiver can interrupt it; START: it has heard nothing."""


async def lead(puppet: Puppet, state: State) -> None:
    """Play the receiver until the session is in a state."""
    if state is State.START:
        return
    await puppet.hear()
    if state is State.GREETED:
        return
    await puppet.say(RECEIVER_HELLO)
    assert isinstance(await puppet.hear(), Offer)
    if state is State.OFFERED:
        return
    await puppet.say(make_accept())
    if state is State.SENDING:
        await puppet.hear()
        return
    while puppet.session.state is not State.FINISHED:
        await puppet.hear()
    if state is State.FINISHED:
        return
    await puppet.say(CIPHER)
    assert await puppet.hear() == KEY


async def against(act: Act, port: HolderSide | None = None, *, deadlines: Deadlines = DEADLINES) -> ReceiptMessage:
    """Run the sender against a puppet; whatever happens, the stream is closed and no task is left."""
    port = port or HolderSide()
    ours, theirs = stream_pair()
    tasks_before = trio.lowlevel.current_statistics().tasks_living
    failure: DdtpError | None = None
    receipt = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(act, Puppet(theirs, Role.RECEIVER))
        try:
            with trio.fail_after(LONGEST_SECONDS):
                receipt = await send_transfer(ours, port, progress=port.progress.append, deadlines=deadlines)
        except DdtpError as err:
            failure = err
        assert ours.closed
        nursery.cancel_scope.cancel()
    assert trio.lowlevel.current_statistics().tasks_living == tasks_before
    if failure is not None:
        raise failure
    assert receipt is not None
    return receipt


async def deliver(holder: HolderSide, receiver: ReceiverSide) -> ReceiptMessage:
    """Run both drivers against each other."""
    ours, theirs = stream_pair()
    failures: list[DdtpError] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: receive_transfer(theirs, receiver, deadlines=DEADLINES))
        try:
            receipt = await send_transfer(ours, holder, progress=holder.progress.append, deadlines=DEADLINES)
        except DdtpError as err:
            failures.append(err)
    if failures:
        raise failures[0]
    assert ours.closed
    assert theirs.closed
    return receipt


# --- what succeeds ---


@pytest.mark.parametrize("content_bytes", [0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, 5 * CHUNK_SIZE + 7, 40 * CHUNK_SIZE])
@pytest.mark.parametrize("verdict", [VERIFIED, REJECTED])
async def test_content_arrives_whole_and_the_verdict_comes_back(
    content_bytes: int, verdict: ReceiptMessage, autojump_clock: MockClock
) -> None:
    """What the receiver stores are the sealed chunks, all of them, whatever the size."""
    holder, receiver = HolderSide(make_offer(content_bytes)), ReceiverSide(verdict=verdict)
    assert await deliver(holder, receiver) == verdict
    assert receiver.offer == holder.offered
    assert [receiver.stored[index] for index in sorted(receiver.stored)] == sealed_chunks(holder.offered)
    assert receiver.finish == make_finish(holder.offered)


@pytest.mark.parametrize("have", [[(0, 3)], [(1, 2), (4, 5)], [(0, 6)]])
async def test_a_resumed_transfer_sends_the_missing_chunks_only(
    have: list[tuple[int, int]], autojump_clock: MockClock
) -> None:
    """Held chunks are not sent again, but the root still covers them."""
    holder = HolderSide(make_offer(5 * CHUNK_SIZE + 1))
    held = {index for start, stop in have for index in range(start, stop)}
    receiver = ReceiverSide(decision=make_accept(*have), held=len(held))
    assert await deliver(holder, receiver) == VERIFIED
    assert receiver.stored.keys() == set(range(6)) - held
    assert receiver.finish == make_finish(holder.offered)
    first = next(status for status in holder.progress if status.phase is Phase.SENDING)
    assert first.bytes_done == min(len(held) * CHUNK_SIZE, holder.offered.seal.content_bytes)


@pytest.mark.parametrize("receipt", [VERIFIED, REJECTED])
async def test_a_repeated_offer_is_answered_by_the_receipt(receipt: ReceiptMessage, autojump_clock: MockClock) -> None:
    """A transfer that was concluded before needs no chunk and no key."""
    holder = HolderSide()
    assert await deliver(holder, ReceiverSide(decision=receipt)) == receipt
    assert holder.yielded == 0


async def test_progress_counts_what_is_durable_and_ends_complete(autojump_clock: MockClock) -> None:
    """Phases come in order, bytes never fall, and the last status says that all is done."""
    holder = HolderSide(make_offer(64 * CHUNK_SIZE))
    await deliver(holder, ReceiverSide(store_seconds=0.3))
    phases = list(dict.fromkeys(status.phase for status in holder.progress))
    unseen = {Phase.CONSENT, Phase.SEALING, Phase.PAUSED, Phase.RECONNECTING}
    assert phases == [phase for phase in Phase if phase not in unseen]
    done = [status.bytes_done for status in holder.progress]
    assert done == sorted(done)
    assert any(0 < count < 64 * CHUNK_SIZE for count in done)
    assert holder.progress[-1] == Progress(Phase.DONE, bytes_done=64 * CHUNK_SIZE, bytes_total=64 * CHUNK_SIZE)


async def test_a_slow_receiver_slows_the_sender(autojump_clock: MockClock) -> None:
    """Chunks are produced as fast as the receiver stores them, never further ahead than two batches and two runs."""
    holder, receiver = HolderSide(make_offer(64 * CHUNK_SIZE)), ReceiverSide(store_seconds=1)
    ahead = []
    receiver_store = receiver.store

    async def store(arrivals: Sequence[Arrival]) -> None:
        ahead.append(holder.yielded - len(receiver.stored))
        await receiver_store(arrivals)

    receiver.store = store  # type: ignore[method-assign]
    await deliver(holder, receiver)
    assert trio.current_time() >= 65
    assert max(ahead) <= 2 * BATCH_BYTES // CHUNK_SIZE + 2 * RUN_CHUNKS + 2


def worth_seconds(chunks: int) -> float:
    """The time of some chunks at the slowest rate."""
    return chunks * CHUNK_SIZE / SLOWEST_BYTES_PER_SECOND


async def test_a_receiver_that_is_slow_but_alive_is_waited_for(autojump_clock: MockClock) -> None:
    """What its acks add extends the wait for the receipt, at the slowest rate."""
    holder = HolderSide(make_offer(64 * CHUNK_SIZE - 1))

    async def act(puppet: Puppet) -> None:
        await lead(puppet, State.FINISHED)
        for count in range(8, 65, 8):
            await trio.sleep(worth_seconds(8))
            await puppet.say(Ack(durable_chunks=count))
        await trio.sleep(DEADLINES.receipt_seconds - 1)
        await puppet.say(CIPHER)
        await puppet.hear()
        await puppet.say(VERIFIED)

    assert await against(act, holder) == VERIFIED


async def test_a_receiver_cannot_hold_a_holder_by_acks(autojump_clock: MockClock) -> None:
    """One chunk now and then is worth its bytes, and does not start the wait anew."""
    holder, start = HolderSide(make_offer(64 * CHUNK_SIZE - 1)), trio.current_time()

    async def act(puppet: Puppet) -> None:
        await lead(puppet, State.FINISHED)
        for count in range(1, 65):
            await trio.sleep(DEADLINES.receipt_seconds / 2)
            await puppet.say(Ack(durable_chunks=count))

    with pytest.raises(PeerStalled):
        await against(act, holder)
    assert trio.current_time() - start <= DEADLINES.receipt_seconds + worth_seconds(3)


async def test_acks_of_what_was_stored_long_ago_win_no_time(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large the content is, only what can still be on its way is waited for."""
    monkeypatch.setattr(sender, "UNACKED_BYTES", 4 * CHUNK_SIZE - 1)
    holder, start = HolderSide(make_offer(64 * CHUNK_SIZE - 1)), trio.current_time()

    async def act(puppet: Puppet) -> None:
        await lead(puppet, State.FINISHED)
        await puppet.say(Ack(durable_chunks=60))
        await trio.sleep(DEADLINES.receipt_seconds - 1)
        await puppet.say(Ack(durable_chunks=62))
        await trio.sleep_forever()

    with pytest.raises(PeerStalled):
        await against(act, holder)
    assert trio.current_time() - start == pytest.approx(DEADLINES.receipt_seconds + worth_seconds(2), abs=0.1)


# --- what the receiver decides ---


async def test_a_decline_is_raised_with_its_code(autojump_clock: MockClock) -> None:
    """The person learns why, in the receiver's words."""
    with pytest.raises(PeerRefused, match="expected a grant for us") as caught:
        await deliver(HolderSide(), ReceiverSide(decision=DECLINE))
    assert caught.value.reason_code == "consent-invalid"


async def test_a_code_without_words_is_raised_as_one(autojump_clock: MockClock) -> None:
    """Whether the receiver declines or aborts: who shows it may put it into words of its own."""
    silent = ReceiverSide(decision=Decline(transfer_id=TRANSFER_ID, code="disk-full", reason=""))
    with pytest.raises(PeerRefused) as declined:
        await deliver(HolderSide(), silent)

    async def act(puppet: Puppet) -> None:
        await lead(puppet, State.OFFERED)
        await puppet.say(ABORT)
        await puppet.drain()

    with pytest.raises(PeerAborted) as aborted:
        await against(act)
    assert declined.value.message == aborted.value.message == NO_REASON


@pytest.mark.parametrize("state", LIVE)
async def test_an_abort_in_any_state_is_raised_with_its_code(state: State, autojump_clock: MockClock) -> None:
    """The receiver may give up at any time, also while chunks are being sent."""

    async def act(puppet: Puppet) -> None:
        await lead(puppet, state)
        await puppet.say(ABORT)
        await puppet.drain()

    with pytest.raises(PeerAborted) as caught:
        await against(act)
    assert caught.value.reason_code == "disk-full"


async def test_an_abort_is_found_although_writing_breaks(autojump_clock: MockClock) -> None:
    """A receiver that aborts and closes while we write is not taken for one that vanished."""

    async def act(puppet: Puppet) -> None:
        await lead(puppet, State.OFFERED)
        await puppet.say(make_accept())
        await trio.sleep(1)
        await puppet.say(ABORT)
        await puppet.stream.aclose()

    # which of our two tasks notices first is a matter of chance
    for _ in range(8):
        with pytest.raises(PeerAborted):
            await against(act, HolderSide(make_offer(64 * CHUNK_SIZE)))


async def test_an_abort_is_heard_while_our_own_disk_is_slow(autojump_clock: MockClock) -> None:
    """An abort ends the wait for the next chunk of our own."""

    async def act(puppet: Puppet) -> None:
        await lead(puppet, State.OFFERED)
        await puppet.say(make_accept(), ABORT)
        await trio.sleep_forever()

    with pytest.raises(PeerAborted):
        await against(act, HolderSide(block_in="runs"))
    assert trio.current_time() < 1


# --- what goes wrong ---


@pytest.mark.parametrize("state", LIVE)
async def test_a_receiver_that_stalls_in_any_state_is_left(state: State, autojump_clock: MockClock) -> None:
    """Silence ends with an error within the longest deadline, and the receiver is told."""

    async def act(puppet: Puppet) -> None:
        await lead(puppet, state)
        await trio.sleep_forever()

    with pytest.raises(PeerStalled):
        await against(act)
    assert trio.current_time() <= DEADLINES.verdict_seconds + 60


async def test_a_receiver_that_drips_single_bytes_is_left(autojump_clock: MockClock) -> None:
    """A byte now and then does not keep a session alive."""

    async def act(puppet: Puppet) -> None:
        await lead(puppet, State.GREETED)
        for byte in raw_frame(MessageType.HELLO, RECEIVER_HELLO):
            await puppet.stream.send_all(bytes([byte]))
            await trio.sleep(DEADLINES.greeting_seconds / 2)

    with pytest.raises(PeerStalled):
        await against(act)
    assert trio.current_time() < 2 * DEADLINES.greeting_seconds


@pytest.mark.parametrize("state", LIVE)
async def test_a_receiver_that_vanishes_in_any_state_is_noticed(state: State, autojump_clock: MockClock) -> None:
    """A closed stream is the end of a session only where the session is over."""

    async def act(puppet: Puppet) -> None:
        await lead(puppet, state)
        await puppet.stream.aclose()

    with pytest.raises(PeerVanished):
        await against(act)
    assert trio.current_time() <= 2


@pytest.mark.parametrize("state", LIVE)
async def test_a_message_out_of_order_in_any_state_ends_the_session(state: State, autojump_clock: MockClock) -> None:
    """The receiver is told that it broke the protocol."""
    told = []

    async def act(puppet: Puppet) -> None:
        await lead(puppet, state)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(puppet.blurt, raw_frame(MessageType.FINISH, make_finish(make_offer(0))))
            while not isinstance(event := await puppet.hear(), Abort):
                pass
            told.append(event.code)

    with pytest.raises(ProtocolViolation):
        await against(act)
    assert told == ["protocol-violation"]


async def test_an_oversized_frame_ends_the_session(autojump_clock: MockClock) -> None:
    """The holder does not wait for the bytes that the header announces."""

    async def act(puppet: Puppet) -> None:
        await lead(puppet, State.OFFERED)
        await puppet.stream.send_all(HEADER.pack(Accept.MAX_BYTES + 1, MessageType.ACCEPT))
        await puppet.drain()

    with pytest.raises(ProtocolViolation):
        await against(act)


async def test_a_malformed_message_ends_the_session(autojump_clock: MockClock) -> None:
    """The receiver is told that its bytes are malformed."""
    told = []

    async def act(puppet: Puppet) -> None:
        await lead(puppet, State.OFFERED)
        await puppet.stream.send_all(HEADER.pack(1, MessageType.ACCEPT) + b"\xa0")
        told.append(await puppet.hear())

    with pytest.raises(DecodeError):
        await against(act)
    assert [message.code for message in told if isinstance(message, Abort)] == ["malformed"]


# --- what our own side does ---


@pytest.mark.parametrize("method", ["offer", "runs", "finish", "release_key"])
@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ConsentInvalid("expected a grant\nthat is valid"), "expected a grant?that is valid"),
        (SourceChanged("/home/somebody/report.pdf changed"), ""),
    ],
    ids=["evidence", "own-machine"],
)
async def test_a_failure_of_the_port_is_told_and_raised(
    method: str, failure: DdtpError, reason: str, autojump_clock: MockClock
) -> None:
    """The receiver learns the code, and the reason unless it is about our machine."""
    told = []

    async def act(puppet: Puppet) -> None:
        await puppet.hear()
        await puppet.say(RECEIVER_HELLO)
        while True:
            event = await puppet.hear()
            if isinstance(event, Offer):
                await puppet.say(make_accept())
            elif puppet.session.state is State.FINISHED:
                await puppet.say(CIPHER)
            elif isinstance(event, Abort):
                told.append(event)
                return

    with pytest.raises(type(failure)):
        await against(act, HolderSide(fail_in=method, failure=failure))
    assert told == [Abort(code=failure.code, reason=reason)]


@pytest.mark.parametrize("method", ["offer", "runs", "finish", "release_key"])
async def test_a_cancelled_sender_says_so(method: str, autojump_clock: MockClock) -> None:
    """Ctrl-C reaches the receiver as an abort, wherever we are."""
    with pytest.raises(PeerAborted) as caught:
        await receiver_fate_when_sender_is_cancelled(HolderSide(block_in=method), ReceiverSide())
    assert caught.value.reason_code == "cancelled"


async def test_a_sender_cancelled_within_a_write_still_says_so(autojump_clock: MockClock) -> None:
    """The frame on its way is finished first, if the receiver takes it within a second."""
    with pytest.raises(PeerAborted) as caught:
        await receiver_fate_when_sender_is_cancelled(
            HolderSide(make_offer(64 * CHUNK_SIZE)), ReceiverSide(store_seconds=0.1)
        )
    assert caught.value.reason_code == "cancelled"


async def test_a_sender_cancelled_within_a_write_that_nobody_takes_leaves_at_once(autojump_clock: MockClock) -> None:
    """A receiver that does not read cannot hold the person up."""
    ours, theirs = stream_pair()

    async def act(puppet: Puppet) -> None:
        await lead(puppet, State.SENDING)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(act, Puppet(theirs, Role.RECEIVER))
        with trio.move_on_after(5) as scope:
            port = HolderSide(make_offer(64 * CHUNK_SIZE))
            await send_transfer(ours, port, progress=port.progress.append, deadlines=DEADLINES)
        assert scope.cancelled_caught
        assert trio.current_time() <= 5 + 2.1
        nursery.cancel_scope.cancel()
    assert ours.closed


async def receiver_fate_when_sender_is_cancelled(holder: HolderSide, receiver: ReceiverSide) -> None:
    """Cancel the sender after some seconds and raise what the receiver gets."""
    ours, theirs = stream_pair()
    failures: list[DdtpError] = []

    async def receive() -> None:
        try:
            await receive_transfer(theirs, receiver, deadlines=DEADLINES)
        except DdtpError as err:
            failures.append(err)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        with trio.move_on_after(3) as scope:
            await send_transfer(ours, holder, progress=holder.progress.append, deadlines=DEADLINES)
    assert scope.cancelled_caught
    assert ours.closed
    raise failures[0]


async def test_a_defect_of_the_port_closes_the_stream(autojump_clock: MockClock) -> None:
    """Even an error that nobody expects leaves no stream open, and the receiver learns that it is not its fault."""
    ours, theirs = stream_pair()
    holder = HolderSide()
    told = []

    async def broken_offer(*_args: object) -> Offer:
        raise KeyError("defect")

    async def act(puppet: Puppet) -> None:
        await lead(puppet, State.GREETED)
        await puppet.say(RECEIVER_HELLO)
        told.append(await puppet.hear())

    holder.offer = broken_offer  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(act, Puppet(theirs, Role.RECEIVER))
        with pytest.raises(KeyError):
            await send_transfer(ours, holder, progress=holder.progress.append, deadlines=DEADLINES)
    assert ours.closed
    assert told == [Abort(code="internal", reason="")]


@pytest.mark.parametrize("extra_seconds", [-1, 1])
async def test_the_verdict_of_large_content_takes_its_time(extra_seconds: int, autojump_clock: MockClock) -> None:
    """A second for each 16 MiB besides the deadline (spec/08 s.6), and no more than that."""
    offer = make_offer(16 << 30)
    patience = DEADLINES.verdict_seconds + 1024

    async def act(puppet: Puppet) -> None:
        await lead(puppet, State.OFFERED)
        await puppet.say(make_accept((0, chunk_count(offer.seal.content_bytes, CHUNK_SIZE))))
        await puppet.hear()
        await puppet.say(CIPHER)
        assert await puppet.hear() == KEY
        await trio.sleep(patience + extra_seconds)
        with suppress(trio.BrokenResourceError):
            await puppet.say(VERIFIED)

    if extra_seconds < 0:
        assert await against(act, HeldSide(offer)) == VERIFIED
    else:
        with pytest.raises(PeerStalled):
            await against(act, HeldSide(offer))
        assert trio.current_time() == pytest.approx(patience, abs=0.5)
