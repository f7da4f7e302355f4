"""One transfer session without input or output (spec/08-session).

Give it what arrived, ask it for events, let it encode what is sent; it refuses what the spec does not allow, from the
peer as `ProtocolViolation` or `DecodeError`, from its own side as `InternalError`. It checks the course of a session
and the sizes in it, not what is signed inside: bindings, grants, receipts and keys are the caller's to judge.
"""

from typing import Final, final

from ddtp.errors import DdtpError, DecodeError, InternalError, PeerVanished, ProtocolViolation
from ddtp.protocol.bulk import BulkKeys, derive_keys
from ddtp.protocol.chunks import SealHeader, chunk_count, sealed_size
from ddtp.protocol.codec import Buffer
from ddtp.protocol.envelope import SUITE
from ddtp.protocol.framing import CHUNK_INDEX, Frame, FrameReader, encode_chunk_header, encode_frame
from ddtp.protocol.messages import (
    RECORD_OF,
    TYPE_OF,
    Accept,
    Ack,
    ChunkFrame,
    ChunkRange,
    Decline,
    Finish,
    Hello,
    KeyRelease,
    Message,
    MessageType,
    Offer,
    ReceiptMessage,
)
from ddtp.protocol.states import STAGES, Role, State, next_state

_ANSWERS: Final = (Accept, Decline, Finish, KeyRelease)
"""Messages that name the transfer again."""


@final
class Session:
    """One side of a session.

    The caller loops: `next_event` until it returns None, then `receive_data` with at most `wanted_bytes`.

    Args:
        role: Which side this is.
    """

    def __init__(self, role: Role) -> None:
        self.role = role
        self._state = State.START
        self._reader = FrameReader(self._bound)
        self._refusal: DdtpError | None = None
        self._transfer_id = b""
        self._nonces: dict[Role, bytes] = {}
        self._chunks: _ChunkOrder | None = None

    @property
    def state(self) -> State:
        """Where the session is."""
        return self._state

    @property
    def wanted_bytes(self) -> int:
        """How many bytes `receive_data` takes now; 0 if an event is waiting."""
        return self._reader.wanted_bytes

    def receive_data(self, data: Buffer) -> None:
        """Take bytes from the peer.

        Args:
            data: At most `wanted_bytes` bytes.

        Raises:
            InternalError: These are more.
        """
        self._reader.feed(data)

    def receive_eof(self) -> None:
        """Take note that the peer sends nothing more.

        Raises:
            PeerVanished: The session was not over.
        """
        if self._state.live:
            raise PeerVanished(f"expected the session to go on from state {self._state.value}, found its end")

    def next_event(self) -> Message | ChunkFrame | None:
        """Return the next message of the peer, or None if more bytes are needed.

        Raises:
            ProtocolViolation: The peer sent what the state does not allow; again at every later call.
            DecodeError: The peer sent a malformed message; again at every later call.
        """
        if self._refusal is not None:
            raise self._refusal
        try:
            frame = self._reader.next_frame()
            return None if frame is None else self._receive(frame)
        except (ProtocolViolation, DecodeError) as err:
            self._refusal = err
            self._reader.discard()
            raise

    def send(self, message: Message) -> bytes:
        """Encode a message of this side.

        Returns:
            One frame, to be sent whole and in order.

        Raises:
            InternalError: The message is not allowed now.
            DecodeError: Its fields together are longer than a frame of its type may be.
        """
        kind = TYPE_OF[type(message)]
        payload = message.encode()
        try:
            self._advance(self.role, message)
        except ProtocolViolation as err:
            raise InternalError(f"cannot send this message: {err.message}") from err
        return encode_frame(kind, payload)

    def send_chunk(self, index: int, sealed: Buffer) -> tuple[bytes, Buffer]:
        """Encode a sealed chunk.

        Args:
            index: Position of the chunk; ascending, without the chunks that the receiver holds.
            sealed: Ciphertext and tag.

        Returns:
            The two parts of one frame, the second being `sealed` itself.

        Raises:
            InternalError: The chunk is not allowed now.
        """
        try:
            next_state(self._state, self.role, MessageType.CHUNK)
            self._content.take_chunk(index, len(sealed))
        except ProtocolViolation as err:
            raise InternalError(f"cannot send this chunk: {err.message}") from err
        return encode_chunk_header(index, len(sealed)), sealed

    def carry_chunks(self, first: int, count: int) -> None:
        """Take note of neighbouring chunks that a bulk connection carries (spec/14 s.8), for either role.

        Args:
            first: Position of the first one; ascending, without the chunks that the receiver holds.
            count: How many.

        Raises:
            ProtocolViolation: The holder has sent a chunk that is not allowed now.
            InternalError: We are the holder.
        """
        try:
            next_state(self._state, Role.HOLDER, MessageType.CHUNK)
            for index in range(first, first + count):
                self._content.take_chunk(index, None)
        except ProtocolViolation as err:
            if self.role is Role.RECEIVER:
                raise
            raise InternalError(f"cannot send these chunks: {err.message}") from err

    @property
    def all_chunks_carried(self) -> bool:
        """Whether every chunk of the content was sent or is held."""
        return self._content.complete

    def bulk_keys(self) -> BulkKeys:
        """Return what bulk connections of this session are known by; both hellos and the offer must have passed."""
        return derive_keys(self._nonces[Role.HOLDER], self._nonces[Role.RECEIVER], self._transfer_id)

    def close(self) -> None:
        """End the session here and forget what was received; a session that was not over counts as aborted."""
        self._reader.discard()
        if self._state.live:
            self._state = State.ABORTED

    @property
    def _content(self) -> "_ChunkOrder":
        assert self._chunks is not None, "the table leads to chunks only by way of an offer"
        return self._chunks

    def _bound(self, kind: MessageType) -> int:
        next_state(self._state, self.role.other, kind)
        if kind is MessageType.CHUNK:
            return CHUNK_INDEX.size + self._content.largest_bytes
        return RECORD_OF[kind].MAX_BYTES

    def _receive(self, frame: Frame) -> Message | ChunkFrame:
        sender = self.role.other
        if frame.type is MessageType.CHUNK:
            # the state may have changed since the header was checked, by a message of our own
            next_state(self._state, sender, frame.type)
            if len(frame.payload) < CHUNK_INDEX.size:
                raise ProtocolViolation(f"expected an index in a chunk, found {len(frame.payload)} bytes")
            (index,) = CHUNK_INDEX.unpack_from(frame.payload)
            sealed = frame.payload[CHUNK_INDEX.size :]
            self._content.take_chunk(index, len(sealed))
            return ChunkFrame(index, sealed)
        message: Message = RECORD_OF[frame.type].parse(frame.payload)
        self._advance(sender, message)
        return message

    def _advance(self, sender: Role, message: Message) -> None:
        target = next_state(self._state, sender, TYPE_OF[type(message)])
        if isinstance(message, _ANSWERS) and message.transfer_id != self._transfer_id:
            raise ProtocolViolation("expected the transfer id of the offer, found another one")
        match message:
            case Hello():
                self._take_hello(sender, message)
            case Offer():
                self._transfer_id = message.transfer_id
                self._chunks = _ChunkOrder(message.seal)
            case Accept():
                self._content.take_held(message.have)
            case Ack():
                self._content.take_ack(message.durable_chunks)
            case Finish():
                self._content.take_finish(message.chunk_count)
            case ReceiptMessage() if message.stage not in STAGES[self._state]:
                raise ProtocolViolation(f"expected another receipt than {message.stage.value!r} now")
            case _:
                pass
        self._state = target

    def _take_hello(self, sender: Role, hello: Hello) -> None:
        self._nonces[sender] = hello.nonce
        if (hello.binding is None) is not (sender is Role.HOLDER):
            raise ProtocolViolation("expected a binding in the hello of the receiver, and only there")
        if SUITE not in hello.suites:
            raise ProtocolViolation(f"expected the suite {SUITE}, found others")
        if sender is Role.RECEIVER and hello.suites != (SUITE,):
            raise ProtocolViolation(f"expected one suite in the answer, found {len(hello.suites)}")


