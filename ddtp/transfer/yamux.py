"""spec/14 s.2: Yamux, many streams on one connection, with windows that are enforced and waited for without polling.

Wire-compatible with `/yamux/1.0.0` of go, js, Rust and Python. It sends no pings and needs none: deadlines belong to
the exchanges above. It does not know who the peer is, and speaks no protocol of a stream beyond choosing it.
"""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from typing import Final, Protocol, final

import trio

from ddtp.errors import ProtocolViolation
from ddtp.transfer import multistream
from ddtp.transfer.frames import ACK, FIN, HEADER, MAX_SENT_BYTES, RST, SYN, Frame, FrameDecoder, FrameType
from ddtp.transfer.pieces import Piece, Pieces
from ddtp.transfer.records import WINDOW_BYTES
from ddtp.transfer.turns import Turns

FIRST_WINDOW_BYTES: Final = 256 * 1024
"""What Yamux gives to each direction of a new stream; more is granted when the protocol of the stream is known."""

LENT_BYTES: Final = 8 * (WINDOW_BYTES - FIRST_WINDOW_BYTES)
"""Per connection, for windows beyond their first size: eight streams have a full one, more share it. With the first
windows that is all that a peer can leave unread here, so whoever keeps to the windows is never cut off for it."""

MAX_STREAMS: Final = 64
"""That each side may have open at a time; how many of the peer's are served is for the host to say."""

MAX_ANSWER_BYTES: Final = 4096 * HEADER.size
"""Answers (to pings, to new streams) that wait to be sent: more than any peer asks for that reads them too."""

CIRCUIT_WINDOW_BYTES: Final = 1024 * 1024
"""Of a stream that shares its connection with those of strangers: there is room for as many as a relay lets through."""

GO_AWAY_SECONDS: Final = 1.0
"""For telling a peer that it broke the protocol; it learns it from the closed connection otherwise."""

PROTOCOL_ERROR: Final = 1
"""Reason in GO_AWAY."""


class Session(Protocol):
    """What Yamux needs below."""

    async def receive(self) -> Collection[bytes]:
        """Return what has arrived, at least one byte; raise `trio.BrokenResourceError` at the end."""
        ...

    @property
    def is_behind(self) -> bool:
        """Whether a write that was cancelled has left something."""
        ...

    async def flush(self) -> None:
        """Send what a write that was cancelled has left; for one task at a time, as `write`."""
        ...

    async def write(self, *parts: Piece) -> None:
        """Take everything and send it; after `flush`, with no checkpoint in between."""
        ...

    def close_now(self) -> None:
        """Close the connection."""
        ...


