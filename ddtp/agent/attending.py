"""Watching one transfer that goes out: pausing it, letting it go on, and noting how far it is (spec/08 s.6).

A pause comes from a program by its `Pace`, or from another process by the records; either is told to the other. A short
one leaves the exchange open. A longer one would pass the receiver's deadline for the next chunk, so the exchange is
broken off before, and run again when the pause ends: same transfer, same grant, and nobody is asked anything.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar, final

import trio

from ddtp.errors import DdtpError, EnvironmentProblem, PeerAborted, PeerStalled, PeerVanished
from ddtp.store.durable import make_directory
from ddtp.store.locks import hold, is_held
from ddtp.store.records import Records
from ddtp.transfer.pacing import Pace
from ddtp.transfer.ports import Deadlines, Phase, Progress

SENDING: Final = "sending"
"""Folder in a home with one lock for each transfer that goes out and has not come to an end."""
POLL_SECONDS: Final = 0.25
"""For a wish from another process: a person does not notice the delay, and asking takes a quarter of a millisecond."""
NOTE_SECONDS: Final = 2.0
"""Between two notes of how far a transfer is: each is a sync of the disk."""
HOLD_SECONDS: Final = Deadlines().chunk_seconds * 2 / 3
"""A pause that is longer breaks the exchange off; the rest of the receiver's patience is for a slow network."""
LAST_NOTE_SECONDS: Final = 1.0
"""For the last note while everything is being cancelled."""

_HELD_BACK: Final = frozenset({Phase.SEALING, Phase.SENDING})
"""Phases in which a pause shows at once."""
_BETWEEN: Final = frozenset({Phase.CONNECTING, Phase.RECONNECTING})
"""Phases without a connection: the next one begins with what the receiver says then."""
_BREAKABLE: Final = _HELD_BACK | _BETWEEN | {Phase.WAITING}
"""Phases that a long pause breaks off; later ones move no payload and come to their end."""

_UNCOUNTED: Final = _BETWEEN | {Phase.WAITING, Phase.SEALING}
"""Phases that do not tell what the receiver has."""

_logger = logging.getLogger(__name__)

Result = TypeVar("Result")
Tell = Callable[[Progress], None]


@contextmanager
def sending_alone(home: Path, transfer_id: bytes) -> Iterator[None]:
    """Be the only process that sends a transfer, while the block runs; its lock goes when it ends without an error.

    Raises:
        AlreadyRunning: Another one does.
        DiskFull, StorageFailed: The disk refuses.
    """
    path, name = make_directory(home / SENDING) / transfer_id.hex(), transfer_id.hex()[:8]
    with hold(
        path,
        message="expected a transfer that nobody sends now, found another process sending it",
        hint=f"pause it with: ddtp transfers pause {name}; or end it there with Ctrl-C, and then: ddtp resume {name}",
    ):
        yield
        path.unlink(missing_ok=True)


def is_being_sent(home: Path, transfer_id: bytes) -> bool:
    """Tell whether a process sends a transfer now, or holds it paused.

    Raises:
        StorageFailed: The disk refuses.
    """
    return is_held(home / SENDING / transfer_id.hex())


