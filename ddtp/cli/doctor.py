"""`ddtp paths` and `ddtp doctor`: where things are, and whether this machine can do its work."""

import platform
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

import ddtp
from ddtp.cli import home_checks, homes, policies
from ddtp.cli._console import Console, columns, console_of, human_time
from ddtp.cli.examples import examples
from ddtp.cli.findings import Finding, Health, broken
from ddtp.errors import DdtpError

if TYPE_CHECKING:
    from ddtp.config import Config

_BUILT_AT: Final = 1_767_225_600
"""Start of 2026, before this version was made: no honest clock shows less."""
_LATEST: Final = 4_102_444_800
"""Start of 2100."""
_CONGESTION: Final = Path("/proc/sys/net/ipv4/tcp_congestion_control")
_DISTRIBUTIONS: Final = ("trio", "aiosqlite", "cbor2", "cryptography", "libp2p")


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

    Settings, keys, records, ledger, and what a service needs to start.

    One thing that is broken does not keep the others from being checked. A ledger is read as a whole while no service
    uses it. The exit code is 1 if something is broken.
    """
    console = console_of(context)
    findings = [*_all(_versions), *_all(_crypto), *_all(_clock), *home_checks.check(console), *_all(_network)]
    failed = any(finding.health is Health.BROKEN for finding in findings)
    lines = [
        (finding.health.value.upper(), finding.name, finding.detail + (f" - {finding.hint}" if finding.hint else ""))
        for finding in findings
    ]
    data = {
        "healthy": not failed,
        "checks": [
            {"name": each.name, "state": each.health.value, "detail": each.detail, "hint": each.hint or None}
            for each in findings
        ],
    }
    console.result(columns(lines), data)
    if failed:
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


def _all(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except DdtpError as err:
        yield broken(check.__name__.strip("_"), err)


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


def _network() -> Iterator[Finding]:
    if sys.platform != "linux" or not _CONGESTION.exists():
        return
    control = _CONGESTION.read_text(encoding="ascii").strip()
    if control == "bbr":
        yield Finding("network", Health.OK, "congestion control bbr")
    else:
        hint = "bbr is faster on lossy links: sysctl net.ipv4.tcp_congestion_control=bbr"
        yield Finding("network", Health.OK, f"congestion control {control}", hint)
