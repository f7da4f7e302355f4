"""The whole command line: options for every command, the commands, and what an error becomes."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

import ddtp
from ddtp.cli import (
    cards,
    doctor,
    identity,
    ledgers,
    measuring,
    packing,
    sending,
    serving,
    setup,
    topics,
    transfers,
    trials,
    vaults,
    verifying,
)
from ddtp.cli._console import Console
from ddtp.cli._signals import EXIT_CODE_BASE, Ended
from ddtp.cli._streams import open_streams
from ddtp.cli.options import Options, hoist
from ddtp.errors import DdtpError, UsageError
from ddtp.identity.language import Language

INTERRUPTED_EXIT_CODE: Final = EXIT_CODE_BASE + signal.SIGINT

_MODULES: Final = (
    setup,
    identity,
    cards,
    vaults,
    sending,
    transfers,
    verifying,
    packing,
    serving,
    ledgers,
    doctor,
    measuring,
    trials,
    topics,
)
"""In the order of the help: persons first, then institutions."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    Args:
        arguments: What stands after the program's name; None takes it from the process.
    """
    open_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(_run(hoist(words), Console(Options(json_output="--json" in words))))


def _run(words: list[str], console: Console) -> int:
    try:
        code = _app()(words, prog_name="ddtp", obj=console, standalone_mode=False)
    except typer.TyperException as err:
        return _misread(err, console)
    except BrokenPipeError:
        return 1  # whoever read our output has gone
    except BaseException as err:  # noqa: BLE001 - the last place that sees an error
        return _failed(err, console)
    if code == INTERRUPTED_EXIT_CODE:
        # the parser has made this of a KeyboardInterrupt; one that a nursery wrapped comes to _failed
        console.interrupted()
    return code if isinstance(code, int) else 0


def _misread(error: typer.TyperException, console: Console) -> int:
    context = getattr(error, "ctx", None)
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    code: int = getattr(error, "exit_code", UsageError.exit_code)
    if context is not None and message == context.get_help():
        # a group without a command: its help is the answer
        console.show(message)
        return code
    return console.refuse_usage(message, usage=context.get_usage() if context else "", exit_code=code)


def _failed(error: BaseException, console: Console) -> int:
    match _single(error):
        case DdtpError() as known:
            return console.fail(known)
        case Ended() as stop:
            console.interrupted(stop.signal.name)
            return EXIT_CODE_BASE + stop.signal
        case KeyboardInterrupt():
            console.interrupted()
            return INTERRUPTED_EXIT_CODE
        case SystemExit() as stop:
            return stop.code if isinstance(stop.code, int) else 1
        case other:
            return console.defect(other)


def _single(error: BaseException) -> BaseException:
    """Return what matters in a group that a nursery made: Ctrl-C, else an error of ours, else the first."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    inner = [_single(each) for each in error.exceptions]
    found = (each for kind in (KeyboardInterrupt, DdtpError) for each in inner if isinstance(each, kind))
    return next(found, inner[0])


def _app() -> typer.Typer:
    app = typer.Typer(
        name="ddtp",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="\b\nExit codes:\n"
        + topics.exit_codes()
        + "\n\n\b\nThe options above may also stand after the command.",
    )
    app.callback()(root)
    for module in _MODULES:
        module.register(app)
    return app


def _version(context: typer.Context, wanted: bool) -> None:
    if wanted:
        context.obj.result(f"ddtp {ddtp.__version__}", {"version": ddtp.__version__})
        raise typer.Exit


def root(
    context: typer.Context,
    *,
    home: Annotated[Path | None, typer.Option(metavar="DIR", help="Keys and records of one identity.")] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings; by default in the home.")] = None,
    language: Annotated[Language | None, typer.Option(help="Of texts for people.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Write JSON, ask nothing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No notes, no progress.")] = False,
    passphrase_file: Annotated[Path | None, typer.Option(metavar="FILE", help="Its first line opens the keys.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a defect.")] = False,
    version: Annotated[  # noqa: ARG001 - acts in its callback
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Carry your own data from one institution to another, provably genuine.

    A person's first steps: ddtp init, ddtp card add, ddtp collect, ddtp send. To see it all at work: ddtp demo.
    """
    console = context.obj
    assert isinstance(console, Console), "given by main"
    console.options = Options(home, config, language, json_output, quiet, passphrase_file, debug)
    console.language = language or Language.EN
