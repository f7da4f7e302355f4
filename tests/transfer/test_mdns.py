"""The messages by which peers find each other on one network."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddtp.transfer.mdns import MAX_ADDRESSES, Query, encode_answer, encode_query, find_addresses, find_query
from tests.transfer.test_addresses import PEER

HERE = f"/ip4/192.168.7.2/tcp/4001/p2p/{PEER}"


def test_a_question_and_its_answer() -> None:
    """The answer has all addresses, and belongs to the question by its number."""
    query = find_query(encode_query(4711))
    assert query == Query(4711)
    answer = encode_answer(query, [HERE, HERE + "x"], instance="abc")
    assert find_addresses(answer, 4711) == [HERE, HERE + "x"]
    assert find_addresses(answer, 4712) == []
    assert find_query(answer) is None
    assert find_addresses(encode_query(4711), 4711) == []


def test_the_form_is_that_of_libp2p() -> None:
    """Its specification for mDNS: the name of the service, an instance below it, a dnsaddr in a TXT record."""
    answer = encode_answer(None, [HERE], instance="abc")
    assert b"\x04_p2p\x04_udp\x05local\x00" in answer
    assert b"\x03abc" in answer
    assert bytes([len(HERE) + 8]) + b"dnsaddr=" + HERE.encode() in answer
    assert find_addresses(answer, 0) == [HERE]


def test_few_addresses_are_taken() -> None:
    """However many there are, an answer fits into one packet."""
    many = [f"/ip4/192.168.7.2/tcp/{port}/p2p/{PEER}" for port in range(1, 60)]
    assert find_addresses(encode_answer(Query(1), many, instance="abc"), 1) == many[:MAX_ADDRESSES]


@given(st.binary(max_size=400))
def test_nonsense_is_no_message(data: bytes) -> None:
    """Whatever arrives at the port."""
    assert find_query(data) in {None, Query(int.from_bytes(data[:2], "big"))}
    assert all(isinstance(text, str) for text in find_addresses(data, 0))


@pytest.mark.parametrize("flipped", range(0, 200, 7))
def test_a_damaged_answer_harms_nobody(flipped: int) -> None:
    """It says something else, or nothing."""
    answer = bytearray(encode_answer(Query(1), [HERE], instance=os.urandom(16).hex()))
    answer[flipped % len(answer)] ^= 0xFF
    find_addresses(bytes(answer), 1)
    find_query(bytes(answer))
