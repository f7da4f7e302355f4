"""Disks that are full at the holder, the issuer or the receiver: a typed error, nothing half-written, and a way on."""

import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ddtp.errors import DiskFull, PeerAborted, PeerRefused
from ddtp.store.records import TransferState
from ddtp.transfer.ports import Phase, Progress
from tests.town import House, Town, names, read_files

CONTENT = {"scan.pdf": os.urandom(1 << 20)}
KIB = 1 << 10


class Disk:
    """A small file system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def resize(self, size_bytes: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size_bytes}", str(self.path)], check=True)


@contextmanager
def mounted(path: Path, *, size_bytes: int) -> Iterator[Disk]:
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=700", "tmpfs", str(path)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk with room for half of the content."""
    with mounted(tmp_path / "disk", size_bytes=512 * KIB) as disk:
        yield disk


async def test_a_receiver_without_room_for_the_chunks_says_not_now(
    disk: Disk, town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    """Room is taken before anything is sent; the operator is warned; when there is some, the same transfer works."""
    receiver = await town.open_receiver("small", vault=disk.path / "vault")
    person = await town.person()
    package = await town.issue(person, files=CONTENT)
    prepared = await person.prepare(package.path, card=receiver.card)
    with caplog.at_level(logging.WARNING), pytest.raises(PeerRefused) as caught:
        await person.send(prepared)
    assert caught.value.reason_code == DiskFull.code
    assert receiver.remains() == []
    (row,) = await person.transfers()
    assert row.state is TransferState.FAILED
    (told,) = [record.__dict__ for record in caplog.records if record.message == "an offer was declined"]
    assert (told["transfer"], told["code"]) == (row.transfer_id.hex(), DiskFull.code)
    disk.resize(4096 * KIB)
    assert (await person.resume(row.transfer_id)).verified
    assert read_files(receiver.inbox / row.transfer_id.hex() / "files") == CONTENT
    assert names(receiver.config.vault / "incoming") == []


async def test_a_receiver_without_room_for_the_files_says_so_before_anything_is_sent(disk: Disk, town: Town) -> None:
    """There is room for the ciphertext and none for what is opened of it: nobody sends, and no key is released."""
    receiver = await open_with_inbox_on(disk, town)
    person = await town.person()
    package = await town.issue(person, files=CONTENT)
    with pytest.raises(PeerRefused) as caught:
        await person.send(await person.prepare(package.path, card=receiver.card))
    assert caught.value.reason_code == DiskFull.code
    assert receiver.remains() == []
    disk.resize(4096 * KIB)
    (row,) = await person.transfers()
    assert (await person.resume(row.transfer_id)).verified
    assert read_files(receiver.inbox / row.transfer_id.hex() / "files") == CONTENT


async def test_a_receiver_whose_room_for_the_files_is_taken_says_not_now(
    disk: Disk, town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    """The ciphertext is there, the plaintext finds no room: none of it stays, and later nothing is sent again."""
    disk.resize(4096 * KIB)
    receiver = await open_with_inbox_on(disk, town)
    person = await town.person()
    package = await town.issue(person, files=CONTENT)
    prepared = await person.prepare(package.path, card=receiver.card)

    def take_room(progress: Progress) -> None:
        if progress.phase is Phase.SENDING:
            disk.resize(512 * KIB)

    with caplog.at_level(logging.WARNING), pytest.raises(PeerAborted) as caught:
        await person.send(prepared, progress=take_room)
    assert caught.value.reason_code == DiskFull.code
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "the disk refuses a transfer"
    ]
    assert names(receiver.inbox) == []
    disk.resize(4096 * KIB)
    (row,) = await person.transfers()
    assert (await person.resume(row.transfer_id)).verified
    assert read_files(receiver.inbox / row.transfer_id.hex() / "files") == CONTENT
    assert names(receiver.config.vault / "incoming") == []


async def open_with_inbox_on(disk: Disk, town: Town) -> House:
    """A receiver whose inbox lies on the small disk, and its vault on another one."""
    config = town.receiver_config("small")
    assert config.receiver is not None
    settings = replace(config.receiver, inbox=disk.path / "inbox")
    return await town.open("small", replace(config, receiver=settings))


async def test_an_issuer_without_room_leaves_nothing(disk: Disk, town: Town) -> None:
    """No half of a package lies where holders collect."""
    person = await town.person()
    source = town.folder / "scan.pdf"
    source.write_bytes(CONTENT["scan.pdf"])
    draft = town.draft(person, [source], disk.path / "packages" / "package.ddtp")
    with pytest.raises(DiskFull):
        await town.issuer.agent.issue(draft)
    assert names(draft.output.parent) == []
    disk.resize(4096 * KIB)
    assert (await town.issuer.agent.issue(draft)).path == draft.output


async def test_a_holder_without_room_collects_later(disk: Disk, town: Town) -> None:
    """A package that does not fit is not there at all; when there is room, it is collected whole."""
    person = await town.person()
    source = town.folder / "scan.pdf"
    source.write_bytes(CONTENT["scan.pdf"])
    await town.issuer.agent.issue(town.draft(person, [source], town.folder / "issuer" / "packages" / "package.ddtp"))
    await town.close("person")
    person = await town.person(vault=disk.path / "vault")
    with pytest.raises(DiskFull):
        await person.collect(town.issuer.card)
    assert names(disk.path / "vault" / "packages") == []
    disk.resize(4096 * KIB)
    (row,) = await person.collect(town.issuer.card)
    assert row.path.exists()
