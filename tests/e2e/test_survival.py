"""Both sides of one transfer are killed, again and again: it arrives whole, and what was stored is not sent again."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from tests.bench.survival import Death, Side, Toll, count_resent
from tests.daemons import PATIENCE_SECONDS, ROOT, Daemon, Network, environment, free_port
from tests.e2e.stories import issue, large_file, open_person, received, remains
from tests.mortal import BROKEN_OFF, Diary

FILES = large_file(40 << 20)
LEAF_BYTES = 32
PAUSE_SECONDS = 0.02
"""Of the sender before each frame of 1 MiB, so that a kill finds it in the middle."""
SEED = 4
SIDES = (Side.HOLDER, Side.RECEIVER, Side.RECEIVER, Side.HOLDER, Side.RECEIVER, Side.HOLDER)

pytestmark = pytest.mark.slow


class Holder:
    """The sending process, started again whenever it has ended without a receipt."""

    def __init__(self, *arguments: object) -> None:
        self._arguments = [sys.executable, "-m", "tests.mortal", *map(str, arguments), str(PAUSE_SECONDS)]
        self._process: subprocess.Popen[bytes] | None = None
        self._deadline = time.monotonic() + 2 * len(SIDES) * PATIENCE_SECONDS

    def goes_on(self) -> bool:
        """Start it if it does not run; return False when the receipt is there."""
        code = BROKEN_OFF if self._process is None else self._process.poll()
        assert code in (None, 0, BROKEN_OFF)
        assert time.monotonic() < self._deadline, "expected a transfer that moves"
        if code == BROKEN_OFF:
            self._process = subprocess.Popen(self._arguments, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL)
        return code != 0

    def kill(self) -> None:
        """End it as a power cut does, if it runs."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None


def stored_chunks(receiver: Daemon) -> int:
    """How many chunks of its only unfinished transfer a receiver has stored."""
    journals = list((receiver.home / "vault" / "incoming").glob("*.journal"))
    return journals[0].stat().st_size // LEAF_BYTES if journals else 0


def kill_at_random(holder: Holder, receiver: Daemon, diary: Diary) -> list[Death]:
    """Kill them in their turn, each a while after the exchange has moved something; then let it come to its end."""
    chance, deaths = random.Random(SEED), []
    for side in SIDES:
        begun = diary.size()
        while holder.goes_on() and diary.size() < begun + 3:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 5 * PAUSE_SECONDS))
        if side is Side.HOLDER:
            holder.kill()
        else:
            receiver.kill()
        deaths.append(Death(side, sum(not note.count for note in diary.notes()), stored_chunks(receiver)))
        if side is Side.RECEIVER:
            receiver.start().wait_ready()
    while holder.goes_on():
        time.sleep(0.01)
    return deaths


async def test_a_transfer_survives_the_deaths_of_both_sides(network: Network, tmp_path: Path) -> None:
    """Whoever dies, the next exchange begins where the receiver's disk ends; the files are the same bit for bit."""
    listen = f'listen = ["/ip4/127.0.0.1/tcp/{free_port()}"]'
    receiver = network.make_receiver("mortal", network=listen).start()
    await trio.to_thread.run_sync(receiver.wait_ready)
    home = tmp_path / "person"
    async with open_person(home) as person:
        package = await issue(network, person, FILES)
    diary = Diary(tmp_path / "diary")
    holder = Holder(home, receiver.home / "card.ddtp-card", package.path, tmp_path / "diary")
    try:
        deaths = await trio.to_thread.run_sync(kill_at_random, holder, receiver, diary)
    finally:
        holder.kill()
    toll = Toll()
    count_resent(toll, deaths, diary.notes())
    assert toll.stored_resent == 0
    assert [len(again) for again in toll.resent.values()] == [3, 3]
    async with open_person(home) as person:
        (row,) = await person.transfers()
    assert received(receiver, row.transfer_id) == FILES
    assert remains(receiver, row.transfer_id) == [row.transfer_id.hex()]
