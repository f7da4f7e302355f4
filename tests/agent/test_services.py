"""The records of spec/15, by its vectors."""

import pytest

from ddtp.agent.collecting import Challenge, Question, ReadyList
from ddtp.agent.judging import VerifyQuestion
from ddtp.protocol.record import Record
from tests.vectors import Case, check, load

RECORDS: dict[str, type[Record]] = {
    "verify-question": VerifyQuestion,
    "collect-question": Question,
    "collect-challenge": Challenge,
    "collect-list": ReadyList,
}


def decode(case: Case) -> str:
    """Decode the record and return its encoding."""
    return RECORDS[case.input["record"]].parse(case.data("bytes")).encode().hex()


@pytest.mark.parametrize("case", load("15-services"), ids=str)
def test_vector(case: Case) -> None:
    """Each record of the chapter has one encoding, and everything else is refused."""
    check(case, {"decode": decode})
