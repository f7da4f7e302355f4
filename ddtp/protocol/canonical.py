"""Canonical content: what stays equal when a program writes the same data in other bytes (spec/03-package s.8).

A bank that exports the same statement twice gives different bytes. The exact fingerprint must say so; this second one
tells "same content, other bytes" from "forged". It exists for JSON (RFC 8785) and CSV (RFC 4180, each row as a JSON
array), and only decides what a mismatch is called, never whether something is genuine.
"""

import csv
import io
import json
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from ddtp.protocol import merkle
from ddtp.protocol.merkle import LeafType
from ddtp.protocol.openings import CanonicalForm

MAX_CANONICAL_BYTES: Final = 16 << 20
"""Larger files are not compared by content: parsing them would cost more memory than sending them."""

_FORMS = {
    "application/json": CanonicalForm.JSON,
    "text/csv": CanonicalForm.CSV,
}
_LEAF_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Canonical:
    """Fingerprint of a canonical form.

    Attributes:
        form: Which form.
        digest: Root over the canonical bytes in leaves of 64 KiB, 32 bytes.
    """

    form: CanonicalForm
    digest: bytes


def is_candidate(media_type: str, size_bytes: int) -> bool:
    """Tell whether content of this type and size has a canonical form at all."""
    return media_type in _FORMS and size_bytes <= MAX_CANONICAL_BYTES


def canonical_digest(media_type: str, data: bytes) -> Canonical | None:
    """Return the canonical fingerprint, or None where the type has none or the data does not parse.

    Args:
        media_type: For example application/json.
        data: The whole file.
    """
    if not is_candidate(media_type, len(data)):
        return None
    form = _FORMS[media_type]
    try:
        text = data.decode("utf-8-sig")
        canonical = canonical_json(text) if form is CanonicalForm.JSON else canonical_csv(text)
    except (ValueError, csv.Error, RecursionError):
        return None
    leaves = merkle.RootBuilder()
    for index, start in enumerate(range(0, len(canonical), _LEAF_BYTES)):
        leaves.add(merkle.leaf_hash(LeafType.CANONICAL, canonical[start : start + _LEAF_BYTES], index=index))
    return Canonical(form, leaves.root())


def canonical_json(text: str) -> bytes:
    """Return the RFC 8785 form of a JSON text.

    Raises:
        ValueError: It is no I-JSON (RFC 7493): doubled keys, NaN, numbers beyond double precision, lone surrogates.
    """
    value = json.loads(
        text, object_pairs_hook=_distinct, parse_constant=_refuse, parse_int=_number, parse_float=_number
    )
    return _serialize(value).encode()


def canonical_csv(text: str) -> bytes:
    """Return the rows of a CSV text as JSON arrays of texts, one a line.

    Raises:
        csv.Error: It is no RFC 4180 text.
    """
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    return b"".join(_serialize(row).encode() + b"\n" for row in rows)


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("expected different keys in a JSON object")
    return result


def _refuse(name: str) -> float:
    raise ValueError(f"expected a JSON number, found {name}")


def _number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("expected a number within double precision")
    return number


def _serialize(value: object) -> str:
    if isinstance(value, dict):
        # RFC 8785 s.3.2.3: keys sort by their UTF-16 code units
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(f"{_text(key)}:{_serialize(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_serialize, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return number_text(value)
    return {True: "true", False: "false", None: "null"}[value]  # type: ignore[index]


def _text(text: str) -> str:
    text.encode()  # a lone surrogate has no UTF-8 form: ValueError
    return json.dumps(text, ensure_ascii=False)


def number_text(number: float) -> str:
    """Return a number as ECMAScript writes it (RFC 8785 s.3.2.2.3)."""
    if number == 0:
        return "0"
    # repr gives the shortest digits that read back as the same number, which ECMAScript demands too
    sign, digits, exponent = Decimal(repr(number)).as_tuple()
    text = "".join(map(str, digits))
    significant = text.rstrip("0")
    return "-" * sign + _ecmascript(significant, len(text) + int(exponent))


def _ecmascript(digits: str, point: int) -> str:
    """Write digits with the decimal point after `point` of them (ECMA-262 Number::toString)."""
    count = len(digits)
    if count <= point <= 21:
        return digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    exponent = f"e{point - 1:+d}"
    return (digits[0] + ("." + digits[1:] if count > 1 else "")) + exponent
