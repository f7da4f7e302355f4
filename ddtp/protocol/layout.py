"""Where the parts of a package lie in its content (spec/03-package s.6).

Content is: all whole chunks of all files in order, then the openings, then the partial last chunks of all files in
order. So a whole chunk of a file is a whole chunk of the content, which can be sealed and hashed in one pass, and a
thousand small files share few chunks.
"""

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Final

OPENINGS: Final = -1
"""Stands for the openings where a file index is meant."""


@dataclass(frozen=True)
class Layout:
    """The layout of one content.

    Attributes:
        chunk_size: Bytes per chunk.
        openings_bytes: Length of the encoded openings.
        file_sizes: Length of every file, in the order of the openings.
    """

    chunk_size: int
    openings_bytes: int
    file_sizes: tuple[int, ...]

    @cached_property
    def _segments(self) -> tuple[tuple[int, int, int], ...]:
        """(part, offset in the part, length) of each run of bytes, in content order."""
        whole = [(part, 0, size - size % self.chunk_size) for part, size in enumerate(self.file_sizes)]
        tails = [
            (part, size - size % self.chunk_size, size % self.chunk_size) for part, size in enumerate(self.file_sizes)
        ]
        return (*whole, (OPENINGS, 0, self.openings_bytes), *tails)

    @cached_property
    def _starts(self) -> tuple[int, ...]:
        return (0, *accumulate(length for _part, _offset, length in self._segments))

    @property
    def content_bytes(self) -> int:
        """Length of the whole content."""
        return self._starts[-1]

    @property
    def openings_offset(self) -> int:
        """Where the openings start."""
        return self._starts[len(self.file_sizes)]

    def file_extents(self, part: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return (offset, length) of a file's whole chunks and of its tail in the content."""
        tail = len(self.file_sizes) + 1 + part
        return (
            (self._starts[part], self._segments[part][2]),
            (self._starts[tail], self._segments[tail][2]),
        )

    def locate(self, part: int, offset: int) -> int:
        """Return where a byte of a file lies in the content."""
        (whole_start, whole_length), (tail_start, _length) = self.file_extents(part)
        return whole_start + offset if offset < whole_length else tail_start + offset - whole_length

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yield (part, offset in the part, length) of what the content holds between two offsets."""
        position = bisect.bisect_right(self._starts, start) - 1
        while start < min(stop, self.content_bytes):
            part, offset, length = self._segments[position]
            inside = start - self._starts[position]
            count = min(length - inside, stop - start)
            if count > 0:
                yield part, offset + inside, count
            start += max(count, 0)
            position += 1
