"""Paths: the names of fields and files in a package (spec/03-package s.2).

A path is a logical name, never a place on a disk. The rules make it safe to use as one below a directory of the
receiver's choice, on every common system: nothing climbs out, nothing opens a device, no two names are one file.
"""

import unicodedata
from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated

from ddtp.errors import DecodeError
from ddtp.protocol import codec
from ddtp.protocol.record import Limit

MAX_PATH_CHARACTERS = 512
"""Longest path: fits the 1024-byte PATH_MAX of macOS in most scripts, below a directory of the receiver."""
MAX_PART_BYTES = 255
"""Longest part: NAME_MAX of the common file systems."""
MAX_PARTS = 32
"""Folders and name: deeper than people keep files, and a few bytes do not make hundreds of folders."""

PathText = Annotated[str, Limit(MAX_PATH_CHARACTERS, least=1)]
"""A path; records that hold one also call `check_path`."""

_FORBIDDEN = frozenset('\\:*?"<>|')
# https://learn.microsoft.com/windows/win32/fileio/naming-a-file; the superscript digits count as digits there
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {device + digit for device in ("com", "lpt") for digit in "0123456789\u00b9\u00b2\u00b3"}
)


def check_path(path: str) -> None:
    """Check one path.

    Raises:
        DecodeError: The path is empty, too long, too deep, absolute, climbs with "..", names a device, or holds a
            character or an ending that some system reads in another way.
    """
    if not 0 < len(path) <= MAX_PATH_CHARACTERS:
        raise DecodeError(f"expected a path of 1 to {MAX_PATH_CHARACTERS} characters, found {len(path)}")
    codec.check_text(path)
    forbidden = _FORBIDDEN.intersection(path)
    if forbidden:
        raise DecodeError(f"expected a path without any of {''.join(sorted(_FORBIDDEN))}, found {min(forbidden)}")
    parts = path.split("/")
    if len(parts) > MAX_PARTS:
        raise DecodeError(f"expected at most {MAX_PARTS} parts in a path, found {len(parts)}")
    for part in parts:
        _check_part(part)


def check_distinct(paths: Iterable[str]) -> None:
    """Check that no two paths are one file where case is ignored, and that no path is also a folder of another.

    Raises:
        DecodeError: Two paths clash.
    """
    # NUL, which no path holds, sorts before everything: what lies below a path comes right after it
    ordered = sorted(_folded(path).replace("/", "\0") for path in paths)
    for first, second in pairwise(ordered):
        if first == second:
            raise DecodeError("expected paths that differ in more than case, found two that do not")
        if second.startswith(first + "\0"):
            raise DecodeError("expected no path below another path, found one")


def _folded(path: str) -> str:
    # canonical caseless match, Unicode standard 3.13, D145
    decomposed = unicodedata.normalize("NFD", path)
    return unicodedata.normalize("NFD", decomposed.casefold())


def _check_part(part: str) -> None:
    if part in {"", ".", ".."}:
        raise DecodeError("expected a relative path without empty parts, '.' and '..'")
    if len(part.encode()) > MAX_PART_BYTES:
        raise DecodeError(f"expected parts of at most {MAX_PART_BYTES} bytes in a path")
    if part[0] == " " or part[-1] in {" ", "."}:
        raise DecodeError("expected parts of a path that neither begin nor end with a space, nor end with a dot")
    if part.partition(".")[0].rstrip(" ").casefold() in _DEVICES:
        raise DecodeError("expected a path that names no device")
