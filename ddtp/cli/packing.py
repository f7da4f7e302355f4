"""`ddtp issue` and `ddtp pack`: put files into a package, for a person or as oneself."""

import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ddtp.cli import cards, homes
from ddtp.cli._console import Console, console_of, human_bytes
from ddtp.cli._progress import Report
from ddtp.cli.examples import examples
from ddtp.errors import DecodeError, UsageError

if TYPE_CHECKING:
    from ddtp.agent.facade import Agent
    from ddtp.agent.issuing import IssuedPackage
    from ddtp.config import Config
    from ddtp.identity.document import HolderAddress
    from ddtp.protocol.leaves import Field

_DEFAULT_VALID_DAYS: Final = 90
"""A quarter, as proofs of address and income usually have."""
_MAX_VALID_DAYS: Final = 36_525
"""A hundred years: certificates of birth hold for a life."""
_SCHEMA: Final = re.compile(r"[^\s/]+/[0-9]+")
_MAX_SCHEMA_CHARACTERS: Final = 200

Files = Annotated[list[Path] | None, typer.Argument(metavar="FILES", help="Files and folders.", show_default=False)]
Schema = Annotated[str, typer.Option(help='Kind of package: a name and a number, such as "bank-statement/1".')]
Fields = Annotated[
    list[str] | None,
    typer.Option("--field", metavar="PATH[:KIND]=VALUE", help="A single value that can be shown by itself."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        epilog=examples(
            "ddtp issue statement.pdf --holder ddtp1:... --schema bank-statement/1 --out statement.ddtp",
            "ddtp issue card.pdf --holder ddtp1:... --schema student-card/1 --field name=小明 --field age:integer=18",
            "KIND is text (the default), integer, decimal, date or boolean.",
        )
    )(issue)
    app.command(epilog=examples("ddtp pack report.pdf --schema medical-report/1 --witness notary.ddtp-card"))(pack)
    app.command(
        "witness",
        help="The same as `ddtp pack`.\n\nA witness attests your own files; it sees a blinded fingerprint only.",
        epilog=examples("ddtp witness report.pdf --schema medical-report/1 --witness notary.ddtp-card"),
    )(pack)


def issue(
    context: typer.Context,
    *,
    holder: Annotated[str, typer.Option(metavar="ADDRESS", help="The person's address: ddtp1:...")],
    schema: Schema,
    files: Files = None,
    out: Annotated[
        Path | None, typer.Option(help="Package file to write; by default into [issuer] packages.", show_default=False)
    ] = None,
    field: Fields = None,
    valid: Annotated[
        int, typer.Option(metavar="DAYS", min=1, max=_MAX_VALID_DAYS, help="How long the package is valid.")
    ] = (_DEFAULT_VALID_DAYS),
) -> None:
    """Issue a package to a person.

    It is sealed to them, signed, and registered on the ledger. Only a fingerprint goes to the ledger; the person
    gets the file, or collects it.
    """
    from ddtp.agent.issuing import Draft

    console = console_of(context)
    config = homes.settings(console)
    draft = Draft(
        paths=files or (),
        fields=parse_fields(field or ()),
        schema=check_schema(schema),
        holder=parse_holder(holder),
        valid_seconds=valid * cards.DAY_SECONDS,
        output=_output(config, out),
    )

    async def work(agent: "Agent") -> "IssuedPackage":
        with console.progress() as report:
            return await agent.issue(draft, tick=counting(report, draft.paths))

    _show(console, homes.with_agent(console, work, config=config), "Issued")


def pack(
    context: typer.Context,
    *,
    schema: Schema,
    witness: Annotated[str, typer.Option(metavar="CARD", help="Card of the witness: a file, or a known name.")],
    files: Files = None,
    field: Fields = None,
) -> None:
    """Pack your own files, attested by a witness.

    The witness signs a blinded fingerprint, so that others can see that the files existed at this time and have not
    changed since. It never sees the files, their names or their number.
    """
    console = console_of(context)
    card = cards.find(console, witness)
    fields = parse_fields(field or ())
    check_schema(schema)

    async def work(agent: "Agent") -> "IssuedPackage":
        with console.progress() as report:
            tick = counting(report, files or ())
            return await agent.pack(files or (), fields=fields, schema=schema, witness=card, tick=tick)

    _show(console, homes.with_agent(console, work), "Packed")


def parse_fields(texts: Sequence[str]) -> "tuple[Field, ...]":
    """Read fields written as PATH=VALUE or PATH:KIND=VALUE.

    Raises:
        UsageError: One is written otherwise, or its value is not in the one spelling of its kind.
    """
    from ddtp.protocol.leaves import Field, FieldKind

    fields = []
    for text in texts:
        name, equals, value = text.partition("=")
        path, _colon, kind = name.partition(":")
        if not equals or not path:
            raise UsageError(f"expected --field PATH=VALUE or PATH:KIND=VALUE, found {name[:40]!r}")
        try:
            fields.append(Field(path, FieldKind(kind or "text"), value))
        except ValueError as err:
            kinds = ", ".join(each.value for each in FieldKind)
            raise UsageError(f"expected one of {kinds} as kind of the field {path!r}, found {kind!r}") from err
        except DecodeError as err:
            raise UsageError(f"the field {path!r} cannot stand in a package: {err.message}") from err
    return tuple(fields)


def parse_holder(text: str) -> "HolderAddress":
    """Read the address of a person, as `ddtp id --for` prints it.

    Raises:
        UsageError: It is no address, or was cut.
        SignatureInvalid, EvidenceError: It is forged, or from the future.
    """
    from ddtp.identity.document import parse_holder_address

    try:
        return parse_holder_address(text.strip(), now=int(time.time())).body
    except DecodeError as err:
        raise UsageError(
            f"expected --holder ddtp1:..., the whole address of a person, found something else: {err.message}",
            hint="the person prints it with: ddtp id --for NAME",
        ) from err


def check_schema(text: str) -> str:
    """Return the kind of a package if it has the form name/number.

    Raises:
        UsageError: It has not.
    """
    from ddtp.identity.naming import check_wording

    expected = f"expected --schema as a name and a number, such as bank-statement/1, found {text[:40]!r}"
    if len(text) > _MAX_SCHEMA_CHARACTERS or not _SCHEMA.fullmatch(text):
        raise UsageError(expected)
    try:
        check_wording(text)
    except DecodeError as err:
        raise UsageError(expected) from err
    return text


def counting(report: Report, paths: Sequence[Path]) -> Callable[[int], None]:
    """Return a callback that adds up bytes and reports them against the size of some files and folders."""
    total = sum(_size(path) for path in paths)
    done = 0

    def tick(count: int) -> None:
        nonlocal done
        done += count
        report("packing", done, total)

    return tick


def _size(path: Path) -> int:
    if path.is_dir():
        return sum((Path(folder) / name).lstat().st_size for folder, _, names in os.walk(path) for name in names)
    # a missing file is reported by who reads it
    return path.stat().st_size if path.exists() else 0


def _output(config: "Config", out: Path | None) -> Path:
    from ddtp.store.packages import PACKAGE_SUFFIX

    if out is not None:
        return out
    if config.packages is None:
        raise UsageError("expected --out FILE, found none", hint="or set [issuer] packages in the settings")
    return config.packages / f"{os.urandom(8).hex()}{PACKAGE_SUFFIX}"


def _show(console: Console, package: "IssuedPackage", verb: str) -> None:
    text = (
        f"{verb}: {package.path}\n"
        f"{package.files} file(s), {human_bytes(package.content_bytes)}, kind {package.schema}, "
        f"package {package.package_id.hex()}"
    )
    data = {
        "path": str(package.path),
        "package_id": package.package_id.hex(),
        "issuer": package.issuer,
        "holder": package.holder,
        "schema": package.schema,
        "root": package.root.hex(),
        "files": package.files,
        "content_bytes": package.content_bytes,
    }
    console.result(text, data)
