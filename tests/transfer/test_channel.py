"""Content on bulk connections, between hosts on real sockets: whole, in order, and unchanged, or refused."""

import itertools
import os
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from ddtp.errors import DdtpError, DiskFull, PeerAborted, PeerStalled, PeerVanished, ProtocolViolation, SourceChanged
from ddtp.protocol.bulk import FRAME_HEADER, READY, Ticket
from ddtp.protocol.chunks import RUN_CHUNKS
from ddtp.protocol.codec import Buffer
from ddtp.protocol.messages import ReceiptMessage
from ddtp.rates import LEAST_BYTES_PER_SECOND
from ddtp.transfer import channel, multistream
from ddtp.transfer.addresses import PeerAddress
from ddtp.transfer.channel import LONG_PATH_CHANNELS, Desk, SocketLink, channels_for
from ddtp.transfer.host import Host, open_host
from ddtp.transfer.libp2p import BULK, Handover, Identity, secure
from ddtp.transfer.limits import HostLimits
from ddtp.transfer.pacing import Pace
from ddtp.transfer.ports import BulkLink, Deadlines
from ddtp.transfer.receiver import receive_transfer
from ddtp.transfer.sender import BULK_LEAST_BYTES, send_transfer
from ddtp.transfer.sockets import DEAD_SECONDS
from ddtp.transfer.stream import FlowStream
from tests.sessions import CHUNK_SIZE, VERIFIED, make_accept, make_offer, sealed_chunks
from tests.transfer.exchange import HolderSide, MemoryDialer, MemoryLink, ReceiverSide, bulk_pair
from tests.transfer.sockets import socket_pair

Moved = Callable[[int], None]
PROTOCOL = "/ddtp/transfer/1.0.0"
OFFER = make_offer(BULK_LEAST_BYTES + 3 * CHUNK_SIZE + 7)
CHUNKS = sealed_chunks(OFFER)
DEADLINES = Deadlines()
IMPATIENT = Deadlines(chunk_seconds=0.2)
PATIENCE_SECONDS = 30


@dataclass
class Counted:
    """Opens bulk connections as the stream's own dialer does, and keeps them."""

    inner: object
    links: list[BulkLink] = field(default_factory=list)
    wrap: Callable[[BulkLink], BulkLink] = lambda link: link

    async def connect(self, token: bytes) -> tuple[BulkLink, ...]:
        self.links += [self.wrap(link) for link in await self.inner.connect(token)]  # type: ignore[attr-defined]
        return tuple(self.links)


@dataclass
class Outcome:
    """What both sides got, and how many bulk connections there were."""

    answer: ReceiptMessage | DdtpError | None = None
    received: DdtpError | None = None
    links: int = 0


async def exchange(
    hosts: tuple[Host, Host],
    holder: HolderSide,
    receiver: ReceiverSide,
    *,
    deadlines: Deadlines = DEADLINES,
    wrap: Callable[[BulkLink], BulkLink] = lambda link: link,
    desk: bool = True,
    dialer: type[Counted] = Counted,
    began: Callable[[FlowStream], None] = lambda _stream: None,
) -> Outcome:
    """Run one session between two hosts."""
    server, client = hosts
    outcome, over = Outcome(), trio.Event()

    async def serve(stream: FlowStream) -> None:
        if not desk:
            stream.bulk_desk = Desk()
        try:
            await receive_transfer(renamed(stream, "holder"), receiver, deadlines=deadlines)
        except DdtpError as err:
            outcome.received = err
        finally:
            over.set()

    server.serve(PROTOCOL, serve)
    with trio.fail_after(PATIENCE_SECONDS):
        stream = await client.dial(server.addresses, PROTOCOL, timeout_seconds=5)
        counted = dialer(stream.bulk_dialer, wrap=wrap)
        stream.bulk_dialer = counted
        began(stream)
        try:
            outcome.answer = await send_transfer(
                renamed(stream, "receiver"), holder, progress=holder.progress.append, deadlines=deadlines
            )
        except DdtpError as err:
            outcome.answer = err
        await over.wait()
    outcome.links = len(counted.links)
    return outcome


