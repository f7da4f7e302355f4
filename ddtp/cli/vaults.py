"""The vault: `ddtp collect`, `ddtp inbox`, and `ddtp vault move`."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddtp.cli import cards, homes
from ddtp.cli._console import Console, console_of, human_bytes, human_time
from ddtp.cli.examples import examples
from ddtp.errors import StorageFailed, UsageError

if TYPE_CHECKING:
    from ddtp.agent.facade import Agent
    from ddtp.config import Config
    from ddtp.protocol.package import Manifest
    from ddtp.store.records import PackageRow, Records, TransferRow


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=examples('ddtp collect "Bank A"', "ddtp collect bank-a.ddtp-card"))(collect)
    app.command(epilog=examples("ddtp inbox", "ddtp inbox --json"))(inbox)
    group = typer.Typer(help="The folder in which packages are kept.", no_args_is_help=True)
    group.command("move", epilog=examples("ddtp vault move /media/drive/ddtp-vault"))(move)
    app.add_typer(group, name="vault")


def collect(context: typer.Context, *, card: cards.CardName) -> None:
    """Fetch what an institution has for you."""
    console = console_of(context)
    issuer = cards.find(console, card)

    async def work(agent: "Agent") -> "tuple[PackageRow, ...]":
        return await agent.collect(issuer)

    _show_packages(
        console, list(homes.with_agent(console, work)), empty=f"{issuer.body.name} has nothing ready for you."
    )


def inbox(context: typer.Context) -> None:
    """List what has arrived.

    For a person these are the packages in the vault, for an institution the transfers that it received.
    """
    console = console_of(context)

    async def load(config: "Config", records: "Records") -> "tuple[Config, list[PackageRow], list[TransferRow]]":
        from ddtp.store.records import Direction

        return config, await records.packages(), await records.transfers(direction=Direction.IN)

    config, packages, transfers = homes.with_records(console, load)
    if config.institution is None:
        _show_packages(console, packages, empty="No packages yet. Next: ddtp collect NAME")
    else:
        _show_received(console, config, transfers)


def move(
    context: typer.Context,
    *,
    folder: Annotated[Path, typer.Argument(help="New place; must not exist, or be empty.")],
) -> None:
    """Move the vault to another folder or drive, and remember its new place.

    Nothing is deleted before everything is safe in the new place.
    """
    from ddtp.store.durable import make_directory
    from ddtp.store.keystore import locked

    console = console_of(context)
    target = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would fix today's target of a link

    async def work(config: "Config", records: "Records") -> "tuple[Path, int]":
        old = config.vault
        _check_move(config, target)
        with locked(config.home):
            make_directory(old)  # a home that has no packages yet has no vault either
            count = _copy(old, target)
            # Both places hold everything now; from here on the new one is used.
            places = _below(old, await records.package_places())
            await records.move_packages({package_id: target / inside for package_id, inside in places.items()})
            _write_setting(console, config, target)
            _check_unused(old, await records.package_places())
            # A crash before this line leaves the old copy, which nothing uses any more.
            shutil.rmtree(old, ignore_errors=True)
        return old, count

    old, count = homes.with_records(console, work)
    console.result(
        f"Moved {count} file(s) from {old} to {target}", {"from": str(old), "to": str(target), "files": count}
    )


def package_json(row: "PackageRow", manifest: "Manifest") -> dict[str, object]:
    """Return a package of the vault as a JSON object."""
    return {
        "package_id": row.package_id.hex(),
        "path": str(row.path),
        "issuer": manifest.issuer,
        "schema": manifest.schema,
        "issued": manifest.issued,
        "expires": manifest.expires,
        "present": row.path.exists(),
    }


def _show_packages(console: Console, rows: "list[PackageRow]", *, empty: str) -> None:
    from ddtp.protocol import envelope
    from ddtp.protocol.package import Manifest

    found = [(row, envelope.verify(Manifest, row.manifest).body) for row in rows]
    if not found:
        console.note(empty)
    lines = [
        (
            row.package_id.hex()[:8],
            manifest.schema,
            human_time(manifest.issued),
            human_time(manifest.expires),
            human_bytes(row.path.stat().st_size) if row.path.exists() else "MISSING",
            str(row.path),
        )
        for row, manifest in found
    ]
    data = {"packages": [package_json(row, manifest) for row, manifest in found]}
    console.rows(("ID", "KIND", "ISSUED", "VALID UNTIL", "SIZE", "FILE"), lines, data)


def _show_received(console: Console, config: "Config", rows: "list[TransferRow]") -> None:
    from ddtp.store.records import TransferState

    folder = config.receiver.inbox if config.receiver else None

    def place(row: "TransferRow") -> str | None:
        return str(folder / row.transfer_id.hex()) if folder and row.state is TransferState.VERIFIED else None

    if not rows:
        console.note("Nothing has arrived yet.")
    lines = [
        (row.transfer_id.hex()[:8], row.state.value, row.schema, human_time(row.updated), place(row) or "-")
        for row in rows
    ]
    data = [
        {
            "transfer_id": row.transfer_id.hex(),
            "state": row.state.value,
            "schema": row.schema,
            "updated": row.updated,
            "folder": place(row),
        }
        for row in rows
    ]
    console.rows(("ID", "STATE", "KIND", "WHEN", "FOLDER"), lines, {"received": data})


def _check_move(config: "Config", new: Path) -> None:
    from ddtp.agent.context import check_vault

    check_vault(config)
    old = config.vault
    if new.is_relative_to(old) or old.is_relative_to(new):
        raise UsageError("expected a new place beside the old vault, found one inside the other")
    if new.exists() and (not new.is_dir() or any(new.iterdir())):
        raise StorageFailed(f"expected no folder or an empty one at {new}, found something", hint="choose another")


def _below(folder: Path, places: Mapping[bytes, Path]) -> dict[bytes, Path]:
    """Return the packages whose files lie in a folder, whichever way their records spell it, by their place in it."""
    real = Path(os.path.realpath(folder))
    resolved = {package_id: Path(os.path.realpath(path)) for package_id, path in places.items()}
    return {key: path.relative_to(real) for key, path in resolved.items() if path.is_relative_to(real)}


def _check_unused(old: Path, places: Mapping[bytes, Path]) -> None:
    left = _below(old, places)
    if left:
        raise StorageFailed(
            f"expected no record of a package in {old} any more, found {len(left)}",
            hint="nothing was deleted; the new place holds a copy of everything",
        )


def _copy(old: Path, new: Path) -> int:
    """Copy a folder durably: it appears under its name whole, or not at all."""
    from ddtp.store.durable import make_directory, storage_errors, sync_directory

    temporary = new.with_name(f".{new.name}.part")
    count = 0
    with storage_errors(new):
        shutil.rmtree(temporary, ignore_errors=True)
        make_directory(new.parent)
        try:
            for folder, _folders, files in os.walk(old):
                copy = make_directory(temporary / Path(folder).relative_to(old))
                for name in files:
                    _copy_file(Path(folder) / name, copy / name)
                    count += 1
                sync_directory(copy)
            if new.exists():
                new.rmdir()
            temporary.rename(new)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    sync_directory(new.parent)
    return count


def _copy_file(source: Path, target: Path) -> None:
    shutil.copy2(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _write_setting(console: Console, config: "Config", vault: Path) -> None:
    """Put the vault's place into the settings file, above its tables; everything else in it stays."""
    import json

    from ddtp.config import CONFIG_FILE
    from ddtp.store.durable import write_file

    path = console.options.config_file or config.home / CONFIG_FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    first_table = next((number for number, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))
    kept = [line for line in lines[:first_table] if line.partition("=")[0].strip() != "vault"]
    setting = f"vault = {json.dumps(str(vault), ensure_ascii=False)}"
    write_file(path, ("\n".join([setting, *kept, *lines[first_table:]]) + "\n").encode())
