"""One attempt to send a transfer: under a progress line, with a key that pauses it, and words for how it breaks off."""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ddtp.cli import homes
from ddtp.cli._console import Console
from ddtp.cli._signals import ending_signals
from ddtp.cli.outcomes import ID_DIGITS, Outcome, report
from ddtp.cli.wording import Words
from ddtp.errors import DdtpError, EnvironmentProblem, PeerAborted, PeerError, PeerRefused

if TYPE_CHECKING:
    from ddtp.agent.delivering import SentTransfer
    from ddtp.agent.facade import Agent
    from ddtp.config import Config
    from ddtp.store.records import Records, TransferRow
    from ddtp.transfer.pacing import Pace
    from ddtp.transfer.ports import Progress

    Exchange = Callable[[Callable[[Progress], None], Pace], Awaitable[SentTransfer]]

_PAUSE_KEYS: Final = frozenset({"p", " "})


@dataclass(slots=True)
class Attempt:
    """What this process sends now.

    Attributes:
        transfer_id: Of the transfer; None before there is one.
        resumed: True if an earlier attempt has begun it.
    """

    transfer_id: bytes | None = None
    resumed: bool = False


def run(console: Console, work: "Callable[[Agent, Attempt], Awaitable[None]]") -> None:
    """Run something with the agent of the home that notes what it sends; if it is ended, find out how that goes on.

    Raises:
        DdtpError: As `homes.with_agent`.
        KeyboardInterrupt: Ctrl-C, or a signal that ends a program; in a group, as a nursery has it.
    """
    attempt = Attempt()

    async def main(agent: "Agent") -> None:
        async with ending_signals():
            await work(agent, attempt)

    try:
        homes.with_agent(console, main)
    except* KeyboardInterrupt:

        async def find(_config: "Config", records: "Records") -> str | None:
            row = await find_unfinished(records, attempt.transfer_id)
            return next_step(row, console.words) if row else None

        console.after_interrupt = homes.with_records(console, find)
        raise


async def carry_out(
    console: Console, agent: "Agent", attempt: Attempt, exchange: "Exchange", *, limit: int | None = None
) -> None:
    """Run the exchange of an attempt, write what it has brought, and only then run the command of [notify].

    Raises:
        DdtpError: As the exchange, or as `outcomes.report`; it is written already.
    """
    from ddtp.agent.notifying import telling

    assert attempt.transfer_id is not None, "the exchange is about a transfer"

    def warn(reason: str) -> None:
        console.warn(console.words.notify_failed.format(reason=reason))

    async with telling(agent.context, attempt.transfer_id, warn=warn):
        try:
            report(console, await _watch(console, agent, attempt, exchange, limit=limit))
        except DdtpError as err:
            console.fail(err)
            raise


async def _watch(
    console: Console, agent: "Agent", attempt: Attempt, exchange: "Exchange", *, limit: int | None
) -> Outcome:
    """Run an exchange under a progress line; if it breaks off, the error says how it goes on."""
    from ddtp.transfer.pacing import Pace

    pace = Pace(limit_bytes_per_second=lower_limit(limit, agent.context.config.send_limit))
    started = time.monotonic()
    try:
        with _progress(console, pace) as tell:
            sent = await exchange(tell, pace)
        return Outcome(sent, time.monotonic() - started)
    except (PeerError, EnvironmentProblem) as err:
        row = await find_unfinished(agent.records, attempt.transfer_id)
        if row is not None:
            _explain(err, row, console.words)
        elif err.hint is None and isinstance(err, PeerRefused) and not attempt.resumed and not pace.passed_bytes:
            err.hint = console.words.declined_hint
        raise


def lower_limit(*limits: int | None) -> int | None:
    """Return the lowest of some limits in bytes per second; None if there is none."""
    return min((limit for limit in limits if limit is not None), default=None)


async def find_unfinished(records: "Records", transfer_id: bytes | None) -> "TransferRow | None":
    """Return an outgoing transfer that can go on; None if it cannot, or was not begun."""
    from ddtp.store.records import FINAL_STATES, Direction

    row = None if transfer_id is None else await records.find_transfer(transfer_id)
    return row if row and row.direction is Direction.OUT and row.state not in FINAL_STATES else None


def next_step(row: "TransferRow", words: Words, *, reason_code: str = "") -> str:
    """Return how an unfinished transfer goes on, for a person, by the code with which the receiver has ended it."""
    from ddtp.store.records import TransferState

    advice = words.refusal_advice.get(reason_code, words.resume_hint)
    text = words.keyed_hint if row.state is TransferState.KEYED else advice
    return text.format(name=row.peer_name, transfer=row.transfer_id.hex()[:ID_DIGITS])


def _explain(error: DdtpError, row: "TransferRow", words: Words) -> None:
    """Say how a transfer goes on after an error, and what a receiver means that has given a code and no words."""
    from ddtp.transfer.refusal import NO_REASON

    code = error.reason_code if isinstance(error, PeerRefused | PeerAborted) else ""
    if error.message == NO_REASON and code in words.refusals:
        error.message = words.refusals[code].format(name=row.peer_name)
    error.hint = error.hint or next_step(row, words, reason_code=code)


@contextmanager
def _progress(console: Console, pace: "Pace") -> "Iterator[Callable[[Progress], None]]":
    from ddtp.cli._keys import keys

    def press(key: str) -> None:
        if key in _PAUSE_KEYS:
            (pace.resume if pace.paused else pace.pause)()

    watched = console.interactive and not console.options.quiet
    with keys(press) if watched else nullcontext(False) as pressable, console.progress(keys=pressable) as show:
        yield lambda now: show(now.phase.value, now.bytes_done, now.bytes_total, now.bytes_sent)