class _Named:
    """A stream under the name that the made-up ports expect; bulk connections are of the real peer."""

    def __init__(self, stream: FlowStream, name: str) -> None:
        self.remote_peer_id = name
        self.bulk_dialer = stream.bulk_dialer
        self.bulk_desk = stream.bulk_desk and _NamedDesk(stream.bulk_desk, stream.remote_peer_id)
        self.receive_some = stream.receive_some
        self.send_all = stream.send_all
        self.aclose = stream.aclose


class _NamedDesk:
    def __init__(self, desk: object, real: str) -> None:
        self.expect = lambda token, _name: desk.expect(token, real)  # type: ignore[attr-defined]


def renamed(stream: FlowStream, name: str) -> _Named:
    return _Named(stream, name)


def frames(parts: tuple[bytes, ...]) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Frames that are sent in one call: header, sealed chunks, tag."""
    return zip(parts[::3], parts[1::3], parts[2::3], strict=True)


def check_whole(receiver: ReceiverSide) -> None:
    assert [receiver.stored[index] for index in sorted(receiver.stored)] == CHUNKS


# --- what succeeds ---


async def test_large_content_goes_on_a_connection_of_its_own(hosts: tuple[Host, Host]) -> None:
    """It arrives whole, and the session on the stream goes on as ever."""
    receiver = ReceiverSide()
    outcome = await exchange(hosts, HolderSide(OFFER), receiver)
    assert (outcome.answer, outcome.received, outcome.links) == (VERIFIED, None, 1)
    check_whole(receiver)


async def test_small_content_stays_on_the_stream(hosts: tuple[Host, Host]) -> None:
    """No second handshake for what has gone before it ends; what the receiver holds does not count."""
    small = HolderSide(make_offer(BULK_LEAST_BYTES - 2 * CHUNK_SIZE))
    assert (await exchange(hosts, small, ReceiverSide())).links == 0
    receiver = ReceiverSide(decision=make_accept((0, 10)), held=10)
    outcome = await exchange(hosts, HolderSide(OFFER), receiver)
    assert (outcome.answer, outcome.links) == (VERIFIED, 0)


async def test_a_long_path_gets_several_connections(hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs take turns on them, and come out in order."""
    monkeypatch.setattr(channel, "LONG_PATH_SECONDS", 0)
    receiver = ReceiverSide()
    outcome = await exchange(hosts, HolderSide(OFFER), receiver)
    assert (outcome.answer, outcome.received) == (VERIFIED, None)
    assert outcome.links == channel.LONG_PATH_CHANNELS
    check_whole(receiver)


