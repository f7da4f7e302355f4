"""Frames are cut where they end, and lengths are bounded before a byte is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddtp.errors import InternalError, ProtocolViolation
from ddtp.protocol.framing import HEADER, Frame, FrameReader, encode_chunk_header, encode_frame
from ddtp.protocol.messages import MessageType

BOUND = 100


def make_reader() -> FrameReader:
    """A reader that allows payloads of 100 bytes."""
    return FrameReader(lambda _kind: BOUND)


@given(
    frames=st.lists(st.tuples(st.sampled_from(MessageType), st.binary(max_size=BOUND)), max_size=5),
    sizes=st.lists(st.integers(1, 150), min_size=1),
)
def test_frames_come_back_whatever_the_reads(frames: list[tuple[MessageType, bytes]], sizes: list[int]) -> None:
    """Frames do not depend on how the stream cuts the bytes, and no more than one and a header is held."""
    data = b"".join(encode_frame(kind, payload) for kind, payload in frames)
    reader, found, step = make_reader(), [], 0
    while (frame := reader.next_frame()) is not None or data:
        if frame is not None:
            found.append((frame.type, frame.payload))
            continue
        size = min(sizes[step % len(sizes)], reader.wanted_bytes)
        assert 1 <= size <= HEADER.size + BOUND + HEADER.size
        reader.feed(data[:size])
        data, step = data[size:], step + 1
    assert found == frames


def test_a_header_that_announces_too_much_is_refused_at_once() -> None:
    """The payload of an oversized frame is never asked for."""
    reader = make_reader()
    reader.feed(HEADER.pack(BOUND + 1, MessageType.OFFER))
    with pytest.raises(ProtocolViolation, match="expected at most 100 bytes in offer, found 101"):
        reader.next_frame()


@pytest.mark.parametrize("type_number", [0, 11, 255])
def test_an_unknown_type_is_refused_at_its_header(type_number: int) -> None:
    """There is no way to skip a frame that is not understood."""
    reader = make_reader()
    reader.feed(HEADER.pack(3, type_number))
    with pytest.raises(ProtocolViolation):
        reader.next_frame()


def test_more_than_wanted_is_a_defect_of_the_caller() -> None:
    """The bound on memory does not depend on how much the stream gives."""
    reader = make_reader()
    with pytest.raises(InternalError):
        reader.feed(bytes(HEADER.size + 1))


def test_nothing_is_wanted_while_a_frame_waits() -> None:
    """Memory stays bounded even if the caller reads without taking frames."""
    reader = make_reader()
    reader.feed(HEADER.pack(1, MessageType.ACK))
    assert reader.wanted_bytes == 0
    assert reader.next_frame() is None
    assert reader.wanted_bytes == 1 + HEADER.size
    reader.feed(b"a" + HEADER.pack(0, MessageType.ABORT))
    assert reader.wanted_bytes == 0
    assert reader.next_frame() == Frame(MessageType.ACK, b"a")
    assert reader.next_frame() == Frame(MessageType.ABORT, b"")


def test_discarding_forgets_a_half_frame() -> None:
    """After a discard the next byte starts a frame."""
    reader = make_reader()
    reader.feed(HEADER.pack(10, MessageType.ACK))
    assert reader.next_frame() is None
    reader.discard()
    assert reader.wanted_bytes == HEADER.size


def test_a_chunk_header_announces_index_and_chunk() -> None:
    """The length covers the index of 8 bytes and the sealed bytes."""
    assert encode_chunk_header(258, 3).hex() == "0000000b050000000000000102"
