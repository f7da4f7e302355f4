"""Messages check themselves, and their bounds hold the largest allowed content."""

import dataclasses

import pytest

from ddtp.errors import DecodeError
from ddtp.protocol.messages import (
    MAX_CHUNKS,
    MAX_RANGES,
    RECORD_OF,
    TYPE_OF,
    Abort,
    Accept,
    Ack,
    ChunkRange,
    Decline,
    Finish,
    Hello,
    KeyRelease,
    Message,
    MessageType,
    Offer,
    ReceiptMessage,
    Stage,
)
from tests.sessions import (
    ABORT,
    CIPHER,
    DECLINE,
    HOLDER_HELLO,
    KEY,
    RECEIVER_HELLO,
    SMALL_FINISH,
    SMALL_OFFER,
    TRANSFER_ID,
    make_accept,
)

MESSAGES: list[Message] = [
    HOLDER_HELLO,
    RECEIVER_HELLO,
    SMALL_OFFER,
    make_accept((0, 2), (4, 9)),
    DECLINE,
    Ack(durable_chunks=7),
    SMALL_FINISH,
    CIPHER,
    KEY,
    ABORT,
]
WIDEST_NAME = "\U0001f600" * 200
LONGEST_TEXT = "\U0001f600" * 1024
LARGEST: list[Message] = [
    Hello(suites=(WIDEST_NAME,) * 8, nonce=bytes(32), binding=bytes(4096), heads=(bytes(2048),) * 16),
    dataclasses.replace(
        make_accept(),
        have=tuple(
            ChunkRange(start=MAX_CHUNKS - 2 * i - 2, stop=MAX_CHUNKS - 2 * i - 1) for i in reversed(range(MAX_RANGES))
        ),
        key_offer=bytes(4096),
    ),
    Decline(transfer_id=TRANSFER_ID, code=WIDEST_NAME, reason=LONGEST_TEXT),
    Ack(durable_chunks=MAX_CHUNKS),
    Finish(transfer_id=TRANSFER_ID, chunk_count=MAX_CHUNKS, ciphertext_root=bytes(32)),
    ReceiptMessage(stage=Stage.REJECTED, receipt=bytes(12 << 10)),
    KeyRelease(transfer_id=TRANSFER_ID, wrapped_key=bytes(512)),
    Abort(code=WIDEST_NAME, reason=LONGEST_TEXT),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_survives_the_wire(message: Message) -> None:
    """Decoding gives the message that was encoded."""
    assert type(message).parse(message.encode()) == message


def test_every_type_but_the_chunk_has_one_record() -> None:
    """Types and records belong together one by one."""
    assert RECORD_OF.keys() == set(MessageType) - {MessageType.CHUNK}
    assert {TYPE_OF[record]: record for record in TYPE_OF} == RECORD_OF


@pytest.mark.parametrize("message", LARGEST, ids=lambda message: type(message).__name__)
def test_the_bound_of_a_frame_holds_its_largest_message(message: Message) -> None:
    """A message whose fields are as large as allowed still fits in its frame, without much room beside it."""
    assert message.MAX_BYTES // 8 < len(message.encode()) <= message.MAX_BYTES


def test_an_offer_holds_the_largest_disclosure_with_ordinary_envelopes() -> None:
    """A disclosure of 4 MiB leaves room for a manifest, a request and a grant of half a mebibyte each."""
    large = bytes(512 << 10)
    offer = dataclasses.replace(
        SMALL_OFFER, disclosure=bytes(4 << 20), manifest=large, request=large, grant=large, anchors=bytes(256 << 10)
    )
    assert len(offer.encode()) <= Offer.MAX_BYTES


@pytest.mark.parametrize(
    "ranges",
    [[(0, 2), (2, 3)], [(0, 2), (1, 3)], [(4, 5), (0, 1)], [(0, 1), (0, 1)]],
    ids=["touching", "overlapping", "descending", "twice"],
)
def test_held_ranges_have_one_form(ranges: list[tuple[int, int]]) -> None:
    """Ranges that could be written in another way are refused."""
    with pytest.raises(DecodeError):
        make_accept(*ranges)


@pytest.mark.parametrize(("start", "stop"), [(3, 3), (4, 3)])
def test_a_range_holds_a_chunk(start: int, stop: int) -> None:
    """An empty range is refused."""
    with pytest.raises(DecodeError):
        ChunkRange(start=start, stop=stop)


def test_too_many_ranges_are_refused() -> None:
    """A receiver with more gaps than the bound names the first ones only."""
    ranges = tuple(ChunkRange(start=2 * index, stop=2 * index + 1) for index in range(MAX_RANGES + 1))
    with pytest.raises(DecodeError):
        Accept(transfer_id=TRANSFER_ID, have=ranges, key_offer=b"key offer")


@pytest.mark.parametrize("reason", ["two\nlines", "\u202egnp.exe", "x" * 1025], ids=["newline", "bidi", "long"])
def test_a_reason_is_text_that_can_be_shown(reason: str) -> None:
    """What a peer says is safe to put on a screen."""
    with pytest.raises(DecodeError):
        Abort(code="disk-full", reason=reason)
