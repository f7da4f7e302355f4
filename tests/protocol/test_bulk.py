"""Tickets, keys and tags of bulk connections."""

import pytest

from ddtp.errors import ProtocolViolation
from ddtp.protocol import bulk
from ddtp.protocol.bulk import FRAME_HEADER, Ticket, check_frame_tag, derive_keys, frame_tag, parse_ticket
from ddtp.protocol.chunks import run_chunks, sealed_leaves
from tests.vectors import Case, check, load


def _keys(case: Case) -> str:
    keys = derive_keys(case.data("holder_nonce"), case.data("receiver_nonce"), case.data("transfer_id"))
    return (keys.token + keys.frame_key).hex()


def _ticket(case: Case) -> list[int]:
    ticket = parse_ticket(case.data("ticket"))
    assert ticket.encode() == case.data("ticket")
    return [ticket.number, ticket.channels]


def _tag(case: Case) -> str:
    first, count, size = case.input["first"], case.input["count"], case.input["chunk_size"]
    assert count <= run_chunks(size)
    sealed = case.data("fill") * ((size + 16) * count)
    leaves = sealed_leaves(first, sealed, count=count, chunk_size=size)
    header, key = FRAME_HEADER.pack(first, count), case.data("frame_key")
    tag = frame_tag(key, header, leaves)
    check_frame_tag(key, header, leaves, tag)
    return (header + tag).hex()


OPERATIONS = {"keys": _keys, "ticket": _ticket, "tag": _tag}


@pytest.mark.parametrize("case", [case for case in load("14-transport") if case.operation], ids=str)
def test_vector(case: Case) -> None:
    """Computed by another implementation of HMAC, HKDF and the tree."""
    check(case, OPERATIONS)


@pytest.mark.parametrize("change", ["key", "place", "count", "leaf", "tag"])
def test_the_tag_covers_everything(change: str) -> None:
    """Another key, place, number, leaf or tag is refused."""
    key, header, leaf = bytes(32), FRAME_HEADER.pack(5, 1), b"l" * 32
    tag = frame_tag(key, header, leaf)
    check_frame_tag(key, header, leaf, tag)
    others = {
        "key": (b"k" * 32, header, leaf, tag),
        "place": (key, FRAME_HEADER.pack(6, 1), leaf, tag),
        "count": (key, FRAME_HEADER.pack(5, 2), leaf, tag),
        "leaf": (key, header, b"m" * 32, tag),
        "tag": (key, header, leaf, tag[:-1] + bytes([tag[-1] ^ 1])),
    }
    with pytest.raises(ProtocolViolation):
        check_frame_tag(*others[change])


def test_frames_hold_a_mebibyte_at_most() -> None:
    """Small chunks come in many, large ones alone."""
    assert [run_chunks(64 << 10 << shift) for shift in range(5)] == [16, 8, 4, 2, 1]


def test_a_ticket_has_one_form() -> None:
    """What is encoded is what is parsed."""
    ticket = Ticket(bytes(range(32)), 3, 4)
    assert parse_ticket(ticket.encode()) == ticket
    assert len(ticket.encode()) == bulk.TICKET.size
