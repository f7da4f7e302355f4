"""What a receiver releases: every file, small and large, in whatever folder."""

import os

import pytest

from ddtp.agent.inbox import FILES
from ddtp.agent.unsealing import SYNCED_TOGETHER
from ddtp.store.new_file import DIRECT_LEAST_BYTES
from tests.town import Town, names, read_files

FOLDERS = 7


@pytest.mark.slow
async def test_many_small_files_beside_large_ones(town: Town) -> None:
    """More than are synced together, empty ones among them, and sizes on either side of what passes memory."""
    files = {f"small/{number % FOLDERS}/{number}.bin": os.urandom(number) for number in range(2 * SYNCED_TOGETHER + 1)}
    files |= {
        f"large/{size}.bin": os.urandom(size)
        for size in (1 << 16, (1 << 16) + 1, DIRECT_LEAST_BYTES - 1, DIRECT_LEAST_BYTES, DIRECT_LEAST_BYTES + 4097)
    }
    person = await town.person()
    package = await town.issue(person, files=files)
    sent = await person.send(await person.prepare(package.path, card=town.receiver.card))
    assert sent.verified
    (folder,) = town.receiver.inbox.iterdir()
    assert read_files(folder / FILES) == files
    assert names(town.receiver.config.vault / "incoming") == []
