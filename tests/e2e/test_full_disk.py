"""A receiver whose disk fills up in the middle of a transfer: the holder is told, and goes on when there is room."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from ddtp.agent import Progress
from ddtp.errors import PeerAborted, PeerRefused
from ddtp.store.records import TransferState
from tests.daemons import Daemon, Network, free_port
from tests.disks import fill_up
from tests.e2e.stories import issue, large_file, open_person, received, remains

FILES = large_file(20 << 20)
DISK_BYTES = 48 << 20
"""Room for the sealed chunks and the files, and little more."""

pytestmark = pytest.mark.slow


@pytest.fixture
def small(network: Network) -> Iterator[Daemon]:
    """A receiver with a small disk for its vault and one for its inbox; it has found no defect at the end."""
    if os.geteuid():
        pytest.skip("only root can mount a small disk")
    receiver = network.make_receiver(f"small-{free_port()}", network=f'listen = ["/ip4/127.0.0.1/tcp/{free_port()}"]')
    disks = [receiver.home / "vault", receiver.inbox]
    mounted: list[Path] = []
    try:
        for disk in disks:
            disk.mkdir(exist_ok=True)
            mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs", str(disk)]
            if subprocess.run(mount, check=False, capture_output=True).returncode:
                pytest.skip("this machine lets nobody mount a disk")
            mounted.append(disk)
        receiver.start().wait_ready()
        yield receiver
        assert receiver.defects() == []
        assert receiver.stop() == 0
    finally:
        if receiver.process is not None:
            receiver.kill()
        for disk in mounted:
            subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("place", ["vault", "inbox"])
async def test_a_disk_that_fills_up_meanwhile(network: Network, small: Daemon, tmp_path: Path, place: str) -> None:
    """Others take all the room while chunks move: of the vault, so that the journal has none, or of the inbox.

    What was stored stays, nothing is released, the holder keeps the transfer and what it is about, and the next try
    goes on with it when there is room again.
    """
    filled: list[Path] = []

    def fill(_progress: Progress) -> None:
        # the room for the chunks was reserved before the holder hears of it
        if not filled and _progress.phase.value == "sending":
            filled.append(fill_up(small.home / place))

    async with open_person(tmp_path / "person") as person:
        package = await issue(network, person, FILES)
        prepared = await person.prepare(package.path, card=small.card)
        with pytest.raises((PeerAborted, PeerRefused)) as caught:
            await person.send(prepared, progress=fill)
        assert caught.value.reason_code == "disk-full"
        (row,) = await person.transfers()
        assert row.state in (TransferState.FAILED, TransferState.KEYED)
        assert row.secret is not None
        assert [name for name in remains(small, row.transfer_id) if name == row.transfer_id.hex()] == []
        await trio.Path(filled[0]).unlink()
        assert (await person.resume(row.transfer_id)).verified
    assert received(small, row.transfer_id) == FILES
    assert remains(small, row.transfer_id) == [row.transfer_id.hex()]
