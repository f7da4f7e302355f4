"""Opening the home that a command works in: settings, passphrase, keys, records, agent."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from ddtp.cli._console import Console
from ddtp.errors import PassphraseWrong, UsageError

if TYPE_CHECKING:
    from ddtp.agent.facade import Agent
    from ddtp.config import Config
    from ddtp.identity.keys import Seed
    from ddtp.store.records import Records

Result = TypeVar("Result")

_TRIES: Final = 3
"""Of a passphrase that is asked for, as other programs have it."""
_MAX_PASSPHRASE_FILE_BYTES: Final = 8192
"""One line of at most 1024 characters."""


def settings(console: Console) -> "Config":
    """Read the settings of the home.

    Raises:
        ConfigInvalid: A setting is wrong.
    """
    from ddtp.config import load_config

    config = load_config(home=console.options.home, file=console.options.config_file)
    console.language = console.options.language or config.language
    return replace(config, language=console.language)


def open_seed(console: Console, config: "Config") -> "Seed":
    """Open the key file. A person at a terminal may mistype the passphrase twice.

    Raises:
        IdentityMissing, PassphraseWrong: It is missing or stays closed.
    """
    secret = passphrase(console, config)
    asked = secret is not None and _passphrase_file(console, config) is None
    return _open_seed(console, config.home, secret, tries=_TRIES if asked else 1)


def _open_seed(console: Console, home: Path, secret: str | None, *, tries: int) -> "Seed":
    from ddtp.store.keystore import load_identity

    try:
        return load_identity(home, passphrase=secret)
    except PassphraseWrong as err:
        if tries == 1:
            err.hint = console.words.unlock_lost
            raise
    console.show(console.words.unlock_again)
    return _open_seed(console, home, console.ask_passphrase(), tries=tries - 1)


def _passphrase_file(console: Console, config: "Config") -> Path | None:
    return console.options.passphrase_file or config.passphrase_file


def passphrase(console: Console, config: "Config") -> str | None:
    """Return the passphrase of the key file: from a file, or asked for; None if it needs none.

    Raises:
        IdentityMissing: There is no key file.
        PassphraseWrong: It needs one, and nobody can be asked.
    """
    from ddtp.store.keystore import needs_passphrase

    if not needs_passphrase(config.home):
        return None
    file = _passphrase_file(console, config)
    if file is not None:
        return read_passphrase(file)
    if not console.interactive:
        raise PassphraseWrong(
            "expected a passphrase for the key file, found nobody to ask",
            hint="add --passphrase-file FILE, or set DDTP_PASSPHRASE_FILE",
        )
    return console.ask_passphrase()


def read_passphrase(file: Path) -> str:
    """Return the first line of a file.

    Raises:
        NotFound: There is no such file.
        UsageError: It is empty or not text.
    """
    from ddtp.store.durable import read_file

    try:
        text = read_file(file, max_bytes=_MAX_PASSPHRASE_FILE_BYTES).decode()
    except UnicodeDecodeError as err:
        raise UsageError(f"expected a passphrase in UTF-8 in {file}") from err
    line = text.partition("\n")[0].removesuffix("\r")
    if not line:
        raise UsageError(f"expected a passphrase on the first line of {file}, found none")
    return line


def with_records(console: Console, work: "Callable[[Config, Records], Awaitable[Result]]") -> Result:
    """Run something with the records of the home; no network is loaded.

    Raises:
        IdentityMissing: There is no identity, so there are no records either.
        StoreDamaged: The records are corrupt.
    """
    import trio

    from ddtp.store.keystore import needs_passphrase
    from ddtp.store.records import open_records

    config = settings(console)
    needs_passphrase(config.home)

    async def main() -> Result:
        async with open_records(config.home) as records:
            return await work(config, records)

    # for what is outside of `ending_signals`: Ctrl-C comes where the command waits, not at whatever line runs
    return trio.run(main, restrict_keyboard_interrupt_to_checkpoints=True)


def with_agent(
    console: Console, work: "Callable[[Agent], Awaitable[Result]]", *, config: "Config | None" = None
) -> Result:
    """Run something with the agent of the home.

    Args:
        console: Where to ask for the passphrase.
        work: What to do.
        config: Settings other than those of the home.

    Raises:
        DdtpError: As `open_agent`, and as the work does.
    """
    known = config or settings(console)
    seed = open_seed(console, known)

    import trio

    from ddtp.agent.facade import open_agent

    # libraries log connections that end; a command reports what matters itself
    logging.basicConfig(level=logging.DEBUG if console.options.debug else logging.CRITICAL)

    async def main() -> Result:
        async with open_agent(config=known, seed=seed) as agent:
            return await work(agent)

    # for what is outside of `ending_signals`: Ctrl-C comes where the command waits, not at whatever line runs
    return trio.run(main, restrict_keyboard_interrupt_to_checkpoints=True)


def daemon_card(config: "Config") -> Path:
    """Return where the daemon of a home writes its card."""
    from ddtp.config import CARD_FILE

    return config.home / CARD_FILE


def daemon_runs(config: "Config") -> bool:
    """Tell whether a daemon holds the home."""
    from ddtp.store.keystore import is_locked

    return is_locked(config.home)


async def in_thread(function: Callable[[], Result]) -> Result:
    """Run something that blocks, such as a question to a person, beside the network."""
    import trio

    # mypy misses the keywords behind the variadic parameters
    return await trio.to_thread.run_sync(function, abandon_on_cancel=True)  # type: ignore[call-arg]