@pytest.mark.parametrize("have", [[(0, 3)], [(1, 2), (4, 5)]])
async def test_a_resumed_transfer_sends_the_missing_chunks_only(
    hosts: tuple[Host, Host], have: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gaps are filled in order."""
    monkeypatch.setattr("ddtp.transfer.sender.BULK_LEAST_BYTES", 1)
    held = {index for start, stop in have for index in range(start, stop)}
    receiver = ReceiverSide(decision=make_accept(*have), held=len(held))
    outcome = await exchange(hosts, HolderSide(OFFER), receiver)
    assert (outcome.answer, outcome.links) == (VERIFIED, 1)
    assert receiver.stored == {index: chunk for index, chunk in enumerate(CHUNKS) if index not in held}


async def test_the_stream_serves_where_the_receiver_expects_nothing(hosts: tuple[Host, Host]) -> None:
    """A token that nobody knows is refused, and the content goes on the stream."""
    receiver = ReceiverSide()
    outcome = await exchange(hosts, HolderSide(OFFER), receiver, desk=False)
    assert (outcome.answer, outcome.links) == (VERIFIED, 0)
    check_whole(receiver)


async def test_a_peer_that_offers_no_bulk_frames_is_told_apart(nursery: trio.Nursery) -> None:
    """It answers that it does not speak them; there are no connections then, and no error."""
    identity = Identity(os.urandom(32))

    async def answer(socket: trio.SocketStream) -> None:
        # a peer of version 0.1: Yamux and nothing else inside Noise
        with pytest.MonkeyPatch.context() as patch:
            real = multistream.offer
            patch.setattr(multistream, "offer", lambda ids, over: real([each for each in ids if each != BULK], over))
            with pytest.raises(trio.BrokenResourceError):
                await secure(socket, identity, expected_peer_id=None)

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, answer, [listener])
    port = listener.socket.getsockname()[1]
    async with open_host(network_key=os.urandom(32)) as client:
        dialer = client.bulk_dialer(PeerAddress(f"/ip4/127.0.0.1/tcp/{port}/p2p/{identity.peer_id}"))
        assert await dialer.connect(bytes(32)) == ()
    nursery.cancel_scope.cancel()


async def test_a_short_path_is_worth_one_connection() -> None:
    """The system tells the round trip of a connection; on loopback it is far below any bound."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1]) as socket:
        assert channels_for(socket) == 1


# --- what goes wrong ---


async def test_a_changed_bit_is_noticed_at_once_and_not_stored(hosts: tuple[Host, Host]) -> None:
    """Whoever sits between the two cannot make the receiver keep, and later forget, what the holder has not sent."""

    class Changing:
        def __init__(self, inner: BulkLink) -> None:
            self.inner, self.sent, self.close = inner, 0, inner.close

        async def send(self, *parts: bytes, moved: Moved) -> None:
            for header, sealed, tag in frames(parts):
                self.sent += 1
                changed = bytes([sealed[0] ^ 1]) + bytes(sealed[1:]) if self.sent == 3 else sealed
                await self.inner.send(header, changed, tag, moved=moved)

    receiver = ReceiverSide()
    outcome = await exchange(hosts, HolderSide(OFFER), receiver, wrap=Changing)
    assert isinstance(outcome.received, ProtocolViolation)
    assert isinstance(outcome.answer, PeerAborted)
    assert outcome.answer.reason_code == "protocol-violation"
    assert not {6, 7, 8} & receiver.stored.keys()
    assert all(receiver.stored[index] == CHUNKS[index] for index in receiver.stored)


@pytest.mark.parametrize("header", [(0, 0), (0, 17), (1, 1), (1 << 63, 1)])
async def test_frames_that_the_session_does_not_allow(hosts: tuple[Host, Host], header: tuple[int, int]) -> None:
    """No chunks, too many, and others than the next end the session before they are read."""

    class Lying:
        def __init__(self, inner: BulkLink) -> None:
            self.inner, self.close = inner, inner.close

        async def send(self, *parts: bytes, moved: Moved) -> None:
            await self.inner.send(FRAME_HEADER.pack(*header), *parts[1:], moved=moved)

    receiver = ReceiverSide()
    outcome = await exchange(hosts, HolderSide(OFFER), receiver, wrap=Lying)
    assert isinstance(outcome.received, ProtocolViolation)
    assert not receiver.stored


async def test_a_holder_that_stalls_is_left(hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a frame and then nothing: both sides give up in time."""
    monkeypatch.setattr(channel, "SLOWEST_BYTES_PER_SECOND", 1 << 30)

    class Stalling:
        def __init__(self, inner: BulkLink) -> None:
            self.inner, self.close = inner, inner.close

        async def send(self, *parts: bytes, moved: Moved) -> None:
            await self.inner.send(parts[0], parts[1][:100], moved=moved)
            await trio.sleep_forever()

    outcome = await exchange(hosts, HolderSide(OFFER), ReceiverSide(), wrap=Stalling, deadlines=IMPATIENT)
    assert isinstance(outcome.received, PeerStalled | PeerAborted)
    assert isinstance(outcome.answer, PeerStalled | PeerAborted)


async def test_a_connection_that_breaks_ends_the_session(hosts: tuple[Host, Host]) -> None:
    """Neither side waits for a deadline; what was stored stays."""

    class Breaking:
        def __init__(self, inner: BulkLink) -> None:
            self.inner, self.sent, self.close = inner, 0, inner.close

        async def send(self, *parts: bytes, moved: Moved) -> None:
            for frame in frames(parts):
                self.sent += 1
                if self.sent == 5:
                    self.inner.close()
                await self.inner.send(*frame, moved=moved)

    receiver = ReceiverSide()
    outcome = await exchange(hosts, HolderSide(OFFER), receiver, wrap=Breaking)
    # the other side may be quicker to say so than one is to believe it
    assert isinstance(outcome.received, PeerVanished | PeerAborted)
    assert isinstance(outcome.answer, PeerVanished | PeerAborted)
    assert receiver.stored.keys() == set(range(12))


async def test_what_a_dead_holder_has_sent_is_stored(hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch) -> None:
    """The system still delivers what a process sent before it died, and nobody has to send it again.

    That nothing can be acknowledged any more is no reason to drop it.
    """
    monkeypatch.setattr("ddtp.transfer.receiver.SYNC_BYTES", CHUNK_SIZE)
    streams: list[FlowStream] = []

    class Dying:
        def __init__(self, inner: BulkLink) -> None:
            self.inner, self.sent, self.close = inner, 0, inner.close

        async def send(self, *parts: bytes, moved: Moved) -> None:
            for frame in frames(parts):
                if self.sent == 8:
                    streams[0].abort()
                    self.inner.close()
                self.sent += 1
                await self.inner.send(*frame, moved=moved)

    receiver = ReceiverSide(store_seconds=0.02)
    outcome = await exchange(hosts, HolderSide(OFFER), receiver, wrap=Dying, began=streams.append)
    assert isinstance(outcome.received, PeerVanished)
    assert receiver.stored.keys() == set(range(24))


async def test_a_full_disk_is_told(hosts: tuple[Host, Host]) -> None:
    """The holder learns why, although it is in the middle of writing."""
    receiver = ReceiverSide(fail_in="store", failure=DiskFull("no room"))
    outcome = await exchange(hosts, HolderSide(OFFER), receiver)
    assert isinstance(outcome.answer, PeerAborted)
    assert outcome.answer.reason_code == "disk-full"
    assert isinstance(outcome.received, DiskFull)


async def test_a_holder_that_gives_up_says_why(hosts: tuple[Host, Host]) -> None:
    """A source that cannot be read any more ends the session with its code."""
    holder = HolderSide(OFFER, fail_in="runs", failure=SourceChanged("changed"))
    outcome = await exchange(hosts, holder, ReceiverSide())
    assert isinstance(outcome.answer, SourceChanged)
    assert isinstance(outcome.received, PeerAborted)
    assert outcome.received.reason_code == SourceChanged.code


async def test_a_cancelled_sender_leaves_no_connection(hosts: tuple[Host, Host]) -> None:
    """Ctrl-C reaches the receiver as an abort, and the bulk connection is closed."""
    server, client = hosts
    told: list[DdtpError] = []
    over = trio.Event()

    async def serve(stream: FlowStream) -> None:
        try:
            await receive_transfer(renamed(stream, "holder"), ReceiverSide(store_seconds=0.01), deadlines=DEADLINES)
        except DdtpError as err:
            told.append(err)
            over.set()
            raise

    server.serve(PROTOCOL, serve)
    holder = HolderSide(make_offer(8 * BULK_LEAST_BYTES))
    stream = await client.dial(server.addresses, PROTOCOL, timeout_seconds=5)
    counted = Counted(stream.bulk_dialer)
    stream.bulk_dialer = counted
    with trio.move_on_after(0.5):
        await send_transfer(renamed(stream, "receiver"), holder, progress=holder.progress.append, deadlines=DEADLINES)
    with trio.fail_after(5):
        await over.wait()
    assert isinstance(told[0], PeerAborted)
    with pytest.raises(trio.BrokenResourceError):
        await counted.links[0].send(b"more", moved=lambda _size: None)


# --- slow, and silent ---


@dataclass
class WrappingDialer(MemoryDialer):
    """Opens connections in memory whose holder's end is another one."""

    wrap: type[MemoryLink] = MemoryLink

    async def connect(self, token: bytes) -> tuple[MemoryLink, ...]:
        return tuple(self.wrap(link.pipe) for link in await super().connect(token))


@pytest.mark.slow
@pytest.mark.parametrize("slow", ["holder", "receiver"])
@pytest.mark.parametrize("channels", [1, LONG_PATH_CHANNELS])
async def test_the_lowest_limit_does_not_look_like_silence(autojump_clock: MockClock, channels: int, slow: str) -> None:
    """On either side, and on any number of connections: every piece moves before the next one waits."""
    limited = Pace(limit_bytes_per_second=LEAST_BYTES_PER_SECOND)
    content, start = 24 << 20, trio.current_time()
    moves = [start]

    class Watched(MemoryLink):
        async def send(self, *parts: Buffer, moved: Moved) -> None:
            def note(size_bytes: int) -> None:
                moves.append(trio.current_time())
                moved(size_bytes)

            await super().send(*parts, moved=note)

    near, far = bulk_pair(channels)
    near.bulk_dialer = WrappingDialer(far.bulk_desk, channels, Watched)  # type: ignore[arg-type]
    port, keeper = HolderSide(make_offer(content), longest_run=RUN_CHUNKS), ReceiverSide()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            lambda: receive_transfer(far, keeper, deadlines=DEADLINES, pace=limited if slow == "receiver" else None)
        )
        verdict = await send_transfer(
            near,
            port,
            progress=port.progress.append,
            deadlines=DEADLINES,
            pace=limited if slow == "holder" else None,
        )
    assert verdict == VERIFIED
    assert max(after - before for before, after in itertools.pairwise(moves)) < 33
    # nobody waits after the last run
    assert content - (1 << 20) <= LEAST_BYTES_PER_SECOND * (trio.current_time() - start) <= content + (1 << 20)


async def test_what_need_not_wait_is_written_together(autojump_clock: MockClock) -> None:
    """Without a limit a call carries as many frames as are ready, which spares the processor."""
    counts: list[int] = []

    class Counting(MemoryLink):
        async def send(self, *parts: Buffer, moved: Moved) -> None:
            counts.append(len(parts) // 3)
            await super().send(*parts, moved=moved)

    near, far = bulk_pair(1)
    near.bulk_dialer = WrappingDialer(far.bulk_desk, 1, Counting)  # type: ignore[arg-type]
    holder = HolderSide(OFFER)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: receive_transfer(far, ReceiverSide(), deadlines=DEADLINES))
        await send_transfer(near, holder, progress=holder.progress.append, deadlines=DEADLINES)
    assert max(counts) == channel.QUEUED_RUNS


async def silence_after(channels: int, link: type[MemoryLink]) -> tuple[float, PeerStalled]:
    """Receive from a holder whose links stall; return after which time the receiver gives up, and why."""
    near, far = bulk_pair(channels)
    near.bulk_dialer = WrappingDialer(far.bulk_desk, channels, link)  # type: ignore[arg-type]
    holder, start = HolderSide(OFFER), trio.current_time()
    patient = Deadlines(chunk_seconds=6000)

    async def send() -> None:
        with pytest.raises(PeerAborted):
            await send_transfer(near, holder, progress=holder.progress.append, deadlines=patient)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        with pytest.raises(PeerStalled) as caught:
            await receive_transfer(far, ReceiverSide(), deadlines=DEADLINES)
        return trio.current_time() - start, caught.value
    raise AssertionError("unreachable")


@pytest.mark.parametrize("channels", [1, LONG_PATH_CHANNELS])
async def test_a_frame_has_its_time_once(autojump_clock: MockClock, channels: int) -> None:
    """The rest of a header does not start it anew; the error says how long nothing moved."""

    class Stalling(MemoryLink):
        async def send(self, *parts: Buffer, moved: Moved) -> None:
            await super().send(parts[0][:3], moved=moved)
            await trio.sleep(80)
            await super().send(parts[0][3:], moved=moved)
            await trio.sleep_forever()

    seconds, error = await silence_after(channels, Stalling)
    assert seconds == pytest.approx(60 + 32 * channels, abs=0.1)
    assert f"silence for {60 + 32 * channels - 80} s" in error.message


@pytest.mark.parametrize("channels", [1, LONG_PATH_CHANNELS])
async def test_what_has_moved_wins_a_peer_the_time_of_one_frame(autojump_clock: MockClock, channels: int) -> None:
    """However much and however fast it was, silence after it is noticed."""

    class Stopping(MemoryLink):
        sent_bytes = 0

        async def send(self, *parts: Buffer, moved: Moved) -> None:
            Stopping.sent_bytes += sum(map(len, parts))
            await super().send(*parts, moved=moved)
            if Stopping.sent_bytes > 3 << 20:
                await trio.sleep_forever()

    seconds, error = await silence_after(channels, Stopping)
    assert seconds == pytest.approx(60 + 32 * channels + 128 * channels, abs=1)
    assert f"silence for {seconds:.0f} s" in error.message


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only probes are asked for")
async def test_a_dead_machine_is_noticed_by_the_system(hosts: tuple[Host, Host]) -> None:
    """A bulk connection is watched as every other one: nobody waits for a deadline when cable or address have gone."""
    timeouts: list[int] = []

    def look(link: BulkLink) -> BulkLink:
        timeouts.append(link._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))  # type: ignore[attr-defined]
        return link

    await exchange(hosts, HolderSide(OFFER), ReceiverSide(), wrap=look)
    assert timeouts == [DEAD_SECONDS * 1000]


