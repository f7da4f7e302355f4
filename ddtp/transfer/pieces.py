"""spec/14 s.2 and s.3: bytes that have arrived and wait for their reader, in the pieces in which they came.

Large pieces are kept as they are, so that received bytes are copied once, when the application takes them. Small ones
are gathered: a peer that sends single bytes must not fill the memory with the bookkeeping of pieces.
"""

from collections import deque
from typing import Final, final

Piece = bytes | bytearray | memoryview
"""What was received; whoever gets one may keep it, nobody changes it any more."""

LARGE_BYTES: Final = 16 * 1024
"""From here on a piece is kept as it is. It may be a view of a Noise message of 64 KiB and keep that alive, so what is
held is at most four times what is counted; and copying less costs no more than the handling of a piece."""

BLOCK_BYTES: Final = 64 * 1024
"""Small pieces are gathered until there are so many."""


@final
class Pieces:
    """A queue of bytes; its length is their number."""

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, piece: Piece) -> None:
        """Append a piece, which the caller does not change any more."""
        self._size += len(piece)
        last = self._pieces[-1] if self._pieces else None
        if len(piece) >= LARGE_BYTES:
            self._pieces.append(piece)
        elif isinstance(last, bytearray) and len(last) < BLOCK_BYTES:
            last += piece
        elif piece:
            self._pieces.append(bytearray(piece))

    def pop(self, max_bytes: int) -> Piece:
        """Return the first piece, or as much of it as `max_bytes` allow; nothing if nothing is there."""
        if not self._pieces:
            return b""
        piece = self._pieces.popleft()
        if len(piece) > max_bytes:
            # What remains is a view from now on, and `add` extends only what nobody has a view of.
            view = memoryview(piece)
            piece = view[:max_bytes]
            self._pieces.appendleft(view[max_bytes:])
        self._size -= len(piece)
        return piece

    def take(self, max_bytes: int) -> bytes:
        """Return all bytes, or the first `max_bytes` of them, in one piece."""
        taken = []
        while max_bytes and self._pieces:
            taken.append(self.pop(max_bytes))
            max_bytes -= len(taken[-1])
        return b"".join(taken)

    def clear(self) -> None:
        """Forget everything."""
        self._pieces.clear()
        self._size = 0
