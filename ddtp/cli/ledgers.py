"""`ddtp ledger`: read a ledger, and have it prove what it holds."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ddtp.cli import cards, homes
from ddtp.cli._console import Console, console_of, human_time
from ddtp.cli.examples import examples
from ddtp.errors import ConfigInvalid, UsageError

if TYPE_CHECKING:
    from ddtp.agent.facade import Agent
    from ddtp.chain.checkpoint import Checkpoint
    from ddtp.chain.ledger import Ledger
    from ddtp.chain.statement import Entry
    from ddtp.protocol.envelope import Signed

Result = TypeVar("Result")

CardOption = Annotated[
    str | None, typer.Option("--card", help="Card that names the ledger; by default the one of the settings.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Ledgers: logs of fingerprints.", no_args_is_help=True)
    group.command("head", epilog=examples("ddtp ledger head", 'ddtp ledger head --card "Bank A"'))(head)
    group.command("entries", epilog=examples("ddtp ledger entries 0 20"))(entries)
    group.command("lookup", epilog=examples("ddtp ledger lookup DIGEST"))(lookup)
    group.command("prove", epilog=examples("ddtp ledger prove 17 --json"))(prove)
    app.add_typer(group, name="ledger")


def head(context: typer.Context, *, card: CardOption = None) -> None:
    """Show the newest checkpoint of a ledger.

    First it checks that the ledger has only grown.
    """
    console = console_of(context)

    async def ask(ledger: "Ledger") -> "Signed[Checkpoint]":
        return await ledger.head()

    signed = _with_ledger(console, card, ask)
    data = _head_json(signed.body) | {"checkpoint": signed.envelope.hex()}
    console.result(_head_text(signed.body), data)


def entries(
    context: typer.Context,
    *,
    start: Annotated[int, typer.Argument(min=0, help="First position.")] = 0,
    stop: Annotated[int | None, typer.Argument(min=0, help="Position after the last; by default one page.")] = None,
    card: CardOption = None,
) -> None:
    """List the entries of a ledger.

    All they show is a kind, a blinded fingerprint and an hour.
    """
    from ddtp.chain.ledger import PAGE_ENTRIES
    from ddtp.chain.statement import Entry

    console = console_of(context)

    async def ask(ledger: "Ledger") -> tuple[bytes, ...]:
        size = (await ledger.head()).body.size
        return await ledger.entries(start, min(size, start + PAGE_ENTRIES if stop is None else stop))

    found = [Entry.parse(entry) for entry in _with_ledger(console, card, ask)]
    rows = [
        (str(number), entry.kind.value, human_time(entry.hour), str(len(entry.statements)), entry.digest.hex())
        for number, entry in enumerate(found, start)
    ]
    data = {"entries": [_entry_json(entry) | {"index": number} for number, entry in enumerate(found, start)]}
    console.rows(("INDEX", "KIND", "HOUR", "SIGNED", "DIGEST"), rows, data)


def lookup(
    context: typer.Context,
    *,
    digest: Annotated[str, typer.Argument(help="Blinded fingerprint: 64 hexadecimal digits.")],
    card: CardOption = None,
) -> None:
    """Find the positions of a blinded fingerprint. A hint only: `ddtp ledger prove` proves."""
    console = console_of(context)
    wanted = _digest(digest)

    async def ask(ledger: "Ledger") -> tuple[int, ...]:
        return await ledger.lookup(wanted)

    positions = _with_ledger(console, card, ask)
    if not positions:
        console.note("The ledger says that it has no such entry.")
    console.result("\n".join(map(str, positions)), {"digest": wanted.hex(), "positions": list(positions)})


def prove(
    context: typer.Context,
    *,
    index: Annotated[int, typer.Argument(min=0, help="Position of the entry.")],
    card: CardOption = None,
) -> None:
    """Fetch an entry and check its proof.

    The proof shows that a signed checkpoint covers it.
    """
    from ddtp.chain.proof import verify_inclusion
    from ddtp.chain.statement import Entry

    console = console_of(context)

    async def ask(ledger: "Ledger") -> "tuple[bytes, bytes, Signed[Checkpoint]]":
        proof = await ledger.prove(index)
        (entry,) = await ledger.entries(index, index + 1)
        signed = verify_inclusion(entry, proof, log_key=ledger.public_key, origin=ledger.origin)
        return entry, proof.encode(), signed

    entry, proof, signed = _with_ledger(console, card, ask)
    text = f"Entry {index} is in the ledger; the proof holds.\n{_head_text(signed.body)}"
    data = _entry_json(Entry.parse(entry)) | {
        "index": index,
        "entry": entry.hex(),
        "proof": proof.hex(),
        "head": _head_json(signed.body),
    }
    console.result(text, data)


def _with_ledger(console: Console, card: str | None, ask: "Callable[[Ledger], Awaitable[Result]]") -> Result:
    signed = cards.find(console, card) if card else None
    if signed is not None and not signed.body.logs:
        raise ConfigInvalid(f"expected a ledger on the card of {signed.body.name}, found none")

    async def work(agent: "Agent") -> Result:
        from ddtp.agent.anchoring import remote_ledger

        opening = remote_ledger(agent.context, signed.body.logs[0]) if signed else agent.ledger()
        async with opening as ledger:
            return await ask(ledger)

    return homes.with_agent(console, work)


def _digest(text: str) -> bytes:
    try:
        digest = bytes.fromhex(text)
    except ValueError as err:
        raise UsageError("expected 64 hexadecimal digits as fingerprint") from err
    if len(digest) != 32:
        raise UsageError(f"expected 64 hexadecimal digits as fingerprint, found {2 * len(digest)}")
    return digest


def _head_text(head: "Checkpoint") -> str:
    return f"Ledger:  {head.origin}\nEntries: {head.size}\nRoot:    {head.root.hex()}\nSigned:  {human_time(head.time)}"


def _head_json(head: "Checkpoint") -> dict[str, object]:
    return {"origin": head.origin, "size": head.size, "root": head.root.hex(), "time": head.time}


def _entry_json(entry: "Entry") -> dict[str, object]:
    return {
        "kind": entry.kind.value,
        "digest": entry.digest.hex(),
        "hour": entry.hour,
        "statements": len(entry.statements),
    }
