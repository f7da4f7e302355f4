"""What a receiver releases: every file, small and large, in whatever folder."""

import errno
import itertools
import os

import pytest

from ddtp.agent.inbox import FILES
from ddtp.agent.unsealing import SYNCED_TOGETHER, UNSYNCED_BYTES, _groups
from ddtp.errors import DdtpError, DiskFull, PeerAborted, StorageFailed
from ddtp.protocol.codec import Buffer
from ddtp.protocol.leaves import FileHead
from ddtp.protocol.openings import FileOpening
from ddtp.store import new_file
from ddtp.store.durable import write_all_at
from ddtp.store.new_file import DIRECT_LEAST_BYTES
from tests.disks import DiskFaults
from tests.ledgers import Clock
from tests.town import FILES as CONTENT
from tests.town import Town, names, read_files

FOLDERS = 7


def test_files_are_synced_together_up_to_a_number_and_a_size() -> None:
    """One that is larger than all may have together stands alone; none is left out."""

    def groups(*sizes: int) -> list[list[int]]:
        parts = [
            (number, FileOpening(number, FileHead(f"{number}", "a/b", size, 1 << 16, bytes(32)), bytes(32), bytes(32)))
            for number, size in enumerate(sizes)
        ]
        return [[number for number, _opening in group] for group in _groups(parts)]

    half = UNSYNCED_BYTES // 2
    assert groups() == []
    assert groups(*[1] * (SYNCED_TOGETHER + 1)) == [list(range(SYNCED_TOGETHER)), [SYNCED_TOGETHER]]
    assert groups(half, half, 1, 3 * half, half, half) == [[0, 1], [2], [3], [4, 5]]


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


@pytest.mark.slow
@pytest.mark.parametrize(("code", "told"), [(errno.ENOSPC, DiskFull), (errno.EIO, StorageFailed)])
async def test_a_disk_that_fails_in_the_middle_of_a_large_file(
    town: Town, monkeypatch: pytest.MonkeyPatch, code: int, told: type[DdtpError]
) -> None:
    """The holder hears it, nothing readable is left, and once the disk works again the same transfer ends well."""
    files = {"large.bin": os.urandom(DIRECT_LEAST_BYTES + 1)}
    person = await town.person()
    package = await town.issue(person, files=files)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    pieces = itertools.count()

    def write(descriptor: int, data: Buffer, *, offset: int) -> None:
        if next(pieces) == 10:
            raise OSError(code, os.strerror(code))
        write_all_at(descriptor, data, offset=offset)

    with monkeypatch.context() as patch:
        patch.setattr(new_file, "write_all_at", write)
        with pytest.raises(PeerAborted) as aborted:
            await person.send(prepared)
    assert aborted.value.reason_code == told.code
    assert names(town.receiver.inbox) == []
    sent = await person.resume(prepared.transfer_id)
    assert sent.verified
    (folder,) = town.receiver.inbox.iterdir()
    assert read_files(folder / FILES) == files


async def test_what_a_receipt_says_survives_the_power(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the receipt is dated and signed, every released file has its bytes and its name on the disk."""
    faults = DiskFaults()
    faults.install(monkeypatch)
    config, inbox, others = town.receiver.config, town.receiver.inbox, town.clock
    left: list[dict[str, bytes]] = []

    class Watching(Clock):
        """Asked for the time of the receipt as soon as the files are released."""

        def __call__(self) -> int:
            if any(not name.startswith(".") for name in names(inbox)):
                left.append(faults.platter.content(inbox))
            return super().__call__()

    await town.close("receiver")
    town.clock = Watching()
    receiver = await town.open("receiver", config)
    town.clock = others
    person = await town.person()
    package = await town.issue(person)
    assert (await person.send(await person.prepare(package.path, card=receiver.card))).verified
    (folder,) = inbox.iterdir()
    released = {f"{folder.name}/{path}": content for path, content in read_files(folder).items()}
    assert {f"{folder.name}/{FILES}/{path}" for path in CONTENT} < released.keys()
    assert left[0] == released
