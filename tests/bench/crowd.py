"""Several persons in one process: `python -m tests.bench.crowd CARD HOME PACKAGE HOME PACKAGE ...`.

Prints a line when all have read the request, sends all packages at the same moment when it is sent a line, and then
prints a list of the seconds that each has waited for its receipt.
"""

import json
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from ddtp.agent.facade import Agent, open_agent
from ddtp.agent.sending import PreparedTransfer


async def main(card_file: str, *homes_and_packages: str) -> None:
    """Send, and tell how long each took.

    Raises:
        RuntimeError: The receiver did not verify a package.
    """
    waits: list[float] = []
    card_text = await trio.Path(card_file).read_text()
    async with AsyncExitStack() as stack:
        prepared: list[tuple[Agent, PreparedTransfer]] = []
        for home, package in zip(homes_and_packages[::2], homes_and_packages[1::2], strict=True):
            person = await stack.enter_async_context(open_agent(Path(home)))
            card = await person.remember_card(card_text)
            prepared.append((person, await person.prepare(Path(package), card=card)))
        _say("ready")
        await trio.to_thread.run_sync(sys.stdin.readline)
        start = time.perf_counter()

        async def send(person: Agent, confirmed: PreparedTransfer) -> None:
            if not (await person.send(confirmed)).verified:
                raise RuntimeError("expected a verified package, found a rejected one")
            waits.append(time.perf_counter() - start)

        async with trio.open_nursery() as nursery:
            for person, confirmed in prepared:
                nursery.start_soon(send, person, confirmed)
    _say(json.dumps(waits))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
