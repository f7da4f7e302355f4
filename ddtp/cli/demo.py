"""`ddtp demo`: a whole transfer between real processes on this machine, then three attacks that must fail.

With --json every step is one object a line, with its name, its seconds and what it found; the last is named "end".
"""

import logging
import shutil
import signal
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from ddtp.agent.checking import check_bundle, load_policy
from ddtp.agent.exporting import ExportedTransfer
from ddtp.agent.facade import Agent, open_agent, wall_clock
from ddtp.agent.issuing import Draft
from ddtp.chain.statement import Entry
from ddtp.cli._console import Console, human_bytes
from ddtp.cli.demo_attacks import FILE, FORGED, GENUINE, Attacker, Caught
from ddtp.cli.demo_services import Services, open_services
from ddtp.cli.demo_telling import Teller
from ddtp.cli.demo_town import FIELDS, FILES, REQUEST, SCHEMA, SHORT_USE_SECONDS, USE_SECONDS, Town, build_town
from ddtp.cli.options import Options
from ddtp.config import load_config
from ddtp.errors import InternalError, StorageFailed
from ddtp.identity.document import Card
from ddtp.identity.language import Language
from ddtp.protocol.envelope import Signed
from ddtp.store.durable import make_directory, storage_errors, write_file
from ddtp.store.records import TransferRow
from ddtp.verify.report import Report, StepState
from ddtp.verify.steps import Step

_PACKAGE_SECONDS: Final = 90 * 86_400
"""A statement is valid for a quarter, longer than any consent of the demo."""
_SIGNAL_EXIT_CODE: Final = 128
"""Exit code of a process that a signal ended, less the signal's number, as shells have it."""


@dataclass(frozen=True, slots=True)
class _Cards:
    """The cards of all services."""

    ledger: Signed[Card]
    verifier: Signed[Card]
    issuer: Signed[Card]
    receiver: Signed[Card]
    other: Signed[Card]


def run_demo(*, keep: Path | None, json_output: bool, language: Language | None = None) -> int:
    """Run the demo.

    Args:
        keep: Folder in which everything is left behind, new or empty; None leaves nothing.
        json_output: Write one JSON object for each step.
        language: Of texts; None takes that of the environment.

    Returns:
        The exit code: 0, or that of the signal which ended the demo.

    Raises:
        StorageFailed: The folder is not empty, or the disk refuses.
        InternalError: Something went otherwise than it must.
        DdtpError: A step of the transfer failed.
    """
    # libraries log connections that end; the demo tells what matters itself
    logging.basicConfig(level=logging.CRITICAL)
    with _folder(keep) as folder:
        told = language or load_config(home=folder).language
        teller = Teller(Console(Options(json_output=json_output, language=told)))

        async def story() -> None:
            teller.say(teller.words.title)
            town = await trio.to_thread.run_sync(lambda: build_town(folder, teller.words.names, language=told))
            cards, row = await _online(teller, town, language=told)
            exported = await _export(town, row)
            await trio.to_thread.run_sync(lambda: _offline(teller, town, exported, cards=cards))
            ending = teller.words.next_gone if keep is None else teller.words.next_kept
            place = {} if keep is None else _places(town, exported)
            teller.end(place, ending, **place)

        return trio.run(_until_signal, story)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="ddtp-demo-") as name:
            yield Path(name)
        return
    with storage_errors(keep):
        if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
            raise StorageFailed(f"expected no folder or an empty one at {keep}, found something", hint="choose another")
    yield make_directory(keep.absolute())


def _places(town: Town, exported: ExportedTransfer) -> dict[str, object]:
    return {"folder": str(town.folder), "bundle": str(exported.bundle), "policy": str(town.policy)}


async def _until_signal(story: Callable[[], Awaitable[None]]) -> int:
    """Run the story; a signal cancels it, so that its processes are stopped, and makes the exit code."""
    code = 0
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:

            async def cancel_at_signal() -> None:
                nonlocal code
                async for number in signals:
                    code = _SIGNAL_EXIT_CODE + number
                    nursery.cancel_scope.cancel()

            nursery.start_soon(cancel_at_signal)
            await story()
            nursery.cancel_scope.cancel()
    return code


async def _online(teller: Teller, town: Town, *, language: Language) -> tuple[_Cards, TransferRow]:
    """Tell everything that needs running services, and stop them; return the transfer as the person knows it."""
    async with open_services() as services:
        try:
            cards = await _start(services, town)
            teller.tell("start", data={"process_ids": services.process_ids}, count=len(services.process_ids))
            async with open_agent(town.person) as person:
                package = await _issue(teller, town, person, cards=cards)
                row = await _deliver(teller, person, package, card=cards.receiver, language=language)
            await _read_ledger(teller, town)
            async with open_agent(town.forger) as forger:
                await _attack(teller, town, forger, cards=cards, package=package, genuine=row)
        except BaseException:
            for name, log in services.failed_logs().items():
                teller.warn(f"{name} has ended; its log ends with:\n{log}")
            raise
        await services.stop()
        teller.tell("stop", count=len(services.process_ids))
    return cards, row


async def _start(services: Services, town: Town) -> _Cards:
    # the others read the cards of these two when they start
    ledger, verifier = await services.start((town.ledger, town.verifier))
    issuer, receiver, other = await services.start((town.issuer, town.receiver, town.other))
    return _Cards(ledger, verifier, issuer, receiver, other)


