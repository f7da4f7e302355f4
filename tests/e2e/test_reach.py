"""A receiver that is not where its card says, as real processes."""

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from ddtp.agent import Phase, Progress, open_agent
from ddtp.config import Config
from ddtp.errors import PeerUnreachable
from ddtp.identity.document import Card
from ddtp.protocol.envelope import Signed
from ddtp.store.records import TransferState
from tests.daemons import PATIENCE_SECONDS, Daemon, Network, environment, free_port, open_relay
from tests.e2e.stories import issue, large_file, open_person, received
from tests.namespaces import Link, needs_namespaces, open_link
from tests.town import make_home, read_files

FILES = large_file(2 << 20)
CIRCUIT_BYTES = 3 << 20
CUT_SECONDS = 30.0
"""What a transfer has to survive; the system needs as long to notice that the other machine has gone."""

pytestmark = pytest.mark.slow


async def test_a_receiver_with_an_old_card_is_found_on_the_local_network(network: Network, tmp_path: Path) -> None:
    """It was started again on another port; a home that names the network reaches it, one that does not cannot."""
    receiver = network.make_receiver("moving", network='lan = ["127.0.0.0/8"]')
    old = receiver.start().wait_ready()
    assert await trio.to_thread.run_sync(receiver.stop) == 0
    receiver.start()
    assert (await trio.to_thread.run_sync(receiver.wait_ready)).body.addresses != old.body.addresses
    home = tmp_path / "person"
    make_home(home)
    config = Config(home=home, vault=home / "vault")
    async with open_agent(config=config) as person:
        package = await issue(network, person, FILES)
        with pytest.raises(PeerUnreachable, match="Moving does not answer"):
            await person.prepare(package.path, card=old)
    async with open_agent(config=Config(home=home, vault=home / "vault", lan=("127.0.0.0/8",))) as person:
        sent = await person.send(await person.prepare(package.path, card=old))
    assert sent.verified
    assert received(receiver, sent.transfer_id) == FILES


@dataclass
class Hidden:
    """A receiver that is reached through a relay only."""

    relay: Daemon
    receiver: Daemon
    card: Signed[Card]


@pytest.fixture(scope="module")
def hidden(network: Network) -> Iterator[Hidden]:
    """The relay carries no more than some pieces at a time, so that every transfer here outlives several circuits."""
    relay = Daemon(network.folder / "relay", command="relay")
    make_home(relay.home)
    settings = f'[relay]\nlisten = ["/ip4/127.0.0.1/tcp/{free_port()}"]\ncircuit_bytes = {CIRCUIT_BYTES}\n'
    (relay.home / "config.toml").write_text(settings)
    (address,) = relay.start().wait_line()["addresses"]
    receiver = network.make_receiver("hidden", network=f'relays = ["{address}"]')
    card = receiver.start().wait_ready()
    yield Hidden(relay, receiver, card)
    assert receiver.stop() == relay.stop() == 0
    assert receiver.defects() + relay.defects() == []


async def test_a_receiver_behind_a_relay_gets_more_than_one_circuit_carries(
    network: Network, hidden: Hidden, tmp_path: Path
) -> None:
    """The card leads to the relay alone; each time that the relay cuts a circuit the transfer goes on over another."""
    (address,) = hidden.card.body.addresses
    assert "/p2p-circuit/p2p/" in address
    files, seen = large_file(5 * CIRCUIT_BYTES), list[Progress]()
    async with open_person(tmp_path / "person") as person:
        package = await issue(network, person, files)
        prepared = await person.prepare(package.path, card=hidden.card)
        with trio.fail_after(4 * PATIENCE_SECONDS):
            sent = await person.send(prepared, progress=seen.append, patience_seconds=60)
    assert sent.verified
    assert received(hidden.receiver, sent.transfer_id) == files
    lost = [progress for progress in seen if progress.phase is Phase.RECONNECTING]
    assert len(lost) >= 4


async def test_a_relay_that_is_replaced_does_not_end_a_transfer(
    network: Network, hidden: Hidden, tmp_path: Path
) -> None:
    """Killed in the middle and started again: the receiver takes a place anew, and the sender finds it."""
    files, killed = large_file(3 * CIRCUIT_BYTES), trio.Event()
    async with open_person(tmp_path / "person") as person, trio.open_nursery() as nursery:
        package = await issue(network, person, files)
        prepared = await person.prepare(package.path, card=hidden.card)

        async def replace_relay() -> None:
            await trio.to_thread.run_sync(hidden.relay.kill)
            await trio.sleep(2)
            hidden.relay.start()
            await trio.to_thread.run_sync(hidden.relay.wait_line)

        def watch(progress: Progress) -> None:
            if progress.phase is Phase.SENDING and not killed.is_set():
                killed.set()
                nursery.start_soon(replace_relay)

        with trio.fail_after(4 * PATIENCE_SECONDS):
            sent = await person.send(prepared, progress=watch, patience_seconds=60)
    assert sent.verified
    assert received(hidden.receiver, sent.transfer_id) == files


