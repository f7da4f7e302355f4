"""What `ddtp send` can go on with after an interrupt; sending itself is tested in test_services and in tests/e2e."""

from dataclasses import replace
from pathlib import Path

from ddtp.cli.sending import _unfinished
from ddtp.store.records import Direction, TransferRow, TransferState, open_records


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
