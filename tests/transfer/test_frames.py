"""The frames of Yamux, however the bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddtp.errors import ProtocolViolation
from ddtp.transfer.frames import (
    ALL_FLAGS,
    CONNECTION_TYPES,
    FIN,
    HEADER,
    MAX_FRAME_BYTES,
    SYN,
    Frame,
    FrameDecoder,
    FrameType,
)


def frames():
    """Frames with their payload."""
    numbers, ids, flags = st.integers(0, 2**32 - 1), st.integers(1, 2**32 - 1), st.integers(0, ALL_FLAGS)
    data = st.tuples(ids, flags, st.binary(max_size=40)).map(
        lambda parts: (Frame(FrameType.DATA, parts[0], parts[1], len(parts[2])), parts[2])
    )
    update = st.builds(Frame, st.just(FrameType.WINDOW_UPDATE), ids, flags, numbers)
    other = st.builds(Frame, st.sampled_from(sorted(CONNECTION_TYPES)), st.just(0), flags, numbers)
    return st.one_of(data, update.map(lambda frame: (frame, b"")), other.map(lambda frame: (frame, b"")))


def decode(pieces):
    """Frames in order, each with its payload."""
    decoder, found = FrameDecoder(), []
    for piece in pieces:
        for item in decoder.feed(piece):
            if isinstance(item, Frame):
                found.append((item, b""))
            else:
                found[-1] = (found[-1][0], found[-1][1] + item)
    return found


@given(st.lists(frames(), max_size=8), st.lists(st.integers(1, 30), min_size=1))
def test_round_trip(sent, cuts):
    """Frames come out as they went in, wherever the bytes are cut."""
    data = b"".join(frame.encode() + payload for frame, payload in sent)
    pieces, start, number = [], 0, 0
    while start < len(data):
        pieces.append(data[start : start + cuts[number % len(cuts)]])
        start += len(pieces[-1])
        number += 1
    assert decode(pieces) == sent
    assert decode([data]) == sent


@given(st.binary(max_size=100))
def test_any_bytes_are_frames_or_a_violation(data):
    """Nothing else escapes, and the outcome does not depend on the pieces."""

    def outcome(pieces):
        try:
            return decode(pieces)
        except ProtocolViolation as err:
            return err.message

    assert outcome([data]) == outcome([data[i : i + 1] for i in range(len(data))])


def test_the_layout_is_that_of_the_specification():
    """Version, type, flags, stream and length, in network byte order."""
    frame = Frame(FrameType.WINDOW_UPDATE, 0x01020304, SYN | FIN, 0x05060708)
    assert frame.encode() == bytes.fromhex("00 01 0005 01020304 05060708")


@pytest.mark.parametrize(
    "header",
    [
        (1, 0, 0, 1, 0),
        (0, 4, 0, 1, 0),
        (0, 255, 0, 1, 0),
        (0, 0, ALL_FLAGS + 1, 1, 0),
        (0, 0, 0, 0, 1),
        (0, 1, 0, 0, 1),
        (0, 2, SYN, 1, 0),
        (0, 3, 0, 1, 0),
        (0, 0, 0, 1, MAX_FRAME_BYTES + 1),
    ],
    ids=[
        "other version",
        "unknown type",
        "last type",
        "unknown flag",
        "data of no stream",
        "window of no stream",
        "ping of a stream",
        "going away of a stream",
        "giant frame",
    ],
)
def test_what_is_no_frame_is_refused_unread(header):
    """The header alone decides; no payload is waited for."""
    with pytest.raises(ProtocolViolation):
        decode([HEADER.pack(*header)])