@final
class Attendance:
    """What is done beside one outgoing transfer as long as it runs.

    Args:
        records: Where the wishes of other processes stand.
        transfer_id: The transfer.
        pace: What the exchange asks before it sends payload; also says what this program wishes.
        progress: Told of every step, and of pauses.
    """

    def __init__(self, records: Records, transfer_id: bytes, *, pace: Pace, progress: Tell) -> None:
        self._records = records
        self._transfer_id = transfer_id
        self._pace = pace
        self._progress = progress
        self._paused = pace.paused
        self._changed_at = trio.current_time()
        self._last = Progress(Phase.CONNECTING)
        self._noted_bytes = 0
        self._noted_at = -NOTE_SECONDS
        self._scope = trio.CancelScope()
        self._passed = Pace(within=pace)
        self._passed_before = 0
        self._accepted: Progress | None = None

    async def attend(self, exchange: Callable[[Tell, Pace], Awaitable[Result]]) -> Result:
        """Run an exchange, and run it again after each pause that it was broken off for.

        Args:
            exchange: Runs it once; is given what to tell of its progress, and what to ask before payload is sent.

        Raises:
            DdtpError: As the exchange does.
        """
        if await self._records.is_paused(self._transfer_id) != self._paused:
            await self._records.set_paused(self._transfer_id, paused=self._paused)
        try:
            while True:
                for result in await self._run(exchange):
                    return result
                await self._rest()
        finally:
            with trio.CancelScope(deadline=trio.current_time() + LAST_NOTE_SECONDS, shield=True):
                await self._note()

    async def _run(self, exchange: Callable[[Tell, Pace], Awaitable[Result]]) -> list[Result]:
        """Run an exchange once; return its result, or nothing if it was broken off by a pause."""
        results, failures = list[Result](), list[DdtpError]()
        self._passed, self._passed_before, self._accepted = Pace(within=self._pace), 0, None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            with trio.CancelScope() as self._scope:
                try:
                    results.append(await exchange(self._tell, self._passed))
                except (PeerVanished, PeerStalled, PeerAborted) as err:
                    # the receiver may restart while we hold it up; if that lasts, it is met again after the pause
                    if not self._pace.paused or self._last.phase not in _BREAKABLE:
                        failures.append(err)
                except DdtpError as err:
                    failures.append(err)
            nursery.cancel_scope.cancel()
        if failures:
            raise failures[0]
        return results

    async def _watch(self) -> None:
        while True:
            await self._agree()
            held_seconds = trio.current_time() - self._changed_at
            if self._paused and held_seconds >= HOLD_SECONDS and self._last.phase in _BREAKABLE:
                self._scope.cancel()
            if self._last.phase in _HELD_BACK:
                self._show()  # what has left grows without a word of the receiver
            if trio.current_time() - self._noted_at >= NOTE_SECONDS:
                await self._note()
            await trio.sleep(POLL_SECONDS)

    async def _rest(self) -> None:
        """Wait until the pause ends, from wherever."""
        await self._agree()
        while self._paused:
            await trio.sleep(POLL_SECONDS)
            await self._agree()

    async def _agree(self) -> None:
        """Bring together what this program wishes, what another process wishes, and what is shown."""
        try:
            wished = await self._records.is_paused(self._transfer_id)
            if wished != self._paused:
                (self._pace.pause if wished else self._pace.resume)()
            elif self._pace.paused != self._paused:
                await self._records.set_paused(self._transfer_id, paused=self._pace.paused)
        except EnvironmentProblem as err:
            _logger.warning("cannot ask whether a transfer is paused", extra={"code": err.code})
        if self._pace.paused != self._paused:
            self._paused, self._changed_at = self._pace.paused, trio.current_time()
            self._show()

    async def _note(self) -> None:
        self._noted_at = trio.current_time()
        done_bytes = self._last.bytes_done
        if self._last.phase in _UNCOUNTED | {Phase.DONE} or done_bytes == self._noted_bytes:
            return  # how a transfer has ended says the rest
        try:
            await self._records.note_done(self._transfer_id, done_bytes)
        except EnvironmentProblem as err:
            _logger.warning("cannot note how far a transfer is", extra={"code": err.code})
        self._noted_bytes = done_bytes

    def _tell(self, progress: Progress) -> None:
        if progress.phase in _BETWEEN:
            self._accepted = None
        if progress.phase is Phase.SENDING and self._accepted is None:
            # its bytes are those that the receiver held before
            self._accepted, self._passed_before = progress, self._passed.passed_bytes
        self._last = progress
        self._show()

    def _show(self) -> None:
        last, accepted = self._last, self._accepted
        passed_bytes = self._passed.passed_bytes - self._passed_before
        if last.phase is Phase.SEALING and passed_bytes and accepted is not None:
            last = accepted  # what the receiver holds is done with, and its next word has not come yet
        resting = self._paused and last.phase in _BREAKABLE
        sent = 0
        if last.phase not in _UNCOUNTED and accepted is not None:
            sent = max(last.bytes_done, min(accepted.bytes_done + passed_bytes, last.bytes_total))
        self._progress(replace(last, phase=Phase.PAUSED if resting else last.phase, bytes_sent=sent))
