"""Content in chunks, read between any two offsets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddtp.errors import StoreDamaged
from ddtp.store.contents import ContentReader

CHUNK = 16


@given(st.binary(min_size=1, max_size=100), st.data())
def test_any_part_of_the_content_is_read(content: bytes, data: st.DataObject) -> None:
    """Wherever it starts and ends, across as many chunks as it takes."""
    reader = ContentReader(lambda index: content[index * CHUNK : (index + 1) * CHUNK], chunk_size=CHUNK)
    start = data.draw(st.integers(0, len(content)))
    length = data.draw(st.integers(0, len(content) - start))
    assert reader.read(start, length) == content[start : start + length]


def test_what_lies_beyond_the_end_is_not_made_up() -> None:
    """A read past the end is an error, not a short answer."""
    reader = ContentReader(lambda index: b"abc" if index == 0 else b"", chunk_size=CHUNK)
    with pytest.raises(StoreDamaged):
        reader.read(1, 3)


def test_neighbouring_reads_open_a_chunk_once() -> None:
    """Many small files share a chunk."""
    opened = []
    reader = ContentReader(lambda index: (opened.append(index), bytes(CHUNK))[1], chunk_size=CHUNK)
    for offset in (0, 4, 8, 12, 16):
        reader.read(offset, 4)
    assert opened == [0, 1]
