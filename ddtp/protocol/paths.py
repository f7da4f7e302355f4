"""Names of fields and files inside a package (spec/03-package s.2).

A name is data from elsewhere that becomes a file name on somebody's disk, so only names that are safe on every common
system may stand in a package at all.
"""

import re
from collections.abc import Iterable
from typing import Annotated

from ddtp.errors import DecodeError
from ddtp.protocol.codec import check_text
from ddtp.protocol.record import Limit

MAX_PATH_CHARACTERS = 512
MAX_PART_BYTES = 255
"""The longest file name that ext4, APFS and NTFS hold."""

PathText = Annotated[str, Limit(MAX_PATH_CHARACTERS, least=1)]

_FORBIDDEN = set('\\:*?"<>|')
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)


def check_path(path: str) -> None:
    """Check that a name is relative, stays inside its folder, and is valid on every common system.

    Raises:
        DecodeError: It is not.
    """
    if not 0 < len(path) <= MAX_PATH_CHARACTERS:
        raise DecodeError(f"expected a name of 1 to {MAX_PATH_CHARACTERS} characters, found {len(path)}")
    check_text(path)
    for part in path.split("/"):
        if part in {"", ".", ".."}:
            raise DecodeError(f"expected a relative name without empty, '.' or '..' parts, found {path!r}")
        if len(part.encode()) > MAX_PART_BYTES:
            raise DecodeError(f"expected parts of at most {MAX_PART_BYTES} bytes in the name {path[:40]!r}…")
        if _FORBIDDEN & set(part) or part.endswith((".", " ")) or part.startswith(" "):
            raise DecodeError(f"expected a name that is valid on every system, found {path!r}")
        if _DEVICE.fullmatch(part):
            raise DecodeError(f"expected no device name, found {path!r}")


def check_distinct(paths: Iterable[str]) -> None:
    """Check that no two names are equal on a system that ignores case, or one a folder of another.

    Raises:
        DecodeError: They are.
    """
    seen: set[str] = set()
    folders: set[str] = set()
    for path in paths:
        folded = path.casefold()
        if folded in seen:
            raise DecodeError(f"expected different names, found {path!r} twice")
        seen.add(folded)
        parts = folded.split("/")
        folders.update("/".join(parts[:count]) for count in range(1, len(parts)))
    if clash := seen & folders:
        raise DecodeError(f"expected {min(clash)!r} to be a file or a folder, found both")
