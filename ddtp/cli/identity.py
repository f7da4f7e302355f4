"""`ddtp id`: who this home is towards others."""

import time
from typing import Annotated

import typer

from ddtp.cli import cards, homes
from ddtp.cli._console import console_of
from ddtp.cli.examples import examples
from ddtp.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("id", epilog=examples("ddtp id --for bank-a.ddtp-card", "ddtp id    (in an institution's home)"))(
        identity
    )


def identity(
    context: typer.Context,
    *,
    counterparty: Annotated[
        str | None, typer.Option("--for", metavar="CARD", help="The institution that will get the address.")
    ] = None,
) -> None:
    """Print your address for an institution.

    In the home of an institution, print its identifier. A person has another address for every institution, so that
    two of them cannot find out that they know the same person.
    """
    from ddtp.agent.addressing import holder_address
    from ddtp.identity.document import encode_holder_address

    console = console_of(context)
    config = homes.settings(console)
    seed = homes.open_seed(console, config)
    if config.institution is not None:
        did = seed.institution_key("sign").did
        console.result(did, {"kind": "institution", "name": config.institution.name, "did": did})
        return
    if counterparty is None:
        raise UsageError(
            "expected --for CARD: a person has another address for every institution",
            hint="ddtp card list shows the institutions you know",
        )
    card = cards.find(console, counterparty).body
    address = holder_address(seed, card.did, now=int(time.time()))
    text = encode_holder_address(address)
    console.note(f"Your address for {card.name}; no other institution can link it to you:")
    console.result(text, {"kind": "person", "for": card.did, "did": address.body.did, "address": text})
