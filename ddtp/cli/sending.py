"""`ddtp request`, `consent`, `send` and `resume`: what a person is asked, agrees to, and sends."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ddtp.cli import attempts, cards, homes
from ddtp.cli._console import Console, console_of, human_bytes, text_columns
from ddtp.cli.attempts import Attempt
from ddtp.cli.examples import examples
from ddtp.cli.outcomes import ID_DIGITS
from ddtp.cli.standings import standing
from ddtp.errors import NotFound, PolicyRefused, UsageError

if TYPE_CHECKING:
    from ddtp.agent.facade import Agent
    from ddtp.agent.sending import PreparedTransfer
    from ddtp.config import Config
    from ddtp.consent.request import Request
    from ddtp.identity.document import Card
    from ddtp.protocol.envelope import Signed
    from ddtp.store.records import Records, TransferRow

To = Annotated[str | None, typer.Option("--to", metavar="CARD", help="The receiver: a card file, or a known name.")]
Template = Annotated[str | None, typer.Option(help="Which of the receiver's requests; by default its first.")]
Items = Annotated[
    list[str] | None, typer.Option("--item", metavar="PATH", help="Show only this field, file or folder.")
]
Patience = Annotated[
    int,
    typer.Option("--patience", metavar="SECONDS", min=0, help="Try again what the network broke off; 0 tries once."),
]
PATIENCE_SECONDS: Final = 600
"""Without anything new: a router that starts again, a train in a long tunnel."""
Purposes = Annotated[
    list[int] | None,
    typer.Option("--purpose", metavar="N", min=1, help="Agree to purpose N; by default to the required ones."),
]
Limit = Annotated[
    str | None,
    typer.Option("--limit", metavar="RATE", help="Send no faster than this, as 2MB/s; KB, MB, GB, KiB, MiB, GiB."),
]


@dataclass(frozen=True, slots=True)
class _Wish:
    """What the person wants to send, of what they were asked."""

    template: str | None
    items: Sequence[str]
    purposes: Sequence[int] | None
    yes: bool
    dry_run: bool
    limit: int | None = None
    patience_seconds: int = PATIENCE_SECONDS


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=examples('ddtp request --from "Bank B"'))(request)
    app.command(epilog=examples('ddtp consent statement.ddtp --to "Bank B"'))(consent)
    app.command(
        epilog=examples(
            'ddtp send statement.ddtp --to "Bank B"',
            'ddtp send statement.pdf --to "Bank B"      (finds the package that the file came from)',
            'ddtp send card.ddtp --to "Bank B" --item name --item photo.jpg --dry-run',
            'ddtp send scans.ddtp --to "Bank B" --limit 2MB/s',
        )
    )(send)
    app.command(epilog=examples("ddtp resume 3f9a0c12", "ddtp resume 3f9a0c12 --limit 500KB/s"))(resume)


def request(
    context: typer.Context,
    *,
    source: Annotated[str, typer.Option("--from", metavar="CARD", help="Who asks: a card file, or a known name.")],
    template: Template = None,
) -> None:
    """Show what an institution asks for, and why."""
    console = console_of(context)
    card = cards.find(console, source)

    async def work(agent: "Agent") -> "Signed[Request]":
        from ddtp.agent.sending import fetch_request

        return await fetch_request(agent.context, card, template=template)

    from ddtp.cli.requests import describe, to_json

    body = homes.with_agent(console, work).body
    console.result(describe(body, console.language, columns=text_columns()), to_json(body))


def consent(
    context: typer.Context,
    *,
    package: Annotated[Path, typer.Argument(help="A package file, or a file that came from one.")],
    to: To = None,
    template: Template = None,
    item: Items = None,
    purpose: Purposes = None,
) -> None:
    """Show what you would agree to.

    This is the exact text that `ddtp send` would show and that a grant would name. Nothing is signed or sent.
    """
    _run(console_of(context), [package], to, _Wish(template, item or (), purpose, yes=False, dry_run=True))


def send(
    context: typer.Context,
    *,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES", help="Package files, or files that came from packages.")
    ],
    to: To = None,
    template: Template = None,
    item: Items = None,
    purpose: Purposes = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Agree without being asked.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show everything, sign and send nothing.")] = False,
    limit: Limit = None,
    patience: Patience = PATIENCE_SECONDS,
) -> None:
    """Send data, with your consent.

    First it shows what is sent, what for, and what you agree to, and asks. The receiver gets the key only after it
    has signed for the sealed data, and signs again when it has verified it. While it is sent, p or space pauses
    it, and lets it go on; so do ddtp transfers pause and resume. A broken connection is made anew.
    """
    rate = check_limit(limit)
    wish = _Wish(template, item or (), purpose, yes=yes, dry_run=dry_run, limit=rate, patience_seconds=patience)
    _run(console_of(context), files, to, wish)


def resume(
    context: typer.Context,
    *,
    transfer: Annotated[str, typer.Argument(help="Id of the transfer, or its first digits.")],
    package: Annotated[
        Path | None, typer.Option("--package", metavar="FILE", help="The package file, if it was moved.")
    ] = None,
    limit: Limit = None,
    patience: Patience = PATIENCE_SECONDS,
) -> None:
    """Go on with a transfer that was broken off.

    Or that was paused: if another process holds it paused, that one goes on.
    """
    console = console_of(context)
    digits, rate = check_id(transfer), check_limit(limit)
    if _resume_elsewhere(console, digits, as_it_is=rate is None and package is None):
        return

    async def work(agent: "Agent", attempt: Attempt) -> None:
        from ddtp.agent import sending as use_case

        known = (await agent.records.transfer_by_prefix(digits)).transfer_id
        attempt.transfer_id, attempt.resumed = known, True
        again = partial(use_case.resume, agent.context, known, patience_seconds=patience, package=package)
        await attempts.carry_out(
            console, agent, attempt, lambda tell, pace: again(progress=tell, pace=pace), limit=rate
        )

    attempts.run(console, work)


def check_limit(text: str | None) -> int | None:
    """Return a limit in bytes per second; None if there is none.

    Raises:
        UsageError: It is not written as a limit is, or means bits.
    """
    from ddtp.rates import parse_rate

    return None if text is None else parse_rate(text)


def _resume_elsewhere(console: Console, digits: str, *, as_it_is: bool) -> bool:
    """Let a transfer go on where a process holds it paused; return False if none does.

    Raises:
        UsageError: One does, and it would not go on as it is.
    """
    from ddtp.agent.attending import is_being_sent

    async def wish(config: "Config", records: "Records") -> "TransferRow | None":
        row = await records.transfer_by_prefix(digits)
        if not row.paused or not is_being_sent(config.home, row.transfer_id):
            return None
        if not as_it_is:
            raise UsageError(
                "expected no --limit and no --package, as another process holds this transfer with its own",
                hint=f"ddtp transfers resume {digits}",
            )
        await records.set_paused(row.transfer_id, paused=False)
        return row

    row = homes.with_records(console, wish)
    if row is not None:
        text = console.words.resuming.format(name=row.peer_name)
        console.result(text, {"transfer_id": row.transfer_id.hex(), "paused": False})
    return row is not None


def check_id(text: str) -> str:
    """Return the digits of an id, or of its beginning.

    Raises:
        UsageError: It is not hexadecimal, or shorter than four digits.
    """
    if not is_id(text):
        raise UsageError(f"expected an id of 4 to 32 hexadecimal digits, found {text[:40]!r}")
    return text.lower()


def is_id(text: str) -> bool:
    """Tell whether a text can be an id, or the beginning of one."""
    return 4 <= len(text) <= 32 and set(text.lower()) <= set("0123456789abcdef")


def _run(console: Console, files: Sequence[Path], to: str | None, wish: _Wish) -> None:
    async def work(agent: "Agent", attempt: Attempt) -> None:
        card = await _receiver(console, agent, to)
        for path, items in (await _packages(console, agent, files, card=card, template=wish.template)).items():
            prepared = await _prepare(agent, path, card=card, items=(*items, *wish.items), wish=wish)
            if wish.dry_run:
                _preview(console, prepared)
            else:
                await _send(console, agent, attempt, prepared, wish=wish)

    attempts.run(console, work)


async def _receiver(console: Console, agent: "Agent", to: str | None) -> "Signed[Card]":
    from ddtp.identity.document import Role, parse_card

    known = await cards.known_in(agent.records)
    if to is not None:
        file = cards.card_file(to)
        if file is not None:
            return await agent.remember_card(cards.read_card(file).envelope)
        return parse_card(cards.choose(known, to).envelope, now=agent.context.clock())
    receivers = [card for card in known if Role.RECEIVER in card.body.roles]
    if len(receivers) != 1 or not console.interactive:
        names = ", ".join(card.body.name for card in receivers) or "none"
        raise UsageError("expected --to CARD, found none", hint=f"institutions that receive, known here: {names}")
    card = parse_card(receivers[0].envelope, now=agent.context.clock())
    await homes.in_thread(lambda: console.confirm(console.words.to_question.format(name=card.body.name)))
    return card


async def _prepare(
    agent: "Agent", path: Path, *, card: "Signed[Card]", items: Sequence[str], wish: _Wish
) -> "PreparedTransfer":
    purposes = None if wish.purposes is None else [number - 1 for number in wish.purposes]
    try:
        return await agent.prepare(path, card=card, template=wish.template, items=items, purposes=purposes)
    except PolicyRefused as err:
        # it may be one of several, or one that was found by a file of it
        raise PolicyRefused(f"{path.name}: {err.message}", hint=err.hint) from err


async def _packages(
    console: Console, agent: "Agent", files: Sequence[Path], *, card: "Signed[Card]", template: str | None
) -> dict[Path, tuple[str, ...]]:
    """Return the packages to send, each with the items that were named by their plain files."""
    from ddtp.agent.finding import find_item, is_package

    found: dict[Path, tuple[str, ...]] = {}
    for file in files:
        _check_no_folder(file)
    whole = [is_package(file) for file in files]
    vault = [] if all(whole) else await _asked_first(agent, card, template)
    for file, packed in zip(files, whole, strict=True):
        if packed:
            found.setdefault(file, ())
            continue
        hit = await homes.in_thread(partial(find_item, file, vault, seed=agent.context.seed))
        if hit is None:
            raise NotFound(
                f"expected {file.name} to be a package, or a file of a package in the vault; found neither",
                hint=console.words.pack_hint,
            )
        found[hit.package] = (*found.get(hit.package, ()), hit.item)
    return found


async def _asked_first(agent: "Agent", card: "Signed[Card]", template: str | None) -> list[Path]:
    """Return the packages of the vault: those of a kind that the receiver asks for, then the others, newest first."""
    from ddtp.agent.sending import fetch_request
    from ddtp.protocol import envelope
    from ddtp.protocol.package import Manifest

    asked = (await fetch_request(agent.context, card, template=template)).body
    kinds = {row.path: envelope.verify(Manifest, row.manifest).body.schema for row in await agent.packages()}
    return sorted(kinds, key=lambda path: asked.ask_for(kinds[path]) is None)


def _check_no_folder(path: Path) -> None:
    from ddtp.store.packages import PACKAGE_SUFFIX

    if path.is_dir():
        # even the only one is not taken: what is sent has been named
        names = ", ".join(cards.names_in(path, PACKAGE_SUFFIX)) or "none"
        raise UsageError(f"expected a package or a file, found the folder {path}", hint=f"packages in it: {names}")


def _screen(console: Console, prepared: "PreparedTransfer") -> str:
    from ddtp.consent.layout import wrap
    from ddtp.identity.naming import show_blanks

    # the issuer chose these names: marked and with visible blanks, they cannot pass for lines of ours
    names = (f"  > {show_blanks(name)}" for name in prepared.item_names)
    size = f"  = {human_bytes(prepared.content_bytes)}"
    listed = "\n".join([_issued_by(console, prepared), *names, size])
    columns = text_columns()
    return f"{wrap(prepared.screen, columns)}\n{wrap(listed, columns)}"


def _issued_by(console: Console, prepared: "PreparedTransfer") -> str:
    """Return who issued the package by name: the screen above has the DID only, because a name is no proof."""
    manifest = prepared.manifest.body
    if manifest.issuer == manifest.holder:
        return console.words.issued_by_yourself
    if prepared.issuer_name is None:
        return console.words.issued_by_stranger
    return console.words.issued_by.format(name=prepared.issuer_name)


def _preview(console: Console, prepared: "PreparedTransfer") -> None:
    data = {
        "dry_run": True,
        "receiver": prepared.card.body.did,
        "receiver_name": prepared.card.body.name,
        "issuer": prepared.manifest.body.issuer,
        "issuer_name": prepared.issuer_name,
        "package": str(prepared.path),
        "package_id": prepared.manifest.body.package_id.hex(),
        "request": prepared.request.digest.hex(),
        "language": prepared.language.value,
        "screen": prepared.screen,
        "items": list(prepared.item_names),
        "content_bytes": prepared.content_bytes,
        "purposes": [index + 1 for index in prepared.choice.purposes],
    }
    console.result(_screen(console, prepared), data)
    console.note(console.words.dry_run)


async def _begun_before(console: Console, agent: "Agent", prepared: "PreparedTransfer") -> list[str]:
    """Return what a person wants to know before they agree anew: that the package is on its way to this receiver."""
    from ddtp.store.records import FINAL_STATES, Direction, TransferState

    lines = []
    for row in await agent.transfers(direction=Direction.OUT):
        same = (row.peer, row.package_id) == (prepared.card.body.did, prepared.manifest.body.package_id)
        if not same or row.state in FINAL_STATES:
            continue
        found = standing(agent.context.config, row)
        percent, name = found.bytes_done * 100 // max(found.bytes_total, 1), row.transfer_id.hex()[:ID_DIGITS]
        if row.state is TransferState.KEYED:
            lines.append(attempts.next_step(row, console.words))
        elif percent:
            lines.append(console.words.partly_there.format(percent=percent, name=row.peer_name, transfer=name))
    return lines


async def _send(
    console: Console, agent: "Agent", attempt: Attempt, prepared: "PreparedTransfer", *, wish: _Wish
) -> None:
    from ddtp.agent import sending as use_case
    from ddtp.consent.grant import HOW_BEFOREHAND, HOW_TERMINAL

    show = console.note if wish.yes else console.show
    for begun in await _begun_before(console, agent, prepared):
        show(begun)
    show(_screen(console, prepared))
    if not wish.yes:
        question = console.words.send_question.format(name=prepared.card.body.name)
        await homes.in_thread(lambda: console.confirm(question))
    # a transfer that breaks off is resumed from the package that is remembered here
    await agent.keep(prepared.path)
    how = HOW_BEFOREHAND if wish.yes else HOW_TERMINAL
    send = partial(use_case.send, agent.context, prepared, how=how, patience_seconds=wish.patience_seconds)
    attempt.transfer_id = prepared.transfer_id
    await attempts.carry_out(
        console, agent, attempt, lambda tell, pace: send(progress=tell, pace=pace), limit=wish.limit
    )
