"""What `ddtp send` says at its end; sending itself is tested in test_services and in tests/e2e."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ddtp.agent.sending import SentTransfer
from ddtp.cli._console import Console
from ddtp.cli.options import Options
from ddtp.cli.sending import _report, _unfinished
from ddtp.errors import VerificationFailed
from ddtp.store.records import Direction, TransferRow, TransferState, open_records
from ddtp.verify.steps import Step


def test_a_rejection_names_the_step_of_the_specification(capsys: pytest.CaptureFixture[str]) -> None:
    """Step, name and code are those of spec/10 and spec/12; the receiver's words are quoted, and never our advice."""
    sent = SentTransfer(bytes(16), "did:b", "Bank B", None, False, Step.CONTENT, "pay here", 5)  # type: ignore[arg-type]
    console = Console(Options(json_output=True))
    with pytest.raises(VerificationFailed, match=r'check 14 failed\. It says: "pay here"') as caught:
        _report(console, sent)
    assert caught.value.hint is None
    assert console.fail(caught.value) == 6
    fields = json.loads(capsys.readouterr().err)["error"]
    assert (fields["step"], fields["step_name"], fields["cause_code"]) == (14, "content", "evidence-invalid")


async def test_what_can_be_resumed_after_an_interrupt(tmp_path: Path) -> None:
    """A transfer that was begun meanwhile or is the one resumed, and has not come to an end; nothing else is named."""
    row = TransferRow(
        bytes(15) + b"\x01", Direction.OUT, TransferState.OFFERED, "did:b", "B", bytes(16), "s/1", b"", b"key", 100, 100
    )
    async with open_records(tmp_path) as records:
        assert await _unfinished(records, 0) is None
        await records.add_transfer(row)
        await records.add_transfer(replace(row, transfer_id=b"\x02" * 16, direction=Direction.IN))
        assert await _unfinished(records, 100) == row.transfer_id
        assert await _unfinished(records, 101) is None
        assert await _unfinished(records, 101, "0000") == row.transfer_id
        assert await _unfinished(records, 0, "0202") is None
        await records.set_state(row.transfer_id, TransferState.DECLINED, now=102)
        assert await _unfinished(records, 100) is None
