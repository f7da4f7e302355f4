"""One attempt to send a transfer: under a progress line, with a key that pauses it, and words for how it breaks off."""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ddtp.cli import homes
from ddtp.cli._console import Console
from ddtp.cli.outcomes import ID_DIGITS, Outcome
from ddtp.cli.wording import Words
from ddtp.errors import EnvironmentProblem, PeerError, PeerRefused

if TYPE_CHECKING:
    from ddtp.agent.delivering import SentTransfer
    from ddtp.agent.facade import Agent
    from ddtp.config import Config
    from ddtp.store.records import Records
    from ddtp.transfer.pacing import Pace
    from ddtp.transfer.ports import Progress

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
    """Run something with the agent of the home that notes what it sends; after Ctrl-C, find out how that goes on.

    Raises:
        DdtpError: As `homes.with_agent`.
    """
    attempt = Attempt()
    try:
        homes.with_agent(console, lambda agent: work(agent, attempt))
    except* KeyboardInterrupt:

        async def find(_config: "Config", records: "Records") -> str | None:
            return await next_step(records, attempt.transfer_id, words=console.words)

        console.after_interrupt = homes.with_records(console, find)
        raise


async def watch(
    console: Console,
    agent: "Agent",
    attempt: Attempt,
    exchange: "Callable[[Callable[[Progress], None], Pace], Awaitable[SentTransfer]]",
    *,
    limit: int | None = None,
) -> Outcome:
    """Run the exchange of an attempt; if it breaks off, the error says how it goes on.

    Raises:
        DdtpError: As the exchange.
    """
    from ddtp.transfer.pacing import Pace

    pace = Pace(limit_bytes_per_second=limit or agent.context.config.send_limit)
    started = time.monotonic()
    try:
        with _progress(console, pace) as tell:
            sent = await exchange(tell, pace)
        return Outcome(sent, time.monotonic() - started)
    except (PeerError, EnvironmentProblem) as err:
        step = await next_step(agent.records, attempt.transfer_id, words=console.words)
        unsent = isinstance(err, PeerRefused) and not attempt.resumed and not pace.passed_bytes
        err.hint = err.hint or step or (console.words.declined_hint if unsent else None)
        raise


async def next_step(records: "Records", transfer_id: bytes | None, *, words: Words) -> str | None:
    """Return how an outgoing transfer goes on, for a person; None if it does not, or was not begun."""
    from ddtp.store.records import FINAL_STATES, Direction, TransferState

    row = None if transfer_id is None else await records.find_transfer(transfer_id)
    if row is None or row.direction is not Direction.OUT or row.state in FINAL_STATES:
        return None
    text = words.keyed_hint if row.state is TransferState.KEYED else words.resume_hint
    return text.format(name=row.peer_name, transfer=row.transfer_id.hex()[:ID_DIGITS])


@contextmanager
def _progress(console: Console, pace: "Pace") -> "Iterator[Callable[[Progress], None]]":
    from ddtp.cli._keys import keys

    def press(key: str) -> None:
        if key in _PAUSE_KEYS:
            (pace.resume if pace.paused else pace.pause)()

    watched = console.interactive and not console.options.quiet
    with keys(press) if watched else nullcontext(False) as pressable, console.progress(keys=pressable) as show:
        yield lambda now: show(now.phase.value, now.bytes_done, now.bytes_total, now.bytes_sent)
