"""A resume seals under the key and salt of the first attempt: other content under them would reveal both."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ddtp.agent.context import TRANSFER_PROTOCOL
from ddtp.agent.facade import Agent
from ddtp.agent.opening import OpenPackage, open_package
from ddtp.agent.packing import KEY_WRAP_INFO, package_context
from ddtp.errors import PeerVanished, PolicyRefused
from ddtp.protocol import keywrap
from ddtp.protocol.chunks import ChunkCipher, chunk_count
from ddtp.protocol.messages import Offer
from ddtp.store.packages import PackageWriter
from ddtp.store.records import Records, TransferRow, TransferState
from ddtp.transfer.stream import FlowStream
from tests.attacks.liars import flip
from tests.attacks.quiet import Leaving, Way, break_off, leaving_holder, until
from tests.town import DAY, FILES, Town, names

OTHER_FILES = FILES | {"transactions.json": b'{"balance": 2}'}
"""Of the same names, kinds and sizes, so that the seal is the same and only the package tells the two apart."""


class OtherMemory:
    """The records of a home, whose disk or program remembers a transfer in another way."""

    def __init__(self, records: Records, row: TransferRow) -> None:
        self._records = records
        self._row = row

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    async def find_transfer(self, _transfer_id: bytes) -> TransferRow:
        return self._row


def watched(person: Agent, **changes: Any) -> tuple[Agent, list[str]]:
    """A person, and the protocols of all streams that they open."""
    dialled: list[str] = []

    async def dial(addresses: Sequence[str], protocol: str) -> FlowStream:
        dialled.append(protocol)
        return await person.context.dial(addresses, protocol)

    return Agent(replace(person.context, dial=dial, **changes), person.host), dialled


async def check_resume(town: Town, person: Agent, row: TransferRow) -> None:
    """The transfer is as it was before, and goes on with the true package."""
    (kept,) = await person.transfers()
    assert kept == row
    assert names(town.receiver.inbox) == []
    agent, dialled = watched(person)
    assert (await agent.resume(row.transfer_id)).verified
    assert dialled[0] == TRANSFER_PROTOCOL


async def test_another_package_under_the_path_is_not_sent(town: Town) -> None:
    """Not even one of the same person, issuer, names and sizes, whose chunks would have the seal that was offered."""
    person = await town.person()
    row = await break_off(town, person, sends=3)
    package = await person.records.find_package(row.package_id)
    other = await town.issue(person, files=OTHER_FILES)
    assert package is not None
    true = package.path.read_bytes()
    package.path.write_bytes(other.path.read_bytes())
    agent, dialled = watched(person)
    with pytest.raises(PolicyRefused):
        await agent.resume(row.transfer_id)
    assert dialled == []
    package.path.write_bytes(true)
    await check_resume(town, person, row)


def seal_anew(person: Agent, package: Path, place: Path, *, other_key: bool) -> None:
    """Write the same package, with the same openings and signatures, and other bytes in the first chunk of its file."""
    opened = open_package(package, person.context.seed)
    manifest, header, seal = opened.manifest.body, opened.reader.header, opened.reader.seal
    key = os.urandom(32) if other_key else opened_key(person, opened)
    salt = os.urandom(24) if other_key else seal.salt
    cipher = ChunkCipher(key, salt=salt, context=package_context(manifest.package_id, manifest.issuer, manifest.holder))
    writer = PackageWriter(place)
    for index in range(chunk_count(seal.content_bytes, seal.chunk_size)):
        start = index * seal.chunk_size
        chunk = bytes(opened.reader.read(start, min(seal.chunk_size, seal.content_bytes - start)))
        writer.append(cipher.seal(index, bytes(len(chunk)) if index == 0 else chunk))
    wrapped = keywrap.wrap(
        key, recipient=header.holder_agreement, info=KEY_WRAP_INFO, aad=opened.manifest.digest, random_bytes=os.urandom
    )
    writer.finish(replace(header, seal=replace(seal, salt=salt, commitment=cipher.commitment), wrapped_key=wrapped))
    opened.reader.close()


def opened_key(person: Agent, opened: OpenPackage) -> bytes:
    """The content key of a package, as its issuer knows it."""
    agreement = person.context.seed.agreement_key(opened.manifest.body.issuer)
    wrapped = opened.reader.header.wrapped_key
    return keywrap.unwrap(wrapped, private_key=agreement.raw, info=KEY_WRAP_INFO, aad=opened.manifest.digest)


@pytest.mark.parametrize("other_key", [True, False], ids=["sealed anew", "under the same key"])
async def test_the_same_package_with_other_chunks_is_not_sent(town: Town, *, other_key: bool) -> None:
    """Whoever sealed it, and although all that is signed in it is true: its chunks would reveal those sent before."""
    person = await town.person()
    package = await town.issue(person, files={"scan.pdf": os.urandom(200_000)}, valid_seconds=30 * DAY)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    with pytest.raises(PeerVanished):
        await leaving_holder(person, sends=3, leaving=Leaving(Way.GONE)).send(prepared)
    await until(lambda: not town.receiver.service._streams)
    incoming = town.receiver.config.vault / "incoming"
    for blob in incoming.iterdir():
        blob.unlink()  # so that everything is asked for again
    again = town.folder / "again.ddtp"
    seal_anew(person, package.path, again, other_key=other_key)
    with pytest.raises(PolicyRefused):
        await person.resume(prepared.transfer_id, package=again)
    await until(lambda: not town.receiver.service._streams)
    assert {part.read_bytes() for part in incoming.glob("*.journal")} <= {b""}
    assert (await person.resume(prepared.transfer_id, package=package.path)).verified


def with_seal(row: TransferRow, **changes: Any) -> TransferRow:
    offer = Offer.parse(row.offer)
    return replace(row, offer=replace(offer, seal=replace(offer.seal, **changes)).encode())


@pytest.mark.parametrize(
    "change",
    [
        lambda row: with_seal(row, salt=bytes(24)),
        lambda row: with_seal(row, commitment=bytes(32)),
        lambda row: with_seal(row, content_bytes=Offer.parse(row.offer).seal.content_bytes + 1),
        lambda row: with_seal(row, openings_bytes=Offer.parse(row.offer).seal.openings_bytes - 1),
        lambda row: replace(row, secret=flip(row.secret, 0)),
    ],
    ids=["salt", "commitment", "content size", "openings size", "key"],
)
async def test_another_seal_than_was_offered_is_not_sent(town: Town, change: Any) -> None:
    """If this program would lay the content out in another way than the one that offered it, no chunk leaves."""
    person = await town.person()
    row = await break_off(town, person, sends=3)
    assert row.state is TransferState.FAILED
    agent, dialled = watched(person, records=OtherMemory(person.records, change(row)))
    with pytest.raises(PolicyRefused):
        await agent.resume(row.transfer_id)
    assert dialled == []
    await check_resume(town, person, row)
