"""Canonical content: the fingerprint of what a file says, whatever its bytes (spec/03-package s.6).

JSON by RFC 8785, CSV as rows. It only tells "same content, other bytes" from "other content" when the exact fingerprint
differs; it never replaces that one. What has no canonical form simply has no such fingerprint.
"""

import decimal
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from enum import Enum

from ddtp.protocol.leaves import CanonicalForm, FileHead
from ddtp.protocol.merkle import LeafType, RootBuilder, leaf_hash

MAX_BYTES = 16 << 20
"""Largest file with a canonical fingerprint: it is parsed as a whole, in about forty times its size of memory."""
MAX_DEPTH = 64
"""Deepest nesting of JSON: beyond what documents use, far below the stack of any parser."""
MAX_NUMBER_CHARACTERS = 64
"""Longest number: the longest canonical one has 25 characters."""

_LEAF_BYTES = 64 << 10
# a field is quoted, with "" for a quote, or has no quote at all (RFC 4180 s.2); possessive, so that no input is slow
_CSV_FIELD = re.compile(r'(?:"([^"]*+(?:""[^"]*+)*+)"|([^",\r\n]*+))(,|\r?\n|\Z)')
_EXACT_DIGITS = 15
_ES6_PLAIN_EXPONENTS = range(-5, 22)


class Likeness(Enum):
    """How a received file compares with its fingerprint."""

    SAME = "same"
    SAME_CONTENT = "same-content"
    DIFFERENT = "different"


class _NoCanonicalFormError(ValueError):
    """The input has no canonical form; it never leaves this module."""


def is_candidate(media_type: str, size_bytes: int) -> bool:
    """Tell whether a file of this type and size can have a canonical fingerprint."""
    return _find_form(media_type) is not None and size_bytes <= MAX_BYTES


def canonical_digest(media_type: str, data: bytes) -> tuple[CanonicalForm, bytes] | None:
    """Return form and digest of the canonical content, None if there is none.

    Args:
        media_type: Format of the file; parameters are not expected.
        data: The whole file. One that is not what its type says, or larger than `MAX_BYTES`, has no canonical content.
    """
    form = _find_form(media_type)
    if form is None or len(data) > MAX_BYTES:
        return None
    tree, pending = RootBuilder(), bytearray()
    try:
        for piece in canonical_pieces(form, data):
            pending += piece.encode()
            while len(pending) >= _LEAF_BYTES:
                tree.add(leaf_hash(LeafType.CANONICAL, pending[:_LEAF_BYTES], index=tree.size))
                del pending[:_LEAF_BYTES]
    except (ValueError, RecursionError):
        return None
    if pending:
        tree.add(leaf_hash(LeafType.CANONICAL, pending, index=tree.size))
    return form, tree.root()


def compare(head: FileHead, file_root: bytes, canonical: tuple[CanonicalForm, bytes] | None) -> Likeness:
    """Compare a received file with its fingerprint.

    Args:
        head: The expected fingerprint.
        file_root: Root over the chunks of the received file.
        canonical: Canonical content of the received file; not looked at if the bytes are the same.
    """
    if file_root == head.root:
        return Likeness.SAME
    if canonical is not None and canonical == (head.canonical_form, head.canonical):
        return Likeness.SAME_CONTENT
    return Likeness.DIFFERENT


def canonical_pieces(form: CanonicalForm, data: bytes) -> Iterator[str]:
    """Yield the canonical content of a file in pieces.

    Args:
        form: How the file is read.
        data: The whole file, in UTF-8.

    Raises:
        ValueError: The file has no canonical content. JSON: it breaks RFC 8259, repeats a name, holds a lone surrogate
            or a number that no double holds, or is too deep. CSV: it breaks RFC 4180.
        RecursionError: The nesting is deeper than the parser can read.
    """
    text = data.decode()
    if form is CanonicalForm.CSV:
        for row in _csv_rows(text):
            yield json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"
        return
    value = json.loads(
        text,
        object_pairs_hook=_object,
        parse_int=_integer,
        parse_float=_number,
        parse_constant=_constant,
    )
    yield from _json_pieces(value, depth=0)


def es6_number(value: float) -> str:
    """Return a finite double as ECMAScript writes it (RFC 8785 s.3.2.2.3)."""
    if value == 0:
        return "0"
    # both write the shortest digits that give the double again; only the layout differs
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(digits) - len(fraction) + int(exponent or "0")  # value = 0.digits * 10 ** point
    text = digits.rstrip("0")
    minus = "-" if value < 0 else ""
    if point not in _ES6_PLAIN_EXPONENTS:
        return f"{minus}{text[0]}{'.' * (len(text) > 1)}{text[1:]}e{point - 1:+d}"
    if point <= 0:
        return f"{minus}0.{'0' * -point}{text}"
    return f"{minus}{text[:point].ljust(point, '0')}{'.' * (len(text) > point)}{text[point:]}"


def _find_form(media_type: str) -> CanonicalForm | None:
    name = media_type.lower()
    if name == "application/json" or name.endswith("+json"):
        return CanonicalForm.JSON
    return CanonicalForm.CSV if name == "text/csv" else None


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _NoCanonicalFormError("expected each name once in an object")
    return members


def _integer(text: str) -> float:
    # below 2 ** 53 a double holds every integer
    return int(text) if len(text) <= _EXACT_DIGITS else _number(text)


def _number(text: str) -> float:
    """Read a number that survives as a double.

    RFC 8785 rounds; then two account numbers of 17 digits could be "the same content". Such numbers have no form here.
    """
    if len(text) > MAX_NUMBER_CHARACTERS:
        raise _NoCanonicalFormError("expected a shorter number")
    value = float(text)
    try:
        exact = abs(value) != float("inf") and Decimal(text) == Decimal(repr(value))
    except decimal.InvalidOperation as err:
        raise _NoCanonicalFormError("expected a number with a smaller exponent") from err
    if not exact:
        raise _NoCanonicalFormError("expected a number that a double holds")
    return value


def _constant(name: str) -> float:
    raise _NoCanonicalFormError(f"expected JSON, found {name}")


def _json_pieces(value: object, *, depth: int) -> Iterator[str]:
    match value:
        case dict() | list() if depth == MAX_DEPTH:
            raise _NoCanonicalFormError(f"expected at most {MAX_DEPTH} levels of nesting")
        case float():
            yield es6_number(value)
        case int() if not isinstance(value, bool):
            yield str(value)
        case dict():
            # RFC 8785 s.3.2.3: by UTF-16 code units
            for position, name in enumerate(sorted(value, key=lambda name: name.encode("utf-16-be"))):
                yield ("," if position else "{") + json.dumps(name, ensure_ascii=False) + ":"
                yield from _json_pieces(value[name], depth=depth + 1)
            yield "}" if value else "{}"
        case list():
            for position, item in enumerate(value):
                yield "," if position else "["
                yield from _json_pieces(item, depth=depth + 1)
            yield "]" if value else "[]"
        case _:
            # text, true, false, null: for these the encoder writes what RFC 8785 demands
            yield json.dumps(value, ensure_ascii=False)


def _csv_rows(text: str) -> Iterator[list[str]]:
    position = 1 if text.startswith("\ufeff") else 0
    row: list[str] = []
    while position < len(text) or row:
        found = _CSV_FIELD.match(text, position)
        if found is None:
            raise _NoCanonicalFormError("expected fields of RFC 4180")
        quoted, plain, end = found.groups()
        row.append(plain if quoted is None else quoted.replace('""', '"'))
        position = found.end()
        if end != ",":
            yield row
            row = []
