"""Whole transfers between processes: ledger, issuer, verifier and receiver are daemons, the person is this process."""

import time
from pathlib import Path

import pytest
import trio

from ddtp.agent import Phase, Progress, open_agent
from ddtp.agent.checking import check_bundle, load_policy
from ddtp.config import load_config
from ddtp.consent.grant import Grant
from ddtp.identity.language import Language
from ddtp.protocol import envelope
from ddtp.protocol.messages import Offer
from ddtp.store.records import Direction, TransferState, open_records
from ddtp.verify import StepState, check_receipts
from tests.daemons import PATIENCE_SECONDS, Network
from tests.e2e.stories import issue, large_file, open_person, received, remains
from tests.town import FILES, read_files

pytestmark = pytest.mark.slow


async def test_a_package_travels_from_one_institution_to_another(network: Network, tmp_path: Path) -> None:
    """Issued, collected, read in Chinese, sent, verified by a third party, and the same bytes in the inbox."""
    receiver = network["receiver"]
    files = FILES | large_file(3_000_000)
    seen: list[Progress] = []
    async with open_person(tmp_path / "person") as person:
        package = await issue(network, person, files, collect=True)
        (row,) = await person.collect(network["issuer"].card)
        assert row.package_id == package.package_id
        assert await person.collect(network["issuer"].card) == ()

        prepared = await person.prepare(row.path, card=receiver.card, language=Language.ZH)
        assert "Decide on your mortgage" in prepared.screen
        assert "敏感" in prepared.screen
        sent = await person.send(prepared, progress=seen.append)

        (kept,) = await person.transfers()
        exported = await person.export(kept, tmp_path / "export")
    assert sent.verified
    assert received(receiver, sent.transfer_id) == files
    assert remains(receiver, sent.transfer_id) == [sent.transfer_id.hex()]

    assert [seen[0].phase, seen[-1].phase] == [Phase.CONSENT, Phase.DONE]
    done = [progress.bytes_done for progress in seen]
    assert done == sorted(done)
    assert done[-1] == seen[-1].bytes_total >= sum(map(len, files.values()))

    # history on both sides
    assert (kept.transfer_id, kept.direction, kept.state) == (sent.transfer_id, Direction.OUT, TransferState.VERIFIED)
    assert kept.secret is None
    async with open_records(receiver.home) as records:
        there = await records.find_transfer(sent.transfer_id)
        assert there is not None
        assert (there.direction, there.state, there.secret) == (Direction.IN, TransferState.VERIFIED, None)
        with trio.fail_after(PATIENCE_SECONDS):
            while await records.unanchored_receipts():  # noqa: ASYNC110 - another process puts them on the ledger
                await trio.sleep(0.05)
        receipts = await records.receipts(sent.transfer_id)
    assert receipts["verified"].envelope == sent.receipt.envelope
    assert receipts["verified"].anchor is not None

    # anybody with the policy can check it later without us; the receiver's export brings the files as well
    async with open_agent(config=load_config(home=receiver.home)) as clerk:
        with_files = await clerk.export(there, tmp_path / "receiver-export")
    assert read_files(with_files.folder / "files") == files
    policy = load_policy(receiver.home / "policy.toml")
    for bundle, folder in ((exported.bundle, None), (with_files.bundle, with_files.folder / "files")):
        report = check_bundle(bundle, policy=policy, files=folder, receiver=receiver.did, now=int(time.time()))
        assert report.passed
    assert {step.state for step in report.steps} == {StepState.PASSED}


async def test_only_the_chosen_items_leave(network: Network, tmp_path: Path) -> None:
    """A person may show less than the package holds; nothing else is sent."""
    receiver = network["receiver"]
    async with open_person(tmp_path / "person") as person:
        package = await issue(network, person, FILES | large_file(2_000_000))
        prepared = await person.prepare(package.path, card=receiver.card, items=["papers", "name"])
        assert set(prepared.item_names) == {"name", "papers/deed.pdf", "papers/empty.txt"}
        sent = await person.send(prepared)
    assert sent.verified
    chosen = {name: content for name, content in FILES.items() if name.startswith("papers/")}
    assert received(receiver, sent.transfer_id) == chosen
    assert sent.content_bytes < 500_000


async def test_transfers_of_several_persons_run_side_by_side(network: Network, tmp_path: Path) -> None:
    """Each gets its own receipt, and each inbox folder its own bytes."""
    receiver = network["receiver"]
    outcome: dict[int, bool] = {}

    async def story(number: int) -> None:
        files = large_file(1_000_000 + number)
        async with open_person(tmp_path / f"person-{number}") as person:
            package = await issue(network, person, files)
            sent = await person.send(await person.prepare(package.path, card=receiver.card))
            outcome[number] = sent.verified and received(receiver, sent.transfer_id) == files

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(story, number)
    assert outcome == dict.fromkeys(range(4), True)


async def test_receipts_hold_together(network: Network, tmp_path: Path) -> None:
    """The last receipt refers to the one before it, and both to the consent."""
    receiver = network["receiver"]
    async with open_person(tmp_path / "person") as person:
        package = await issue(network, person, FILES)
        sent = await person.send(await person.prepare(package.path, card=receiver.card))
        receipts = await person.records.receipts(sent.transfer_id)
        (row,) = await person.transfers()
    chain = check_receipts(
        [receipts[stage].envelope for stage in ("cipher", "verified")],
        receiver=receiver.did,
        grant=envelope.verify(Grant, Offer.parse(row.offer).grant).digest,
        package_root=package.root,
        earliest=row.created - 3600,
        latest=row.updated,
    )
    assert chain[1].body.previous == chain[0].digest
    assert chain[1].envelope == sent.receipt.envelope
