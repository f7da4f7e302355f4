"""`ddtp verify`: check a proof bundle offline. Loads no network library."""

import time
from pathlib import Path
from typing import Annotated, Final

import typer

from ddtp.cli import cards, homes, policies
from ddtp.cli._console import console_of
from ddtp.cli.examples import examples
from ddtp.errors import EvidenceError, UsageError

_FILES: Final = "files"
"""Folder beside a bundle, as `ddtp export` writes it."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "ddtp verify from-bank-a/3f9a0c12.ddtp-proof",
            "ddtp verify proof.ddtp-proof --policy policy.toml --files ./files --language zh",
            "ddtp verify old.ddtp-proof --at 2026-03-01",
        )
    )(verify)


def verify(
    context: typer.Context,
    *,
    bundle: Annotated[Path, typer.Argument(help="The proof bundle, or the folder that it is in.")],
    files: Annotated[
        Path | None, typer.Option(help='Folder with the files; by default "files" beside the bundle, if it is there.')
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="Whom to trust; by default policy.toml in the home, or the service's.")
    ] = None,
    receiver: Annotated[str | None, typer.Option(metavar="DID", help="Demand evidence for this receiver.")] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Ask for another time: 2026-03-01, 2026-03-01T12:00 or seconds.")
    ] = None,
) -> None:
    """Check a proof bundle step by step, offline.

    The exit code is 0 only if no step failed; 6 means that the proof must not be relied on.
    """
    from ddtp.agent.checking import check_bundle
    from ddtp.verify.report import explain, to_json

    console = console_of(context)
    bundle = find_bundle(bundle)
    trusted = policies.find_policy(homes.settings(console), policy)
    beside = bundle.parent / _FILES
    report = check_bundle(
        bundle,
        policy=trusted,
        files=files or (beside if beside.is_dir() else None),
        receiver=receiver,
        now=int(time.time()) if at is None else parse_time(at),
    )
    console.result(explain(report, console.language), to_json(report))
    if not report.passed:
        raise typer.Exit(EvidenceError.exit_code)


def find_bundle(path: Path) -> Path:
    """Return the proof bundle at a path: the file itself, or the only one in a folder.

    Raises:
        NotFound: There is no such file.
        UsageError: The folder holds no bundle, or several.
    """
    from ddtp.verify.evidence import BUNDLE_SUFFIX

    if path.is_dir():
        names = cards.names_in(path, BUNDLE_SUFFIX)
        if len(names) != 1:
            found = ", ".join(names) or "none"
            raise UsageError(
                f"expected the folder of one proof bundle, found the folder {path}", hint=f"in it: {found}"
            )
        return path / names[0]
    cards.file_start(path)
    return path


def parse_time(text: str) -> int:
    """Read a time: seconds since the epoch, or a date or time of ISO 8601, in UTC unless it says otherwise.

    Raises:
        UsageError: It is neither.
    """
    from datetime import UTC, datetime

    if text.isascii() and text.isdigit() and len(text) > 8:
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as err:
        raise UsageError(f"expected a time such as 2026-03-01 or 2026-03-01T12:00, found {text[:40]!r}") from err
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
