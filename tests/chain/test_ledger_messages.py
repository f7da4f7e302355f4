"""Questions to a ledger and their answers."""

import pytest

from ddtp.chain.ledger import PAGE_ENTRIES
from ddtp.chain.ledger_messages import MAX_ANSWER_BYTES, MAX_REQUEST_BYTES, Page, Question, Span
from ddtp.chain.statement import MAX_ENTRY_BYTES
from ddtp.errors import DecodeError


@pytest.mark.parametrize(
    "question",
    [
        Question(append=(b"entry",)),
        Question(lookup=bytes(32)),
        Question(head=True),
        Question(prove=0),
        Question(growth=Span(start=0, stop=1)),
        Question(entries=Span(start=0, stop=1)),
    ],
)
def test_question_round_trip(question: Question) -> None:
    """A question is what its bytes say."""
    assert Question.parse(question.encode()) == question


def test_question_is_exactly_one() -> None:
    """Two questions in one message, none, or a false one, are malformed."""
    with pytest.raises(DecodeError, match="exactly one"):
        Question()
    with pytest.raises(DecodeError, match="exactly one"):
        Question(head=True, prove=0)
    with pytest.raises(DecodeError, match="exactly one"):
        Question(head=False)


def test_largest_messages_fit_their_bounds() -> None:
    """A page of the longest entries can be asked and answered."""
    page = (bytes(MAX_ENTRY_BYTES),) * PAGE_ENTRIES
    assert len(Question(append=page).encode()) <= MAX_REQUEST_BYTES
    assert len(Page(entries=page).encode()) <= MAX_ANSWER_BYTES
    with pytest.raises(DecodeError):
        Question(append=(*page, b""))


def test_question_of_any_bytes_is_refused_before_it_is_parsed() -> None:
    """A question above the bound is refused unread."""
    with pytest.raises(DecodeError, match="at most"):
        Question.parse(bytes(MAX_REQUEST_BYTES + 1))
