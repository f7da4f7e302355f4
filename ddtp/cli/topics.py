"""`ddtp help`: help on a command or a topic."""

from typing import Annotated, Final

import typer

from ddtp.cli._console import console_of
from ddtp.cli.examples import examples
from ddtp.errors import UsageError

EXIT_CODES: Final = {
    0: "done; for send: delivered, verified, and the receipt is here",
    1: "failed: this machine, its disk, or the other side",
    2: "the command line or a setting is wrong, or nobody could be asked to confirm (--yes)",
    3: "cancelled: you said no",
    4: "there is no identity here (ddtp init), or the passphrase is wrong",
    5: "refused: by the other side, or by a policy of your own",
    6: "not to be trusted: a signature, proof or verification step failed",
    7: "the other side cannot be reached or went away; a transfer goes on with ddtp resume",
    8: "done, but the result could not be written to stdout; nothing has to be done again",
    129: "ended by SIGHUP while it was sending",
    130: "interrupted with Ctrl-C",
    143: "ended by SIGTERM while it was sending",
}

_FILES: Final = """Files
  config.toml      settings; relative paths in it start at its folder
  identity.key     the keys, sealed with the passphrase; never replaced
  records.db       cards, transfers, receipts
  policy.toml      whom to trust when verifying; ddtp card add --trust adds to it
  vault/           packages; sealed, also on this disk
  inbox/           what an institution has received and verified
  card.ddtp-card   the card of the running service
Environment
  DDTP_HOME, DDTP_PASSPHRASE_FILE, DDTP_LANGUAGE (en or zh), DDTP_CRYPTO, NO_COLOR
See ddtp paths for the places on this machine."""

_OUTPUT: Final = """stdout holds the result and nothing else. Notes, questions, progress and errors go to stderr.
With --json the result is one JSON object a line; stderr then holds JSON lines, each with one of the names
progress, warning or error, and nothing is asked: what needs a yes needs --yes."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("help", epilog=examples("ddtp help exit-codes", "ddtp help files", "ddtp help send"))(show_help)


def exit_codes() -> str:
    """Return the table of exit codes."""
    return "\n".join(f"{code:>4}  {meaning}" for code, meaning in EXIT_CODES.items())


def show_help(
    context: typer.Context,
    *,
    topic: Annotated[list[str] | None, typer.Argument(help="exit-codes, files, output, or a command.")] = None,
) -> None:
    """Show help on a command or a topic.

    Topics are exit-codes, files and output.
    """
    console = console_of(context)
    name = " ".join(topic or ())
    text = {"exit-codes": exit_codes(), "files": _FILES, "output": _OUTPUT}.get(name)
    if text is None:
        inner = context.find_root()
        for part in topic or ():
            commands = getattr(inner.command, "commands", {})
            if part not in commands:
                raise UsageError(f"expected a command or topic, found {part!r}", hint="ddtp help lists them")
            inner = type(inner)(commands[part], info_name=part, parent=inner)
        text = inner.get_help()
    console.result(text, {"topic": name, "text": text})
