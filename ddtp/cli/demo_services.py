"""The services of the demo: processes of their own, started as an operator would, and stopped on every path."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import trio

from ddtp.agent.anchoring import read_card
from ddtp.agent.facade import wall_clock
from ddtp.errors import InternalError
from ddtp.identity.document import Card
from ddtp.protocol.envelope import Signed

LOG_FILE: Final = "serve.log"

_START_SECONDS: Final = 60.0
"""A service answers after about two seconds; a loaded machine with one slow core needs ten times as long."""
_STOP_SECONDS: Final = 30.0
"""Five interpreters end within a second or two, on a loaded machine within ten; what still runs then is killed."""
_MAX_READY_BYTES: Final = 64 << 10
"""The line that a service prints when it answers has a few hundred bytes."""
_TAIL_CHARACTERS: Final = 4000
"""Of a log: the error, and some lines before it."""


@dataclass(frozen=True, slots=True)
class _Service:
    home: Path
    process: trio.Process


@final
class Services:
    """Running services; made by `open_services`, which stops them."""

    def __init__(self) -> None:
        self._services: list[_Service] = []

    @property
    def process_ids(self) -> tuple[int, ...]:
        """The ids of the processes that were started, in that order."""
        return tuple(service.process.pid for service in self._services)

    async def start(self, homes: Sequence[Path]) -> tuple[Signed[Card], ...]:
        """Start a service in each home, all at the same time, and return their cards once they answer.

        Raises:
            InternalError: A service ended, or did not answer in time.
        """
        cards: dict[Path, Signed[Card]] = {}

        async def wait(service: _Service) -> None:
            cards[service.home] = await _wait_ready(service)

        started = [await self._spawn(home) for home in homes]
        async with trio.open_nursery() as nursery:
            for service in started:
                nursery.start_soon(wait, service)
        return tuple(cards[home] for home in homes)

    async def stop(self) -> None:
        """Stop all services as a service manager does.

        Raises:
            InternalError: One of them did not end cleanly.
        """
        await self._end()
        bad = [service for service in self._services if service.process.returncode != 0]
        if bad:
            found = f"found exit code {bad[0].process.returncode}"
            raise InternalError(f"expected the service in {bad[0].home.name} to stop cleanly, {found}")

    async def aclose(self) -> None:
        """Stop what still runs, and kill what does not stop; nothing can refuse this."""
        # ends after _STOP_SECONDS at the latest
        with trio.CancelScope(shield=True):
            await self._end()
            for service in self._services:
                service.process.kill()
                await service.process.wait()
                if service.process.stdout is not None:
                    await service.process.stdout.aclose()

    async def _end(self) -> None:
        for service in self._services:
            service.process.terminate()
        with trio.move_on_after(_STOP_SECONDS):
            for service in self._services:
                await service.process.wait()

    def failed_logs(self) -> dict[str, str]:
        """Return the ends of the logs of services that ended by themselves, by the names of their homes."""
        return {
            service.home.name: (service.home / LOG_FILE).read_text(errors="replace")[-_TAIL_CHARACTERS:]
            for service in self._services
            if service.process.poll()
        }

    async def _spawn(self, home: Path) -> _Service:
        # settings of whoever runs the demo must not reach its services; the choice of the crypto backend must
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("DDTP_") or name == "DDTP_CRYPTO"
        }
        with (home / LOG_FILE).open("wb") as log:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "ddtp", "--home", str(home), "serve"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                # Ctrl-C at the terminal is for the demo, which then stops its services in order
                start_new_session=True,
            )
        # no checkpoint lies between the process and this line, so that none is ever forgotten
        service = _Service(home, process)
        self._services.append(service)
        return service


@asynccontextmanager
async def open_services() -> AsyncIterator[Services]:
    """Give a place to start services in; whatever happens inside, none is left when it closes."""
    services = Services()
    try:
        yield services
    finally:
        await services.aclose()


async def _wait_ready(service: _Service) -> Signed[Card]:
    """Read the line that a service prints when it answers, and the card that it names."""
    name, stdout = service.home.name, service.process.stdout
    assert stdout is not None, "started with a pipe"
    line = b""
    with trio.move_on_after(_START_SECONDS) as scope:
        while not line.endswith(b"\n") and len(line) < _MAX_READY_BYTES:
            received = await stdout.receive_some(_MAX_READY_BYTES)
            if not received:
                code = await service.process.wait()
                raise InternalError(f"expected the service in {name} to start, found that it ended with code {code}")
            line += received
    if scope.cancelled_caught:
        raise InternalError(f"expected the service in {name} to answer within {_START_SECONDS:.0f} seconds")
    try:
        path = Path(json.loads(line)["card"])
    except (ValueError, KeyError, TypeError) as err:
        raise InternalError(f"expected the service in {name} to say where its card is, found {line[:200]!r}") from err
    return read_card(path, now=wall_clock())
