"""Moves the messages of one session over one stream, with a deadline for every wait (spec/08-session s.6).

The only place that reads or writes the stream of an exchange: one task at a time receives, sending is serialised. It
turns silence into `PeerStalled`, a broken stream into `PeerVanished`, a peer's abort into `PeerAborted`; and however
the exchange ends, the peer is told why if that is possible, and the stream is closed.
"""

import math
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeVar, final

import trio

from ddtp.errors import (
    Cancelled,
    DdtpError,
    InternalError,
    PeerAborted,
    PeerStalled,
    PeerVanished,
    ProtocolViolation,
)
from ddtp.protocol.codec import Buffer
from ddtp.protocol.messages import Abort, ChunkFrame, Message
from ddtp.protocol.session import Session
from ddtp.protocol.states import Role
from ddtp.transfer.ports import PeerStream
from ddtp.transfer.refusal import NO_REASON, public_reason

READ_BYTES: Final = 256 << 10
"""Most bytes of one read: what a `FlowStream` hands out at once."""

SLOWEST_BYTES_PER_SECOND: Final = 8 << 10
"""Bytes extend a deadline at this rate: a poor mobile link passes, a peer that drips single bytes does not."""

GOODBYE_SECONDS: Final = 1.0
"""For a last word to the peer when nothing more can be won: a round trip around the earth, and nobody waits longer."""

CLOSE_SECONDS: Final = 30.0
"""For the peer to take our last message, when it is the one that ends the exchange."""

_LOST: Final = (trio.BrokenResourceError, trio.ClosedResourceError)

Expected = TypeVar("Expected", bound=Message)


