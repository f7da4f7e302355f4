"""Use case: give up a transfer that has not come to its end, on this side: its key goes, and what was kept to go on.

The other side is not told: a receiver gives an unfinished transfer up by itself, and a sender is told when it resumes.
"""

from typing import Final

import trio

from ddtp.agent.attending import sending_alone
from ddtp.agent.context import check_vault
from ddtp.agent.exchange import OUTGOING, leaf_file
from ddtp.agent.tidying import INCOMING
from ddtp.config import Config
from ddtp.errors import ConfirmationMissing, NotFound
from ddtp.store.blobs import delete_blob
from ddtp.store.keystore import locked
from ddtp.store.leaf_log import delete_leaf_log
from ddtp.store.records import FINAL_STATES, Direction, Records, TransferRow, TransferState

GIVEN_UP: Final = "given up on this side"
"""The reason that the records keep."""


async def drop(config: Config, records: Records, row: TransferRow, *, now: int, keyed: bool) -> None:
    """Give a transfer up.

    Args:
        config: Settings of the home.
        records: What the home remembers.
        row: The transfer.
        now: Time in whole seconds since the epoch.
        keyed: Also if its key was released, after which the receiver may read the data.

    Raises:
        NotFound: It has come to its end.
        ConfirmationMissing: Its key was released, and that was not to be given up.
        AlreadyRunning: Another process sends it now, or the service of the home runs, which may receive it.
        StorageFailed: The disk refuses, or the vault is on a drive that is not there.
    """
    await _check(records, row, keyed=keyed)
    if row.direction is Direction.OUT:
        with sending_alone(config.home, row.transfer_id):
            await _check(records, row, keyed=keyed)
            leaves = leaf_file(config.vault / OUTGOING, row.transfer_id)
            await trio.to_thread.run_sync(delete_leaf_log, leaves)
            # A crash here leaves a transfer that can go on, or be given up.
            await _give_up(records, row, now=now)
    else:
        check_vault(config)
        with locked(config.home):
            await _check(records, row, keyed=keyed)
            await _give_up(records, row, now=now)
            # A crash here leaves chunks of a transfer that is over, which the service deletes when it starts.
            await trio.to_thread.run_sync(delete_blob, config.vault / INCOMING, row.transfer_id.hex())


async def _check(records: Records, row: TransferRow, *, keyed: bool) -> None:
    present = await records.find_transfer(row.transfer_id)
    if present is None or present.state in FINAL_STATES:
        found = "none" if present is None else f"one that is {present.state.value}"
        raise NotFound(f"expected a transfer that has not come to its end, found {found}")
    if present.state is TransferState.KEYED and not keyed:
        raise ConfirmationMissing(
            "expected a transfer whose key has not left, found one whose key was handed over",
            hint=f"if you give it up all the same: ddtp transfers drop {row.transfer_id.hex()[:8]} --yes",
        )


async def _give_up(records: Records, row: TransferRow, *, now: int) -> None:
    await records.set_state(row.transfer_id, TransferState.DECLINED, now=now, reason=GIVEN_UP, forget_secret=True)
