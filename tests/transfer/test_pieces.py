"""Bytes that wait for their reader."""

from hypothesis import given
from hypothesis import strategies as st

from ddtp.transfer.pieces import BLOCK_BYTES, LARGE_BYTES, Pieces

sizes = st.sampled_from([0, 1, 2, LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 1, BLOCK_BYTES])


@given(st.lists(st.tuples(sizes, sizes, st.booleans()), max_size=20))
def test_what_comes_out_is_what_went_in(steps):
    """However bytes are added and taken, their order and number stay."""
    pieces, added, taken = Pieces(), bytearray(), bytearray()
    for number, (add_bytes, max_bytes, is_one_piece) in enumerate(steps):
        piece = bytes([number]) * add_bytes
        pieces.add(memoryview(piece) if number % 2 else piece)
        added += piece
        found = pieces.take(max_bytes) if is_one_piece else pieces.pop(max(1, max_bytes))
        assert len(found) <= max(1, max_bytes)
        taken += found
        assert len(pieces) == len(added) - len(taken)
    assert taken + pieces.take(len(added)) == added
    assert len(pieces) == 0


def test_large_pieces_are_not_copied():
    """A large piece comes out as the object that went in."""
    piece = bytes(LARGE_BYTES)
    pieces = Pieces()
    pieces.add(piece)
    assert pieces.pop(LARGE_BYTES) is piece


def test_single_bytes_do_not_fill_the_memory():
    """Bytes that come one by one are kept in blocks."""
    pieces = Pieces()
    for _ in range(2 * BLOCK_BYTES):
        pieces.add(b"x")
    assert len(pieces._pieces) == 2


def test_what_was_handed_out_does_not_change():
    """A part that the reader has does not grow or move when more arrives."""
    pieces = Pieces()
    pieces.add(b"abc")
    first = pieces.pop(1)
    pieces.add(b"def")
    assert first == b"a"
    assert pieces.take(10) == b"bcdef"
    pieces.add(b"x")
    pieces.clear()
    assert (len(pieces), pieces.take(10), pieces.pop(10)) == (0, b"", b"")
