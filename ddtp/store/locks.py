"""Locks between processes of one user: a file that the system unlocks when its holder ends, however it ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ddtp.errors import AlreadyRunning, NotFound
from ddtp.store.durable import storage_errors

ASKED_SECONDS: Final = 0.001
"""Between two tries while others only ask: they have the lock for two calls of the system."""
ASKED_TRIES: Final = 50
"""A machine so busy that it stops whoever asks between the two calls goes on with it within as many milliseconds."""


@contextmanager
def hold(path: Path, *, message: str, hint: str) -> Iterator[None]:
    """Hold a lock while the block runs; the file stays.

    Args:
        path: The file of the lock, in a folder that exists.
        message: What was expected and found, if another process holds it.
        hint: What a person can do then.

    Raises:
        AlreadyRunning: Another process holds it, or this one does already.
        DiskFull: There is no room for the file.
        StorageFailed: The disk refuses.
    """
    with storage_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with storage_errors(path):
            taken = _take(descriptor)
        if not taken:
            raise AlreadyRunning(message, hint=hint)
        yield
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Tell whether a process holds a lock; whoever takes it meanwhile gets it.

    Raises:
        StorageFailed: The disk refuses.
    """
    try:
        with storage_errors(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except NotFound:
        return False
    try:
        with storage_errors(path):
            return not _lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    """Take a lock that nobody holds; whoever only asks shares it for a moment, and is waited for."""
    for _ in range(ASKED_TRIES):
        if _lock(descriptor, fcntl.LOCK_EX):
            return True
        if not _lock(descriptor, fcntl.LOCK_SH):
            return False
        # two that take it at once must not wait for each other's share
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        time.sleep(ASKED_SECONDS)
    return False


def _lock(descriptor: int, kind: int) -> bool:
    """Lock an open file if that needs no waiting: `LOCK_SH` fits beside others of its kind, `LOCK_EX` beside none."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
