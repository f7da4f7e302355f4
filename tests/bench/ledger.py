"""Speed and size of the ledger on the disk of the work directory: appending, proving, checking.

An append counts when it is durable. Proofs are made one after the other by one caller, on a log of `--entries`.
"""

import os
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from ddtp.chain.checkpoint import Checkpoint
from ddtp.chain.proof import AnchorProof, LedgerProof
from ddtp.chain.sqlite_ledger import SqliteLedger, open_sqlite_ledger
from ddtp.chain.statement import Entry, EntryKind, blind, coarse
from ddtp.identity.keys import PrivateKey
from ddtp.protocol import envelope, merkle
from tests.bench.figures import Figure, Measured, Missing, Options, calls_per_second, race
from tests.ledgers import verify_anchor

SINGLE_APPENDS = 300
"""Appends of one caller per sample: the 99th percentile is then the fourth largest."""
CALLERS = 1000
APPENDS_PER_CALLER = 5
BATCH_ENTRIES = 256
"""Entries of one call, as many as one page of the log."""
BATCHES = 20
PROVING_SECONDS = 2.0
"""Of each sample of proofs: the tiles in memory are then those of steady work."""
MILLION = 1_000_000
ORIGIN = "ledger.example/bench"
KEY = PrivateKey(bytes(31) + b"\x07")
SALT, SUBJECT = bytes(32), bytes(32)


def measure(options: Options) -> Measured:
    """Measure appends, then proofs on a log of the chosen size, then checking."""
    yield from trio.run(_appends, options)
    figures, anchor = trio.run(_proofs, options)
    yield from figures
    yield from _checks(anchor, runs=options.runs)


@asynccontextmanager
async def _opened(path: Path) -> AsyncIterator[SqliteLedger]:
    async with open_sqlite_ledger(path, origin=ORIGIN, signer=KEY, clock=_now) as ledger:
        yield ledger


async def _appends(options: Options) -> list[Figure]:
    single, slowest, many, batch = [], [], [], []
    async with _opened(options.work / "appends.db") as ledger:
        for _ in range(options.runs):
            times = await _one_caller(ledger)
            single.append(len(times) / sum(times))
            slowest.append(1000 * statistics.quantiles(times, n=100)[-1])
            many.append(await _many_callers(ledger))
            batch.append(await _batches(ledger))
    return [
        Figure("appends_1_caller_per_s", "1/s", single),
        Figure("appends_1_caller_p99_ms", "ms", slowest),
        Figure("appends_1000_callers_per_s", "1/s", many),
        Figure("appends_batch_per_s", "1/s", batch),
    ]


async def _one_caller(ledger: SqliteLedger) -> list[float]:
    return [await _seconds(partial(ledger.append, [entry])) for entry in _entries(SINGLE_APPENDS)]


async def _many_callers(ledger: SqliteLedger) -> float:
    entries = [_entries(APPENDS_PER_CALLER) for _ in range(CALLERS)]

    async def caller(own: list[bytes]) -> None:
        for entry in own:
            await ledger.append([entry])

    async def all_callers() -> None:
        async with trio.open_nursery() as nursery:
            for own in entries:
                nursery.start_soon(caller, own)

    return CALLERS * APPENDS_PER_CALLER / await _seconds(all_callers)


async def _batches(ledger: SqliteLedger) -> float:
    batches = [_entries(BATCH_ENTRIES) for _ in range(BATCHES)]

    async def append() -> None:
        for batch in batches:
            await ledger.append(batch)

    return BATCHES * BATCH_ENTRIES / await _seconds(append)


async def _proofs(options: Options) -> tuple[list[Figure], AnchorProof]:
    """Fill a log, time its proofs, and return the anchor of one entry in its middle."""
    path, size = options.work / "proofs.db", options.entries
    marked = Entry(EntryKind.GRANT, blind(SALT, SUBJECT), coarse(_now())).encode()
    entries = [*_entries(size - 1), marked]
    random.shuffle(entries)
    async with _opened(path) as ledger:
        for start in range(0, size, BATCH_ENTRIES):
            await ledger.append(entries[start : start + BATCH_ENTRIES])
        rates = [await _proofs_per_second(ledger, size) for _ in range(options.runs)]
        proof = await ledger.prove(entries.index(marked))
    # closed, so that everything stands in the one file
    stored = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    path.unlink()
    return [
        Figure(f"proofs_{_magnitude(size)}_per_s", "1/s", rates),
        Figure("bytes_per_body_byte", "1", [stored / sum(map(len, entries))]),
    ], AnchorProof(SALT, marked, proof.encode())


async def _proofs_per_second(ledger: SqliteLedger, size: int) -> float:
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < PROVING_SECONDS:
        await ledger.prove(random.randrange(size))
        count += 1
    return count / spent


def _checks(anchor: AnchorProof, *, runs: int) -> Iterator[Figure | Missing]:
    logs = {ORIGIN: KEY.public_key}
    large = _anchor_of(MILLION, entry=anchor.entry)
    yield Figure("receipt_1e6_bytes", "bytes", [len(large.encode())])
    yield Figure("proof_1e6_bytes", "bytes", [len(large.proof)])
    yield race(
        "verify_cold_per_s",
        "1/s",
        lambda: calls_per_second(lambda: verify_anchor(anchor, SUBJECT, kind=EntryKind.GRANT, logs=logs)),
        runs=runs,
    )
    yield Missing("verify_cached_per_s", "checked checkpoints are not cached")


def _anchor_of(size: int, *, entry: bytes) -> AnchorProof:
    """Return an anchor as long as that of an entry in the middle of such a log; its hashes are zeros."""
    path = merkle.inclusion_path(size // 2 - 1, size, lambda _start, _stop: bytes(32))
    checkpoint = envelope.sign(Checkpoint(origin=ORIGIN, size=size, root=bytes(32), time=_now()), KEY)
    return AnchorProof(SALT, entry, LedgerProof(checkpoint.envelope, size // 2 - 1, path).encode())


def _entries(count: int) -> list[bytes]:
    hour = coarse(_now())
    return [Entry(EntryKind.GRANT, os.urandom(32), hour).encode() for _ in range(count)]


def _magnitude(size: int) -> str:
    """Return 100000 as "1e5", and a size that is no power of ten as it is."""
    zeros = len(str(size)) - 1
    return f"1e{zeros}" if size == 10**zeros else str(size)


def _now() -> int:
    return int(time.time())


async def _seconds(operation: Callable[[], Awaitable[object]]) -> float:
    start = time.perf_counter()
    await operation()
    return time.perf_counter() - start
