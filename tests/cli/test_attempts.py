"""What is said when an attempt to send breaks off; sending itself is tested in test_services and in tests/e2e."""

from dataclasses import replace
from pathlib import Path

import pytest

from ddtp.cli.attempts import next_step
from ddtp.cli.wording import words
from ddtp.identity.language import Language
from ddtp.store.records import Direction, TransferRow, TransferState, open_records

ROW = TransferRow(
    bytes(15) + b"\x01", Direction.OUT, TransferState.OFFERED, "did:b", "B", bytes(16), "s/1", b"", b"key", 100, 100
)


async def test_only_the_transfer_of_this_process_goes_on(tmp_path: Path) -> None:
    """Whatever else this home sends: one that was not begun, came in, or has come to its end is not named."""
    incoming = replace(ROW, transfer_id=b"\x02" * 16, direction=Direction.IN)
    other = replace(ROW, transfer_id=b"\x03" * 16, created=200, updated=200)
    spoken = words(Language.EN)
    async with open_records(tmp_path) as records:
        for row in (incoming, other):
            await records.add_transfer(row)
        assert await next_step(records, None, words=spoken) is None
        assert await next_step(records, ROW.transfer_id, words=spoken) is None
        assert await next_step(records, incoming.transfer_id, words=spoken) is None
        await records.add_transfer(ROW)
        told = await next_step(records, ROW.transfer_id, words=spoken)
        assert told == "nothing is lost; go on later with: ddtp resume 00000000"
        await records.set_state(ROW.transfer_id, TransferState.DECLINED, now=102)
        assert await next_step(records, ROW.transfer_id, words=spoken) is None


@pytest.mark.parametrize(
    ("language", "told"), [(Language.EN, "B has the key and may read"), (Language.ZH, "B 已持有密钥")]
)
async def test_after_the_key_has_left_only_the_answer_is_missing(tmp_path: Path, language: Language, told: str) -> None:
    """The person reads that the receiver may read the data, and what fetches its answer."""
    async with open_records(tmp_path) as records:
        await records.add_transfer(replace(ROW, state=TransferState.KEYED))
        step = await next_step(records, ROW.transfer_id, words=words(language))
    assert step is not None
    assert step.startswith(told)
    assert step.endswith("ddtp resume 00000000")
