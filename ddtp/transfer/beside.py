"""Several tasks of one exchange that end together (spec/08-session s.5): the first failure is raised, and alone."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from ddtp.errors import DdtpError

Result = TypeVar("Result")


async def together(*tasks: Callable[[], Awaitable[None]]) -> None:
    """Run tasks until all have ended.

    Raises:
        DdtpError: Whatever the first one that fails raises; the others are cancelled.
    """
    failures: list[DdtpError] = []

    async def guard(task: Callable[[], Awaitable[None]]) -> None:
        try:
            await task()
        except DdtpError as err:
            failures.append(err)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for task in tasks:
            nursery.start_soon(guard, task)
    if failures:
        raise failures[0]


async def beside(main: Callable[[], Awaitable[Result]], watcher: Callable[[], Awaitable[None]]) -> Result:
    """Run `watcher` as long as `main`, and return what `main` returns.

    Raises:
        DdtpError: Whatever the first one that fails raises.
    """
    results: list[Result] = []
    scope = trio.CancelScope()

    async def watch() -> None:
        with scope:
            await watcher()

    async def run() -> None:
        results.append(await main())
        scope.cancel()

    await together(watch, run)
    return results[0]
