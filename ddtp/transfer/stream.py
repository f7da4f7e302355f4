"""spec/14 s.3: a stream that may pause for ever, ends only on purpose, and closes without losing its last bytes.

`FlowStream` runs over any raw duplex. It does what the streams of the network library below do not: a background task
always drains the raw stream (within a window of credit), so that a pausing application never looks like a dead one;
the end of a stream is a record that the peer confirms, so that a broken connection never looks like a complete file.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import index
from typing import Final, Protocol, final

import trio

from ddtp.errors import ProtocolViolation
from ddtp.transfer.pieces import Piece, Pieces
from ddtp.transfer.ports import BulkDesk, BulkDialer
from ddtp.transfer.records import (
    PAYLOAD_BYTES,
    WINDOW_BYTES,
    Record,
    RecordDecoder,
    RecordType,
    encode_data,
    encode_record,
)
from ddtp.transfer.turns import Turns

READ_BYTES: Final = 1024 * 1024
"""Asked from the raw stream at once: more than it has in one piece."""

RECEIVE_BYTES: Final = 256 * 1024
"""Returned by `receive_some` when the caller names no maximum: a few pieces, so that copies stay in the cache."""

SEND_BYTES: Final = 4 * PAYLOAD_BYTES
"""Payload in one write, in full records: sixteen were not faster, and other writers wait longer for a larger one."""

CREDIT_STEP_BYTES: Final = WINDOW_BYTES // 4
"""Read by the application before the peer is told: few small records, yet the peer always has three quarters left."""

CLOSE_SECONDS: Final = 30.0
"""For the peer to confirm the end: a full window (4 MiB) still drains at 1.2 Mbit/s."""

LINGER_SECONDS: Final = 5.0
"""For the peer's own end of the raw stream, after both ends are confirmed; nothing of value can be lost any more."""

ABORT_SECONDS: Final = 1.0
"""For telling the peer that a stream is dead; it learns it from the closed connection otherwise."""


class RawStream(Protocol):
    """What `FlowStream` needs below: an ordered duplex of bytes, for one reader and one writer at a time.

    A write that is cancelled may leave half a message behind; the raw stream then has to break for both sides.
    """

    async def read(self, max_bytes: int) -> Piece:
        """Return 1 to `max_bytes` bytes, or nothing at the end; raise `trio.BrokenResourceError` when broken."""
        ...

    async def write(self, data: bytes) -> None:
        """Send everything; raise `trio.BrokenResourceError` when broken."""
        ...

    async def close(self) -> None:
        """End our direction; raise `trio.BrokenResourceError` when broken."""
        ...

    async def reset(self) -> None:
        """End both directions now and free the stream; never raises, harmless after a clean end."""
        ...


@final
class _Turn:
    """One task at a time; the second one is told, as trio's streams do."""

    def __init__(self, operation: str) -> None:
        self._operation = operation
        self.taken = False

    def __enter__(self) -> None:
        if self.taken:
            raise trio.BusyResourceError(f"another task is {self._operation} this stream")
        self.taken = True

    def __exit__(self, *exc_info: object) -> None:
        self.taken = False


