"""The home directory of one identity: its key file, its modes, its lock (spec/05 s.4).

It is made for this user only. The key file holds the sealed seed of every key; it is never overwritten.
"""

import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from ddtp.errors import ConfigInvalid, IdentityMissing, StorageFailed
from ddtp.identity import keyfile
from ddtp.identity.keys import Seed
from ddtp.store.durable import make_directory, read_file, storage_errors, write_file
from ddtp.store.locks import hold, is_held

KEY_FILE = "identity.key"
LOCK_FILE = "lock"

_MAX_KEY_FILE_BYTES = 4096
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def create_identity(home: Path, seed: Seed, *, passphrase: str | None, random_bytes: Callable[[int], bytes]) -> None:
    """Store a new identity durably.

    Args:
        home: The home directory; made if missing.
        seed: The seed of all keys.
        passphrase: Seals the key file; None stores the seed in clear, protected by the file mode only.
        random_bytes: Source of salt and nonce.

    Raises:
        UsageError: The passphrase is empty or too long.
        StorageFailed: There already is an identity, which is never replaced, or the disk refuses.
        DiskFull: There is no room.
    """
    path = make_directory(home) / KEY_FILE
    if os.path.lexists(path):
        raise StorageFailed(
            f"expected no identity in {home}, found one", hint="choose another --home, or keep this one"
        )
    write_file(path, keyfile.seal_seed(seed, passphrase, random_bytes=random_bytes), overwrite=False)


def has_identity(home: Path) -> bool:
    """Tell whether `create_identity` has been called for this home.

    Raises:
        StorageFailed: The home cannot be looked into.
    """
    path = home / KEY_FILE
    with storage_errors(path):
        return path.exists()


def load_identity(home: Path, *, passphrase: str | None) -> Seed:
    """Open the key file.

    Raises:
        IdentityMissing: There is none.
        PassphraseWrong: It needs another passphrase.
        ConfigInvalid: Other users may read it.
        DecodeError: It is damaged.
        StorageFailed: The disk refuses.
    """
    path = _key_path(home)
    check_private(path)
    return keyfile.open_seed(read_file(path, max_bytes=_MAX_KEY_FILE_BYTES), passphrase)


def needs_passphrase(home: Path) -> bool:
    """Tell whether the key file is sealed.

    Raises:
        IdentityMissing: There is none.
        DecodeError: It is damaged.
        StorageFailed: The disk refuses.
    """
    return keyfile.is_sealed(read_file(_key_path(home), max_bytes=_MAX_KEY_FILE_BYTES))


def _key_path(home: Path) -> Path:
    if not has_identity(home):
        raise IdentityMissing(f"expected an identity in {home}, found none", hint="run: ddtp init")
    return home / KEY_FILE


def check_private(path: Path) -> None:
    """Check that only this user can use a file.

    Raises:
        ConfigInvalid: Group or others have rights on it.
        NotFound: There is no such file.
        StorageFailed: The disk refuses.
    """
    with storage_errors(path):
        mode = path.stat().st_mode
    if mode & _OTHERS:
        raise ConfigInvalid(
            f"expected {path} to be private, found mode {stat.S_IMODE(mode):o}", hint=f"run: chmod 600 {path}"
        )


def locked(home: Path) -> AbstractContextManager[None]:
    """Hold the home for one long-running process.

    Raises:
        AlreadyRunning: Another process holds it.
        StorageFailed: The disk refuses.
    """
    return hold(
        make_directory(home) / LOCK_FILE,
        message=f"expected {home} to be free, found another process using it",
        hint="ddtp serve already runs here, or its vault is being moved",
    )


def is_locked(home: Path) -> bool:
    """Tell whether a long-running process holds the home; nobody is kept from taking it meanwhile."""
    return is_held(home / LOCK_FILE)
