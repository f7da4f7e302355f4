"""Files of ours that were cut, changed or replaced while we looked elsewhere: a typed error, never a wrong result."""

import random
import shutil
from pathlib import Path

import pytest
import trio

from ddtp.agent.checking import check_bundle
from ddtp.agent.facade import Agent, open_agent
from ddtp.agent.issuing import IssuedPackage
from ddtp.errors import (
    DdtpError,
    EvidenceError,
    NotFound,
    PolicyRefused,
    SourceChanged,
    StoreDamaged,
)
from ddtp.store.records import DATABASE_FILE
from ddtp.transfer.refusal import public_reason
from ddtp.verify import parse_policy
from tests.town import FILES, Town, names


def flip(path: Path, position: int) -> None:
    """Change one bit of a file."""
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes((byte ^ 1,)))


def positions(path: Path, count: int) -> list[int]:
    """Some places of a file, always with its first and last byte."""
    size = path.stat().st_size
    return [0, size - 1, *random.Random(size).sample(range(1, size - 1), count)]


async def try_package(town: Town, person: Agent, package: IssuedPackage) -> None:
    """What may be wrong with a package file shows at the latest when it is sent."""
    prepared = await person.prepare(package.path, card=town.receiver.card)
    await person.send(prepared)


async def test_a_package_file_with_one_wrong_bit_is_never_released(town: Town) -> None:
    """Wherever the bit is, the holder's agent finds it out, or the receiver does."""
    person = await town.person()
    package = await town.issue(person)
    whole = package.path.read_bytes()
    for position in positions(package.path, 12):
        flip(package.path, position)
        with pytest.raises(DdtpError) as caught:
            await try_package(town, person, package)
        assert isinstance(caught.value, EvidenceError | PolicyRefused | StoreDamaged), (position, caught.value)
        package.path.write_bytes(whole)
    assert names(town.receiver.inbox) == []
    await try_package(town, person, package)


async def test_a_package_file_that_was_cut_is_refused(town: Town) -> None:
    """The footer is at the end, so nothing shorter passes for a package."""
    person = await town.person()
    package = await town.issue(person)
    whole = package.path.read_bytes()
    for length in [0, 1, 12, *random.Random(1).sample(range(len(whole)), 10), len(whole) - 1]:
        package.path.write_bytes(whole[:length])
        with pytest.raises(EvidenceError, match=f"^{package.path.name}: ") as caught:
            await person.keep(package.path)
        assert "ddtp collect NAME" in (caught.value.hint or "")
    package.path.unlink()
    with pytest.raises(NotFound):
        await person.keep(package.path)


async def test_a_package_that_was_replaced_after_the_person_confirmed_is_not_sent(town: Town) -> None:
    """What is sent is what was on the screen."""
    person = await town.person()
    package, other = await town.issue(person), await town.issue(person, files={"other.txt": b"other"})
    prepared = await person.prepare(package.path, card=town.receiver.card)
    shutil.copy(other.path, package.path)
    with pytest.raises(PolicyRefused):
        await person.send(prepared)
    assert await person.transfers() == []
    assert await town.receiver.agent.transfers() == []


async def test_a_package_that_is_damaged_while_it_is_sent_breaks_off(town: Town) -> None:
    """The holder hears which file is bad, the receiver no name of it; nothing is released, the whole file is sent."""
    person = await town.person()
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    whole = package.path.read_bytes()

    def damage(_progress: object) -> None:
        # the content comes first in a package file
        package.path.write_bytes(bytes(1000) + whole[1000:])

    with pytest.raises(StoreDamaged, match=str(package.path)) as caught:
        await person.send(prepared, progress=damage)
    (row,) = await person.transfers()
    assert caught.value.hint == (f"resume with an intact copy: ddtp resume {row.transfer_id.hex()[:8]} --package FILE")
    assert public_reason(caught.value) == ""
    assert names(town.receiver.inbox) == []
    package.path.write_bytes(whole)
    assert (await person.resume(row.transfer_id)).verified


async def test_a_file_that_changes_while_it_is_packed_is_noticed(town: Town) -> None:
    """No package says that it contains what was never there at one time."""
    person = await town.person()
    source = town.folder / "growing.bin"
    source.write_bytes(bytes(1 << 20))
    output = town.folder / "out" / "package.ddtp"

    def grow(_count: int) -> None:
        with source.open("ab") as file:
            file.write(b"more")

    draft = town.draft(person, [source], output)
    with pytest.raises(SourceChanged):
        await town.issuer.agent.issue(draft, tick=grow)
    assert names(output.parent) == []


async def test_a_bundle_that_is_changed_or_cut_never_passes(town: Town, tmp_path: Path) -> None:
    """A proof bundle holds nothing that may be different; every damage is malformed or fails a step."""
    person = await town.person()
    # an empty file has no chunk, so its key may be anything: that says nothing about what was signed
    files = {name: content for name, content in FILES.items() if content}
    package = await town.issue(person, files=files)
    sent = await person.send(await person.prepare(package.path, card=town.receiver.card))
    row = await town.receiver.agent.records.find_transfer(sent.transfer_id)
    assert row is not None
    exported = await town.receiver.agent.export(row, tmp_path / "export")
    policy = parse_policy(town.policy())
    now = town.clock.now

    def passes(data: bytes) -> bool:
        path = tmp_path / "tried.ddtp-proof"
        path.write_bytes(data)
        try:
            report = check_bundle(path, policy=policy, files=exported.folder / "files", receiver=None, now=now)
        except EvidenceError:
            return False
        return report.passed

    whole = exported.bundle.read_bytes()
    assert passes(whole)
    generator = random.Random(2)
    for position in generator.sample(range(len(whole)), 60):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << generator.randrange(8)
        assert not passes(bytes(damaged)), position
    for length in generator.sample(range(len(whole)), 20):
        assert not passes(whole[:length]), length
    assert not passes(whole + b"\0")

    # and no file beside it may differ
    for name in files:
        path = exported.folder / "files" / name
        content = path.read_bytes()
        path.write_bytes(content + b"!")
        assert not passes(whole), name
        path.write_bytes(content)
    assert passes(whole)


@pytest.mark.parametrize("damage", ["text", "truncated", "page"])
async def test_records_that_are_damaged_are_not_opened(town: Town, damage: str) -> None:
    """A home with a corrupt database says so at once; it never goes on with what is left."""
    person = await town.person()
    package = await town.issue(person)
    await person.send(await person.prepare(package.path, card=town.receiver.card))
    config = person.context.config
    await town.close("person")
    path = config.home / DATABASE_FILE
    data = path.read_bytes()
    spoilt = {
        "text": b"not a database" * 1000,
        "truncated": data[: len(data) // 2],
        "page": data[:4096] + random.Random(3).randbytes(8192) + data[12288:],
    }
    path.write_bytes(spoilt[damage])
    with pytest.raises(StoreDamaged):
        async with open_agent(config=config, clock=town.clock):
            await trio.lowlevel.checkpoint()