@final
class Pump:
    """One session on one stream; made by `open_pump`.

    Attributes:
        session: The session.
        remote_peer_id: The peer's proven network identity.
    """

    def __init__(self, stream: PeerStream, role: Role) -> None:
        self.session = Session(role)
        self.remote_peer_id = stream.remote_peer_id
        self._stream = stream
        self._writing = trio.Lock()
        self._receiving = False
        self._lost = False

    async def receive(self, kind: type[Expected], *, seconds: float) -> Expected:
        """Return the next message of the peer where only one kind can come. Raises as `receive_any` does."""
        event = await self.receive_any(seconds=seconds)
        if not isinstance(event, kind):
            raise InternalError(f"expected the session to allow {kind.__name__} only, found {type(event).__name__}")
        return event

    async def receive_any(self, *, seconds: float) -> Message | ChunkFrame:
        """Return the next message of the peer, which is not an abort.

        Args:
            seconds: How long the peer may be silent; what it sends extends this.

        Raises:
            PeerAborted: The peer gave up.
            PeerStalled: The deadline passed.
            PeerVanished: The stream ended or broke.
            ProtocolViolation: The peer sent what the state does not allow.
            DecodeError: The peer sent a malformed message.
        """
        self._receiving = True
        try:
            event = await self._next_event(seconds)
        except _LOST as err:
            self._lost = True
            raise PeerVanished(f"expected the stream to last, found it broken {self._where()}") from err
        finally:
            self._receiving = False
        if isinstance(event, Abort):
            raise PeerAborted(event.reason or NO_REASON, reason_code=event.code)
        return event

    async def send(self, message: Message, *, seconds: float) -> None:
        """Send a message that the session allows now.

        Args:
            message: The message.
            seconds: How long the peer may take nothing.

        Raises:
            PeerAborted: The peer gave up before it took the message.
            PeerStalled: The deadline passed.
            PeerVanished: The stream broke.
            InternalError: The session does not allow the message.
        """
        await self.write(lambda: [self.session.send(message)], seconds=seconds)

    async def write(self, encode: Callable[[], Iterable[Buffer]], *, seconds: float) -> None:
        """Encode frames and send them in one piece, with no other write between the two. Raises as `send` does.

        Args:
            encode: Asks the session for frames; called when it is our turn.
            seconds: How long the peer may take nothing.
        """
        async with self._writing:
            data = b"".join(encode())
            deadline = trio.current_time() + seconds + len(data) / SLOWEST_BYTES_PER_SECOND
            stalled = await self._write_whole(data, deadline)
        if stalled:
            raise PeerStalled(f"expected the peer to take {len(data)} bytes in time, found it silent {self._where()}")
        if self._lost:
            await self._raise_reason()

    async def close(self, farewell: Abort | None) -> None:
        """Tell the peer why if the session is not over and it can still hear it, and close the stream.

        Args:
            farewell: What to tell.
        """
        # Only a receiver that has sent the last message has something to lose; it may be cancelled, because that
        # message is durable and a repeated offer returns it.
        patient = self.session.role is Role.RECEIVER and not self.session.state.live and not self._lost
        deadline = trio.current_time() + (CLOSE_SECONDS if patient else GOODBYE_SECONDS)
        try:
            with trio.CancelScope(deadline=deadline, shield=not patient):
                if farewell is not None and self.session.state.live and not self._lost:
                    await self._stream.send_all(self.session.send(farewell))
                await self._stream.aclose()
        except (*_LOST, ProtocolViolation):
            # The peer is gone, or broke the stream below: there is nobody left to tell.
            self._lost = True
        finally:
            self.session.close()
            with trio.CancelScope() as scope:
                scope.cancel()
                await self._stream.aclose()

    async def _next_event(self, seconds: float) -> Message | ChunkFrame:
        with trio.CancelScope(deadline=trio.current_time() + seconds) as scope:
            while (event := self.session.next_event()) is None:
                data = await self._stream.receive_some(min(self.session.wanted_bytes, READ_BYTES))
                if not data:
                    self._lost = True
                    self.session.receive_eof()
                    raise PeerVanished(f"expected another message, found the end of the stream {self._where()}")
                self.session.receive_data(data)
                scope.deadline += len(data) / SLOWEST_BYTES_PER_SECOND
            return event
        raise PeerStalled(f"expected a message of the peer within {seconds:.0f} s, found silence {self._where()}")

    async def _write_whole(self, data: bytes, deadline: float) -> bool:
        """Send data; when cancelled, still finish it if that is quick, so that an abort can follow.

        Returns:
            True if the deadline passed. `_lost` is set whenever the peer may have got a part only.
        """
        self._lost = True
        scope = trio.CancelScope(deadline=deadline, shield=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_hurry, scope)
            # The nursery would wrap a failure; the caller finds the reason of it.
            with suppress(*_LOST, ProtocolViolation), scope:
                await self._stream.send_all(data)
                self._lost = False
            nursery.cancel_scope.cancel()
        return scope.cancelled_caught

    async def _raise_reason(self) -> None:
        """Raise why the stream broke under a write: a peer that gives up says so before it closes."""
        if self._receiving:
            # The receiving task finds the reason and cancels this one.
            await trio.sleep(GOODBYE_SECONDS)
        elif self.session.state.live:
            await self._read_abort()
        raise PeerVanished(f"expected the stream to last, found it broken {self._where()}")

    async def _read_abort(self) -> None:
        with trio.move_on_after(GOODBYE_SECONDS):
            while True:
                await self.receive_any(seconds=math.inf)

    def _where(self) -> str:
        return f"in state {self.session.state.value}"


async def _hurry(scope: trio.CancelScope) -> None:
    try:
        await trio.sleep_forever()
    finally:
        scope.deadline = min(scope.deadline, trio.current_time() + GOODBYE_SECONDS)


@asynccontextmanager
async def open_pump(stream: PeerStream, role: Role) -> AsyncIterator[Pump]:
    """Run one session on a stream, which is closed at the end; a failure inside is told to the peer.

    Args:
        stream: Owned by the pump from now on.
        role: Our side.
    """
    pump = Pump(stream, role)
    farewell = Abort(code=InternalError.code, reason="")
    try:
        yield pump
    except DdtpError as err:
        farewell = Abort(code=err.code, reason=public_reason(err))
        raise
    finally:
        if trio.current_effective_deadline() == -math.inf:
            farewell = Abort(code=Cancelled.code, reason="")
        await pump.close(farewell)