@final
class Yamux:
    """All streams of one connection.

    Args:
        session: Where nothing of Yamux was sent or read yet.
        is_initiator: Whether we opened the connection.
    """

    def __init__(self, session: Session, *, is_initiator: bool) -> None:
        self._session = session
        self._is_initiator = is_initiator
        self._next_stream_id = 1 if is_initiator else 2
        self._streams: dict[int, RawYamux] = {}
        self._theirs = 0
        self._spare_bytes = LENT_BYTES
        self._newcomers_in, self._newcomers = trio.open_memory_channel[RawYamux](MAX_STREAMS)
        self._is_over = False
        self._peer_leaves = False
        # receiving
        self._decoder = FrameDecoder()
        self._receiver: RawYamux | None = None
        self._payload_left = 0
        self._flags_after_payload = 0
        # sending
        self._writing = trio.Lock()
        self._answers = bytearray()
        self._answers_due = trio.lowlevel.ParkingLot()

    async def run(self) -> None:
        """Move frames until the connection is over; nothing but writing works without it.

        Raises:
            ProtocolViolation: The peer broke the protocol, and the connection was closed for that.
        """
        violation: ProtocolViolation | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_answers)
                try:
                    await self._receive_all()
                except ProtocolViolation as err:
                    violation = err
                    await self._tell_violation()
                nursery.cancel_scope.cancel()
        finally:
            self._end()
        if violation is not None:
            raise violation

    def open_stream(self, *, window_bytes: int = WINDOW_BYTES) -> "RawYamux":
        """Open a stream; the peer learns it at the latest with the first bytes.

        Args:
            window_bytes: What the peer may have sent and we not have read, at least `FIRST_WINDOW_BYTES`.

        Raises:
            trio.BrokenResourceError: The connection is over, the peer takes no more streams, or we have too many.
        """
        if self._is_over or self._peer_leaves or len(self._streams) - self._theirs >= MAX_STREAMS:
            raise trio.BrokenResourceError("the connection takes no more streams")
        stream_id = self._next_stream_id
        self._next_stream_id += 2
        stream = self._streams[stream_id] = RawYamux(self, stream_id)
        stream.widen(window_bytes, SYN)
        return stream

    async def accept_stream(self) -> "RawYamux | None":
        """Wait for a stream that the peer opens, its protocol still unknown; None when the connection is over."""
        async for stream in self._newcomers:
            if not stream.is_dead:
                return stream
        return None

    def close_now(self) -> None:
        """Close the connection; `run` then ends."""
        self._session.close_now()

    # --- for streams ---

    async def send_data(self, stream: "RawYamux", rest: memoryview) -> memoryview:
        """Send as much of `rest` as one frame and the window allow; return what is left."""
        async with self._turn():
            piece = rest[: stream.spend_window(min(len(rest), MAX_SENT_BYTES))]
            if piece:
                header = Frame(FrameType.DATA, stream.stream_id, number=len(piece)).encode()
                await self._send(header, piece)
        return rest[len(piece) :]

    def answer(self, frame: Frame) -> None:
        """Have a frame without payload sent soon, in any case before what is written next."""
        self._answers += frame.encode()
        self._answers_due.unpark_all()

    async def flush(self) -> None:
        """Send what `answer` was given; raises `trio.BrokenResourceError` when the connection is over."""
        async with self._turn():
            if self._answers:
                await self._send()

    def lend(self, wanted_bytes: int) -> int:
        """Return by how much a window may grow; `take_back` it when nothing of it is in use any more."""
        lent = min(wanted_bytes, self._spare_bytes)
        self._spare_bytes -= lent
        return lent

    def take_back(self, lent_bytes: int) -> None:
        """Let other windows grow by what one had too much."""
        self._spare_bytes += lent_bytes

    def forget(self, stream: "RawYamux") -> None:
        """Drop a stream that has ended; frames that still come for it are ignored."""
        if self._streams.pop(stream.stream_id, None) is not None and not self._is_ours(stream.stream_id):
            self._theirs -= 1

    # --- sending ---

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait for our turn to write; whatever a cancelled write leaves is sent soon, and other streams go on."""
        async with self._writing:
            try:
                await self._session.flush()
                yield
            finally:
                if self._session.is_behind:
                    self._answers_due.unpark_all()

    async def _send(self, *parts: Piece) -> None:
        answers, self._answers = self._answers, bytearray()
        await self._session.write(answers, *parts)

    async def _send_answers(self) -> None:
        # The receiving task never writes: two peers that wait for each other's reads would stop for ever.
        with suppress(trio.BrokenResourceError):
            while True:
                while self._answers or self._session.is_behind:
                    await self.flush()
                await self._answers_due.park()

    async def _tell_violation(self) -> None:
        with trio.move_on_after(GO_AWAY_SECONDS), suppress(trio.BrokenResourceError):
            self.answer(Frame(FrameType.GO_AWAY, number=PROTOCOL_ERROR))
            await self.flush()

    # --- receiving ---

    async def _receive_all(self) -> None:
        turns = Turns()
        with suppress(trio.BrokenResourceError):
            while True:
                for data in await self._session.receive():
                    for found in self._decoder.feed(data):
                        self._handle(found)
                        await turns.give()
                    await turns.give()
                    if len(self._answers) > MAX_ANSWER_BYTES:
                        raise ProtocolViolation("expected a peer that reads what it asks for, found one that does not")

    def _handle(self, found: Frame | Piece) -> None:
        if isinstance(found, Frame):
            self._handle_frame(found)
        else:
            self._handle_payload(found)

    def _handle_frame(self, frame: Frame) -> None:
        match frame.type:
            case FrameType.DATA:
                self._receiver = self._find_stream(frame)
                self._payload_left, self._flags_after_payload = frame.number, frame.flags
                if self._receiver is not None:
                    self._receiver.expect(frame.number)
                if not frame.number:
                    self._handle_flags(self._receiver, frame.flags)
            case FrameType.WINDOW_UPDATE:
                stream = self._find_stream(frame)
                if stream is not None:
                    stream.handle_grant(frame.number)
                self._handle_flags(stream, frame.flags)
            case FrameType.PING if frame.flags & SYN:
                self.answer(Frame(FrameType.PING, flags=ACK, number=frame.number))
            case FrameType.GO_AWAY:
                self._peer_leaves = True

    def _handle_payload(self, payload: Piece) -> None:
        if self._receiver is not None:
            self._receiver.handle_payload(payload)
        self._payload_left -= len(payload)
        if not self._payload_left:
            self._handle_flags(self._receiver, self._flags_after_payload)

    def _handle_flags(self, stream: "RawYamux | None", flags: int) -> None:
        if stream is not None and flags & RST:
            stream.break_off()
        elif stream is not None and flags & FIN:
            stream.handle_end()

    def _find_stream(self, frame: Frame) -> "RawYamux | None":
        """Return the stream of a frame, a new one if it says so, or None if it has ended or is refused."""
        stream = self._streams.get(frame.stream_id)
        if not frame.flags & SYN:
            return stream
        if stream is not None or self._is_ours(frame.stream_id):
            raise ProtocolViolation(f"expected a new stream of the peer's own, found number {frame.stream_id}")
        waiting = self._newcomers_in.statistics().current_buffer_used
        if max(waiting, self._theirs) >= MAX_STREAMS:
            self.answer(Frame(FrameType.WINDOW_UPDATE, frame.stream_id, RST))
            return None
        stream = RawYamux(self, frame.stream_id)
        self._newcomers_in.send_nowait(stream)
        self._streams[frame.stream_id] = stream
        self._theirs += 1
        self.answer(Frame(FrameType.WINDOW_UPDATE, frame.stream_id, ACK))
        return stream

    def _is_ours(self, stream_id: int) -> bool:
        return (stream_id % 2 == 1) is self._is_initiator

    def _end(self) -> None:
        self._is_over = True
        self._session.close_now()
        for stream in list(self._streams.values()):
            stream.break_off()
        self._newcomers_in.close()


@final
class RawYamux:
    """A Yamux stream as `stream.RawStream`; made by `Yamux`.

    What arrived before the peer reset the stream, or before the connection ended, can still be read.

    Attributes:
        stream_id: Its number on the connection.
    """

    def __init__(self, muxer: Yamux, stream_id: int) -> None:
        self.stream_id = stream_id
        self._muxer = muxer
        self._changed = trio.lowlevel.ParkingLot()
        self._is_broken = False
        # receiving half: the peer may fill what is unread up to the window, and knows of self._granted_bytes; of what
        # it has spent of them, self._coming_bytes are still on their way
        self._unread = Pieces()
        self._coming_bytes = 0
        self._window_bytes = self._wanted_bytes = FIRST_WINDOW_BYTES
        self._granted_bytes = FIRST_WINDOW_BYTES
        self._peer_has_ended = False
        # sending half
        self._credit_bytes = FIRST_WINDOW_BYTES
        self._has_ended = False
        self._is_torn = False

    @property
    def is_dead(self) -> bool:
        """Whether nothing can come of it any more: it is reset, or its connection has ended, and nothing is unread."""
        return self._is_broken and not self._unread

    async def negotiate(
        self,
        protocols: Collection[str],
        *,
        admit: Callable[[str], None] = lambda _protocol: None,
        window_bytes: Callable[[str], int] = lambda _protocol: WINDOW_BYTES,
    ) -> str:
        """Let the peer choose one of `protocols` and return it.

        Args:
            protocols: Ours.
            admit: Called with the choice before it is confirmed; what it raises comes through.
            window_bytes: As for `Yamux.open_stream`, by the choice.

        Raises:
            ProtocolViolation: The peer does not follow multistream-select.
            trio.BrokenResourceError: The stream is over.
        """
        protocol = await multistream.offer(protocols, self, admit=admit)
        self.widen(window_bytes(protocol))
        return protocol

    async def read(self, max_bytes: int) -> Piece:
        """See `stream.RawStream`."""
        while not self._unread:
            if self._peer_has_ended:
                return b""
            self._check_whole()
            await self._changed.park()
        piece = self._unread.pop(max_bytes)
        if self._room() >= self._window_bytes // 2:
            self._grant()
        self._shrink_if_over()
        return piece

    async def write(self, data: Piece) -> None:
        """See `stream.RawStream`."""
        self._check_sendable()
        rest, self._is_torn = memoryview(data), True
        while rest:
            while not self._credit_bytes:
                self._check_whole()
                await self._changed.park()
            rest = await self._muxer.send_data(self, rest)
        self._is_torn = False

    async def close(self) -> None:
        """See `stream.RawStream`."""
        self._check_untorn()
        if not self._has_ended:
            self._has_ended = True
            self._muxer.answer(Frame(FrameType.WINDOW_UPDATE, self.stream_id, FIN))
            self._forget_if_over()
            await self._muxer.flush()

    async def reset(self) -> None:
        """See `stream.RawStream`."""
        if self.drop():
            with suppress(trio.BrokenResourceError):
                await self._muxer.flush()

    def drop(self) -> bool:
        """End both directions as `reset` does, but only have the peer told soon; return whether it is to be told."""
        self._unread.clear()
        self._shrink_if_over()
        if self._is_broken or (self._has_ended and self._peer_has_ended):
            return False
        self.break_off()
        self._muxer.answer(Frame(FrameType.WINDOW_UPDATE, self.stream_id, RST))
        return True

    # --- for the muxer ---

    def widen(self, window_bytes: int, flags: int = 0) -> None:
        """Grant the whole window, in a frame with `flags`; what cannot be lent now comes while the reader reads."""
        self._wanted_bytes = window_bytes
        self._grant(flags)

    def spend_window(self, wanted_bytes: int) -> int:
        """Return how many of the bytes may be sent now, and count them as sent.

        Raises:
            trio.BrokenResourceError: The stream is over for us.
        """
        self._check_whole()
        spent = min(wanted_bytes, self._credit_bytes)
        self._credit_bytes -= spent
        return spent

    def expect(self, size_bytes: int) -> None:
        """Take note of a frame whose payload follows.

        Raises:
            ProtocolViolation: The peer must not send it.
        """
        if size_bytes and self._peer_has_ended:
            raise ProtocolViolation("expected no data after the end of a stream, found some")
        if size_bytes > self._granted_bytes:
            raise ProtocolViolation(f"expected at most {self._granted_bytes} bytes in the window, found {size_bytes}")
        self._granted_bytes -= size_bytes
        self._coming_bytes += size_bytes

    def handle_payload(self, payload: Piece) -> None:
        """Keep what has arrived."""
        self._coming_bytes -= len(payload)
        if not self._is_broken:
            self._unread.add(payload)
            self._changed.unpark_all()

    def handle_grant(self, size_bytes: int) -> None:
        """Let the writer go on."""
        self._credit_bytes += size_bytes
        self._changed.unpark_all()

    def handle_end(self) -> None:
        """Let the reader end."""
        self._peer_has_ended = True
        self._changed.unpark_all()
        self._shrink_if_over()
        self._forget_if_over()

    def break_off(self) -> None:
        """End both directions; what is unread stays."""
        self._is_broken = True
        self._changed.unpark_all()
        self._muxer.forget(self)
        self._shrink_if_over()

    # --- inside ---

    def _check_whole(self) -> None:
        if self._is_broken:
            raise trio.BrokenResourceError("the stream was reset, or the connection ended")

    def _check_untorn(self) -> None:
        self._check_whole()
        if self._is_torn:
            raise trio.BrokenResourceError("a write before was cut short")

    def _check_sendable(self) -> None:
        self._check_untorn()
        if self._has_ended:
            raise trio.BrokenResourceError("this side has ended the stream")

    def _forget_if_over(self) -> None:
        if self._has_ended and self._peer_has_ended:
            self._muxer.forget(self)

    def _shrink_if_over(self) -> None:
        """Give back what was lent, if nothing can fill the window any more and nothing in it waits for its reader."""
        if (self._is_broken or self._peer_has_ended) and not self._unread:
            self._muxer.take_back(self._window_bytes - FIRST_WINDOW_BYTES)
            self._window_bytes, self._granted_bytes = FIRST_WINDOW_BYTES, 0

    def _room(self) -> int:
        return self._window_bytes - self._granted_bytes - self._coming_bytes - len(self._unread)

    def _grant(self, flags: int = 0) -> None:
        if not (self._is_broken or self._peer_has_ended):
            self._window_bytes += self._muxer.lend(self._wanted_bytes - self._window_bytes)
            room = self._room()
            self._granted_bytes += room
            self._muxer.answer(Frame(FrameType.WINDOW_UPDATE, self.stream_id, flags, room))