async def test_an_interrupt_ends_a_command_that_tries_again(network: Network, tmp_path: Path) -> None:
    """Ctrl-C while the way is gone: the command ends at once, with its own exit code, and the transfer is kept."""
    port, target = free_port(), free_port()
    settings = f'listen = ["/ip4/127.0.0.1/tcp/{target}"]\nannounce = ["/ip4/127.0.0.1/tcp/{port}"]'
    receiver = network.make_receiver("lost", network=settings)
    receiver.start().wait_ready()
    home = tmp_path / "person"
    async with open_person(home) as person:
        package = await issue(network, person, large_file(20 << 20))
    card = str(receiver.home / "card.ddtp-card")
    command = ["--home", str(home), "send", str(package.path), "--to", card, "--yes", "--json"]
    sender = await trio.lowlevel.open_process(
        [sys.executable, "-m", "ddtp", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert sender.stderr is not None
    said: list[str] = []
    with trio.fail_after(4 * PATIENCE_SECONDS):
        async with trio.open_nursery() as nursery:
            way = await nursery.start(carry, port, target)
            async for text in lines(sender.stderr):
                said.append(text)
                phase = json.loads(text).get("progress", {}).get("phase")
                if phase == "sending":
                    way.cancel()
                if phase == "reconnecting" and not any("reconnecting" in earlier for earlier in said[:-1]):
                    sender.send_signal(signal.SIGINT)
                    interrupted = trio.current_time()
            assert await sender.wait() == 130
            assert trio.current_time() - interrupted < 5
        await sender.stderr.aclose()
    async with open_person(home) as person:
        (row,) = await person.transfers()
        assert row.state is TransferState.FAILED


async def carry(port: int, target: int, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
    """A way to a receiver, until its scope is cancelled."""
    with trio.CancelScope() as scope:
        async with open_relay(port, target) as relay:
            relay.block_at_bytes = 4 << 20
            task_status.started(scope)
            await trio.sleep_forever()


@needs_namespaces
async def test_a_cut_of_thirty_seconds_and_another_address_do_not_end_a_transfer(tmp_path: Path) -> None:
    """The cable is pulled in the middle of `ddtp send`, and the machine is on another number when it is back."""
    files = large_file(40 << 20)
    town = [sys.executable, "-m", "tests.e2e.far_town", "10.77.0.1", str(tmp_path / "town"), str(40 << 20)]
    async with open_link() as link, link.running(0, town) as process:
        await link.slow_down(megabits=40)
        with trio.fail_after(PATIENCE_SECONDS):
            line = await read_line(process)
        place = json.loads(line)
        command = ["--home", place["home"], "send", place["package"], "--to", place["card"], "--yes", "--json"]
        phases: list[tuple[str, int]] = []
        async with link.running(1, [sys.executable, "-m", "ddtp", *command], watched=True) as sender:
            assert sender.stderr is not None
            with trio.fail_after(CUT_SECONDS + 4 * PATIENCE_SECONDS):
                async with trio.open_nursery() as nursery:
                    async for text in lines(sender.stderr):
                        progress = json.loads(text)["progress"]
                        if progress["bytes_done"] and not any(done for _, done in phases):
                            nursery.start_soon(lose_the_network, link)
                        phases.append((progress["phase"], progress["bytes_done"]))
                result = json.loads(await read_line(sender))
                assert await sender.wait() == 0
    assert result["verified"]
    assert read_files(Path(place["inbox"]) / result["transfer_id"] / "files") == files
    lost = [done for phase, done in phases if phase == "reconnecting"]
    assert min(lost) > 0
    assert [done for _, done in phases] == sorted(done for _, done in phases)


async def lose_the_network(link: Link) -> None:
    await link.cut()
    await link.move(5)
    await trio.sleep(CUT_SECONDS)
    await link.join()


async def lines(stream: trio.abc.ReceiveStream) -> AsyncIterator[str]:
    """What a process prints, line by line."""
    rest = b""
    async for data in stream:
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield line.decode()


async def read_line(process: trio.Process) -> str:
    assert process.stdout is not None
    async with aclosing(lines(process.stdout)) as found:
        async for line in found:
            return line
    pytest.fail("it ended without a word")
