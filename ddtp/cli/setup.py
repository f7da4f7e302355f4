"""`ddtp init`: make the identity of a home; `ddtp phrase`: show its recovery phrase."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ddtp.cli import homes
from ddtp.cli._console import Console, console_of, text_columns
from ddtp.cli.examples import examples
from ddtp.cli.home_checks import check_no_orphans
from ddtp.cli.options import Options
from ddtp.errors import ConfirmationMissing, StorageFailed, UsageError

if TYPE_CHECKING:
    from ddtp.config import Config
    from ddtp.identity.keys import Seed

_MAX_PHRASE_BYTES: Final = 4096
"""24 words of the longest kind in UTF-8, with generous spacing."""

_LEAST_CHARACTERS: Final = 8
"""Of a passphrase that is not warned about: NIST SP 800-63B s.5.1.1 takes fewer for no secret."""
_CELLS_OF_WORD: Final = 14
"""A number, a full stop, a blank and a word of up to eight letters with two blanks."""

_HINTS: Final = """
# passphrase_file = "passphrase"       # first line opens the key file, for a service that starts by itself

# [network]
# listen = ["/ip4/0.0.0.0/tcp/4001"]   # where to listen; loopback only by default
# announce = ["/dns4/bank.example/tcp/4001"]   # what the card says; needed with 0.0.0.0, or behind another address
# send_limit = "2MB/s"                 # no sending is faster; of this and --limit the lower one holds

# [serve]
# roles = ["issuer", "receiver", "witness", "ledger", "verifier"]

# [ledger]
# origin = "bank.example/ddtp"         # run a ledger of one's own under this name, or
# card = "operator.ddtp-card"          # anchor on the ledger of this operator

# [issuer]
# packages = "packages"                # finished packages that holders collect

# [receiver]
# policy = "policy.toml"               # whom to trust; `ddtp card add --trust` writes one
# requests = "requests"                # templates of requests, one TOML file each
# verifier = "verifier.ddtp-card"      # who judges the evidence elsewhere; every request then says so
# limit = "50MB/s"                     # what all transfers together may bring in

# [notify]
# command = ["notify-transfer"]        # run when a transfer ends; details are in DDTP_TRANSFER_ variables
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        epilog=examples(
            "ddtp init",
            'ddtp init --institution "Bank A" --country CN --contact privacy@bank-a.example --passphrase-file F',
            "ddtp init --phrase words.txt        (restore from the 24 words)",
        )
    )(init)
    app.command(epilog=examples("ddtp phrase", "ddtp phrase --yes > /dev/tty"))(phrase)


def init(
    context: typer.Context,
    *,
    institution: Annotated[str | None, typer.Option(help="Legal name, if this home is an institution's.")] = None,
    country: Annotated[str | None, typer.Option(help="Where it is registered: two letters, such as CN.")] = None,
    contact: Annotated[str | None, typer.Option(help="Where a person reaches it.")] = None,
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Protect the keys by file permissions only.")
    ] = False,
    phrase: Annotated[
        Path | None, typer.Option(help="Restore from the 24 words in this file; - reads them from stdin.")
    ] = None,
    show_phrase: Annotated[
        bool, typer.Option("--show-phrase", help="Show the recovery phrase although this is no terminal.")
    ] = False,
    vault: Annotated[Path | None, typer.Option(help="Where packages are kept; by default in the home.")] = None,
) -> None:
    """Make the identity of this home.

    That is its keys, and for an institution its settings. The keys are protected by a passphrase, which is asked
    for or read with --passphrase-file. An identity is never replaced.
    """
    from ddtp.config import CONFIG_FILE
    from ddtp.identity.keys import SELF, Seed
    from ddtp.store.durable import make_directory, write_file
    from ddtp.store.keystore import create_identity, has_identity

    console = console_of(context)
    written = _settings_text(console.options, (institution, country, contact), vault)
    config = homes.settings(console)
    target = config.home / CONFIG_FILE
    if has_identity(config.home):
        raise StorageFailed(f"expected no identity in {config.home}, found one", hint="choose another --home")
    if phrase is None:
        check_no_orphans(config.home)
    if written is not None and target.exists():
        raise StorageFailed(
            f"expected no settings at {target}, found some", hint="edit them, and leave out the options"
        )
    seed = Seed.from_phrase(_read_phrase(phrase)) if phrase else Seed.generate(os.urandom)
    secret = _new_passphrase(console, no_passphrase=no_passphrase)
    make_directory(config.home)
    # the settings first: the key file is what makes a home whole, and it must not be there without them
    if written is not None:
        write_file(target, written.encode(), overwrite=False)
        config = homes.settings(console)
    if vault is not None:
        make_directory(config.vault)
    if secret is not None and len(secret) < _LEAST_CHARACTERS:
        console.warn(console.words.unlock_short.format(least=_LEAST_CHARACTERS))
    create_identity(config.home, seed, passphrase=secret, random_bytes=os.urandom)
    shown = phrase is None and (show_phrase or console.interactive)
    data: dict[str, object] = {
        "home": str(config.home),
        "kind": "institution" if config.institution else "person",
        "did": (seed.institution_key("sign") if config.institution else seed.holder_key(SELF)).did,
        "vault": str(config.vault),
        "config": str(target) if target.exists() else None,
        "sealed": secret is not None,
        "restored": phrase is not None,
    }
    if shown:
        data["phrase"] = seed.phrase(console.language)
        console.show(f"{console.words.phrase_heading}\n\n{_lines(seed, console)}\n\n{console.words.phrase_advice}\n")
    elif phrase is None:
        console.note(console.words.phrase_hidden)
    else:
        console.note(console.words.restored)
    console.result(_ready(console, config), data)


