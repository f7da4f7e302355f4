"""Locks between processes: one holder, free again however the holder ends."""

import errno
import fcntl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ddtp.errors import AlreadyRunning, StorageFailed
from ddtp.store import locks
from ddtp.store.locks import hold, is_held

HOLDER = """
import sys
from pathlib import Path
from ddtp.store.locks import hold
with hold(Path(sys.argv[1]), message="m", hint="h"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    """A second one gets the error that was given, also in the same process; asking takes nothing away."""
    path = tmp_path / "lock"
    assert not is_held(path)
    with hold(path, message="expected nobody", hint="wait"):
        assert is_held(path)
        with (
            pytest.raises(AlreadyRunning, match="expected nobody") as caught,
            hold(path, message="expected nobody", hint="wait"),
        ):
            pass
        assert caught.value.hint == "wait"
        assert caught.value.__cause__ is None
    assert not is_held(path)
    with hold(path, message="m", hint="h"):
        pass


@contextmanager
def asker(path: Path) -> Iterator[Callable[[], None]]:
    """A process in the middle of asking; yields what ends its question."""
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield file.close


def test_who_asks_holds_nothing(tmp_path: Path) -> None:
    """Two may ask at once, and neither takes the other for a holder."""
    path = tmp_path / "lock"
    path.touch()
    with asker(path):
        assert not is_held(path)


def test_who_asks_keeps_nobody_from_holding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes the lock meanwhile waits the moment that the question lasts, and not for ever."""
    path, waits = tmp_path / "lock", []
    path.touch()
    with asker(path) as end:

        def wait(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                end()

        monkeypatch.setattr(locks.time, "sleep", wait)
        with hold(path, message="m", hint="h"):
            assert is_held(path)
    assert len(waits) == 3
    with asker(path), pytest.raises(AlreadyRunning), hold(path, message="m", hint="h"):
        pass
    assert sum(waits) < 0.1


def test_who_finds_a_holder_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a question is waited for: a holder has come to stay."""
    monkeypatch.setattr(locks.time, "sleep", lambda _seconds: pytest.fail("it waited"))
    path = tmp_path / "lock"
    with hold(path, message="m", hint="h"), pytest.raises(AlreadyRunning), hold(path, message="m", hint="h"):
        pass


@pytest.mark.parametrize("use", [is_held, lambda path: hold(path, message="m", hint="h").__enter__()])
def test_a_disk_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: Callable[[Path], object]
) -> None:
    """Some network file systems have none; that is an error of the disk for who asks and for who holds."""

    def refuse(_file: object, _kind: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    (tmp_path / "lock").touch()
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StorageFailed):
        use(tmp_path / "lock")


@pytest.mark.slow
def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    """The system unlocks what a process held."""
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        assert is_held(path)
        process.kill()
        process.wait(10)
        assert not is_held(path)
