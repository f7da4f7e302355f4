"""Every implementation of the ledger contract, one after the other."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from ddtp.chain.admission import AdmissionPolicy
from ddtp.chain.ledger import Ledger
from ddtp.chain.ledger_service import LedgerService
from ddtp.chain.memory_ledger import MemoryLedger
from ddtp.chain.remote_ledger import RemoteLedger
from ddtp.chain.sqlite_ledger import open_sqlite_ledger
from tests.ledgers import Clock, Heads, make_key, network

LOG = make_key("log")
ORIGIN = "log.example/2026"

OpenLedger = Callable[..., AbstractAsyncContextManager[Ledger]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite", "remote"])
def open_ledger(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> OpenLedger:
    """Opens an empty ledger of one implementation, with an optional admission policy."""

    @asynccontextmanager
    async def memory(policy: AdmissionPolicy | None = None) -> AsyncIterator[Ledger]:
        yield MemoryLedger(ORIGIN, LOG, clock=clock, policy=policy)

    @asynccontextmanager
    async def sqlite(policy: AdmissionPolicy | None = None) -> AsyncIterator[Ledger]:
        path = tmp_path / "ledger.db"
        async with open_sqlite_ledger(path, origin=ORIGIN, signer=LOG, clock=clock, policy=policy) as ledger:
            yield ledger
            await ledger.audit()

    @asynccontextmanager
    async def remote(policy: AdmissionPolicy | None = None) -> AsyncIterator[Ledger]:
        async with sqlite(policy) as ledger:
            yield RemoteLedger(ORIGIN, LOG.public_key, call=network(LedgerService(ledger)), heads=Heads())

    return {"memory": memory, "sqlite": sqlite, "remote": remote}[request.param]
