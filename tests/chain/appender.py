"""A process that appends for ever, saying after each append what is durable; it is killed by the test."""

import sys
from pathlib import Path

import trio

from ddtp.chain.sqlite_ledger import open_sqlite_ledger
from tests.ledgers import Clock, make_entry, make_key

BATCHES = (1, 3, 300, 1, 50)


async def main(path: Path) -> None:
    async with open_sqlite_ledger(path, origin="log.example/2026", signer=make_key("log"), clock=Clock()) as ledger:
        size = (await ledger.head()).body.size
        while True:
            for count in BATCHES:
                await ledger.append([make_entry(number) for number in range(size, size + count)])
                size += count
                head = (await ledger.head()).body
                sys.stdout.write(f"{head.size} {head.root.hex()}\n")
                sys.stdout.flush()


trio.run(main, Path(sys.argv[1]))
