"""Content that lies in chunks, read between any two offsets (spec/03 s.5)."""

import threading
from collections.abc import Callable
from typing import final

from ddtp.errors import StoreDamaged
from ddtp.protocol.chunks import run_chunks
from ddtp.protocol.codec import Buffer


@final
class ContentReader:
    """Reads content, as many chunks at a time as a read needs; several threads may read at once.

    Args:
        open_run: Returns the plain bytes of neighbouring chunks, authenticated, for the first index and the number of
            chunks, at most `run_chunks`; may raise; may be called by several threads at once.
        chunk_size: Bytes in every chunk but the last.
        content_bytes: Bytes in all chunks.
    """

    def __init__(self, open_run: Callable[[int, int], Buffer], *, chunk_size: int, content_bytes: int) -> None:
        self._open_run = open_run
        self._chunk_size = chunk_size
        self._content_bytes = content_bytes
        self._run = memoryview(b"")
        self._run_start = 0
        self._one_at_a_time = threading.Lock()

    def read(self, offset: int, length: int) -> Buffer:
        """Return `length` bytes from `offset`.

        Raises:
            StoreDamaged: The content ends earlier.
            DdtpError: Whatever opening chunks raises.
        """
        stop = offset + length
        if stop > self._content_bytes:
            raise StoreDamaged(f"expected content up to byte {stop}, found its end at {self._content_bytes}")
        first, odd = divmod(offset, self._chunk_size)
        count, rest = divmod(length, self._chunk_size)
        if not odd and not rest and 0 < count <= run_chunks(self._chunk_size):
            # whole chunks, as most are: nothing is kept, so threads do not wait for each other
            return self._open_run(first, count)
        with self._one_at_a_time:
            return self._gather(offset, stop)

    def _gather(self, offset: int, stop: int) -> bytes:
        parts = []
        while offset < stop:
            if not self._run_start <= offset < self._run_start + len(self._run):
                self._load(offset, stop)
            part = self._run[offset - self._run_start : stop - self._run_start]
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    def _load(self, offset: int, stop: int) -> None:
        # the run is kept: tails of many small files share a chunk
        first = offset // self._chunk_size
        count = min(-(-stop // self._chunk_size) - first, run_chunks(self._chunk_size))
        self._run = memoryview(self._open_run(first, count))
        self._run_start = first * self._chunk_size
