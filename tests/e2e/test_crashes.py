"""Processes that are killed, or stopped, in the middle of a transfer: it goes on where it was."""

import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from ddtp.agent import Agent, Phase, Progress
from ddtp.errors import AlreadyRunning, PeerAborted, PeerRefused, PeerVanished
from ddtp.store.records import TransferState
from ddtp.transfer.receiver import SYNC_BYTES
from tests.daemons import PATIENCE_SECONDS, ROOT, Daemon, Network, Relay, environment, free_port, open_relay
from tests.e2e.stories import issue, large_file, open_person, received, remains
from tests.town import names

FILES = large_file(20 << 20)
BLOCK_BYTES = SYNC_BYTES * 3 // 2
"""The relay stops here: the receiver has some durable chunks then, and some that are not."""
DRAIN_SECONDS = 2
SLACK_BYTES = 1 << 20
"""For frames, encryption, and what is sent before the offer is accepted."""

pytestmark = pytest.mark.slow


@dataclass
class Line:
    """A receiver behind a relay."""

    receiver: Daemon
    relay: Relay

    async def start(self) -> None:
        self.receiver.start()
        await trio.to_thread.run_sync(self.receiver.wait_ready)


@dataclass(frozen=True)
class Place:
    """A receiver that announces a relay only, and the ports of both."""

    receiver: Daemon
    port: int
    target: int


@pytest.fixture(scope="module")
def place(network: Network) -> Place:
    """A receiver that tests may hurt."""
    port, target = free_port(), free_port()
    settings = f'listen = ["/ip4/127.0.0.1/tcp/{target}"]\nannounce = ["/ip4/127.0.0.1/tcp/{port}"]'
    return Place(network.make_receiver("hurt", network=settings, drain_seconds=DRAIN_SECONDS), port, target)


@pytest.fixture
async def line(place: Place) -> AsyncIterator[Line]:
    """The receiver, running, with a relay of the test's own; it has found no defect at the end."""
    async with open_relay(place.port, place.target) as relay:
        line = Line(place.receiver, relay)
        if place.receiver.process is None:
            await line.start()
        yield line
        assert place.receiver.defects() == []


@asynccontextmanager
async def sending(
    network: Network, line: Line, person: Agent, *, errors: tuple[type[Exception], ...]
) -> AsyncIterator[None]:
    """Run the body in the middle of a transfer, which then ends with one of some errors."""
    package = await issue(network, person, FILES)
    prepared = await person.prepare(package.path, card=line.receiver.card)
    durable = trio.Event()

    def note(progress: Progress) -> None:
        if progress.bytes_done >= SYNC_BYTES:
            durable.set()

    async def send() -> None:
        with pytest.raises(errors):
            await person.send(prepared, progress=note)

    line.relay.block_at_bytes = line.relay.forth_bytes + BLOCK_BYTES
    with trio.fail_after(PATIENCE_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await durable.wait()
            await line.relay.blocked.wait()
            yield


async def check_resume(line: Line, person: Agent) -> None:
    """The transfer is resumed, and what was durable is not sent again."""
    (row,) = await person.transfers()
    assert [name for name in names(line.receiver.inbox) if row.transfer_id.hex() in name] == []
    line.relay.block_at_bytes = None
    before = line.relay.forth_bytes
    sent = await person.resume(row.transfer_id)
    assert sent.verified
    assert line.relay.forth_bytes - before < len(FILES["archive.bin"]) - SYNC_BYTES + SLACK_BYTES
    assert received(line.receiver, row.transfer_id) == FILES
    assert remains(line.receiver, row.transfer_id) == [row.transfer_id.hex()]


async def test_a_receiver_that_is_killed_goes_on_where_it_was(network: Network, line: Line, tmp_path: Path) -> None:
    """After a power cut at the receiver the holder sends only what was not durable yet."""
    async with open_person(tmp_path / "person") as person:
        async with sending(network, line, person, errors=(PeerVanished, PeerAborted)):
            line.receiver.kill()
        (row,) = await person.transfers()
        assert row.state is TransferState.FAILED
        await line.start()
        await check_resume(line, person)


async def test_a_holder_who_is_killed_goes_on_where_they_were(network: Network, line: Line, tmp_path: Path) -> None:
    """After a power cut at the holder the transfer is still known, and is resumed."""
    home = tmp_path / "person"
    async with open_person(home) as person:
        package = await issue(network, person, FILES)
    line.relay.block_at_bytes = BLOCK_BYTES
    card = line.receiver.home / "card.ddtp-card"
    holder = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.e2e.holder", str(home), str(package.path), str(card)],
        cwd=ROOT,
        env=environment(),
    )
    with trio.fail_after(PATIENCE_SECONDS):
        await line.relay.blocked.wait()
    holder.kill()
    assert await holder.wait() == -signal.SIGKILL
    async with open_person(home) as person:
        (row,) = await person.transfers()
        assert row.state is TransferState.OFFERED
        await check_resume(line, person)