# --- strangers ---


async def present(server: Host, network_key: bytes, ticket: bytes) -> bytes:
    """Open a bulk connection by hand, show a ticket, and return the answer."""
    address = PeerAddress(server.addresses[0])
    async with await trio.open_tcp_stream(address.host, address.port) as socket:
        connection = await secure(socket, Identity(network_key), expected_peer_id=address.peer_id, inner=BULK)
        assert isinstance(connection, Handover)
        await connection.write(ticket)
        return await connection.read(len(READY))


TOKEN = bytes(range(32))


@pytest.mark.parametrize(
    "ticket",
    [
        Ticket(bytes(32), 0, 1).encode(),
        Ticket(TOKEN, 1, 1).encode(),
        Ticket(TOKEN, 0, 0).encode(),
        Ticket(TOKEN, 0, 9).encode(),
    ],
    ids=["token", "number", "none", "many"],
)
async def test_a_wrong_ticket_is_refused(hosts: tuple[Host, Host], ticket: bytes) -> None:
    """The connection is closed without an answer, and the session that waits does not notice."""
    server, client = hosts
    with trio.fail_after(PATIENCE_SECONDS):
        async with server.desk.expect(TOKEN, client.peer_id) as arrival:
            with pytest.raises(trio.BrokenResourceError):
                await present(server, os.urandom(32), ticket)
            with trio.move_on_after(0.1) as waited:
                await arrival.wait()
            assert waited.cancelled_caught


