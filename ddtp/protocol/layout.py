"""Where things are in the content of a package or transfer (spec/03-package s.5).

Content = whole chunks of all files ‖ encoded openings ‖ last, partial chunks of all files. Whole chunks come first, so
that they lie on chunk borders and one read serves hashing and sealing; a thousand small files share few chunks.
"""

import dataclasses
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from ddtp.errors import DecodeError
from ddtp.protocol.chunks import MAX_CONTENT_BYTES, MAX_OPENINGS_BYTES, SealHeader, check_chunk_size
from ddtp.protocol.openings import Openings

OPENINGS = -1
"""Stands for the openings where the number of a file is meant."""

Extent = tuple[int, int]
"""Offset and length in bytes."""
Piece = tuple[int, int, int]
"""Number of a file, or `OPENINGS`; offset in it; length in bytes."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Places of the files and the openings in one content.

    Args:
        chunk_size: Bytes per chunk.
        openings_bytes: Length of the encoded openings.
        file_sizes: Lengths of the shown files, in the order of their leaves.

    Raises:
        DecodeError: A size is out of bounds.
    """

    chunk_size: int
    openings_bytes: int
    file_sizes: tuple[int, ...]
    _pieces: tuple[Piece, ...] = dataclasses.field(init=False, repr=False, compare=False)
    _starts: tuple[int, ...] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_chunk_size(self.chunk_size)
        if not 0 <= self.openings_bytes <= MAX_OPENINGS_BYTES:
            raise DecodeError(f"expected at most {MAX_OPENINGS_BYTES} bytes of openings, found {self.openings_bytes}")
        if any(size < 0 for size in self.file_sizes):
            raise DecodeError("expected file sizes of zero or more bytes")
        tails = [size % self.chunk_size for size in self.file_sizes]
        wholes = [size - tail for size, tail in zip(self.file_sizes, tails, strict=True)]
        pieces = (
            *((file, 0, whole) for file, whole in enumerate(wholes)),
            (OPENINGS, 0, self.openings_bytes),
            *((file, wholes[file], tail) for file, tail in enumerate(tails)),
        )
        object.__setattr__(self, "_pieces", pieces)
        object.__setattr__(self, "_starts", (0, *accumulate(length for _file, _offset, length in pieces)))
        if self.content_bytes > MAX_CONTENT_BYTES:
            raise DecodeError(f"expected at most {MAX_CONTENT_BYTES} bytes of content, found {self.content_bytes}")

    @property
    def content_bytes(self) -> int:
        """Length of the whole content."""
        return self._starts[-1]

    @property
    def openings_offset(self) -> int:
        """Where the openings start, always on a chunk border."""
        return self._starts[len(self.file_sizes)]

    def file_extents(self, file: int) -> tuple[Extent, Extent]:
        """Return where the whole chunks of a file are, and where its last, partial chunk is; either may be empty.

        Args:
            file: Number of the file, from 0.
        """
        tail = len(self.file_sizes) + 1 + file
        return (self._starts[file], self._pieces[file][2]), (self._starts[tail], self._pieces[tail][2])

    def locate(self, file: int, offset: int) -> int:
        """Return where a byte of a file lies in the content.

        Bytes of one chunk of the file lie together; those of two chunks may not.
        """
        (whole, whole_bytes), (tail, _tail_bytes) = self.file_extents(file)
        return whole + offset if offset < whole_bytes else tail + offset - whole_bytes

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """Yield what the content holds from `start` up to `stop`, or up to its end."""
        for position in range(bisect_right(self._starts, start) - 1, len(self._pieces)):
            (file, offset, length), first = self._pieces[position], self._starts[position]
            if first >= stop:
                return
            skipped = max(start - first, 0)
            count = min(length, stop - first) - skipped
            if count > 0:
                yield file, offset + skipped, count


def read_layout(header: SealHeader, openings: Openings) -> Layout:
    """Return the layout of a content whose openings have been read, and check that the header announced it.

    Raises:
        DecodeError: Openings and header disagree about chunk size, length or the place of the openings.
    """
    if any(opening.head.chunk_size != header.chunk_size for opening in openings.files):
        raise DecodeError(f"expected files in chunks of {header.chunk_size} bytes, as the header says")
    sizes = tuple(opening.head.size_bytes for opening in openings.files)
    layout = Layout(header.chunk_size, header.openings_bytes, sizes)
    if (header.content_bytes, header.openings_offset) != (layout.content_bytes, layout.openings_offset):
        raise DecodeError(
            f"expected {layout.content_bytes} bytes of content with openings at {layout.openings_offset}, "
            f"found {header.content_bytes} with openings at {header.openings_offset} in the header"
        )
    return layout
