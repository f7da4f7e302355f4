"""`ddtp transfers`, `show` and `export`: what was sent and received, and taking it out with its proof."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddtp.cli import cards, homes
from ddtp.cli._console import Console, columns, console_of, human_bytes, human_time
from ddtp.cli.examples import examples
from ddtp.cli.outcomes import ID_DIGITS
from ddtp.cli.sending import check_id, is_id, resume
from ddtp.cli.standings import Standing, standing
from ddtp.errors import NotFound, UsageError

if TYPE_CHECKING:
    from ddtp.agent.exporting import ExportedTransfer
    from ddtp.agent.facade import Agent
    from ddtp.agent.inbox import ReceivedData
    from ddtp.config import Config
    from ddtp.store.records import PackageRow, ReceiptRow, Records, TransferRow

Transfer = Annotated[str, typer.Argument(metavar="ID", help="Id of the transfer, or its first digits.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="List what was sent and received.",
        invoke_without_command=True,
        epilog=examples("ddtp transfers", "ddtp transfers show 3f9a0c12", "ddtp transfers pause 3f9a0c12"),
    )
    group.callback()(transfers)
    group.command("show", epilog=examples("ddtp transfers show 3f9a0c12"))(show_transfer)
    group.command("pause", epilog=examples("ddtp transfers pause 3f9a0c12"))(pause)
    group.command("resume", epilog=examples("ddtp transfers resume 3f9a0c12"))(resume)
    group.command("drop", epilog=examples("ddtp transfers drop 3f9a0c12"))(drop)
    app.add_typer(group, name="transfers")
    app.command(epilog=examples("ddtp show 3f9a0c12", "ddtp show statement.ddtp", "ddtp show 3f9a0c12.ddtp-proof"))(
        show
    )
    app.command(epilog=examples("ddtp export 3f9a0c12 --to ./from-bank-a"))(export)


def transfers(context: typer.Context) -> None:
    """List what was sent and received, the newest first; with a command behind it, do something with one.

    It says how far each is, and what to do next.
    """
    if context.invoked_subcommand is not None:
        return
    console = console_of(context)

    async def load(config: "Config", records: "Records") -> "list[Standing]":
        rows = await records.transfers()
        return [standing(config, row) for row in rows]

    found = homes.with_records(console, load)
    words = console.words
    if not found:
        console.note(words.no_transfers)
    heads = words.headings
    lines = [
        (
            each.row.transfer_id.hex()[:ID_DIGITS],
            each.who(words),
            words.states[each.state],
            each.done(words),
            each.next_step,
            human_time(each.row.updated),
            each.row.schema,
        )
        for each in found
    ]
    heading = ("ID", heads["who"], heads["state"], heads["done"], heads["next"], heads["when"], heads["kind"])
    console.rows(heading, lines, {"transfers": [_json(each) for each in found]})


def show_transfer(context: typer.Context, *, transfer: Transfer) -> None:
    """Say everything about one transfer."""
    console = console_of(context)
    found = homes.with_records(console, partial(_load_transfer, check_id(transfer)))
    _show_transfer(console, *found)


def pause(context: typer.Context, *, transfer: Transfer) -> None:
    """Let a transfer rest.

    A long rest closes the connection; the process that sends it waits, and goes on by itself when it is resumed.
    """
    console = console_of(context)
    digits = check_id(transfer)

    async def wish(config: "Config", records: "Records") -> "TransferRow":
        row = await records.transfer_by_prefix(digits)
        if not standing(config, row).is_running:
            raise NotFound(
                f"expected a transfer that is being sent, found one that is {standing(config, row).state}",
                hint=standing(config, row).next_step or None,
            )
        await records.set_paused(row.transfer_id, paused=True)
        return row

    row = homes.with_records(console, wish)
    name = row.transfer_id.hex()
    text = console.words.pausing.format(name=row.peer_name, transfer=name[:ID_DIGITS])
    console.result(text, {"transfer_id": name, "paused": True})


def drop(
    context: typer.Context,
    *,
    transfer: Transfer,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Also if the key was handed over already.")] = False,
) -> None:
    """Give an unfinished transfer up.

    It cannot be resumed. Its key is destroyed, and what was kept to go on is deleted. An institution stops its
    service before it gives up what it has not received whole. The other side is not told.
    """
    console = console_of(context)
    digits = check_id(transfer)

    async def work(config: "Config", records: "Records") -> "TransferRow":
        import time

        from ddtp.agent import dropping
        from ddtp.store.records import TransferState

        row = await records.transfer_by_prefix(digits)
        if row.state is TransferState.KEYED:
            console.warn(console.words.drop_keyed.format(name=row.peer_name))
        await dropping.drop(config, records, row, now=int(time.time()), keyed=yes)
        return row

    row = homes.with_records(console, work)
    who = console.words.sent_to if row.direction.value == "out" else console.words.received_from
    text = console.words.dropped.format(who=who.format(name=row.peer_name))
    console.result(text, {"transfer_id": row.transfer_id.hex(), "dropped": True})


def show(
    context: typer.Context,
    *,
    thing: Annotated[str, typer.Argument(metavar="ID|FILE", help="A transfer, package, card or proof bundle.")],
) -> None:
    """Say what a file is, or an id.

    It may be a package, card or proof bundle, or the id of a transfer or package.
    """
    console = console_of(context)
    path = Path(thing)
    if path.is_file():
        _show_file(console, path)
        return
    if not is_id(thing):
        raise NotFound(f"expected a file, or the id of a transfer or package, found neither: {thing[:60]}")
    digits = check_id(thing)

    async def load(
        config: "Config", records: "Records"
    ) -> "tuple[Standing, dict[str, ReceiptRow], ReceivedData | None] | PackageRow | None":
        try:
            return await _load_transfer(digits, config, records)
        except NotFound:
            packages = [each for each in await records.packages() if each.package_id.hex().startswith(digits)]
            return packages[0] if len(packages) == 1 else None

    found = homes.with_records(console, load)
    if found is None:
        raise NotFound(f"expected one transfer or package that starts with {digits}, found none or several")
    if isinstance(found, tuple):
        _show_transfer(console, *found)
    else:
        _show_package(console, found.path)


async def _load_transfer(
    digits: str, config: "Config", records: "Records"
) -> "tuple[Standing, dict[str, ReceiptRow], ReceivedData | None]":
    from ddtp.agent.inbox import find_received

    row = await records.transfer_by_prefix(digits)
    return standing(config, row), await records.receipts(row.transfer_id), find_received(config.receiver, row)


def export(
    context: typer.Context,
    *,
    transfer: Annotated[str, typer.Argument(help="Id of the transfer, or its first digits.")],
    to: Annotated[Path, typer.Option("--to", help="Folder to make; must not exist.")],
) -> None:
    """Write files and proof of a transfer.

    Whoever has the proof bundle can verify it without this home and without asking anybody.
    """
    console = console_of(context)
    digits = check_id(transfer)

    async def work(agent: "Agent") -> "ExportedTransfer":
        return await agent.export(await agent.records.transfer_by_prefix(digits), to)

    made = homes.with_agent(console, work)
    text = (
        f"Exported {made.files} file(s), {made.fields} field(s) and the proof to {made.folder}\n"
        f"Verify with: ddtp verify {made.bundle}"
    )
    data = {"folder": str(made.folder), "bundle": str(made.bundle), "files": made.files, "fields": made.fields}
    console.result(text, data)


def _json(each: Standing) -> dict[str, object]:
    row = each.row
    return {
        "transfer_id": row.transfer_id.hex(),
        "direction": row.direction.value,
        "state": row.state.value,
        "standing": each.state,
        "paused": each.state == "paused",
        "running": each.is_running,
        "bytes_done": each.bytes_done,
        "bytes_total": each.bytes_total,
        "next": each.next_step or None,
        "peer": row.peer,
        "peer_name": row.peer_name,
        "package_id": row.package_id.hex(),
        "schema": row.schema,
        "created": row.created,
        "updated": row.updated,
        "failed_step": row.failed_step,
        "reason": row.reason,
    }


def _show_transfer(
    console: Console, each: Standing, receipts: "dict[str, ReceiptRow]", received: "ReceivedData | None"
) -> None:
    row = each.row
    lines = [
        ("Transfer:", row.transfer_id.hex()),
        ("Direction:", "sent to" if row.direction.value == "out" else "received from"),
        ("Who:", f"{row.peer_name} ({row.peer})"),
        ("Kind:", row.schema),
        ("Package:", row.package_id.hex()),
        ("State:", console.words.states[each.state]),
        ("Done:", f"{human_bytes(each.bytes_done)} of {human_bytes(each.bytes_total)}"),
        ("Started:", human_time(row.created)),
        ("Changed:", human_time(row.updated)),
        ("Receipts:", ", ".join(receipts) or "none"),
    ]
    lines += _receipt_lines(receipts)
    if row.reason is not None:
        lines.append(("Reason:", row.reason if row.failed_step is None else f"check {row.failed_step}: {row.reason}"))
    if each.next_step and each.state not in {"rejected", "declined"}:  # for those this is the next step
        lines.append(("Next:", each.next_step))
    data = {"type": "transfer", **_json(each), "receipts": sorted(receipts)}
    if received is not None:
        from ddtp.identity.naming import show_blanks

        lines.append(("Folder:", str(received.folder)))
        lines += [(f"  {show_blanks(head.path)}", human_bytes(head.size_bytes)) for head in received.files]
        lines += [("Field:", f"{show_blanks(field.path)} = {show_blanks(field.value)}") for field in received.fields]
        data["folder"] = str(received.folder)
        data["fields"] = {field.path: field.value for field in received.fields}
    console.result(columns(lines), data)


def _receipt_lines(receipts: "dict[str, ReceiptRow]") -> list[tuple[str, str]]:
    """Return what the last receipt says, which is the proof that a person has in hand."""
    from ddtp.protocol import envelope
    from ddtp.verify.receipt import Receipt

    last = receipts.get("verified") or receipts.get("rejected")
    if last is None:
        return []
    receipt = envelope.verify(Receipt, last.envelope)
    root = receipt.body.package_root
    lines = [("Receipt:", receipt.digest.hex()), ("Signed:", human_time(receipt.body.at))]
    return lines if root is None else [*lines, ("Content:", root.hex())]


def _show_file(console: Console, path: Path) -> None:
    from ddtp.agent.finding import is_package
    from ddtp.verify.evidence import BUNDLE_MAGIC

    start = cards.file_start(path)
    if start.startswith(cards.CARD_STARTS):
        card = cards.read_card(path).body
        console.result("A card.\n" + cards.describe(card), {"type": "card", **cards.to_json(card)})
    elif start.startswith(BUNDLE_MAGIC):
        _show_bundle(console, path)
    elif is_package(path):
        _show_package(console, path)
    else:
        raise UsageError(
            f"expected a package, card or proof bundle in {path.name}, found something else",
            hint="ddtp send finds the package that a plain file came from",
        )


def _show_package(console: Console, path: Path) -> None:
    from ddtp.agent.opening import read_manifest
    from ddtp.store.packages import PackageReader, naming_damage

    reader = PackageReader(path)
    try:
        with naming_damage(path):
            manifest = read_manifest(reader).body
        size, anchored = reader.seal.content_bytes, reader.header.anchor
    finally:
        reader.close()
    lines = [
        ("Package:", manifest.package_id.hex()),
        ("Kind:", manifest.schema),
        ("Issuer:", manifest.issuer),
        ("Holder:", manifest.holder),
        ("Issued:", human_time(manifest.issued)),
        ("Valid until:", human_time(manifest.expires)),
        ("Content:", f"{human_bytes(size)}, sealed to its holder"),
        ("On a ledger:", "yes" if anchored else "no"),
    ]
    data = {
        "type": "package",
        "package_id": manifest.package_id.hex(),
        "schema": manifest.schema,
        "issuer": manifest.issuer,
        "holder": manifest.holder,
        "issued": manifest.issued,
        "expires": manifest.expires,
        "content_bytes": size,
        "anchored": anchored is not None,
    }
    console.result("A package, signed by its issuer.\n" + columns(lines), data)


def _show_bundle(console: Console, path: Path) -> None:
    from ddtp.protocol import envelope
    from ddtp.protocol.package import Manifest
    from ddtp.store.durable import read_file
    from ddtp.verify.evidence import Bundle, Evidence, parse_bundle

    bundle = parse_bundle(read_file(path, max_bytes=Bundle.MAX_BYTES + 64))
    evidence = Evidence.parse(bundle.evidence)
    manifest = envelope.verify(Manifest, evidence.manifest).body
    values = bundle.openings is not None
    shown = "the values that were shown, so it is confidential" if values else "no values"
    text = (
        f"A proof bundle about a package of kind {manifest.schema}, issued {human_time(manifest.issued)} by\n"
        f"{manifest.issuer}.\n"
        f"It holds {len(evidence.receipts)} receipt(s) and {shown}.\n"
        f"Nothing of this is verified yet: ddtp verify {path}"
    )
    data = {
        "type": "bundle",
        "package_id": manifest.package_id.hex(),
        "schema": manifest.schema,
        "issuer": manifest.issuer,
        "issued": manifest.issued,
        "receipts": len(evidence.receipts),
        "values": values,
    }
    console.result(text, data)
