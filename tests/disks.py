"""Disks that are full, and disks that fail on purpose."""

import errno
import os
import resource
import stat
import subprocess
import threading
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOM_BYTES = 192 << 10
"""What fits on a small disk: two chunks of the least size, but not four."""

_CALLS = ("write", "pwrite", "fsync", "fdatasync", "posix_fallocate", "ftruncate", "link", "replace")
_SYNCS = {"fsync", "fdatasync"}


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


class PowerCut(BaseException):
    """The machine stops in the middle of a call."""


@dataclass
class _Kept:
    """One file as the disk has it, and what the system has in memory only: new bytes, and new lengths."""

    content: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def write_back(self) -> None:
        for offset, data in self.pending:
            if data is None:
                del self.content[offset:]
            self.content.extend(bytes(max(offset - len(self.content), 0)))
            if data is not None:
                self.content[offset : offset + len(data)] = data
        self.pending.clear()

    def drop(self) -> None:
        """What could not be written counts as written from now on; no later sync looks at it."""
        self.pending = [(offset, data) for offset, data in self.pending if data is None]


_Node = tuple[int, int]
"""Device and inode."""


def _node(found: os.stat_result) -> _Node:
    return found.st_dev, found.st_ino


class Platter:
    """What is on the disk and not in memory only: names and bytes that were synced. Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[_Node, _Kept] = {}
        self._folders: dict[_Node, dict[str, _Node]] = {}

    def opened(self, descriptor: int, path: Any, *, new: bool) -> None:
        """Learn of a file that may be written; whatever an old one holds is on the disk."""
        found = os.fstat(descriptor)
        with self._lock:
            if new:
                self._files[_node(found)] = _Kept()
            elif stat.S_ISREG(found.st_mode) and _node(found) not in self._files:
                self._files[_node(found)] = _Kept(bytearray(Path(path).read_bytes()))

    def made(self, path: Any) -> None:
        """Learn of a new folder."""
        with self._lock:
            self._folders[_node(Path(path).stat())] = {}

    def changed(self, name: str, descriptor: int, result: Any, arguments: tuple[Any, ...]) -> None:
        """Learn of a call that has had its effect."""
        found = os.fstat(descriptor)
        with self._lock:
            if stat.S_ISDIR(found.st_mode):
                with os.scandir(descriptor) as entries:
                    here = {entry.name: (found.st_dev, entry.inode()) for entry in entries}
                self._folders[_node(found)] = here
                return
            kept = self._files.get(_node(found))
            if kept is None:
                return
            if name in {"write", "pwrite"}:
                offset = arguments[1] if name == "pwrite" else os.lseek(descriptor, 0, os.SEEK_CUR) - result
                kept.pending.append((offset, bytes(memoryview(arguments[0])[:result])))
            elif name in {"ftruncate", "posix_fallocate"}:
                kept.pending.append((found.st_size, None))
            else:
                kept.write_back()

    def refused(self, descriptor: int) -> None:
        """Learn of a sync that has failed."""
        with self._lock:
            kept = self._files.get(_node(os.fstat(descriptor)))
            if kept is not None:
                kept.drop()

    def content(self, folder: Path) -> dict[str, bytes]:
        """Return what a power cut would leave in a folder, by the paths in it."""
        with self._lock:
            return dict(self._walk(_node(folder.stat()), ""))

    def _walk(self, folder: _Node, prefix: str) -> Iterator[tuple[str, bytes]]:
        for name, node in self._folders.get(folder, {}).items():
            if node in self._folders:
                yield from self._walk(node, f"{prefix}{name}/")
            elif node in self._files:
                yield f"{prefix}{name}", bytes(self._files[node].content)

    def cut_power(self, folder: Path, *, written_back: Container[str] = ()) -> None:
        """Leave in a folder without folders what is on the disk.

        Args:
            folder: Nobody has its files open.
            written_back: Suffixes of the files that the system happened to write just before.
        """
        for path in folder.iterdir():
            if path.suffix in written_back:
                self._files[_node(path.stat())].write_back()
        content = self.content(folder)
        for path in folder.iterdir():
            if path.name not in content:
                path.unlink()
        for name, data in content.items():
            path = folder / name
            path.write_bytes(data)
            node = _node(path.stat())
            self._files[node] = _Kept(bytearray(data))
            self._folders[_node(folder.stat())][name] = node


@dataclass
class DiskFaults:
    """Which call to the system fails, counted from 0 since `arm`, and whether it has its effect all the same.

    Attributes:
        at: Number of the failing call; None if none fails.
        persisted: True if the call takes effect before it fails.
        power: True if the machine stops at the call; nothing that follows has an effect then.
        seen: The names of the calls since `arm`.
        platter: What a power cut leaves.
    """

    at: int | None = None
    persisted: bool = False
    power: bool = False
    seen: list[str] = field(default_factory=list)
    platter: Platter = field(default_factory=Platter)

    def arm(self, at: int | None, *, persisted: bool = False, power: bool = False) -> None:
        self.at, self.persisted, self.power, self.seen = at, persisted, power, []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in _CALLS:
            monkeypatch.setattr(os, name, self._faulty(name))
        real_open, real_mkdir = os.open, os.mkdir

        def open_file(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
            writes = bool(flags & (os.O_WRONLY | os.O_RDWR))
            new = writes and not os.path.lexists(path)
            descriptor = real_open(path, flags, *arguments, **named)
            if writes:
                self.platter.opened(descriptor, path, new=new)
            return descriptor

        def mkdir(path: Any, *arguments: Any, **named: Any) -> None:
            real_mkdir(path, *arguments, **named)
            self.platter.made(path)

        monkeypatch.setattr(os, "open", open_file)
        monkeypatch.setattr(os, "mkdir", mkdir)

    def _faulty(self, name: str) -> Any:
        real = getattr(os, name)

        def effect(first: Any, *arguments: Any, **named: Any) -> Any:
            # no power goes in a test, and a real sync takes most of its time
            result = None if name in _SYNCS else real(first, *arguments, **named)
            if isinstance(first, int):
                self.platter.changed(name, first, result, arguments)
            return result

        def call(first: Any, *arguments: Any, **named: Any) -> Any:
            number = len(self.seen)
            self.seen.append(name)
            if self.power and self.at is not None and number >= self.at:
                raise PowerCut
            if number != self.at:
                return effect(first, *arguments, **named)
            if self.persisted:
                effect(first, *arguments, **named)
            elif name in _SYNCS:
                self.platter.refused(first)
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
