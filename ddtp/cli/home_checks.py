"""What `ddtp doctor` checks in a home: its settings, keys, records, ledger, vault, and whether its service could start.

Every check is done, whatever others find; without settings that can be read, those that need none.
"""

import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ddtp.cli import homes, policies
from ddtp.cli._console import Console, human_bytes
from ddtp.cli.findings import Finding, Health, broken
from ddtp.errors import DdtpError, StorageFailed

if TYPE_CHECKING:
    from ddtp.config import Config

_LEAST_FREE_BYTES: Final = 1 << 30
"""Below a gibibyte a package with scans or pictures may not fit twice, sealed and opened."""

Check = Callable[["Config"], Iterator[Finding]]


def check(console: Console) -> Iterator[Finding]:
    """Run all checks of the home."""
    from ddtp.config import CONFIG_FILE, Config, default_home

    place = console.options.home or default_home()
    checks: tuple[tuple[str, Check], ...] = (("home", _home), ("records", _records), ("ledger file", _ledger_file))
    try:
        config = homes.settings(console)
    except DdtpError as err:
        yield broken("settings", err)
        config = Config(home=place, vault=place / "vault")
    else:
        file = console.options.config_file or place / CONFIG_FILE
        yield Finding("settings", Health.OK, str(file) if file.exists() else "none, which a person does not need")
        checks += (("ledger", _ledger), ("vault", _vault), ("policy", _policies))
        if config.institution is not None or config.roles:
            checks += (("roles", _roles), ("addresses", _addresses), ("requests", _requests))
    for name, each in checks:
        try:
            yield from each(config)
        except DdtpError as err:
            yield broken(name, err)


def check_no_orphans(home: Path) -> None:
    """Check that nothing in a home without keys belongs to keys that were lost.

    Raises:
        StorageFailed: There are records or a ledger.
    """
    from ddtp.config import LEDGER_FILE
    from ddtp.store.keystore import KEY_FILE
    from ddtp.store.records import DATABASE_FILE

    left = next((name for name in (DATABASE_FILE, LEDGER_FILE) if (home / name).exists()), None)
    if left is not None:
        raise StorageFailed(
            f"expected {KEY_FILE} beside {left} in {home}, found none", hint="restore: ddtp init --phrase FILE"
        )


def _home(config: "Config") -> Iterator[Finding]:
    from ddtp.store.keystore import KEY_FILE, check_private, has_identity, needs_passphrase

    if not has_identity(config.home):
        check_no_orphans(config.home)
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

    async def load() -> tuple[int, dict[bytes, Path], int]:
        async with open_records(config.home) as records:
            return len(await records.cards()), await records.package_places(), len(await records.transfers())

    cards, packages, transfers = trio.run(load)
    yield Finding("records", Health.OK, f"{cards} cards, {len(packages)} packages, {transfers} transfers")
    missing = [path for path in packages.values() if not path.exists()]
    if missing:
        detail = f"{len(missing)} of {len(packages)} are not where the records say, as {missing[0]}"
        yield Finding("packages", Health.WARNING, detail, "is their drive mounted?")


def _ledger_file(config: "Config") -> Iterator[Finding]:
    import trio

    from ddtp.chain.sqlite_ledger import audit_file
    from ddtp.config import LEDGER_FILE

    path = config.home / LEDGER_FILE
    if not path.exists():
        return
    if homes.daemon_runs(config):
        yield Finding("ledger file", Health.OK, "in use by the service; it is checked when that is stopped")
        return
    found = trio.run(audit_file, path)
    if found is None:
        yield Finding("ledger file", Health.OK, "no entries yet")
        return
    origin, size = found
    if config.ledger_origin not in (None, origin):
        hint = "[ledger] origin in config.toml cannot change once ledger.db exists"
        yield Finding("ledger file", Health.BROKEN, f"holds {origin}, not {config.ledger_origin}", hint)
    else:
        yield Finding("ledger file", Health.OK, f"{origin}: all {size} entries lead to the root")


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
    from ddtp.agent.context import check_vault

    check_vault(config)
    place = next((path for path in (config.vault, *config.vault.parents) if path.exists()), Path("/"))
    writable = os.access(place, os.W_OK | os.X_OK)
    free = shutil.disk_usage(place).free
    if not writable:
        yield Finding("vault", Health.BROKEN, f"{place} cannot be written", "choose another: ddtp vault move DIR")
    elif free < _LEAST_FREE_BYTES:
        yield Finding("vault", Health.WARNING, f"{human_bytes(free)} free for {config.vault}", "free some space")
    else:
        yield Finding("vault", Health.OK, f"{config.vault}, {human_bytes(free)} free")


def _policies(config: "Config") -> Iterator[Finding]:
    from ddtp.agent.checking import load_policy

    own = config.home / policies.POLICY_FILE
    receiving = config.receiver.policy if config.receiver else None
    told = (receiving, config.verifier_policy, own if own.exists() else None)
    for path in dict.fromkeys(path for path in told if path is not None):
        try:
            policy = load_policy(path)
        except DdtpError as err:
            yield broken("policy", err)
            continue
        detail = (
            f"{path} trusts {len(policy.issuers)} issuers, {len(policy.witnesses)} witnesses, {len(policy.logs)} logs"
        )
        if policy.issuers:
            yield Finding("policy", Health.OK, detail)
        else:
            yield Finding("policy", Health.WARNING, detail, "nothing will be accepted; run: ddtp card add FILE --trust")


def _roles(config: "Config") -> Iterator[Finding]:
    from ddtp.daemon.readiness import role_problems

    names = ", ".join(sorted(role.value for role in config.roles))
    if not names:
        yield Finding("roles", Health.WARNING, "none", "set [serve] roles; without, ddtp serve has nothing to do")
        return
    problems = list(role_problems(config))
    for problem in problems:
        yield broken("roles", problem)
    if not problems:
        yield Finding("roles", Health.OK, names)


def _addresses(config: "Config") -> Iterator[Finding]:
    from ddtp.daemon.readiness import check_addresses, listens_anywhere

    check_addresses(config)
    detail = ", ".join((*(config.announce or config.listen), *config.relays))
    if config.roles and listens_anywhere(config):
        yield Finding("addresses", Health.WARNING, detail, "the port changes at each start; set [network] listen")
    else:
        yield Finding("addresses", Health.OK, detail)


def _requests(config: "Config") -> Iterator[Finding]:
    from ddtp.agent.requesting import check_templates
    from ddtp.cli.cards import read_card
    from ddtp.identity.keys import Seed

    settings = config.receiver
    if settings is None or config.institution is None:
        return
    verifier = read_card(settings.verifier).body.did if settings.verifier else None
    # any key will do: a template does not name its signer, and the home's own key may need its passphrase
    signer = Seed.generate(os.urandom).institution_key("sign")
    names = check_templates(
        settings.requests, config.institution, signer=signer, now=int(time.time()), verifier=verifier
    )
    if names:
        yield Finding("requests", Health.OK, ", ".join(names))
    else:
        yield Finding("requests", Health.WARNING, f"none in {settings.requests}", "nobody can send anything")