async def _issue(teller: Teller, town: Town, person: Agent, *, cards: _Cards) -> Path:
    """Issue the statement and have the person collect it; return the collected package file."""
    draft = Draft(
        paths=[town.data / name for name in FILES],
        fields=FIELDS,
        schema=SCHEMA,
        holder=person.address(cards.issuer).body,
        valid_seconds=_PACKAGE_SECONDS,
        output=town.packages / "statement.ddtp",
    )
    async with open_agent(town.issuer) as issuer:
        issued = await issuer.issue(draft)
    data: dict[str, object] = {"content_bytes": issued.content_bytes, "root": issued.root.hex()}
    teller.tell("issue", data=data, files=issued.files, fields=len(FIELDS), size=human_bytes(issued.content_bytes))
    (collected,) = await person.collect(cards.issuer)
    teller.tell("collect")
    return collected.path


async def _deliver(
    teller: Teller, person: Agent, package: Path, *, card: Signed[Card], language: Language
) -> TransferRow:
    """Show the request, agree, and send."""
    prepared = await person.prepare(package, card=card, template=REQUEST, language=language)
    teller.tell("ask", data={"items": prepared.item_names})
    teller.show_screen(prepared.screen)
    path = person.context.config.home / "screen.txt"
    await trio.to_thread.run_sync(write_file, path, prepared.screen.encode())
    sent = await person.send(prepared)
    if not sent.verified:
        raise InternalError(f"expected a receipt that says verified, found one about step {sent.failed_step}")
    kept_back = ", ".join(field.path for field in FIELDS if field.path not in prepared.item_names)
    data: dict[str, object] = {"verified": True, "transfer_id": sent.transfer_id.hex()}
    teller.tell("deliver", data=data, size=human_bytes(sent.content_bytes), kept_back=kept_back)
    return (await person.transfers())[0]


async def _read_ledger(teller: Teller, town: Town) -> None:
    async with open_agent(town.issuer) as issuer, issuer.ledger() as ledger:
        count = (await ledger.head()).body.size
        kinds = [Entry.parse(entry).kind.value for entry in await ledger.entries(0, count)]
    teller.tell("ledger", count=count, kinds=", ".join(kinds))


async def _attack(
    teller: Teller, town: Town, forger: Agent, *, cards: _Cards, package: Path, genuine: TransferRow
) -> None:
    """Try the attacks that need running services."""
    policy = await trio.to_thread.run_sync(load_policy, town.policy)
    attacker = Attacker(forger, verifier=cards.verifier, policy=policy)
    await forger.keep(package)
    teller.say(teller.words.attacks)
    # its consent runs out while the other attacks are tried
    late = await attacker.consent_without_sending(package, card=cards.receiver)

    def tell(name: str, caught: Caught, *, must: Step, **values: object) -> None:
        _check_caught(name, caught.step, must=must)
        teller.caught(name, caught.step, reason=caught.reason, **values)

    caught = await attacker.send_altered(package, town.forger / "statement.ddtp", card=cards.receiver)
    change = {"file": FILE, "genuine": GENUINE.decode(), "forged": FORGED.decode()}
    tell("attack-altered-file", caught, must=Step.CONTENT, **change)
    caught = await attacker.replay(genuine, card=cards.other, own_request=False)
    tell("attack-other-receiver", caught, must=Step.REQUEST_SIGNATURE)
    caught = await attacker.replay(genuine, card=cards.other, own_request=True)
    tell("attack-other-request", caught, must=Step.GRANT_BINDING)
    caught = await attacker.send_late(late, card=cards.receiver)
    tell("attack-expired-consent", caught, must=Step.GRANT_TIME, permitted=SHORT_USE_SECONDS)


def _check_caught(attack: str, found: Step, *, must: Step) -> None:
    if found is not must:
        raise InternalError(f"expected {attack} to fail at step {must.value}, found step {found.value}")


async def _export(town: Town, row: TransferRow) -> ExportedTransfer:
    """Take the transfer out of Bank B's home, as its clerk would."""
    async with open_agent(town.receiver) as bank:
        received = await bank.records.find_transfer(row.transfer_id)
        if received is None:
            raise InternalError("expected the transfer in the records of the receiver, found none")
        return await bank.export(received, town.folder / "exported")


def _offline(teller: Teller, town: Town, exported: ExportedTransfer, *, cards: _Cards) -> None:
    """Check the exported proof as anybody can, and try the attacks on it."""
    policy, now = load_policy(town.policy), wall_clock()
    genuine, altered = exported.folder / "files", town.folder / "altered"

    def check(files: Path = genuine, *, receiver: Signed[Card] = cards.receiver, at: int = now) -> Report:
        return check_bundle(exported.bundle, policy=policy, files=files, receiver=receiver.body.did, now=at)

    def refuse(name: str, report: Report, *, must: Step, **values: object) -> None:
        if report.passed:
            raise InternalError(f"expected {name} to fail at step {must.value}, found that all steps passed")
        first = report.failures[0]
        _check_caught(name, first.step, must=must)
        teller.caught(name, first.step, reason=first.detail, **values)

    report = check()
    passed = sum(step.state is StepState.PASSED for step in report.steps)
    if passed != len(report.steps):
        raise InternalError(f"expected all {len(report.steps)} steps to pass offline, found {passed}")
    teller.tell("offline", data={"verified": True}, passed=passed, count=len(report.steps))
    with storage_errors(altered):
        shutil.copytree(genuine, altered)
        (altered / FILE).write_bytes((genuine / FILE).read_bytes().replace(GENUINE, FORGED))
    refuse("offline-altered-file", check(altered), must=Step.CONTENT, file=FILE)
    refuse("offline-other-receiver", check(receiver=cards.other), must=Step.REQUEST_SIGNATURE)
    refuse("offline-expired-consent", check(at=now + USE_SECONDS + 1), must=Step.GRANT_TIME)
