"""Content that lies in chunks, read between any two offsets (spec/03 s.5)."""

from collections.abc import Callable
from typing import final

from ddtp.errors import StoreDamaged


@final
class ContentReader:
    """Reads content chunk by chunk.

    Args:
        open_chunk: Returns the plain bytes of one chunk, authenticated; may raise.
        chunk_size: Bytes in every chunk but the last.
    """

    def __init__(self, open_chunk: Callable[[int], bytes], *, chunk_size: int) -> None:
        self._open_chunk = open_chunk
        self._chunk_size = chunk_size
        self._last: tuple[int, bytes] = (-1, b"")

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`.

        Raises:
            StoreDamaged: The content ends earlier.
            DdtpError: Whatever opening a chunk raises.
        """
        parts = []
        stop = offset + length
        while offset < stop:
            index, start = divmod(offset, self._chunk_size)
            part = self._chunk(index)[start : start + stop - offset]
            if not part:
                raise StoreDamaged(f"expected content up to byte {stop}, found its end at {offset}")
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    def _chunk(self, index: int) -> bytes:
        # one chunk is kept: tails of many small files share it
        if self._last[0] != index:
            self._last = (index, self._open_chunk(index))
        return self._last[1]
