"""Work on many pieces by several threads, with the results in order; called where blocking is allowed."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

WORKERS: Final = min(4, (os.cpu_count() or 1) + 1)
"""Threads that seal for all transfers together, and as many that store chunks: one more than there are processors,
because one may wait for the disk. At most four is a guess: it was measured on two processors."""
THREADS: Final = min(8, (os.cpu_count() or 1) + 4)
"""Threads for the pieces of one piece of work: enough for a disk to be busy with several while others are computed."""
AHEAD: Final = 64
"""Pieces that may be done or waiting before the first of them is taken: more than are done while a disk syncs."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(work: Callable[[Item], Result], items: Iterable[Item], *, between: Callable[[], None]) -> Iterator[Result]:
    """Yield the results of `work` for each item, in the order of the items.

    Args:
        work: Called in worker threads, several at a time; what it raises comes through in its turn, and ends the work.
        items: The pieces.
        between: Called in this thread between two results; may raise to stop.
    """
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) >= AHEAD:
                    yield pending.popleft().result()
                    between()
            while pending:
                yield pending.popleft().result()
                between()
        finally:
            for future in pending:
                future.cancel()
