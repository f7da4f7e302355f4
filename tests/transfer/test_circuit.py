"""The messages of circuit relay v2, compared with libp2p's own protobuf."""

from contextlib import suppress

import base58
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from libp2p.relay.circuit_v2.pb import circuit_pb2 as pb

from ddtp.errors import PeerUnreachable, ProtocolViolation
from ddtp.transfer.circuit import (
    MAX_MESSAGE_BYTES,
    HopType,
    Limit,
    Message,
    Status,
    StopType,
    connect,
    encode_hop,
    encode_stop,
    offer,
    parse_hop,
    parse_stop,
    read_message,
    reserve,
)
from tests.transfer.conftest import MemoryRaw, make_raw_pair
from tests.transfer.test_addresses import PEER

PEER_BYTES = base58.b58decode(PEER)
LIMIT = Limit(seconds=3600, size_bytes=1 << 40)


def body(framed: bytes) -> bytes:
    """Without its length, which is of one or two bytes here."""
    return framed[1:] if framed[0] < 0x80 else framed[2:]


def test_what_we_say_is_what_libp2p_reads() -> None:
    """All four messages that we send, and their defaults: the type 0 is there too."""
    hop = pb.HopMessage.FromString(body(encode_hop(Message(HopType.CONNECT, peer_id=PEER))))
    assert (hop.type, hop.peer.id, hop.HasField("status")) == (pb.HopMessage.CONNECT, PEER_BYTES, False)
    assert pb.HopMessage.FromString(body(encode_hop(Message(HopType.RESERVE)))).HasField("type")
    granted = Message(HopType.STATUS, expires=1_790_000_000, limit=LIMIT, status=Status.OK)
    answer = pb.HopMessage.FromString(body(encode_hop(granted)))
    assert (answer.type, answer.status, answer.reservation.expire) == (pb.HopMessage.STATUS, 100, 1_790_000_000)
    assert (answer.limit.duration, answer.limit.data) == (LIMIT.seconds, LIMIT.size_bytes)
    stop = pb.StopMessage.FromString(body(encode_stop(Message(StopType.CONNECT, peer_id=PEER, limit=LIMIT))))
    assert (stop.type, stop.peer.id, stop.limit.data) == (pb.StopMessage.CONNECT, PEER_BYTES, LIMIT.size_bytes)
    said = pb.StopMessage.FromString(body(encode_stop(Message(StopType.STATUS, status=Status.PERMISSION_DENIED))))
    assert (said.type, said.status) == (pb.StopMessage.STATUS, 202)


def test_what_libp2p_says_is_what_we_read() -> None:
    """With addresses, a voucher and a signed record, which we do not use."""
    reservation = pb.Reservation(expire=1_790_000_000, addrs=[b"\x04\x7f\x00\x00\x01"] * 2, voucher=b"v" * 200)
    said = pb.HopMessage(type=pb.HopMessage.STATUS, reservation=reservation, status=pb.OK, senderRecord=b"r" * 300)
    expected = Message(HopType.STATUS, expires=1_790_000_000, status=Status.OK)
    assert parse_hop(said.SerializeToString()) == expected
    asked = pb.StopMessage(type=pb.StopMessage.CONNECT, peer=pb.PeerId(id=PEER_BYTES, addrs=[b"a"]))
    assert parse_stop(asked.SerializeToString()) == Message(StopType.CONNECT, peer_id=PEER)
    assert parse_hop(b"") == Message(HopType.RESERVE)


messages = st.builds(
    Message,
    kind=st.sampled_from(HopType).map(int),
    peer_id=st.none() | st.binary(min_size=1, max_size=64).map(lambda raw: base58.b58encode(raw).decode()),
    expires=st.none() | st.integers(0, 2**64 - 1),
    limit=st.none() | st.builds(Limit, seconds=st.integers(1, 2**32 - 1), size_bytes=st.integers(1, 2**63)),
    status=st.none() | st.integers(0, 2**31),
)


@given(messages)
def test_a_round_trip(message: Message) -> None:
    """Whatever is said is read."""
    assert parse_hop(body(encode_hop(message))) == message


@given(st.binary(max_size=200))
def test_nonsense_is_refused_or_read(data: bytes) -> None:
    """Never anything else than a message or a violation."""
    for parse in (parse_hop, parse_stop):
        with suppress(ProtocolViolation):
            assert isinstance(parse(data), Message)


@pytest.mark.parametrize(
    "data",
    [
        b"\x08",
        b"\x08\x03",
        b"\x12\x05ab",
        b"\x12\x02\x0a\x00",
        b"\x0f\x00",
        b"\x09\x00",
        b"\x08" + b"\xff" * 10 + b"\x01",
        b"\x12\x43\x0a\x41" + bytes(65),
        b"\x12\xff\xff\xff\xff\x0f",
    ],
)
def test_malformed_messages(data: bytes) -> None:
    """Cut off, of an unknown type, with lengths that lead outside, and with identities that are none."""
    with pytest.raises(ProtocolViolation):
        parse_hop(data)


async def said(raw: MemoryRaw, data: bytes) -> None:
    await raw.write(data)
    await raw.close()


@pytest.mark.parametrize("data", [b"\xff\xff\x7f", b"\x80\x80\x01", b"\x81\x20" + bytes(5000)])
async def test_a_length_is_believed_up_to_a_bound(data: bytes) -> None:
    """And refused before anything is read."""
    left, right = make_raw_pair()
    await said(left, data)
    with pytest.raises(ProtocolViolation, match=str(MAX_MESSAGE_BYTES)):
        await read_message(right)


async def test_an_end_inside_a_message_is_a_broken_stream() -> None:
    """As everywhere."""
    for data in (b"", b"\x05abc"):
        left, right = make_raw_pair()
        await said(left, data)
        with pytest.raises(trio.BrokenResourceError):
            await read_message(right)


async def test_a_refusal_has_its_reason() -> None:
    """In words for people, also one that a newer relay has invented."""
    for status, words in ((Status.NO_RESERVATION, r"no reservation \(204\)"), (299, r"no \(299\)")):
        left, right = make_raw_pair()
        await left.write(encode_hop(Message(HopType.STATUS, status=status)))
        with pytest.raises(PeerUnreachable, match=words):
            await connect(right, PEER)


async def test_other_answers_are_violations() -> None:
    """A question, an answer without a status, a grant without a time."""
    for message in (Message(HopType.RESERVE, status=100), Message(HopType.STATUS)):
        left, right = make_raw_pair()
        await left.write(encode_hop(message))
        with pytest.raises(ProtocolViolation):
            await connect(right, PEER)
    left, right = make_raw_pair()
    await left.write(encode_hop(Message(HopType.STATUS, status=100)))
    with pytest.raises(ProtocolViolation, match="expected a reservation"):
        await reserve(right)
    left, right = make_raw_pair()
    await left.write(encode_stop(Message(StopType.CONNECT, peer_id=PEER, status=100)))
    with pytest.raises(ProtocolViolation):
        await offer(right, PEER, LIMIT)
