"""Bandwidth limits as people write them."""

import pytest

from ddtp.errors import UsageError
from ddtp.rates import LEAST_BYTES_PER_SECOND, parse_rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("2MB/s", 2_000_000),
        ("2 MB/s", 2_000_000),
        (" 2MB ", 2_000_000),
        ("500KB/s", 500_000),
        ("500kB/s", 500_000),
        ("500KiB/s", 512_000),
        ("1.5MiB/s", 1_572_864),
        ("1GB/s", 1_000_000_000),
        ("1GiB", 1 << 30),
        ("2MBps", 2_000_000),
        ("40000B/s", 40_000),
    ],
)
def test_units_of_bytes(text: str, rate: int) -> None:
    """Thousands for KB, MB and GB, 1024 for KiB, MiB and GiB; "/s" and one blank may be there or not."""
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    ("text", "in_bytes"),
    [
        ("2Mb/s", "250KB/s"),
        ("2mb/s", "250KB/s"),
        ("16Mbit/s", "2MB/s"),
        ("16mbps", "2MB/s"),
        ("16Mbps", "2MB/s"),
        ("1Gbits/s", "125MB/s"),
        ("8Kib/s", "1.024KB/s"),
        ("100b/s", "12.5B/s"),
    ],
)
def test_bits_are_told_in_bytes(text: str, in_bytes: str) -> None:
    """Nobody is slowed to an eighth by a letter: what it would be in bytes is said instead."""
    with pytest.raises(UsageError, match="found bits") as caught:
        parse_rate(text)
    assert caught.value.hint is not None
    assert f" are {in_bytes} if bits are meant" in caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "2", "MB/s", "-2MB/s", "2MB/h", "2e6B/s", "0x2MB/s", "２MB/s", "2,5MB/s", "2TB/s"]
)
def test_everything_else_is_an_error(text: str) -> None:
    """The error says how it is written."""
    with pytest.raises(UsageError, match="as in 2MB/s"):
        parse_rate(text)


@pytest.mark.parametrize("text", ["0MB/s", "1B/s", f"{LEAST_BYTES_PER_SECOND - 1}B/s"])
def test_a_limit_that_looks_like_silence_is_refused(text: str) -> None:
    """The other side would give up; a pause is there for that."""
    with pytest.raises(UsageError, match="at least 32KiB/s"):
        parse_rate(text)
    assert parse_rate(f"{LEAST_BYTES_PER_SECOND}B/s") == LEAST_BYTES_PER_SECOND
