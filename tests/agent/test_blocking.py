"""`BlockingAgent`: the same agent for threads and for asyncio."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import trio

from ddtp.agent import Agent, BlockingAgent, Progress
from ddtp.agent.facade import wall_clock
from ddtp.errors import DdtpError, IdentityMissing, InternalError, PassphraseWrong
from ddtp.identity.keys import Seed
from ddtp.store.keystore import create_identity
from tests.ledgers import Clock
from tests.town import FILES, Town, make_home, open_town, read_files


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    """A town whose clock is right, because a `BlockingAgent` has the real one."""
    async with open_town(tmp_path, clock=Clock(wall_clock())) as town:
        yield town


@pytest.fixture
async def package(town: Town) -> tuple[Path, Path]:
    """A person's home, closed, and a package in it."""
    person = await town.person()
    issued = await town.issue(person)
    home = person.context.config.home
    await town.close("person")
    return home, issued.path


def story(home: Path, package: Path, card: bytes, folder: Path) -> tuple[bytes, list[Progress], int]:
    """What a program without trio does."""
    seen: list[Progress] = []
    with BlockingAgent(home) as agent:
        receiver = agent.remember_card(card)
        prepared = agent.prepare(package, card=receiver, items=["papers/"])
        sent = agent.send(prepared, progress=seen.append)
        assert sent.verified
        (row,) = agent.transfers()
        (kept,) = agent.packages()
        assert kept.path == package
        exported = agent.export(row, folder)
        assert exported.bundle.exists()
        again = agent.call(lambda inner: inner.resume(row.transfer_id))
        assert again == sent
    return row.transfer_id, seen, threading.active_count()


async def test_a_plain_thread_sends(town: Town, package: tuple[Path, Path], tmp_path: Path) -> None:
    """All calls block the calling thread, which has never heard of trio."""
    before = {thread.name for thread in threading.enumerate()}
    work = partial(story, *package, town.receiver.card.envelope, tmp_path / "export")
    transfer_id, seen, _ = await trio.to_thread.run_sync(work)
    assert seen[-1].bytes_done > 0
    chosen = {name: content for name, content in FILES.items() if name.startswith("papers/")}
    assert read_files(town.receiver.inbox / transfer_id.hex() / "files") == chosen
    left = {thread.name for thread in threading.enumerate()} - before
    assert "ddtp-agent" not in left


async def test_asyncio_sends(town: Town, package: tuple[Path, Path], tmp_path: Path) -> None:
    """A program on asyncio calls it with `asyncio.to_thread`, and its loop goes on meanwhile."""

    async def main() -> tuple[bytes, int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)
                ticks += 1

        ticking = asyncio.create_task(tick())
        work = partial(story, *package, town.receiver.card.envelope, tmp_path / "export")
        transfer_id, _, _ = await asyncio.to_thread(work)
        ticking.cancel()
        return transfer_id, ticks

    transfer_id, ticks = await trio.to_thread.run_sync(lambda: asyncio.run(main()))
    assert ticks > 1
    assert (town.receiver.inbox / transfer_id.hex()).exists()


def test_several_threads_share_one_agent(tmp_path: Path) -> None:
    """Methods may be called from several threads."""
    make_home(tmp_path / "home")
    with BlockingAgent(tmp_path / "home") as agent, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _number: agent.transfers(), range(20)))
    assert found == [[]] * 20


def test_errors_come_out_as_they_are(tmp_path: Path) -> None:
    """A failure while opening is raised by the `with` statement, a failure of a call by the call."""
    with pytest.raises(IdentityMissing), BlockingAgent(tmp_path / "nobody"):
        pass
    home = tmp_path / "sealed"
    create_identity(home, Seed(bytes(range(32))), passphrase="right", random_bytes=bytes)
    with pytest.raises(PassphraseWrong), BlockingAgent(home, passphrase="wrong"):
        pass
    with BlockingAgent(home, passphrase="right") as agent:
        with pytest.raises(DdtpError) as caught:
            agent.remember_card("no card")
        assert caught.value.code == "malformed"
        assert agent.transfers() == [], "the agent lives on"


def test_a_failure_inside_closes_the_agent(tmp_path: Path) -> None:
    """The exception of the body comes out, and no thread stays."""
    make_home(tmp_path / "home")
    with pytest.raises(ZeroDivisionError), BlockingAgent(tmp_path / "home") as agent:
        _ = 1 // 0
    with pytest.raises(InternalError):
        agent.transfers()
    assert "ddtp-agent" not in {thread.name for thread in threading.enumerate()}


def test_a_call_in_another_thread_ends_when_the_agent_is_closed(tmp_path: Path) -> None:
    """It is cancelled while the records are still open, and told in an error of ours."""
    make_home(tmp_path / "home")
    started, cleaned = threading.Event(), []

    async def wait(inner: Agent) -> None:
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                cleaned.append(await inner.transfers())

    with ThreadPoolExecutor(1) as pool:
        with BlockingAgent(tmp_path / "home") as agent:
            call = pool.submit(agent.call, wait)
            started.wait()
        assert cleaned == [[]]
        assert isinstance(call.exception(), InternalError)


def test_a_program_that_just_ends_is_not_held_up(tmp_path: Path) -> None:
    """A process that never closes its agent still exits."""
    make_home(tmp_path / "home")
    code = (
        "import sys; from pathlib import Path; from ddtp.agent import Agent, BlockingAgent; "
        "agent = BlockingAgent(Path(sys.argv[1])).__enter__(); print(len(agent.transfers()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "home")], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
