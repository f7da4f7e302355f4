"""Telling the desktop, or whatever an operator likes, that a transfer has ended: `[notify] command` in the settings.

The command is run as it stands, without a shell. What happened is in its environment and never in its arguments, which
every user of a machine can read. It cannot change anything: it gets no input, a bounded time, and no way to fail us.
"""

import logging
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio

from ddtp.agent.context import Context
from ddtp.config import child_environment
from ddtp.errors import AlreadyRunning, DdtpError
from ddtp.protocol.messages import Offer
from ddtp.protocol.plain_text import printable
from ddtp.store.records import FINAL_STATES, TransferRow

NOTIFY_SECONDS: Final = 10.0
"""For a notification to be handed over; a person does not wait longer for their prompt."""
KILLED_SECONDS: Final = 2.0
"""For a command that was killed to be gone."""
SHOWN_BYTES: Final = 400
"""Of what a command writes, for the log if it fails; the rest is read and thrown away."""
_READ_BYTES: Final = 4096

_logger = logging.getLogger(__name__)


@asynccontextmanager
async def telling(
    context: Context, transfer_id: bytes, *, warn: Callable[[str], None] = lambda _reason: None
) -> AsyncIterator[None]:
    """Run the command of the settings when the block has ended a transfer, or an error has broken it off.

    Not when the person has broken off, who knows, and not for a transfer that had come to its end before.

    Args:
        context: Surroundings.
        transfer_id: The transfer.
        warn: Told what went wrong with the command, which is also logged.
    """
    before = await context.records.find_transfer(transfer_id)
    try:
        yield
    except AlreadyRunning:
        raise  # another process sends it, and will tell
    except DdtpError:
        await _tell(context, transfer_id, before, warn)
        raise
    await _tell(context, transfer_id, before, warn)


async def notify(command: Sequence[str], row: TransferRow) -> str | None:
    """Run a command about a transfer; whatever goes wrong with it is logged, and raises nothing.

    Args:
        command: Program and arguments; nothing happens if it is empty.
        row: The transfer, as it ended.

    Returns:
        What went wrong; None if nothing has.
    """
    if not command:
        return None
    try:
        process = await trio.lowlevel.open_process(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**child_environment(), **variables(row)},
            start_new_session=True,  # what it starts ends with it
        )
    except (OSError, ValueError) as err:
        _logger.warning("cannot run the command of [notify]", extra={"reason": str(err)})
        return str(err)
    said = b""
    with trio.move_on_after(NOTIFY_SECONDS) as limit:
        try:
            said = await _read_start(process)
            await process.wait()
        finally:
            # a command that runs as somebody else is not ours to end; nobody waits for it either
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            with trio.CancelScope(shield=True, deadline=trio.current_time() + KILLED_SECONDS):
                await process.wait()
    if not (limit.cancelled_caught or process.returncode):
        return None
    reason = f"no end after {NOTIFY_SECONDS:.0f} s" if limit.cancelled_caught else f"exit {process.returncode}"
    shown = printable(" ".join(said.decode(errors="replace").split()))
    _logger.warning("the command of [notify] failed", extra={"reason": reason, "output": shown})
    return f"{reason}: {shown}" if shown else reason


def variables(row: TransferRow) -> Mapping[str, str]:
    """Return what a command may know about a transfer, as environment variables."""
    return {
        "DDTP_TRANSFER_ID": row.transfer_id.hex(),
        "DDTP_TRANSFER_DIRECTION": row.direction.value,
        "DDTP_TRANSFER_STATE": row.state.value,
        "DDTP_TRANSFER_PEER": row.peer,
        "DDTP_TRANSFER_PEER_NAME": printable(row.peer_name),
        "DDTP_TRANSFER_SCHEMA": row.schema,
        "DDTP_TRANSFER_BYTES": str(Offer.parse(row.offer).seal.content_bytes),
        "DDTP_TRANSFER_STEP": "" if row.failed_step is None else str(row.failed_step),
        "DDTP_TRANSFER_REASON": printable(row.reason or ""),
    }


async def _tell(context: Context, transfer_id: bytes, before: TransferRow | None, warn: Callable[[str], None]) -> None:
    row = await context.records.find_transfer(transfer_id)
    if row is not None and (before is None or before.state not in FINAL_STATES):
        failure = await notify(context.config.notify, row)
        if failure is not None:
            warn(failure)


async def _read_start(process: trio.Process) -> bytes:
    """Read all that a process writes, return the beginning."""
    assert process.stdout is not None, "it has a pipe"
    start = b""
    async with process.stdout as pipe:
        while data := await pipe.receive_some(_READ_BYTES):
            start = (start + data)[:SHOWN_BYTES]
    return start
