"""Giving a transfer up: what goes, what is refused, and what a crash between two steps leaves."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from ddtp.agent.attending import SENDING, sending_alone
from ddtp.agent.dropping import GIVEN_UP, drop
from ddtp.agent.exchange import OUTGOING
from ddtp.agent.tidying import INCOMING
from ddtp.config import Config, load_config
from ddtp.errors import AlreadyRunning, ConfirmationMissing, NotFound, StorageFailed
from ddtp.store.keystore import locked
from ddtp.store.records import Direction, Records, TransferRow, TransferState, open_records

ROW = TransferRow(
    b"\x07" * 16, Direction.OUT, TransferState.FAILED, "did:b", "B", bytes(16), "s/1", b"", b"the key", 100, 100
)
SEALED = f"{ROW.transfer_id.hex()}.sealed"


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[Records]:
    async with open_records(tmp_path) as records:
        yield records


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A home with leaves and chunks of the transfer."""
    config = load_config(home=tmp_path)
    for folder, name in ((OUTGOING, f"{ROW.transfer_id.hex()}.leaves"), (INCOMING, SEALED)):
        (config.vault / folder).mkdir(parents=True)
        (config.vault / folder / name).write_bytes(b"x")
    return config


def kept(config: Config) -> set[str]:
    """Folders of the vault in which something lies."""
    return {path.parent.name for path in config.vault.glob("*/*")}


@pytest.mark.parametrize(
    ("direction", "left"), [(Direction.OUT, INCOMING), (Direction.IN, OUTGOING)], ids=["outgoing", "incoming"]
)
async def test_key_and_chunks_go(records: Records, config: Config, direction: Direction, left: str) -> None:
    """Its row stays, final, with the reason; nothing of it lies on the disk, and no lock."""
    await records.add_transfer(replace(ROW, direction=direction))
    await drop(config, records, replace(ROW, direction=direction), now=200, keyed=False)
    row = await records.find_transfer(ROW.transfer_id)
    assert row is not None
    assert (row.state, row.secret, row.reason) == (TransferState.DECLINED, None, GIVEN_UP)
    assert kept(config) == {left}
    assert b"the key" not in (config.home / "records.db").read_bytes()
    assert not list((config.home / SENDING).glob("*"))


@pytest.mark.parametrize("direction", Direction)
async def test_one_that_runs_stays(records: Records, config: Config, direction: Direction) -> None:
    """While a process sends it, or the service may receive it, nothing is touched."""
    row = replace(ROW, direction=direction)
    await records.add_transfer(row)
    held = sending_alone(config.home, row.transfer_id) if direction is Direction.OUT else locked(config.home)
    with held, pytest.raises(AlreadyRunning):
        await drop(config, records, row, now=200, keyed=True)
    assert kept(config) == {OUTGOING, INCOMING}
    assert await records.find_transfer(row.transfer_id) == row


async def test_a_key_that_has_left_needs_a_yes(records: Records, config: Config) -> None:
    """The receiver may read the data already, and its answer would be lost."""
    row = replace(ROW, state=TransferState.KEYED)
    await records.add_transfer(row)
    with pytest.raises(ConfirmationMissing) as caught:
        await drop(config, records, row, now=200, keyed=False)
    assert caught.value.hint == "if you give it up all the same: ddtp transfers drop 07070707 --yes"
    assert await records.find_transfer(row.transfer_id) == row
    assert kept(config) == {OUTGOING, INCOMING}
    await drop(config, records, row, now=200, keyed=True)
    assert kept(config) == {INCOMING}


@pytest.mark.parametrize("state", [TransferState.VERIFIED, TransferState.REJECTED, TransferState.DECLINED])
async def test_what_is_over_is_not_given_up(records: Records, config: Config, state: TransferState) -> None:
    """Its outcome stays, and no lock is left behind."""
    row = replace(ROW, state=state, secret=None)
    await records.add_transfer(row)
    with pytest.raises(NotFound, match=state.value):
        await drop(config, records, row, now=200, keyed=True)
    assert await records.find_transfer(row.transfer_id) == row
    assert not (config.home / SENDING).exists()


async def test_chunks_on_a_drive_that_is_absent_are_not_called_deleted(records: Records, config: Config) -> None:
    """An institution plugs it in first."""
    row = replace(ROW, direction=Direction.IN)
    await records.add_transfer(row)
    settings = config.home / "config.toml"
    settings.write_text(f'vault = "{config.home / "drive"}"\n')
    with pytest.raises(StorageFailed):
        await drop(load_config(home=config.home), records, row, now=200, keyed=False)
    assert await records.find_transfer(row.transfer_id) == row
