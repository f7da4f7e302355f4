"""What is said when an attempt to send breaks off; sending itself is tested in test_services and in tests/e2e."""

from dataclasses import replace
from pathlib import Path

import pytest

from ddtp.agent.delivering import PASSING_REFUSALS
from ddtp.cli._console import Console
from ddtp.cli.attempts import _explain, find_unfinished, lower_limit, next_step
from ddtp.cli.options import Options
from ddtp.cli.wording import words
from ddtp.errors import DiskFull, PeerAborted, PeerRefused, ResultLost
from ddtp.identity.language import Language
from ddtp.store.records import Direction, TransferRow, TransferState, open_records
from ddtp.transfer.refusal import NO_REASON

ROW = TransferRow(
    bytes(15) + b"\x01", Direction.OUT, TransferState.OFFERED, "did:b", "B", bytes(16), "s/1", b"", b"key", 100, 100
)


async def test_only_the_transfer_of_this_process_goes_on(tmp_path: Path) -> None:
    """Whatever else this home sends: one that was not begun, came in, or has come to its end is not named."""
    incoming = replace(ROW, transfer_id=b"\x02" * 16, direction=Direction.IN)
    other = replace(ROW, transfer_id=b"\x03" * 16, created=200, updated=200)
    async with open_records(tmp_path) as records:
        for row in (incoming, other):
            await records.add_transfer(row)
        for missing in (None, ROW.transfer_id, incoming.transfer_id):
            assert await find_unfinished(records, missing) is None
        await records.add_transfer(ROW)
        assert await find_unfinished(records, ROW.transfer_id) == ROW
        await records.set_state(ROW.transfer_id, TransferState.DECLINED, now=102)
        assert await find_unfinished(records, ROW.transfer_id) is None
    assert next_step(ROW, words(Language.EN)) == "nothing is lost; go on later with: ddtp resume 00000000"


@pytest.mark.parametrize(
    ("language", "told"), [(Language.EN, "B has the key and may read"), (Language.ZH, "B 已持有密钥")]
)
def test_after_the_key_has_left_only_the_answer_is_missing(language: Language, told: str) -> None:
    """The person reads that the receiver may read the data, and what fetches its answer, whatever broke it off."""
    keyed = replace(ROW, state=TransferState.KEYED)
    step = next_step(keyed, words(language), reason_code=DiskFull.code)
    assert step == next_step(keyed, words(language))
    assert step.startswith(told)
    assert step.endswith("ddtp resume 00000000")


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("code", sorted(PASSING_REFUSALS - {ResultLost.code}))
def test_a_code_without_words_is_put_into_words(language: Language, code: str) -> None:
    """Who said "not now" and why, and what to do; what the receiver itself has said stays."""
    for kind in (PeerRefused, PeerAborted):
        bare, told = kind(NO_REASON, reason_code=code), kind("my own words", reason_code=code)
        for error in (bare, told):
            _explain(error, ROW, words(language))
            assert error.hint is not None
            assert error.hint.endswith("ddtp resume 00000000")
        assert bare.message.startswith("B ")
        assert told.message == "my own words"


def test_a_receiver_without_room(capsys: pytest.CaptureFixture[str]) -> None:
    """As a person reads it; an unknown code is shown as it is."""
    error, strange = PeerAborted(NO_REASON, reason_code="disk-full"), PeerRefused(NO_REASON, reason_code="strange")
    for each in (error, strange):
        _explain(each, ROW, words(Language.EN))
        Console(Options()).fail(each)
    assert capsys.readouterr().err == (
        "error: B has no room for it now [disk-full]\n"
        "  next:  ask it to make room, then: ddtp resume 00000000\n"
        "error: the peer gave no reason [strange]\n"
        "  next:  nothing is lost; go on later with: ddtp resume 00000000\n"
    )


def test_the_lower_limit_holds() -> None:
    """A person slows one sending down, and makes none faster than the settings of the home allow."""
    assert lower_limit(None, None) is None
    assert lower_limit(5, None) == lower_limit(None, 5) == lower_limit(5, 9) == lower_limit(9, 5) == 5