@final
class _ChunkOrder:
    """Which chunks may come, and how many have: every one that the receiver lacks, once, in ascending order."""

    def __init__(self, seal: SealHeader) -> None:
        self._seal = seal
        self._count = chunk_count(seal.content_bytes, seal.chunk_size)
        self.largest_bytes = sealed_size(0, seal)
        self._held: tuple[ChunkRange, ...] = ()
        self._next = 0
        self._covered = 0
        self._durable = 0

    def take_held(self, held: tuple[ChunkRange, ...]) -> None:
        if held and held[-1].stop > self._count:
            raise ProtocolViolation(f"expected ranges within {self._count} chunks, found chunk {held[-1].stop - 1}")
        self._held = held
        self._covered = self._durable = sum(part.stop - part.start for part in held)
        self._skip_held()

    @property
    def complete(self) -> bool:
        return self._covered == self._count

    def take_chunk(self, index: int, size_bytes: int | None) -> None:
        """Take the next chunk; one whose size nobody has announced has the right one."""
        if index != self._next or index >= self._count:
            raise ProtocolViolation(f"expected chunk {self._next} of {self._count}, found chunk {index}")
        expected_bytes = sealed_size(index, self._seal)
        if size_bytes is not None and size_bytes != expected_bytes:
            raise ProtocolViolation(f"expected {expected_bytes} bytes in chunk {index}, found {size_bytes}")
        self._next += 1
        self._covered += 1
        self._skip_held()

    def take_ack(self, durable_chunks: int) -> None:
        if not self._durable < durable_chunks <= self._covered:
            raise ProtocolViolation(
                f"expected more than {self._durable} and at most {self._covered} durable chunks, found {durable_chunks}"
            )
        self._durable = durable_chunks

    def take_finish(self, count: int) -> None:
        if count != self._count or not self.complete:
            raise ProtocolViolation(
                f"expected {self._count} chunks before the finish, found {self._covered} and the number {count}"
            )

    def _skip_held(self) -> None:
        # ranges are ascending with gaps, so at most one of them starts here; each is looked at once
        if self._held and self._held[0].start == self._next:
            self._next = self._held[0].stop
            self._held = self._held[1:]
