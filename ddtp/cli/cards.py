"""`ddtp card`: the cards of institutions, and this institution's own."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ddtp.cli import homes
from ddtp.cli._console import Console, console_of, human_time
from ddtp.cli.examples import examples
from ddtp.errors import NotFound, UsageError

if TYPE_CHECKING:
    from ddtp.agent.facade import Agent
    from ddtp.config import Config
    from ddtp.identity.document import Card
    from ddtp.protocol.envelope import Signed
    from ddtp.store.records import Records

MAX_CARD_BYTES: Final = 128 << 10
"""A card with all its registration evidence, as text."""
CARD_STARTS: Final = (b"-----BEGIN DDTP CARD", b"DDTP:")
"""How the text forms of a card start."""
DAY_SECONDS: Final = 86_400
_ENVELOPE_START: Final = b"\xd2"
_START_BYTES: Final = 32
MAX_NAMES: Final = 10
"""Of files in a folder that are listed in a hint."""

CardName = Annotated[str, typer.Argument(metavar="CARD", help="A card file, or the name or DID of a known card.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Cards: who an institution is.", no_args_is_help=True)
    group.command("show", epilog=examples("ddtp card show bank-a.ddtp-card"))(show)
    group.command("add", epilog=examples("ddtp card add bank-a.ddtp-card", "ddtp card add bank-a.ddtp-card --trust"))(
        add
    )
    group.command("list", epilog=examples("ddtp card list", "ddtp card list --json"))(list_cards)
    group.command(
        "make", epilog=examples("ddtp card make --address /dns4/bank-a.example/tcp/4001 --out bank-a.ddtp-card")
    )(make)
    group.command("qr", epilog=examples("ddtp card qr bank-a.ddtp-card", "ddtp card qr bank-a.ddtp-card --out a.png"))(
        qr
    )
    app.add_typer(group, name="card")


def show(context: typer.Context, *, card: CardName) -> None:
    """Show what a card says, after checking it."""
    console = console_of(context)
    body = find(console, card).body
    console.result(describe(body), to_json(body))


def add(
    context: typer.Context,
    *,
    file: Annotated[Path, typer.Argument(help="The card file.")],
    trust: Annotated[
        bool, typer.Option("--trust", help="Also trust it, and its ledgers, when verifying (home/policy.toml).")
    ] = False,
) -> None:
    """Check a card and remember it.

    A card proves only that its key's owner made it. Take it from a place that is the institution's beyond doubt.
    """
    console = console_of(context)
    card = read_card(file)
    now = int(time.time())

    async def remember(config: "Config", records: "Records") -> Path | None:
        from ddtp.cli import policies

        await records.save_card(card.body.did, card.envelope, now=now)
        return policies.add_trust(config, card.body) if trust else None

    policy = homes.with_records(console, remember)
    text = f"Remembered: {card.body.name} ({card.body.did})"
    data = to_json(card.body) | {"policy": str(policy) if policy else None}
    console.result(f"{text}\nTrusted in {policy}" if policy else text, data)


def list_cards(context: typer.Context) -> None:
    """List the institutions that this home knows."""
    console = console_of(context)
    now = int(time.time())
    found = known(console)
    rows = [
        (
            card.body.name,
            card.body.country,
            ",".join(role.value for role in card.body.roles),
            human_time(card.body.expires) + (" EXPIRED" if card.body.expires < now else ""),
            card.body.did,
        )
        for card in found
    ]
    if not rows:
        console.note("No cards yet. Next: ddtp card add FILE")
    heading = ("NAME", "COUNTRY", "ROLES", "UNTIL", "DID")
    console.rows(heading, rows, {"cards": [to_json(card.body) for card in found]})


def make(
    context: typer.Context,
    *,
    address: Annotated[
        list[str] | None, typer.Option(help="Multiaddr where others reach this institution; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; by default stdout.")] = None,
) -> None:
    """Sign a card of this institution. `ddtp serve` writes one by itself."""
    from ddtp.identity.document import encode_card_text
    from ddtp.store.durable import write_file

    console = console_of(context)
    card = _own_card(console, tuple(address or ()))
    text = encode_card_text(card)
    if out is not None:
        write_file(out, text.encode())
        text = f"Card of {card.body.name}: {out}"
    console.result(text, to_json(card.body) | {"path": str(out) if out else None, "card": encode_card_text(card)})


def qr(
    context: typer.Context,
    *,
    card: CardName,
    out: Annotated[Path | None, typer.Option(help="Image to write: .png or .svg; by default the terminal.")] = None,
) -> None:
    """Show a card as a QR code.

    On the terminal, or as an image.
    """
    import io

    import segno

    from ddtp.identity.document import encode_card_qr

    console = console_of(context)
    text = encode_card_qr(find(console, card))
    code = segno.make(text, error="l", micro=False, boost_error=False)
    if out is None:
        drawn = io.StringIO()
        code.terminal(out=drawn, compact=True)
        console.draw(drawn.getvalue(), {"text": text})
        return
    if out.suffix.lower() not in {".png", ".svg"}:
        raise UsageError(f"expected an image that ends in .png or .svg, found {out.name!r}")
    from ddtp.store.durable import storage_errors

    with storage_errors(out):
        code.save(str(out), scale=4)
    console.result(f"QR code: {out}", {"text": text, "path": str(out)})


def find(console: Console, name: str) -> "Signed[Card]":
    """Return the card that a person names: a file, a QR text, or a known one by its name or DID.

    Raises:
        NotFound: There is none, or more than one.
        DecodeError, SignatureInvalid, EvidenceError: It is malformed, forged or expired.
    """
    from ddtp.identity.document import parse_card

    now = int(time.time())
    if name.startswith("DDTP:"):
        return parse_card(name, now=now)
    file = card_file(name)
    if file is not None:
        return read_card(file)
    return parse_card(choose(known(console), name).envelope, now=now)


def card_file(name: str) -> Path | None:
    """Return the file that a person means by a name, or None if there is no such file."""
    path = Path(name)
    return path if path.is_file() else None


def choose(cards: "list[Signed[Card]]", name: str) -> "Signed[Card]":
    """Return the one card with a DID or name; a part of the name will do.

    Raises:
        NotFound: There is none, or more than one.
    """
    wanted = name.casefold()
    exact = [card for card in cards if wanted in {card.body.did.casefold(), card.body.name.casefold()}]
    hits = exact or [card for card in cards if wanted in card.body.name.casefold()]
    if len(hits) != 1:
        names = ", ".join(card.body.name for card in hits or cards) or "none at all"
        raise NotFound(
            f"expected a card file or the name of one known card, found {name!r}",
            hint=f"known: {names}; remember another with: ddtp card add FILE",
        )
    return hits[0]


def known(console: Console) -> "list[Signed[Card]]":
    """Return the remembered cards, the expired ones too."""

    async def load(_config: "Config", records: "Records") -> "list[Signed[Card]]":
        return await known_in(records)

    return homes.with_records(console, load)


async def known_in(records: "Records") -> "list[Signed[Card]]":
    """Return the remembered cards of open records, the expired ones too."""
    from ddtp.identity.document import Card
    from ddtp.protocol import envelope

    return [envelope.verify(Card, card) for card in await records.cards()]


def read_card(file: Path) -> "Signed[Card]":
    """Read and check a card file.

    Raises:
        NotFound: There is no such file.
        UsageError: It is something else than a card.
        DecodeError, SignatureInvalid, EvidenceError: It is malformed, forged or expired.
    """
    from ddtp.identity.document import parse_card
    from ddtp.store.durable import read_file

    if not file_start(file).startswith((*CARD_STARTS, _ENVELOPE_START)):
        raise UsageError(
            f"expected the file of a card, such as bank.ddtp-card, found something else in {file.name}",
            hint="ddtp show FILE says what a file is",
        )
    return parse_card(read_file(file, max_bytes=MAX_CARD_BYTES), now=int(time.time()))


def file_start(file: Path) -> bytes:
    """Return the first bytes of a file, enough to tell the kinds apart.

    Raises:
        NotFound: There is no such file.
        StorageFailed: The disk refuses.
    """
    from ddtp.store.durable import storage_errors

    with storage_errors(file), file.open("rb") as opened:
        return opened.read(_START_BYTES)


def names_in(folder: Path, suffix: str) -> list[str]:
    """Return the names of files of one kind in a folder, at most `MAX_NAMES`.

    Raises:
        StorageFailed: The disk refuses.
    """
    from ddtp.store.durable import storage_errors

    with storage_errors(folder):
        return sorted(path.name for path in folder.iterdir() if path.name.endswith(suffix))[:MAX_NAMES]


def describe(card: "Card") -> str:
    """Return a card as text for people."""
    lines = [
        f"Name:      {card.name}",
        f"Country:   {card.country}",
        f"Contact:   {card.contact}",
        f"DID:       {card.did}",
        f"Roles:     {', '.join(role.value for role in card.roles)}",
        f"Valid:     {human_time(card.issued)} to {human_time(card.expires)}",
        *(f"Address:   {address}" for address in card.addresses),
        *(f"Ledger:    {log.origin}" for log in card.logs),
        *(f"Request:   {request}" for request in card.requests),
        "A card proves that its key's owner made it, not that the owner is who the name says.",
    ]
    return "\n".join(lines)


def to_json(card: "Card") -> dict[str, object]:
    """Return a card as a JSON object."""
    return {
        "did": card.did,
        "name": card.name,
        "country": card.country,
        "contact": card.contact,
        "roles": [role.value for role in card.roles],
        "addresses": list(card.addresses),
        "ledgers": [{"origin": log.origin, "public_key": log.public_key.hex()} for log in card.logs],
        "requests": list(card.requests),
        "issued": card.issued,
        "expires": card.expires,
    }


def _own_card(console: Console, addresses: tuple[str, ...]) -> "Signed[Card]":
    from contextlib import AsyncExitStack
    from dataclasses import replace

    config = homes.settings(console)
    if not addresses and homes.daemon_runs(config):
        return read_card(homes.daemon_card(config))
    announced = addresses or config.announce
    if not announced and not config.relays:
        raise UsageError(
            "expected an address for the card, found none",
            hint="add --address, set [network] announce or relays, or start the service: ddtp serve",
        )

    async def sign(agent: "Agent") -> "Signed[Card]":
        from ddtp.daemon.service import Service

        async with AsyncExitStack() as stack:
            context = agent.context
            own = context.config.ledger is None and context.config.ledger_origin is not None
            ledger = await stack.enter_async_context(agent.ledger()) if own else None
            return Service(agent, ledger).card()

    return homes.with_agent(console, sign, config=replace(config, announce=announced))
