"""Locks between processes: one holder, free again however the holder ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from ddtp.errors import AlreadyRunning
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
    assert not is_held(path)
    with hold(path, message="m", hint="h"):
        pass


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
