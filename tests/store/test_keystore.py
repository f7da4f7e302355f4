"""The home: its key file is private, never replaced, and its lock holds one process."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ddtp.errors import (
    AlreadyRunning,
    ConfigInvalid,
    DdtpError,
    DecodeError,
    DiskFull,
    IdentityMissing,
    NotFound,
    PassphraseWrong,
    StorageFailed,
    UsageError,
)
from ddtp.identity.keys import Seed
from ddtp.store.keystore import (
    KEY_FILE,
    LOCK_FILE,
    check_private,
    create_identity,
    has_identity,
    load_identity,
    locked,
    needs_passphrase,
)
from tests.disks import DiskFaults, fill_up, names, small_disk

SEED = Seed(bytes(range(32)))


def create(home: Path, seed: Seed = SEED, *, passphrase: str | None = None) -> None:
    create_identity(home, seed, passphrase=passphrase, random_bytes=os.urandom)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "people" / "ming"


def test_identity_is_kept_and_private(home: Path) -> None:
    """The seed is loaded again; only this user can enter the home or read the file."""
    assert not has_identity(home)
    create(home)
    assert has_identity(home)
    assert not needs_passphrase(home)
    assert load_identity(home, passphrase=None).raw == SEED.raw
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (home / KEY_FILE, home, home.parent)]
    assert modes == [0o600, 0o700, 0o700]
    assert names(home) == [KEY_FILE]


@pytest.mark.slow
def test_passphrase_seals_the_key_file(home: Path) -> None:
    """Only the passphrase opens a sealed key file, which does not hold the seed in clear."""
    create(home, passphrase="打开")
    assert needs_passphrase(home)
    assert SEED.raw not in (home / KEY_FILE).read_bytes()
    assert load_identity(home, passphrase="打开").raw == SEED.raw
    for wrong in ("打 开", "", None):
        with pytest.raises(PassphraseWrong):
            load_identity(home, passphrase=wrong)


def test_useless_passphrase_makes_no_identity(home: Path) -> None:
    """A passphrase that is refused leaves no key file."""
    with pytest.raises(UsageError):
        create(home, passphrase="")
    assert not has_identity(home)


def test_identity_is_never_replaced(home: Path) -> None:
    """A second identity is refused, also if the first is damaged or a dead link, and the file stays as it is."""
    create(home)
    content = (home / KEY_FILE).read_bytes()
    with pytest.raises(StorageFailed, match="found one") as caught:
        create(home, Seed(bytes(32)))
    assert "--home" in str(caught.value.hint)
    assert (home / KEY_FILE).read_bytes() == content
    (home / KEY_FILE).write_bytes(b"")
    with pytest.raises(StorageFailed, match="found one"):
        create(home)
    (home / KEY_FILE).unlink()
    (home / KEY_FILE).symlink_to("elsewhere")
    with pytest.raises(StorageFailed, match="found one"):
        create(home)
    assert names(home) == [KEY_FILE]


def test_identity_that_is_made_meanwhile_stays(home: Path) -> None:
    """Of two that are made at the same time, the first to be written stays."""

    def random_bytes(count: int) -> bytes:
        if not has_identity(home):
            create(home)
        return os.urandom(count)

    with pytest.raises(StorageFailed, match="file exists"):
        create_identity(home, Seed(bytes(32)), passphrase="later", random_bytes=random_bytes)
    assert load_identity(home, passphrase=None).raw == SEED.raw
    assert names(home) == [KEY_FILE]


def test_missing_identity(home: Path) -> None:
    """Without an identity the next step is named."""
    for attempt in (lambda: load_identity(home, passphrase=None), lambda: needs_passphrase(home)):
        with pytest.raises(IdentityMissing) as caught:
            attempt()
        assert caught.value.hint == "run: ddtp init"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_key_file_that_others_can_use_is_refused(home: Path, mode: int) -> None:
    """Any right of group or others on the key file is refused, and the command that mends it named."""
    create(home)
    (home / KEY_FILE).chmod(mode)
    with pytest.raises(ConfigInvalid, match=f"{mode:o}") as caught:
        load_identity(home, passphrase=None)
    assert "chmod 600" in str(caught.value.hint)
    (home / KEY_FILE).chmod(0o400)
    assert load_identity(home, passphrase=None).raw == SEED.raw


def test_privacy_of_a_missing_file(home: Path) -> None:
    """What is not there is not found."""
    with pytest.raises(NotFound):
        check_private(home / "no")


def test_damaged_key_files(home: Path) -> None:
    """A cut or altered key file is damage, never another seed; one that is far too large is not read."""
    create(home)
    path = home / KEY_FILE
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(DecodeError):
            load_identity(home, passphrase=None)
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(DecodeError):
            load_identity(home, passphrase=None)
    path.write_bytes(bytes(10_000))
    for attempt in (lambda: load_identity(home, passphrase=None), lambda: needs_passphrase(home)):
        with pytest.raises(StorageFailed):
            attempt()


def test_home_that_cannot_be_looked_into(tmp_path: Path) -> None:
    """A name that the system refuses is an error of ours."""
    for attempt in (has_identity, create, lambda home: load_identity(home, passphrase=None)):
        with pytest.raises(StorageFailed):
            attempt(tmp_path / ("n" * 300))


@pytest.mark.parametrize("persisted", [False, True])
def test_every_failing_call_gives_an_identity_or_none(home: Path, faults: DiskFaults, *, persisted: bool) -> None:
    """Whichever call fails, there is the whole identity or none."""
    home.mkdir(parents=True)
    faults.arm(None)
    create(home)
    for number in range(len(faults.seen)):
        (home / KEY_FILE).unlink()
        faults.arm(number, persisted=persisted)
        with pytest.raises(StorageFailed):
            create(home)
        faults.arm(None)
        if not has_identity(home):
            create(home)
        assert load_identity(home, passphrase=None).raw == SEED.raw
        assert names(home) == [KEY_FILE]


def test_full_disk(tmp_path: Path) -> None:
    """On a full disk no identity is made, and nothing is left."""
    with small_disk("tmpfs", tmp_path) as disk:
        filling = fill_up(disk)
        with pytest.raises(DiskFull):
            create(disk)
        assert names(disk) == [filling.name]


def test_lock_is_held_and_released(home: Path) -> None:
    """A home that is held is refused, and free again afterwards, also after an error."""
    with locked(home):
        assert stat.S_IMODE((home / LOCK_FILE).stat().st_mode) == 0o600
        with pytest.raises(AlreadyRunning), locked(home):
            pass
        with pytest.raises(AlreadyRunning), locked(home):
            pass

    def fail() -> None:
        with locked(home):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with locked(home):
        pass


def test_lock_that_the_system_refuses(tmp_path: Path) -> None:
    """A directory in the place of the lock file is an error of ours."""
    (tmp_path / LOCK_FILE).mkdir()
    with pytest.raises(DdtpError), locked(tmp_path):
        pass


CHILD = """
import sys
from pathlib import Path
from ddtp.store.keystore import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_lock_holds_between_processes_and_ends_with_them(home: Path) -> None:
    """Another process that holds the home keeps us out until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunning), locked(home):
            pass
        child.kill()
    with locked(home):
        pass