@final
class FlowStream(trio.abc.HalfCloseableStream):
    """A duplex byte stream with credit, a confirmed end and an authenticated peer; made by `open_flow_stream`.

    All methods follow trio's contracts. Two additions: when the peer breaks the stream protocol, methods raise
    `ProtocolViolation` where trio says `trio.BrokenResourceError`; and a cancelled `send_all` or `send_eof` leaves the
    stream broken for both sides, because the peer cannot know what was left out.

    Attributes:
        remote_peer_id: The peer's network identity, proven by the handshake below.
        remote_address: Where the peer is, for people and logs.
        bulk_dialer: Opens bulk connections to the same place; set by the host on streams that it dialled.
        bulk_desk: Awaits bulk connections of the peer; set by the host on streams that it serves.
    """

    def __init__(self, raw: RawStream, *, remote_peer_id: str, remote_address: str) -> None:
        self.remote_peer_id = remote_peer_id
        self.remote_address = remote_address
        self.bulk_dialer: BulkDialer | None = None
        self.bulk_desk: BulkDesk | None = None
        self._raw = raw
        self._scope = trio.CancelScope()
        self._changed = trio.lowlevel.ParkingLot()
        self._finished = trio.Event()
        self._failure: trio.BrokenResourceError | ProtocolViolation | None = None
        self._failure_told = False
        self._closed = False
        # receiving half
        self._receiving = _Turn("receiving from")
        self._decoder = RecordDecoder()
        self._arrived = Pieces()
        self._consumed_bytes = 0
        self._credit_due_bytes = 0
        self._ended = False
        self._ack_due = False
        self._ack_sent = False
        # sending half
        self._sending = _Turn("sending to")
        self._writing = trio.Lock()
        self._credit_bytes = WINDOW_BYTES
        self._sent_any = False
        self._end_sent = False
        self._end_acked = False

    @property
    def is_whole(self) -> bool:
        """True as long as neither side has ended anything, and nothing has broken that we know of."""
        return not (self._closed or self._end_sent or self._ended) and self._failure is None

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what has arrived, at most `max_bytes`; nothing means that the peer ended the stream on purpose.

        Raises:
            trio.BrokenResourceError: The connection ended without the peer's END.
            ProtocolViolation: The peer broke the stream protocol.
            trio.ClosedResourceError: This side closed the stream.
            trio.BusyResourceError: Another task is receiving.
        """
        limit = RECEIVE_BYTES if max_bytes is None else index(max_bytes)
        if limit < 1:
            raise ValueError(f"expected max_bytes of at least 1, found {limit}")
        await trio.lowlevel.checkpoint()
        with self._receiving:
            await self._until(lambda: bool(self._arrived) or self._ended)
            return self._take(limit)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`, waiting for the peer's credit as long as it takes.

        Raises:
            trio.BrokenResourceError: The connection broke, or an earlier send was cancelled.
            ProtocolViolation: The peer broke the stream protocol.
            trio.ClosedResourceError: This side closed the stream or sent its end.
            trio.BusyResourceError: Another task is sending.
        """
        await trio.lowlevel.checkpoint()
        with self._sending:
            self._check_sendable()
            with self._whole_or_broken():
                await self._send_pieces(memoryview(data))

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the peer has granted credit; raises as `send_all` does."""
        await trio.lowlevel.checkpoint()
        with self._sending:
            self._check_sendable()
            await self._until(self._may_send)

    async def send_eof(self) -> None:
        """Tell the peer that nothing follows; receiving goes on. Raises as `send_all` does."""
        await trio.lowlevel.checkpoint()
        with self._sending:
            if self._end_sent and not self._closed:
                return
            self._check_sendable()
            with self._whole_or_broken():
                await self._send_end()
                self._check_failure()

    async def aclose(self) -> None:
        """Close both directions after the peer has confirmed every byte sent; what it still sends is discarded.

        Waits at most `CLOSE_SECONDS`. Cancelling it closes at once and tells the peer that the stream broke.

        Raises:
            trio.BrokenResourceError: The peer may not have got all bytes, and no earlier call has said so.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        orderly = not self._sending.taken
        self._closed = True
        self._changed.unpark_all()
        lingering = False
        try:
            await trio.lowlevel.checkpoint()
            if orderly and self._failure is None:
                with trio.move_on_after(CLOSE_SECONDS):
                    lingering = await self._finish()
        finally:
            if not lingering:
                self._scope.cancel()
        if orderly and self._sent_any and not (self._end_acked or self._ended or self._failure_told):
            raise trio.BrokenResourceError("the peer has not confirmed the end of the stream")

    def abort(self) -> None:
        """Close both directions now, without waiting; the peer sees a broken stream unless both ends are confirmed."""
        if not self._closed:
            self._closed = True
            self._changed.unpark_all()
            self._scope.cancel()

    async def wait_finished(self) -> None:
        """Wait until the raw stream is no longer used."""
        await self._finished.wait()

    async def run(self) -> None:
        """Move records until the stream is over; `open_flow_stream` starts it, nobody else calls it."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._drain)
                    nursery.start_soon(self._answer)
        finally:
            self._fail(trio.BrokenResourceError("the connection is closed"))
            # The raw stream must be told even when everything around is being cancelled.
            with trio.CancelScope(shield=True, deadline=trio.current_time() + ABORT_SECONDS):
                await self._raw.reset()
            self._finished.set()

    # --- waiting and failing ---

    async def _until(self, ready: Callable[[], bool]) -> None:
        while True:
            if self._closed:
                raise trio.ClosedResourceError("this side closed the stream")
            if ready():
                return
            self._check_failure()
            await self._changed.park()

    def _check_failure(self) -> None:
        if self._failure is not None:
            self._failure_told = True
            raise type(self._failure)(str(self._failure)) from self._failure

    def _check_sendable(self) -> None:
        if self._closed or self._end_sent:
            raise trio.ClosedResourceError("this side closed the stream or sent its end")
        self._check_failure()

    def _fail(self, failure: trio.BrokenResourceError | ProtocolViolation) -> None:
        if self._failure is None:
            self._failure = failure
        self._scope.cancel()
        self._changed.unpark_all()

    @contextmanager
    def _whole_or_broken(self) -> Iterator[None]:
        whole = False
        try:
            yield
            whole = True
        finally:
            if not whole:
                self._fail(trio.BrokenResourceError("a send was cut short"))

    # --- receiving half ---

    def _take(self, limit: int) -> bytes:
        taken = self._arrived.take(limit)
        self._consumed_bytes += len(taken)
        if self._consumed_bytes >= CREDIT_STEP_BYTES and not self._ended:
            self._decoder.grant(self._consumed_bytes)
            self._credit_due_bytes += self._consumed_bytes
            self._consumed_bytes = 0
            self._changed.unpark_all()
        return taken

    async def _drain(self) -> None:
        try:
            turns = Turns()
            while data := await self._raw.read(READ_BYTES):
                for record in self._decoder.feed(data):
                    self._handle(record)
                    await turns.give()
                self._changed.unpark_all()
        except ProtocolViolation as err:
            self._fail(err)
        except trio.BrokenResourceError:
            self._fail(trio.BrokenResourceError("the connection broke"))
        else:
            self._fail(trio.BrokenResourceError("the connection ended before the stream did"))

    def _handle(self, record: Record) -> None:
        match record.type:
            case RecordType.DATA:
                if not self._closed:
                    self._arrived.add(record.payload)
            case RecordType.CREDIT:
                self._credit_bytes += record.number
                if self._credit_bytes > WINDOW_BYTES:
                    raise ProtocolViolation(f"expected credit for what was sent, found {record.number} bytes")
            case RecordType.END:
                self._ended = True
                self._ack_due = True
            case RecordType.END_ACK:
                if self._end_acked or not self._end_sent:
                    raise ProtocolViolation("expected END_ACK only as the answer to END")
                self._end_acked = True

    async def _answer(self) -> None:
        # The draining task never writes: two peers that wait for each other's reads would stop for ever.
        while not self._ack_sent:
            if self._credit_due_bytes:
                credit, self._credit_due_bytes = self._credit_due_bytes, 0
                await self._write(encode_record(RecordType.CREDIT, credit))
            elif self._ack_due:
                await self._write(encode_record(RecordType.END_ACK))
                self._ack_sent = True
                self._changed.unpark_all()
            else:
                await self._changed.park()

    # --- sending half ---

    def _may_send(self) -> bool:
        return self._failure is None and self._credit_bytes > 0

    async def _send_pieces(self, rest: memoryview) -> None:
        while rest:
            await self._until(self._may_send)
            piece = rest[: min(SEND_BYTES, self._credit_bytes)]
            rest = rest[len(piece) :]
            self._credit_bytes -= len(piece)
            self._sent_any = True
            await self._write(encode_data(piece))
            self._check_failure()

    async def _send_end(self) -> None:
        self._end_sent = True
        await self._write(encode_record(RecordType.END))

    async def _write(self, record: bytes) -> None:
        async with self._writing:
            try:
                await self._raw.write(record)
            except trio.BrokenResourceError:
                self._fail(trio.BrokenResourceError("the connection broke"))

    async def _finish(self) -> bool:
        """Exchange the ends; True if the peer has ended too, so that only its raw end is still awaited."""
        if not self._end_sent:
            await self._send_end()
        while self._failure is None and not (self._end_acked and (self._ack_sent or not self._ended)):
            await self._changed.park()
        if self._failure is not None or not self._ended:
            return False
        try:
            await self._raw.close()
        except trio.BrokenResourceError:
            return False
        self._scope.deadline = trio.current_time() + LINGER_SECONDS
        return True


def open_flow_stream(
    raw: RawStream, nursery: trio.Nursery, *, remote_peer_id: str, remote_address: str = ""
) -> FlowStream:
    """Start a stream over `raw`, whose background work lives in `nursery` until the stream is over.

    Args:
        raw: Owned by the stream from now on.
        nursery: Cancelling it breaks the stream.
        remote_peer_id: Proven by the handshake below `raw`.
        remote_address: For people and logs.
    """
    stream = FlowStream(raw, remote_peer_id=remote_peer_id, remote_address=remote_address)
    nursery.start_soon(stream.run)
    return stream
