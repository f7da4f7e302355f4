"""Where files and openings lie in a content."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddtp.errors import DecodeError
from ddtp.protocol.chunks import SealHeader
from ddtp.protocol.fingerprint import FileHasher
from ddtp.protocol.layout import OPENINGS, Layout, read_layout
from ddtp.protocol.leaves import file_key
from ddtp.protocol.openings import Openings
from ddtp.protocol.package import build_package

CHUNK = 1 << 16
SIZES = st.lists(st.integers(0, 3 * CHUNK) | st.sampled_from([0, CHUNK, 2 * CHUNK]), max_size=6).map(tuple)
LAYOUTS = st.builds(Layout, st.just(CHUNK), st.integers(0, 3 * CHUNK), SIZES)


@given(LAYOUTS)
def test_files_and_openings_tile_the_content(layout: Layout) -> None:
    """Every byte of the content belongs to one file or to the openings, once."""
    extents = [extent for file in range(len(layout.file_sizes)) for extent in layout.file_extents(file)]
    extents.append((layout.openings_offset, layout.openings_bytes))
    position = 0
    for offset, length in sorted(extent for extent in extents if extent[1]):
        assert offset == position
        position += length
    assert position == layout.content_bytes


@given(LAYOUTS)
def test_whole_chunks_and_openings_lie_on_chunk_borders(layout: Layout) -> None:
    """A whole chunk of a file is a whole chunk of the content."""
    assert layout.openings_offset % CHUNK == 0
    for file, size in enumerate(layout.file_sizes):
        (offset, length), (_, tail) = layout.file_extents(file)
        assert offset % CHUNK == length % CHUNK == 0
        assert length + tail == size
        assert tail < CHUNK


@settings(max_examples=60)
@given(LAYOUTS, st.data())
def test_pieces_are_what_locate_says(layout: Layout, data: st.DataObject) -> None:
    """The pieces of any range follow each other, fill it, and are where `locate` puts them."""
    start = data.draw(st.integers(0, layout.content_bytes + 5))
    stop = data.draw(st.integers(start, layout.content_bytes + 5))
    position = start
    for file, offset, length in layout.pieces(start, stop):
        place = layout.openings_offset + offset if file == OPENINGS else layout.locate(file, offset)
        assert place == position
        assert length > 0
        position += length
    assert position == max(start, min(stop, layout.content_bytes))


def _content(openings_bytes: int | None = None, **change: int) -> tuple[SealHeader, Openings]:
    hasher = FileHasher("a", "text/plain", chunk_size=CHUNK, file_key=file_key(bytes(32), "a"))
    for size in (CHUNK, 5):
        hasher.add(bytes(size))
    openings = build_package(schema="s/1", fields=[], files=[hasher.finish()], master_salt=bytes(32)).openings
    length = len(openings.encode())
    values = {"content_bytes": CHUNK + 5 + length, "openings_offset": CHUNK, "openings_bytes": length} | change
    return SealHeader(chunk_size=CHUNK, salt=bytes(24), commitment=bytes(32), **values), openings


def test_openings_and_header_that_agree_give_the_layout() -> None:
    """The layout of a received content comes from its openings, once the header agrees."""
    header, openings = _content()
    assert read_layout(header, openings) == Layout(CHUNK, header.openings_bytes, (CHUNK + 5,))


def test_a_header_with_another_length_is_refused() -> None:
    """Bytes that no file claims cannot ride along."""
    header, openings = _content()
    longer, _ = _content(content_bytes=header.content_bytes + 1)
    with pytest.raises(DecodeError, match="content"):
        read_layout(longer, openings)


def test_a_header_with_openings_elsewhere_is_refused() -> None:
    """The openings have one place."""
    header, openings = _content(openings_offset=0)
    with pytest.raises(DecodeError, match="openings at"):
        read_layout(header, openings)


def test_files_in_other_chunks_than_the_content_are_refused() -> None:
    """A package and its content have one chunk size."""
    _, openings = _content()
    large = CHUNK * 2
    header = SealHeader(
        chunk_size=large, content_bytes=large, openings_offset=0, openings_bytes=0, salt=bytes(24), commitment=bytes(32)
    )
    with pytest.raises(DecodeError, match="chunks of"):
        read_layout(header, openings)


def test_a_negative_size_is_refused() -> None:
    """No file is shorter than nothing."""
    with pytest.raises(DecodeError):
        Layout(CHUNK, 0, (-1,))
