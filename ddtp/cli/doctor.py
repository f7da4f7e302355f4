"""`ddtp paths` and `ddtp doctor`: where things are, and whether this machine can do its work."""

import platform
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

import ddtp
from ddtp.cli import homes, policies
from ddtp.cli._console import Console, columns, console_of, human_bytes, human_time
from ddtp.cli.examples import examples
from ddtp.errors import DdtpError

if TYPE_CHECKING:
    from ddtp.config import Config

_LEAST_FREE_BYTES: Final = 1 << 30
"""Below a gibibyte a package with scans or pictures may not fit twice, sealed and opened."""
_BUILT_AT: Final = 1_767_225_600
"""Start of 2026, before this version was made: no honest clock shows less."""
_LATEST: Final = 4_102_444_800
"""Start of 2100."""
_CONGESTION: Final = Path("/proc/sys/net/ipv4/tcp_congestion_control")
_DISTRIBUTIONS: Final = ("trio", "aiosqlite", "cbor2", "cryptography", "libp2p")


class Health(Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check.

    Attributes:
        name: What was checked.
        health: How it ended.
        detail: What was found.
        hint: What to do, if it is not well.
    """

    name: str
    health: Health
    detail: str
    hint: str = field(default="")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=examples("ddtp paths", "ddtp paths --json"))(paths)
    app.command(epilog=examples("ddtp doctor", "ddtp doctor --json"))(doctor)


def paths(context: typer.Context) -> None:
    """Show where this home keeps its things."""
    console = console_of(context)
    places = _places(console, homes.settings(console))
    lines = [(name, str(path), "" if path.exists() else "(not there)") for name, path in places.items()]
    console.result(columns(lines), {name: str(path) for name, path in places.items()})


def doctor(context: typer.Context) -> None:
    """Check this machine and this home.

    The exit code is 1 if something is broken.
    """
    console = console_of(context)
    config = homes.settings(console)
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _versions,
        _crypto,
        _clock,
        lambda: _home(config),
        lambda: _records(config),
        lambda: _ledger(config),
        lambda: _vault(config),
        _network,
    )
    findings = [finding for check in checks for finding in _run(check)]
    broken = any(finding.health is Health.BROKEN for finding in findings)
    lines = [
        (finding.health.value.upper(), finding.name, finding.detail + (f" - {finding.hint}" if finding.hint else ""))
        for finding in findings
    ]
    data = {
        "healthy": not broken,
        "checks": [
            {"name": each.name, "state": each.health.value, "detail": each.detail, "hint": each.hint or None}
            for each in findings
        ],
    }
    console.result(columns(lines), data)
    if broken:
        raise typer.Exit(1)


def _places(console: Console, config: "Config") -> dict[str, Path]:
    from ddtp.config import CONFIG_FILE
    from ddtp.store.keystore import KEY_FILE
    from ddtp.store.records import DATABASE_FILE

    places = {
        "home": config.home,
        "config": console.options.config_file or config.home / CONFIG_FILE,
        "keys": config.home / KEY_FILE,
        "records": config.home / DATABASE_FILE,
        "policy": config.home / policies.POLICY_FILE,
        "vault": config.vault,
    }
    if config.receiver is not None:
        places["inbox"] = config.receiver.inbox
    if config.institution is not None:
        places["card"] = homes.daemon_card(config)
    return places


def _run(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except DdtpError as err:
        yield Finding(err.code, Health.BROKEN, err.message, err.hint or "")


def _versions() -> Iterator[Finding]:
    implementation = f"{platform.python_implementation()} {platform.python_version()} on {platform.platform()}"
    yield Finding("python", Health.OK, implementation)
    found = [f"{name} {metadata.version(name)}" for name in _DISTRIBUTIONS]
    yield Finding("versions", Health.OK, ", ".join([f"ddtp {ddtp.__version__}", *found]))


def _crypto() -> Iterator[Finding]:
    from ddtp.crypto import _backend

    backend = _backend.describe()
    detail = f"{backend.name}: SM2 {backend.sm2}, SM3 {backend.sm3}, SM4 {backend.sm4}"
    yield Finding("crypto", Health.WARNING if backend.warning else Health.OK, detail, backend.warning or "")


def _clock() -> Iterator[Finding]:
    now = int(time.time())
    if _BUILT_AT <= now < _LATEST:
        yield Finding("clock", Health.OK, human_time(now))
    else:
        yield Finding("clock", Health.BROKEN, f"{now} seconds since 1970", "set the clock; signatures carry its time")


def _home(config: "Config") -> Iterator[Finding]:
    from ddtp.store.keystore import KEY_FILE, check_private, has_identity, needs_passphrase

    if not has_identity(config.home):
        yield Finding("identity", Health.WARNING, f"none in {config.home}", "run: ddtp init")
        return
    mode = stat.S_IMODE(config.home.stat().st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding("home", Health.WARNING, f"{config.home} has mode {mode:o}", f"run: chmod 700 {config.home}")
    else:
        yield Finding("home", Health.OK, f"{config.home}, for this user only")
    check_private(config.home / KEY_FILE)
    sealed = needs_passphrase(config.home)
    detail = "sealed with a passphrase" if sealed else "protected by file permissions only"
    yield Finding("keys", Health.OK if sealed else Health.WARNING, detail)


def _records(config: "Config") -> Iterator[Finding]:
    import trio

    from ddtp.store.records import DATABASE_FILE, open_records

    if not (config.home / DATABASE_FILE).exists():
        yield Finding("records", Health.OK, "none yet")
        return

    async def count() -> tuple[int, int, int]:
        async with open_records(config.home) as records:
            return len(await records.cards()), len(await records.packages()), len(await records.transfers())

    cards, packages, transfers = trio.run(count)
    yield Finding("records", Health.OK, f"{cards} cards, {packages} packages, {transfers} transfers")


def _ledger(config: "Config") -> Iterator[Finding]:
    if config.ledger is not None:
        from ddtp.cli.cards import read_card

        card = read_card(config.ledger).body
        health = Health.OK if card.logs else Health.BROKEN
        yield Finding("ledger", health, f"of {card.name}: {', '.join(log.origin for log in card.logs) or 'none'}")
    elif config.ledger_origin is not None:
        runs = homes.daemon_runs(config)
        yield Finding("ledger", Health.OK, f"our own, {config.ledger_origin}; service {'runs' if runs else 'stopped'}")
    elif config.institution is not None:
        yield Finding("ledger", Health.WARNING, "none", "set [ledger] card or origin; packages cannot be issued")


def _vault(config: "Config") -> Iterator[Finding]:
    import os

    place = next((path for path in (config.vault, *config.vault.parents) if path.exists()), Path("/"))
    writable = os.access(place, os.W_OK | os.X_OK)
    free = shutil.disk_usage(place).free
    if not writable:
        yield Finding("vault", Health.BROKEN, f"{place} cannot be written", "choose another: ddtp vault move DIR")
    elif free < _LEAST_FREE_BYTES:
        yield Finding("vault", Health.WARNING, f"{human_bytes(free)} free for {config.vault}", "free some space")
    else:
        yield Finding("vault", Health.OK, f"{config.vault}, {human_bytes(free)} free")


def _network() -> Iterator[Finding]:
    if sys.platform != "linux" or not _CONGESTION.exists():
        return
    control = _CONGESTION.read_text(encoding="ascii").strip()
    if control == "bbr":
        yield Finding("network", Health.OK, "congestion control bbr")
    else:
        hint = "bbr is faster on lossy links: sysctl net.ipv4.tcp_congestion_control=bbr"
        yield Finding("network", Health.OK, f"congestion control {control}", hint)
