"""`ddtp bench`: how fast this machine seals, hashes and signs, and by which code."""

import os
import statistics
import time
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Final

import typer

from ddtp.cli._console import console_of
from ddtp.cli.examples import examples

_SAMPLES: Final = 5
_SAMPLE_SECONDS: Final = 0.1
"""Long against the clock; the whole takes about three seconds."""
_RUN_BYTES: Final = 1 << 20
_PIECE_BYTES: Final = 64 << 10


class Area(Enum):
    """What is measured."""

    CRYPTO = "crypto"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("ddtp bench crypto", "DDTP_CRYPTO=library ddtp bench crypto --json"))(bench)


def bench(
    context: typer.Context,
    *,
    area: Annotated[Area, typer.Argument(help="What to measure.")] = Area.CRYPTO,  # noqa: ARG001 - there is one so far
) -> None:
    """Measure this machine's cryptography.

    Each figure is the median of five short samples on one core, and says which implementation ran.
    """
    from ddtp.crypto import _backend, sm2, sm3
    from ddtp.crypto.sm4 import SM4GCM

    console = console_of(context)
    backend = _backend.describe()
    cipher, content, heads = SM4GCM(bytes(16)), os.urandom(_RUN_BYTES), bytes(64 * _RUN_BYTES // _PIECE_BYTES)
    private_key = sm2.generate_private_key(os.urandom)
    public_key, signer = sm2.public_key(private_key), sm2.Signer(private_key)
    signature = signer.sign(b"message")
    piece, gigabytes = content[:_PIECE_BYTES], _RUN_BYTES / 1e9
    rows = [
        ("SM4-GCM", "GB/s", _rate(lambda: cipher.seal(bytes(12), piece)) * len(piece) / 1e9, backend.sm4),
        ("SM3 leaves", "GB/s", _rate(lambda: sm3.leaves(heads, content, stride=_PIECE_BYTES)) * gigabytes, backend.sm3),
        ("SM2 sign", "1/s", _rate(lambda: signer.sign(b"message")), backend.sm2),
        ("SM2 verify", "1/s", _rate(lambda: sm2.verify(public_key, b"message", signature)), backend.sm2),
        ("SM2 agree", "1/s", _rate(lambda: sm2.agree(private_key, public_key)), backend.sm2),
    ]
    lines = [(name, f"{value:,.3g}" if value < 100 else f"{value:,.0f}", unit, by) for name, unit, value, by in rows]
    figures = [{"name": name, "value": value, "unit": unit, "by": by} for name, unit, value, by in rows]
    console.rows(("WHAT", "SPEED", "", "BY"), lines, {"backend": backend.name, "figures": figures})


def _rate(operation: Callable[[], object]) -> float:
    """Return calls per second."""
    samples = []
    for _ in range(_SAMPLES):
        calls, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < _SAMPLE_SECONDS:
            operation()
            calls += 1
        samples.append(calls / spent)
    return statistics.median(samples)
