"""Disks for the store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disks import DiskFaults, small_disk


@pytest.fixture(params=["tmpfs", "limit"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A directory on a disk that is nearly full."""
    with small_disk(request.param, tmp_path) as directory:
        yield directory


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> DiskFaults:
    """A disk that fails when it is armed."""
    faults = DiskFaults()
    faults.install(monkeypatch)
    return faults
