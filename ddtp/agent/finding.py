"""Use case: find the package of the vault that a plain file came from, by its bytes.

Blocking; called in worker threads. Loads no network library.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ddtp.agent.checking import hash_file
from ddtp.agent.opening import open_package
from ddtp.errors import EnvironmentProblem, EvidenceError, NotFound, PolicyRefused
from ddtp.identity.keys import Seed
from ddtp.protocol.container import MAGIC
from ddtp.store.durable import storage_errors
from ddtp.store.packages import PACKAGE_SUFFIX


@dataclass(frozen=True, slots=True)
class FoundItem:
    """Where a plain file stands in the vault.

    Attributes:
        package: The package file.
        item: Name of the file in it.
    """

    package: Path
    item: str


def is_package(path: Path) -> bool:
    """Tell whether a file is to be read as a package file: it ends like one (spec/03 s.7), or has the name of one.

    One with the name may be cut off; what is wrong with it is found when it is opened.

    Raises:
        NotFound: There is no such file.
        StorageFailed: The disk refuses.
    """
    with storage_errors(path), path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - len(MAGIC)))
        return file.read() == MAGIC or path.suffix == PACKAGE_SUFFIX


def find_item(path: Path, packages: Sequence[Path], *, seed: Seed) -> FoundItem | None:
    """Find the first package that contains a file with exactly these bytes.

    Args:
        path: The plain file.
        packages: Package files of the vault, the preferred first; those that do not open are passed over.
        seed: Opens the packages.

    Raises:
        StorageFailed: The plain file cannot be read.
    """
    with storage_errors(path):
        size_bytes = path.stat().st_size
    for package in packages:
        try:
            opened = open_package(package, seed)
        except (EvidenceError, NotFound, PolicyRefused, EnvironmentProblem):
            continue
        opened.reader.close()
        for opening in opened.package.openings.files:
            head = opening.head
            if head.size_bytes == size_bytes and hash_file(path, opening).root == head.root:
                return FoundItem(package, head.path)
    return None
