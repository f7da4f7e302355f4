"""`ddtp demo`: a whole story on this machine, with two banks and a person."""

from pathlib import Path
from typing import Annotated

import typer

from ddtp.cli._console import console_of
from ddtp.cli.examples import examples


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("ddtp demo", "ddtp demo --keep ./demo"))(demo)


def demo(
    context: typer.Context,
    *,
    keep: Annotated[Path | None, typer.Option(help="Folder in which everything is left behind for looking.")] = None,
) -> None:
    """Show a whole transfer on this machine.

    Two banks, a ledger and a person, with generated data.
    """
    from ddtp.cli.demo import run_demo

    options = console_of(context).options
    raise typer.Exit(run_demo(keep=keep, json_output=options.json_output, language=options.language))
