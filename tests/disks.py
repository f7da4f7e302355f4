"""Disks that are full, and disks that fail on purpose."""

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOM_BYTES = 192 << 10
"""What fits on a small disk: two chunks of the least size, but not four."""

_CALLS = ("write", "pwrite", "fsync", "fdatasync", "posix_fallocate", "ftruncate", "link", "replace")


@contextmanager
def small_disk(kind: str, directory: Path) -> Iterator[Path]:
    """Give a directory in which no more than `ROOM_BYTES` can be written.

    Args:
        kind: "tmpfs" for a real file system, which only root can mount; "limit" for a bound on every file of ours.
        directory: Where it is mounted, or lies.
    """
    disk = directory / "disk"
    disk.mkdir()
    if kind == "tmpfs":
        mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM_BYTES},mode=700", "tmpfs", str(disk)]
        if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("only root can mount a small disk")
        try:
            yield disk
        finally:
            subprocess.run(["umount", str(disk)], check=True)
        return
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES, limits[1]))
    try:
        yield disk
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@dataclass
class DiskFaults:
    """Which call to the system fails, counted from 0 since `arm`, and whether it has its effect all the same.

    Attributes:
        at: Number of the failing call; None if none fails.
        persisted: True if the call takes effect before it fails.
        seen: The names of the calls since `arm`.
    """

    at: int | None = None
    persisted: bool = False
    seen: list[str] = field(default_factory=list)

    def arm(self, at: int | None, *, persisted: bool = False) -> None:
        self.at, self.persisted, self.seen = at, persisted, []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in _CALLS:
            monkeypatch.setattr(os, name, self._faulty(name))

    def _faulty(self, name: str) -> Any:
        real = getattr(os, name)

        def call(*arguments: Any, **named: Any) -> Any:
            number = len(self.seen)
            self.seen.append(name)
            if number != self.at:
                return real(*arguments, **named)
            if self.persisted:
                real(*arguments, **named)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        return call


def names(directory: Path) -> list[str]:
    """Everything in a directory, hidden or not."""
    return sorted(path.name for path in directory.iterdir())


def fill_up(directory: Path) -> Path:
    """Take all the room that is left on the disk of a directory, and return the file that does."""
    path = directory / "filling"
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        _write_for_ever(path)
    return path


def _write_for_ever(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            # what is taken in part is followed by a refusal
            file.write(bytes(4096))
