"""Bandwidth limits as people write them: 2MB/s, 500 KiB/s. Whoever writes bits is told what they are in bytes."""

import re
from collections.abc import Mapping
from typing import Final

from ddtp.errors import UsageError

LEAST_BYTES_PER_SECOND: Final = 32 << 10
"""No limit is lower: a piece of 1 MiB still comes in half the time that a peer waits for it (spec/08 s.6). Each of
several connections has its turn later by as much, and is given as much more time (spec/14 s.8)."""

_UNITS: Final[Mapping[str, int]] = {
    "B": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate(("k", "M", "G"), start=1)},
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate(("K", "M", "G"), start=1)},
    "KB": 1000,
}
_RATE: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?([A-Za-z]*?)(?:/s|ps)?", re.ASCII)
_BITS: Final = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}
_BIT_UNIT: Final = re.compile(r"([kmg]i?)?b(?:it|its)?", re.ASCII)


def parse_rate(text: str) -> int:
    """Return bytes per second.

    Args:
        text: A number and a unit of B, KB, MB, GB, KiB, MiB or GiB, with or without "/s" or "ps" behind it.

    Raises:
        UsageError: It is written otherwise, means bits, or is lower than `LEAST_BYTES_PER_SECOND`.
    """
    found = _RATE.fullmatch(text.strip())
    number, unit = (float(found[1]), found[2]) if found else (0.0, "")
    if unit in _UNITS:
        rate: int = round(number * _UNITS[unit])
        if rate < LEAST_BYTES_PER_SECOND:
            raise UsageError(
                f"expected a limit of at least {LEAST_BYTES_PER_SECOND >> 10}KiB/s, found {text[:40]!r}",
                hint="a lower one would look like silence to the other side; to rest, pause the transfer",
            )
        return rate
    bits = _BIT_UNIT.fullmatch(unit.lower())
    if found is not None and bits is not None:
        in_bytes = number * _BITS[bits[1] or ""] / 8
        raise UsageError(
            f"expected bytes per second, as in 2MB/s, found bits: {text[:40]!r}",
            hint=f"{text.strip()[:40]} are {_shown(in_bytes)} if bits are meant; bytes have a capital B",
        )
    raise UsageError(
        f"expected a number and a unit, as in 2MB/s or 500KiB/s, found {text[:40]!r}",
        hint="units are B, KB, MB, GB (thousands) and KiB, MiB, GiB (1024)",
    )


def _shown(rate: float) -> str:
    for unit in ("GB", "MB", "KB"):
        if rate >= _UNITS[unit]:
            return f"{rate / _UNITS[unit]:g}{unit}/s"
    return f"{rate:g}B/s"
