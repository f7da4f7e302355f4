"""spec/14 s.2: Noise messages on a socket, after the handshake; many of them per system call.

What stands on the wire is the transport phase of libp2p's Noise: `length (2 bytes) ‖ ciphertext`, ChaCha20-Poly1305
with a counter in each direction. The handshake is not here, and neither is who the peer is: see `libp2p`.
"""

import struct
from collections.abc import Sequence
from typing import Final, final

import trio
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from ddtp.errors import ProtocolViolation
from ddtp.transfer.pieces import Piece, Pieces

LENGTH = struct.Struct(">H")
NONCE = struct.Struct("<4xQ")
TAG_BYTES: Final = 16

MAX_MESSAGE_BYTES: Final = 65_535
"""Of ciphertext: what the length can say."""

MAX_PLAIN_BYTES: Final = MAX_MESSAGE_BYTES - TAG_BYTES

FIRST_BUFFER_BYTES: Final = LENGTH.size + MAX_MESSAGE_BYTES
"""One message. A connection that carries little never needs more."""

MANY_MESSAGES: Final = 256
"""Decrypted before others have their turn: of messages of a few bytes the largest buffer holds 30,000."""

MAX_BUFFER_BYTES: Final = 8 * FIRST_BUFFER_BYTES
"""Per system call once the peer fills the buffer: half a megabyte, which a second-level cache holds."""


@final
class NoiseSession:
    """Encrypts and decrypts over a socket whose handshake is over; one task may read while another one writes.

    Args:
        socket: With nothing read ahead; the session's own from now on.
        sending_key: 32 bytes, of our direction; no message was sent under it yet.
        receiving_key: 32 bytes, of the peer's direction.
    """

    def __init__(self, socket: trio.SocketStream, *, sending_key: bytes, receiving_key: bytes) -> None:
        self._socket = socket
        self._plain = Pieces()
        # what has arrived is self._received[self._start:self._end]
        self._receiving = ChaCha20Poly1305(receiving_key)
        self._messages_received = 0
        self._received = memoryview(bytearray(FIRST_BUFFER_BYTES))
        self._start = 0
        self._end = 0
        self._sending = ChaCha20Poly1305(sending_key)
        self._messages_sent = 0
        self._sealed = memoryview(bytearray())
        self._unsent = self._sealed

    async def read(self, max_bytes: int) -> Piece:
        """Return 1 to `max_bytes` bytes, and take nothing off the socket beyond the message that holds them.

        Raises:
            ProtocolViolation: A message does not decrypt.
            trio.BrokenResourceError: The connection is over.
        """
        while not self._plain:
            await self._receive_at_least(LENGTH.size)
            (length,) = LENGTH.unpack_from(self._received, self._start)
            await self._receive_at_least(LENGTH.size + length)
            for plain in self._open_messages():
                self._plain.add(plain)
        return self._plain.pop(max_bytes)

    async def receive(self) -> Sequence[bytes]:
        """Return the plaintext of all messages that have arrived, at least one byte; raises as `read` does."""
        if self._plain:
            return [self._plain.take(len(self._plain))]
        while not any(opened := self._open_messages()):
            if opened:  # and all of them are empty
                await trio.lowlevel.checkpoint()
            else:
                await self._receive_some(len(self._received) - self._end)
                if self._end == len(self._received) < MAX_BUFFER_BYTES:
                    self._grow()
        return opened

    @property
    def is_behind(self) -> bool:
        """Whether a write that was cancelled has left something that `flush` is to send."""
        return bool(self._unsent)

    async def flush(self) -> None:
        """Send what a write that was cancelled has left: the peer cannot read on without it.

        Raises:
            trio.BrokenResourceError: The connection is over.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._unsent:
            try:
                sent = await self._socket.socket.send(self._unsent)
            except (OSError, trio.ClosedResourceError) as err:
                # What the peer has sent before it left may still be read, so the socket stays.
                self._unsent = self._unsent[:0]
                raise trio.BrokenResourceError("the connection broke") from err
            self._unsent = self._unsent[sent:]

    async def write(self, *parts: Piece) -> None:
        """Send all parts, one after the other, in as few messages as hold them without copying large ones.

        They are taken in any case: whatever a write that is cancelled has not sent is for the next `flush`, without
        which nothing else may be written.

        Raises:
            trio.BrokenResourceError: The connection is over.
        """
        assert not self._unsent, "flush comes before write"
        self._unsent = self._seal(parts)
        await self.flush()

    def give_up(self) -> trio.SocketStream:
        """Return the socket, for another protocol that goes on after the last message read; `receive` reads ahead.

        Raises:
            ProtocolViolation: That message held more than what was read.
        """
        if self._plain or self._start != self._end:
            raise ProtocolViolation("expected nothing after the last message on this layer, found more")
        return self._socket

    def close_now(self) -> None:
        """Close the socket; what was confirmed is already with the peer."""
        self._socket.socket.close()

    # --- receiving ---

    async def _receive_at_least(self, wanted_bytes: int) -> None:
        while (missing := wanted_bytes - (self._end - self._start)) > 0:
            await self._receive_some(missing)

    async def _receive_some(self, max_bytes: int) -> None:
        try:
            count = await self._socket.socket.recv_into(self._received[self._end :], max_bytes)
        except (OSError, trio.ClosedResourceError) as err:
            raise trio.BrokenResourceError("the connection broke") from err
        if not count:
            raise trio.BrokenResourceError("the peer closed the connection")
        self._end += count

    def _open_messages(self) -> list[bytes]:
        """Decrypt what has arrived completely, up to `MANY_MESSAGES`, and move the rest to the front."""
        opened: list[bytes] = []
        received, start, end = self._received, self._start, self._end
        while end - start >= LENGTH.size and len(opened) < MANY_MESSAGES:
            (length,) = LENGTH.unpack_from(received, start)
            if end - start - LENGTH.size < length:
                break
            start += LENGTH.size
            nonce = NONCE.pack(self._messages_received)
            try:
                opened.append(self._receiving.decrypt(nonce, received[start : start + length], None))
            except InvalidTag as err:
                raise ProtocolViolation("expected a Noise message under the agreed key, found another") from err
            self._messages_received += 1
            start += length
        if start:
            received[: end - start] = received[start:end]
        self._start, self._end = 0, end - start
        return opened

    def _grow(self) -> None:
        larger = memoryview(bytearray(min(2 * len(self._received), MAX_BUFFER_BYTES)))
        larger[: self._end] = self._received[: self._end]
        self._received = larger

    # --- sending ---

    def _seal(self, parts: Sequence[Piece]) -> memoryview:
        size = sum(len(part) for part in parts)
        if size <= MAX_PLAIN_BYTES:
            parts = [b"".join(parts)]
        needed = size + sum(len(part) // MAX_PLAIN_BYTES + 1 for part in parts) * (LENGTH.size + TAG_BYTES)
        if len(self._sealed) < needed:
            self._sealed = memoryview(bytearray(needed))
        end = 0
        for part in parts:
            view = memoryview(part)
            for start in range(0, len(view), MAX_PLAIN_BYTES):
                end = self._seal_message(view[start : start + MAX_PLAIN_BYTES], end)
        return self._sealed[:end]

    def _seal_message(self, plain: memoryview, start: int) -> int:
        body = start + LENGTH.size
        end = body + len(plain) + TAG_BYTES
        LENGTH.pack_into(self._sealed, start, end - body)
        self._sending.encrypt_into(NONCE.pack(self._messages_sent), plain, None, self._sealed[body:end])
        self._messages_sent += 1
        return end