async def test_a_disk_that_is_full_says_not_now(network: Network, line: Line, tmp_path: Path) -> None:
    """The holder hears "disk-full" before anything is sent, nothing stays at the receiver, and later it works."""
    async with open_person(tmp_path / "person") as person:
        package = await issue(network, person, FILES)
        prepared = await person.prepare(package.path, card=line.receiver.card)
        line.receiver.limit(SYNC_BYTES)
        try:
            with pytest.raises(PeerRefused) as caught:
                await person.send(prepared)
        finally:
            line.receiver.limit(None)
        assert caught.value.reason_code == "disk-full"
        (row,) = await person.transfers()
        assert row.state is TransferState.FAILED
        assert remains(line.receiver, row.transfer_id) == []
        assert (await person.resume(row.transfer_id)).verified
        assert received(line.receiver, row.transfer_id) == FILES


async def test_a_stopped_daemon_gives_transfers_in_flight_some_time(
    network: Network, line: Line, tmp_path: Path
) -> None:
    """SIGTERM ends it within the time of the settings, even if a holder does not go on; a resume later does.

    It leaves no process and no state file, and takes its port again.
    """
    state = line.receiver.home / "daemon.json"
    async with open_person(tmp_path / "person") as person:
        async with sending(network, line, person, errors=(PeerVanished, PeerAborted)):
            assert line.receiver.children() == []
            assert state.exists()
            start = time.monotonic()
            assert await trio.to_thread.run_sync(line.receiver.stop) == 0
            taken = time.monotonic() - start
        assert DRAIN_SECONDS <= taken <= DRAIN_SECONDS + 2
        assert not state.exists()
        await line.start()
        await check_resume(line, person)


async def test_a_stopped_daemon_lets_a_transfer_end(network: Network, line: Line, tmp_path: Path) -> None:
    """A transfer that goes on after SIGTERM is verified before the process ends."""
    async with open_person(tmp_path / "person") as person:
        package = await issue(network, person, FILES)
        prepared = await person.prepare(package.path, card=line.receiver.card)
        stopped: list[Progress] = []

        def stop_once(progress: Progress) -> None:
            if progress.bytes_done and not stopped:
                stopped.append(progress)
                line.receiver.signal(signal.SIGTERM)

        sent = await person.send(prepared, progress=stop_once)
    assert sent.verified
    assert stopped[0].phase is Phase.SENDING
    assert await trio.to_thread.run_sync(line.receiver.wait) == 0
    assert line.receiver.events()[-3:] == ["stopping", "transfer finished", "stopped"]
    assert received(line.receiver, sent.transfer_id) == FILES


async def test_one_home_has_one_daemon(network: Network) -> None:
    """A second process says so and ends; the first is not disturbed."""
    first = network["issuer"]
    second = Daemon(first.home).start()
    assert await trio.to_thread.run_sync(second.wait) == AlreadyRunning.exit_code
    assert "another process using it" in first.log()
    assert first.process is not None
    assert first.process.poll() is None
