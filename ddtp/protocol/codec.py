"""Deterministic CBOR of the few types that DDTP uses (spec/01-encoding).

One encoding per value: RFC 8949 section 4.2.1 order and shortest forms, no floats, no tags, no indefinite lengths, text
in NFC. Decoding refuses everything else, so equal values have equal hashes and a signature covers one meaning only.
"""

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence

import cbor2

from ddtp.errors import DecodeError
from ddtp.protocol.plain_text import is_printed

Buffer = bytes | bytearray | memoryview
Value = int | str | bytes | bool | Sequence["Value"] | Mapping[str, "Value"] | Mapping[int, "Value"]

MAX_DEPTH = 16
"""Deepest nesting of lists and maps: twice what any DDTP object uses, far below the recursion limit."""

MAX_BYTES = 1 << 20
"""Largest encoded object unless a chapter says otherwise: holds the disclosure proof of about 30,000 leaves."""

MAX_ITEMS = 1 << 14
"""Most items (values, keys, list and map heads) in one encoding unless a chapter says otherwise. Decoded, an item takes
about 60 bytes however short its encoding is, so bytes alone do not bound memory."""

_SHORT_BYTES = MAX_ITEMS
"""Encodings of at most this many bytes cannot hold more items than the least bound."""

_INTEGER_LIMIT = 1 << 64

_INTEGER_KEY_LIMIT = 24
"""From here on a positive key is encoded longer than some negative ones, which follow it in the order of bytes."""

_NESTING = (list, tuple, dict)


class _TagsRefused(dict[int, Callable[[object, bool], object]]):
    """Stands in for the decoders of all tags.

    Without it the library would turn tagged values into decimals, patterns or mail messages before `_check` refuses
    them, and a decimal of one megabyte takes minutes.
    """

    def __missing__(self, tag: int) -> Callable[[object, bool], object]:
        def refuse(_value: object, _immutable: bool) -> object:
            raise DecodeError(f"expected no tags, found tag {tag}")

        return refuse


_NO_TAGS = _TagsRefused()


def encode(value: Value) -> bytes:
    """Encode a value deterministically.

    Args:
        value: Integers of 64 bit, text, bytes, booleans, lists, and maps whose keys are all text (or all integers below
            24, in COSE headers). Text must be NFC.

    Returns:
        The only encoding of this value.

    Raises:
        DecodeError: The value has another type, or breaks a rule of spec/01.
    """
    _check(value, 0, integer_keys=True)
    # the library orders keys by length first (RFC 8949 s.4.2.3): for text keys, and for integers below 24, that is the
    # bytewise order of s.4.2.1
    return cbor2.dumps(value, canonical=True)


def encode_ordered(value: Value) -> bytes:
    """Encode a value that is known to be allowed and whose maps are in the order of `order_of_key`, as `encode` does.

    In a third of the time: checking and ordering cost more than encoding.
    """
    return cbor2.dumps(value)


def order_of_key(key: str) -> tuple[int, bytes]:
    """Return what text keys are ordered by: the bytes of their encoding (RFC 8949 s.4.2.1)."""
    encoded = key.encode()
    return len(encoded), encoded


def decode(
    data: Buffer, *, max_bytes: int = MAX_BYTES, max_items: int = MAX_ITEMS, integer_keys: bool = False
) -> Value:
    """Decode one value that fills `data` exactly.

    Args:
        data: The encoded bytes.
        max_bytes: Refuse longer input before looking at it.
        max_items: Refuse more items before building anything from them; at least `MAX_ITEMS`.
        integer_keys: Allow integer map keys, which only COSE headers have.

    Returns:
        The value; lists come back as lists, maps as dictionaries.

    Raises:
        DecodeError: Anything that is not the deterministic encoding of an allowed value.
    """
    if len(data) > max_bytes:
        raise DecodeError(f"expected at most {max_bytes} bytes of CBOR, found {len(data)}")
    raw = bytes(data)
    if len(raw) > _SHORT_BYTES:
        _check_item_count(raw, max_items)
    try:
        value = cbor2.loads(
            raw,
            semantic_decoders=_NO_TAGS,
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
        )
    except (cbor2.CBORDecodeError, ValueError, OverflowError) as err:
        raise DecodeError(f"expected deterministic CBOR, found broken input: {err}") from err
    _check(value, 0, integer_keys=integer_keys)
    if cbor2.dumps(value, canonical=True) != raw:
        raise DecodeError("expected the deterministic encoding of the value, found another encoding of it")
    return value  # type: ignore[no-any-return]  # _check has proven the type


def _check_item_count(raw: bytes, max_items: int) -> None:
    """Walk over the heads of all items, in the order of RFC 8949 s.3, without building anything."""
    position, count, end = 0, 0, len(raw)
    while position < end:
        count += 1
        if count > max_items:
            raise DecodeError(f"expected at most {max_items} items, found more")
        step = _STEPS[raw[position]]
        if step:
            position += step
        else:
            start = position + 1
            position = start + (1 << raw[position] % 32 - 24)
            position += int.from_bytes(raw[start:position], "big")


def _step(head: int) -> int:
    """Return the bytes from an item to the next, or 0 if the head alone does not say it: a longer string."""
    major, info = divmod(head, 32)
    is_string, is_longer = major in {2, 3}, 24 <= info < 28
    if is_longer:
        return 0 if is_string else 1 + (1 << info - 24)
    return 1 + info if is_string and info < 24 else 1


_STEPS = tuple(map(_step, range(256)))
"""For each first byte."""


def check_text(text: str) -> None:
    """Check that text is safe to show and has one encoding.

    Raises:
        DecodeError: The text is not NFC, or contains control, bidirectional-override or unassigned characters.
    """
    if text.isascii() and text.isprintable():
        return
    if not unicodedata.is_normalized("NFC", text):
        raise DecodeError("expected text in Unicode form NFC")
    for character in text:
        # spec/01 s.3: what a person reads must be what the bytes say, so nothing invisible or reordering
        if not is_printed(character):
            raise DecodeError(f"expected printable text, found the character U+{ord(character):04X}")


def _check(value: object, depth: int, *, integer_keys: bool) -> None:
    if isinstance(value, bytes):
        return
    if isinstance(value, str):
        check_text(value)
    elif isinstance(value, int):  # also a boolean
        if not -_INTEGER_LIMIT <= value < _INTEGER_LIMIT:
            raise DecodeError("expected an integer of at most 64 bit")
    elif isinstance(value, _NESTING):
        if depth == MAX_DEPTH:
            raise DecodeError(f"expected at most {MAX_DEPTH} levels of nesting")
        items: Iterable[object] = value
        if isinstance(value, dict):
            _check_keys(value, integer_keys=integer_keys)
            items = value.values()
        for item in items:
            _check(item, depth + 1, integer_keys=integer_keys)
    else:
        raise DecodeError(f"expected an integer, text, bytes, boolean, list or map, found {type(value).__name__}")


def _check_keys(value: dict[object, object], *, integer_keys: bool) -> None:
    if len({isinstance(key, str) for key in value}) > 1:
        raise DecodeError("expected map keys that are all text or all integers, found both")
    for key in value:
        if isinstance(key, str):
            check_text(key)
        elif not integer_keys or isinstance(key, bool) or not isinstance(key, int):
            raise DecodeError(f"expected text as map key, found {type(key).__name__}")
        elif not -_INTEGER_LIMIT <= key < _INTEGER_KEY_LIMIT:
            raise DecodeError(f"expected integers below {_INTEGER_KEY_LIMIT} as map keys, found {key}")