async def test_a_stolen_token_is_of_no_use(hosts: tuple[Host, Host]) -> None:
    """Only the peer of the session may bring connections to it; its own still come."""
    server, client = hosts
    own_key = os.urandom(32)
    own = Identity(own_key).peer_id
    with trio.fail_after(PATIENCE_SECONDS):
        async with server.desk.expect(TOKEN, own) as arrival:
            with pytest.raises(trio.BrokenResourceError):
                await present(server, os.urandom(32), Ticket(TOKEN, 0, 1).encode())
            assert await present(server, own_key, Ticket(TOKEN, 0, 1).encode()) == READY
            assert len(await arrival.wait()) == 1
            with pytest.raises(trio.BrokenResourceError):
                await present(server, own_key, Ticket(TOKEN, 0, 1).encode())
    assert client.peer_id != own


def test_of_two_connections_with_one_ticket_the_second_is_closed() -> None:
    """Both may have been told that they are expected."""

    class Link:
        closed = False

        def close(self) -> None:
            self.closed = True

    async def main() -> None:
        async with Desk().expect(TOKEN, "peer") as arrival:
            first, second = Link(), Link()
            arrival.add(Ticket(TOKEN, 0, 1), first, "peer")  # type: ignore[arg-type]
            with pytest.raises(ProtocolViolation):
                arrival.add(Ticket(TOKEN, 0, 1), second, "peer")  # type: ignore[arg-type]
            assert (first.closed, second.closed) == (False, True)

    trio.run(main)


