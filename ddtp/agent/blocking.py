"""`BlockingAgent`: the same agent for programs on asyncio, threads or nothing: trio runs in a thread of its own."""

import threading
from collections.abc import Awaitable, Callable, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, final

import trio

from ddtp.agent.delivering import SentTransfer
from ddtp.agent.exporting import ExportedTransfer
from ddtp.agent.facade import Agent, open_agent
from ddtp.agent.inbox import ReceivedData
from ddtp.agent.issuing import Draft, IssuedPackage
from ddtp.agent.sending import PreparedTransfer
from ddtp.consent.grant import HOW_PROGRAM
from ddtp.errors import InternalError
from ddtp.identity.document import Card
from ddtp.identity.language import Language
from ddtp.protocol.envelope import Signed
from ddtp.protocol.leaves import Field
from ddtp.store.records import PackageRow, TransferRow
from ddtp.transfer.pacing import Pace
from ddtp.transfer.ports import Progress

Result = TypeVar("Result")


@final
class BlockingAgent:
    """An open home for callers without trio; a context manager.

    Methods block the calling thread and may be called from several threads; from asyncio call them with
    `asyncio.to_thread`. Progress callbacks run in the agent's thread and must not block.

    Args:
        home: As in `open_agent`.
        passphrase: As in `open_agent`.

    Raises:
        DdtpError: On entering, as `open_agent` does.
    """

    def __init__(self, home: str | PathLike[str] | None = None, *, passphrase: str | None = None) -> None:
        self._home = home
        self._passphrase = passphrase
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ddtp-agent", daemon=True)
        self._token: trio.lowlevel.TrioToken | None = None
        self._agent: Agent | None = None
        self._closing = trio.Event()
        self._calls: set[trio.CancelScope] = set()
        self._call_ended = trio.lowlevel.ParkingLot()
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            self._token.run_sync_soon(self._closing.set)
        self._thread.join()

    def call(self, function: Callable[[Agent], Awaitable[Result]]) -> Result:
        """Run a coroutine function with the agent, in its thread, and return the result.

        Raises:
            InternalError: The agent is not open, or was closed by another thread meanwhile.
        """
        token = self._token
        if token is None:
            raise InternalError("expected an open agent, found a closed one")
        try:
            result: Result = trio.from_thread.run(self._attend, function, trio_token=token)
        except (trio.Cancelled, trio.RunFinishedError) as err:
            raise InternalError("expected an agent that stays open, found it closed meanwhile") from err
        return result

    def issue(self, draft: Draft) -> IssuedPackage:
        """See `Agent.issue`."""
        return self.call(lambda agent: agent.issue(draft))

    def remember_card(self, card: bytes | str) -> Signed[Card]:
        """See `Agent.remember_card`."""
        return self.call(lambda agent: agent.remember_card(card))

    def pack(
        self, paths: Sequence[Path], *, fields: Sequence[Field] = (), schema: str, witness: Signed[Card]
    ) -> IssuedPackage:
        """See `Agent.pack`."""
        return self.call(lambda agent: agent.pack(paths, fields=fields, schema=schema, witness=witness))

    def collect(self, card: Signed[Card]) -> tuple[PackageRow, ...]:
        """See `Agent.collect`."""
        return self.call(lambda agent: agent.collect(card))

    def prepare(
        self,
        path: Path,
        *,
        card: Signed[Card],
        template: str | None = None,
        items: Sequence[str] = (),
        purposes: Sequence[int] | None = None,
        language: Language | None = None,
    ) -> PreparedTransfer:
        """See `Agent.prepare`."""
        return self.call(
            lambda agent: agent.prepare(
                path, card=card, template=template, items=items, purposes=purposes, language=language
            )
        )

    def send(
        self,
        prepared: PreparedTransfer,
        *,
        how: str = HOW_PROGRAM,
        progress: Callable[[Progress], None] = lambda _progress: None,
        pace: Pace | None = None,
        patience_seconds: float = 0,
    ) -> SentTransfer:
        """See `Agent.send`."""
        return self.call(
            lambda agent: agent.send(prepared, how=how, progress=progress, pace=pace, patience_seconds=patience_seconds)
        )

    def resume(
        self,
        transfer_id: bytes,
        *,
        progress: Callable[[Progress], None] = lambda _progress: None,
        pace: Pace | None = None,
        patience_seconds: float = 0,
        package: Path | None = None,
    ) -> SentTransfer:
        """See `Agent.resume`."""
        return self.call(
            lambda agent: agent.resume(
                transfer_id, progress=progress, pace=pace, patience_seconds=patience_seconds, package=package
            )
        )

    def packages(self) -> list[PackageRow]:
        """See `Agent.packages`."""
        return self.call(lambda agent: agent.packages())

    def transfers(self) -> list[TransferRow]:
        """See `Agent.transfers`."""
        return self.call(lambda agent: agent.transfers())

    def received(self, transfer: TransferRow) -> ReceivedData:
        """See `Agent.received`."""
        return self.call(lambda agent: agent.received(transfer))

    def export(self, transfer: TransferRow, folder: Path) -> ExportedTransfer:
        """See `Agent.export`."""
        return self.call(lambda agent: agent.export(transfer, folder))

    def _run(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as err:  # noqa: BLE001 - handed to the thread that opened the agent
            self._failure = err
        finally:
            self._agent = self._token = None
            self._ready.set()

    async def _serve(self) -> None:
        async with open_agent(self._home, passphrase=self._passphrase) as agent:
            self._agent, self._token = agent, trio.lowlevel.current_trio_token()
            self._ready.set()
            await self._closing.wait()
            self._agent = None
            # calls that are still running need the records that close next
            for scope in self._calls:
                scope.cancel()
            while self._calls:
                await self._call_ended.park()

    async def _attend(self, function: Callable[[Agent], Awaitable[Result]]) -> Result:
        agent, results = self._agent, list[Result]()
        if agent is not None:
            with trio.CancelScope() as scope:
                self._calls.add(scope)
                try:
                    results.append(await function(agent))
                finally:
                    self._calls.discard(scope)
                    self._call_ended.unpark_all()
        if not results:
            raise InternalError("expected an agent that stays open, found it closed meanwhile")
        return results[0]
