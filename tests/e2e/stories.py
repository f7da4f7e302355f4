"""What persons do in the stories: get packages, send them, look at what arrived."""

import os
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from ddtp.agent import Agent, Draft, IssuedPackage, open_agent
from ddtp.config import Config, load_config
from tests.daemons import Daemon, Network
from tests.town import DAY, FIELDS, SCHEMA, make_home, names, read_files, write_files


def large_file(size_bytes: int) -> dict[str, bytes]:
    """A file that does not fit into one piece of anything."""
    return {"archive.bin": random.Random(size_bytes).randbytes(size_bytes)}


@asynccontextmanager
async def open_person(home: Path) -> AsyncIterator[Agent]:
    """Open the home of a person, making it first if need be."""
    if not await trio.Path(home).exists():
        make_home(home)
    async with open_agent(config=Config(home=home, vault=home / "vault")) as agent:
        yield agent


async def issue(network: Network, person: Agent, files: Mapping[str, bytes], *, collect: bool = False) -> IssuedPackage:
    """Have the issuer make a package, straight into the person's vault or ready to be collected."""
    token = os.urandom(4).hex()
    issuer = network["issuer"]
    folder = issuer.home / "packages" if collect else person.context.config.vault / "packages"
    paths = write_files(network.folder / f"sources-{token}", files)
    address = person.address(issuer.card).body
    async with open_agent(config=load_config(home=issuer.home)) as clerk:
        return await clerk.issue(Draft(paths, FIELDS, SCHEMA, address, 30 * DAY, folder / f"{token}.ddtp"))


def received(daemon: Daemon, transfer_id: bytes) -> dict[str, bytes]:
    """The files of a transfer in a receiver's inbox."""
    return read_files(daemon.inbox / transfer_id.hex() / "files")


def remains(daemon: Daemon, transfer_id: bytes) -> list[str]:
    """All that a receiver has of a transfer on its disk: unfinished work, and what was released."""
    folders = (daemon.home / "vault" / "incoming", daemon.inbox)
    return [name for folder in folders for name in names(folder) if transfer_id.hex() in name]