@pytest.mark.parametrize("direction", ["receive", "send"])
async def test_who_waits_on_a_connection_hears_that_it_was_closed(direction: str) -> None:
    """It does not wait for the peer any more."""
    async with socket_pair() as (left, _right), trio.open_nursery() as nursery:
        link = SocketLink(left)

        waits = {
            "receive": partial(link.receive_into, memoryview(bytearray(10)), least=1, moved=lambda _size: None),
            "send": partial(link.send, bytes(64 << 20), moved=lambda _size: None),
        }

        async def wait() -> None:
            with pytest.raises(trio.BrokenResourceError):
                await waits[direction]()
            nursery.cancel_scope.cancel()

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked(0.1)
        link.close()
        with trio.fail_after(PATIENCE_SECONDS):
            await trio.sleep_forever()


async def test_a_slow_path_is_waited_for(hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch) -> None:
    """Four connections share the path, so each may be four times as slow as one would have to be."""
    monkeypatch.setattr(channel, "LONG_PATH_SECONDS", 0)
    monkeypatch.setattr(channel, "SLOWEST_BYTES_PER_SECOND", 256 << 10)
    monkeypatch.setattr("ddtp.transfer.sender.BULK_LEAST_BYTES", 1)

    class Dripping:
        def __init__(self, inner: BulkLink) -> None:
            self.inner, self.close = inner, inner.close

        async def send(self, *parts: bytes, moved: Moved) -> None:
            data = b"".join(parts)
            for start in range(0, len(data), 8 << 10):
                await trio.sleep(0.1)
                await self.inner.send(data[start : start + (8 << 10)], moved=moved)

    holder, receiver = HolderSide(make_offer(8 * CHUNK_SIZE)), ReceiverSide()
    outcome = await exchange(hosts, holder, receiver, wrap=Dripping, deadlines=Deadlines(chunk_seconds=1))
    assert (outcome.answer, outcome.received) == (VERIFIED, None)


