"""Group commit: callers that wait for the disk at the same time share one write.

There is no background task. The first caller of a batch waits for its turn and commits for all who joined meanwhile, so
a single caller waits for nobody, and a thousand wait for one write.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar, final

import trio

from ddtp.errors import DdtpError, InternalError, Overloaded

MAX_WAITING_BYTES: Final = 64 << 20
"""How much may wait for the disk: at 100 MB/s less than a second of writing."""

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@final
class _Batch(Generic[Item, Outcome]):
    def __init__(self) -> None:
        self.items: list[Item] = []
        self.size_bytes = 0
        self.done = trio.Event()
        self.outcomes: Sequence[Outcome | DdtpError] | DdtpError = InternalError("expected the commit to end")


@final
class GroupCommit(Generic[Item, Outcome]):
    """Collects items and commits them together.

    Args:
        commit: Makes a batch durable. Returns for each item its outcome, or why that item alone was refused; raises if
            the whole batch failed. Never runs twice at once, and is not cancelled.
    """

    def __init__(self, commit: Callable[[Sequence[Item]], Awaitable[Sequence[Outcome | DdtpError]]]) -> None:
        self._commit = commit
        self._turn = trio.Lock()
        self._open: _Batch[Item, Outcome] = _Batch()

    async def submit(self, item: Item, *, size_bytes: int) -> Outcome:
        """Commit one item together with those of other callers.

        Args:
            item: What to commit. When the caller is cancelled, it may still be committed.
            size_bytes: Its size, for the bound.

        Raises:
            Overloaded: Too much is waiting.
            DdtpError: What `commit` says about this item, or raises.
        """
        batch = self._open
        if batch.items and batch.size_bytes + size_bytes > MAX_WAITING_BYTES:
            raise Overloaded(f"expected at most {MAX_WAITING_BYTES} bytes to wait for the disk, found more")
        position = len(batch.items)
        batch.items.append(item)
        batch.size_bytes += size_bytes
        if position == 0:
            # others rely on this caller, so it is not cancelled; its wait ends with the commit before
            with trio.CancelScope(shield=True):
                await self._lead(batch)
        else:
            await batch.done.wait()
        outcome = batch.outcomes if isinstance(batch.outcomes, DdtpError) else batch.outcomes[position]
        if isinstance(outcome, DdtpError):
            # every waiting caller gets an exception of its own, because a traceback grows with each raise
            raise type(outcome)(outcome.message, hint=outcome.hint) from outcome
        return outcome

    async def _lead(self, batch: _Batch[Item, Outcome]) -> None:
        async with self._turn:
            self._open = _Batch()
            try:
                batch.outcomes = await self._commit(batch.items)
            except DdtpError as err:
                batch.outcomes = err
            finally:
                batch.done.set()