def phrase(
    context: typer.Context,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether to show it.")] = False,
) -> None:
    """Show the recovery phrase of this home.

    These are 24 words that bring all its keys back.
    """
    console = console_of(context)
    seed = homes.open_seed(console, homes.settings(console))
    if not yes:
        console.confirm(console.words.phrase_question)
    console.note(console.words.phrase_advice)
    console.result(_lines(seed, console), {"phrase": seed.phrase(console.language)})


def _settings_text(options: Options, card: tuple[str | None, ...], vault: Path | None) -> str | None:
    """Return the settings file to write, or None if there is nothing to say.

    Raises:
        UsageError: Only a part of what an institution needs is given.
    """
    import json

    # the strings of JSON are strings of TOML
    lines = []
    if options.language is not None:
        lines.append(f"language = {json.dumps(options.language.value)}")
    if vault is not None:
        lines.append(f"vault = {json.dumps(str(vault.absolute()), ensure_ascii=False)}")
    if any(card):
        if not all(card):
            raise UsageError("expected --institution, --country and --contact together, found a part of them")
        _check_institution(card)
        names = ("name", "country", "contact")
        values = (f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in zip(names, card, strict=True))
        lines += [_HINTS, "[institution]", *values]
    return "\n".join(lines) + "\n" if lines else None


def _check_institution(card: tuple[str | None, ...]) -> None:
    from ddtp.errors import DecodeError
    from ddtp.identity.document import check_country
    from ddtp.identity.naming import check_name, check_wording

    name, country, contact = (value or "" for value in card)
    try:
        check_name(name)
        check_country(country)
        check_wording(contact)
    except DecodeError as err:
        raise UsageError(f"expected a name, country and contact that can stand on a card: {err.message}") from err


def _read_phrase(file: Path) -> str:
    import sys

    from ddtp.store.durable import read_file

    if str(file) == "-":
        return sys.stdin.read(_MAX_PHRASE_BYTES)
    try:
        return read_file(file, max_bytes=_MAX_PHRASE_BYTES).decode()
    except UnicodeDecodeError as err:
        raise UsageError(f"expected 24 words in UTF-8 in {file}") from err


def _new_passphrase(console: Console, *, no_passphrase: bool) -> str | None:
    file = console.options.passphrase_file
    if no_passphrase:
        if file is not None:
            raise UsageError("expected --passphrase-file or --no-passphrase, found both")
        return None
    if file is not None:
        return homes.read_passphrase(file)
    if not console.interactive:
        raise ConfirmationMissing(
            "expected a passphrase for the new keys, found nobody to ask",
            hint="add --passphrase-file FILE, or --no-passphrase",
        )
    return console.ask_new_passphrase()


def _lines(seed: "Seed", console: Console) -> str:
    """Return the words in even lines, at most six words each, numbered so that none is skipped while writing."""
    found = seed.phrase(console.language).split()
    numbered = [f"{number:>2}. {word:<10}" for number, word in enumerate(found, start=1)]
    count = next(each for each in (6, 4, 3, 2, 1) if each == 1 or each * _CELLS_OF_WORD <= text_columns())
    return "\n".join("".join(numbered[start : start + count]).rstrip() for start in range(0, len(numbered), count))


def _ready(console: Console, config: "Config") -> str:
    text = console.words
    if config.institution is None:
        return text.person_ready.format(home=config.home)
    return text.institution_ready.format(
        name=config.institution.name, home=config.home, config=config.home / "config.toml"
    )
