"""Content in chunks, read between any two offsets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddtp.errors import StoreDamaged
from ddtp.protocol.chunks import RUN_CHUNKS
from ddtp.store.contents import ContentReader

CHUNK = 16


class Chunks:
    """Content whose chunks are opened, and which of them were."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.opened: list[tuple[int, int]] = []
        self.reader = ContentReader(self.open, chunk_size=CHUNK, content_bytes=len(content))

    def open(self, first: int, count: int) -> bytes:
        self.opened.append((first, count))
        return self.content[first * CHUNK : (first + count) * CHUNK]


@given(st.binary(min_size=1, max_size=1000), st.data())
def test_any_part_of_the_content_is_read(content: bytes, data: st.DataObject) -> None:
    """Wherever it starts and ends, across as many chunks as it takes; never more of them at a time than are allowed."""
    chunks = Chunks(content)
    for _ in range(3):
        start = data.draw(st.integers(0, len(content)))
        length = data.draw(st.integers(0, len(content) - start))
        assert chunks.reader.read(start, length) == content[start : start + length]
    assert all(0 < count <= RUN_CHUNKS for _, count in chunks.opened)


def test_what_lies_beyond_the_end_is_not_made_up() -> None:
    """A read past the end is an error, not a short answer."""
    with pytest.raises(StoreDamaged):
        Chunks(b"abc").reader.read(1, 3)


def test_neighbouring_reads_open_a_chunk_once() -> None:
    """Many small files share a chunk."""
    chunks = Chunks(bytes(3 * CHUNK))
    for offset in (0, 4, 8, 12, 16):
        chunks.reader.read(offset, 4)
    assert chunks.opened == [(0, 1), (1, 1)]


def test_a_long_read_opens_chunks_together() -> None:
    """As many as one call may open."""
    chunks = Chunks(bytes(40 * CHUNK))
    chunks.reader.read(5, 39 * CHUNK)
    assert chunks.opened == [(0, RUN_CHUNKS), (RUN_CHUNKS, RUN_CHUNKS), (2 * RUN_CHUNKS, 40 - 2 * RUN_CHUNKS)]
