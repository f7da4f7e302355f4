"""The records of spec/14 s.3 against their vectors, however the bytes are cut."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddtp.errors import ProtocolViolation
from ddtp.transfer.records import (
    PAYLOAD_BYTES,
    WINDOW_BYTES,
    RecordDecoder,
    RecordType,
    encode_data,
    encode_record,
)

FOLDER = Path(__file__).parents[2] / "spec" / "vectors" / "14-transport"
VECTORS = sorted(path for path in FOLDER.glob("*.json") if "operation" not in json.loads(path.read_text()))


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
@pytest.mark.parametrize("piece_bytes", [1, 3, 1000])
def test_vector(path, piece_bytes):
    """Each vector is taken or refused, whatever the pieces in which it arrives."""
    vector = json.loads(path.read_text())
    data = bytes.fromhex(vector["input"])
    decoder = RecordDecoder()

    def decode():
        for start in range(0, len(data), piece_bytes):
            list(decoder.feed(data[start : start + piece_bytes]))

    if vector["expect"] == "ok":
        decode()
    else:
        with pytest.raises(ProtocolViolation) as refused:
            decode()
        assert refused.value.code == vector["expect"]


def test_the_window_bounds_what_the_peer_may_send():
    """Exactly one window passes without a grant, then exactly what was granted."""
    decoder = RecordDecoder()
    full, rest = divmod(WINDOW_BYTES, PAYLOAD_BYTES)
    for _ in range(full):
        list(decoder.feed(encode_data(bytes(PAYLOAD_BYTES))))
    list(decoder.feed(encode_data(bytes(rest))))
    decoder.grant(2)
    list(decoder.feed(encode_data(b"xy")))
    with pytest.raises(ProtocolViolation):
        list(decoder.feed(encode_data(b"z")))


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.integers(1, 60))
def test_round_trip(payloads, piece_bytes):
    """Payload comes out in order and complete, and the end after it."""
    data = b"".join(map(encode_data, payloads)) + encode_record(RecordType.CREDIT, 7) + encode_record(RecordType.END)
    decoder = RecordDecoder()
    records = [
        record
        for start in range(0, len(data), piece_bytes)
        for record in decoder.feed(data[start : start + piece_bytes])
    ]
    assert b"".join(record.payload for record in records) == b"".join(payloads)
    assert [(record.type, record.number) for record in records if record.type is not RecordType.DATA] == [
        (RecordType.CREDIT, 7),
        (RecordType.END, 0),
    ]


def test_a_full_record_is_one_piece_of_the_layers_below():
    """Record, Yamux header and Noise tag fill one Noise message of 65,535 bytes."""
    assert len(encode_data(bytes(PAYLOAD_BYTES))) + 12 + 16 == 65_535
