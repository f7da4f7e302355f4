"""Locks between processes of one user: a file that the system unlocks when its holder ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ddtp.errors import AlreadyRunning, NotFound
from ddtp.store.durable import storage_errors


@contextmanager
def hold(path: Path, *, message: str, hint: str) -> Iterator[None]:
    """Hold a lock while the block runs; the file stays.

    Args:
        path: The file of the lock, in a folder that exists.
        message: What was expected and found, if another process holds it.
        hint: What a person can do then.

    Raises:
        AlreadyRunning: Another process holds it, or this one does already.
        DiskFull, StorageFailed: The disk refuses.
    """
    with storage_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with storage_errors(path):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as err:
                raise AlreadyRunning(message, hint=hint) from err
        yield
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Tell whether a process holds a lock; nobody is kept from taking it meanwhile.

    Raises:
        StorageFailed: The disk refuses.
    """
    try:
        with storage_errors(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except NotFound:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