@pytest.mark.parametrize("channels", [1, 4])
async def test_a_holder_that_gives_its_connections_up_uses_the_stream(
    hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch, channels: int
) -> None:
    """The tickets were taken, their answers came too late: the receiver goes where the first chunk is."""
    monkeypatch.setattr(channel, "LONG_PATH_SECONDS", 0 if channels > 1 else 10)
    receiver = ReceiverSide()

    class Late(Counted):
        async def connect(self, token: bytes) -> tuple[BulkLink, ...]:
            links = await super().connect(token)
            assert len(links) == channels
            for link in links:
                link.close()
            return ()

    outcome = await exchange(hosts, HolderSide(OFFER), receiver, dialer=Late)
    assert (outcome.answer, outcome.received) == (VERIFIED, None)
    check_whole(receiver)


async def test_chunks_do_not_take_the_places_of_sessions(hosts: tuple[Host, Host]) -> None:
    """Bulk connections beyond the places of their kind are refused, and their content goes on the stream."""
    receiver, limits = ReceiverSide(), HostLimits(bulk_connections=0)
    async with open_host(network_key=os.urandom(32), listen=["/ip4/127.0.0.1/tcp/0"], limits=limits) as strict:
        outcome = await exchange((strict, hosts[1]), HolderSide(OFFER), receiver)
    assert (outcome.answer, outcome.links) == (VERIFIED, 0)
    check_whole(receiver)


# --- tickets and connections that do not fit ---


class Closing:
    """A bulk connection of which nothing but its end matters."""

    closed = False

    def close(self) -> None:
        self.closed = True


async def test_tickets_of_one_session_say_the_same_number() -> None:
    """Whoever says another number of connections is closed; the session still waits for those that were said first."""
    async with Desk().expect(TOKEN, "peer") as arrival:
        first, other, second = Closing(), Closing(), Closing()
        arrival.add(Ticket(TOKEN, 0, 2), first, "peer")  # type: ignore[arg-type]
        for ticket in (Ticket(TOKEN, 1, 3), Ticket(TOKEN, 1, 8)):
            with pytest.raises(ProtocolViolation, match="fits the others"):
                arrival.add(ticket, other, "peer")  # type: ignore[arg-type]
        arrival.add(Ticket(TOKEN, 1, 2), second, "peer")  # type: ignore[arg-type]
        assert await arrival.wait() == (first, second)
        assert (first.closed, other.closed, second.closed) == (False, True, False)


async def test_a_session_that_goes_on_without_takes_no_more_connections() -> None:
    """What came before is closed with it, and what comes later at once: it would carry nothing, and hold a place."""
    async with Desk().expect(TOKEN, "peer") as arrival:
        early, late = Closing(), Closing()
        arrival.add(Ticket(TOKEN, 0, 2), early, "peer")  # type: ignore[arg-type]
        arrival.release()
        with pytest.raises(ProtocolViolation, match="goes on without"):
            arrival.add(Ticket(TOKEN, 1, 2), late, "peer")  # type: ignore[arg-type]
        assert (early.closed, late.closed) == (True, True)


async def test_a_send_that_is_cut_breaks_the_connection() -> None:
    """Half a frame would be followed by something else, and the peer could not tell."""
    async with socket_pair() as (left, right):
        link = SocketLink(left)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(link.send, bytes(64 << 20), moved=lambda _size: None))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        with trio.fail_after(1), pytest.raises(trio.BrokenResourceError):
            await link.send(b"more", moved=lambda _size: None)
        with trio.fail_after(PATIENCE_SECONDS):
            async for _data in right:
                pass
