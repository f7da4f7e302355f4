"""The encoding of spec/01: one encoding per value, everything else refused."""

import math
import tracemalloc
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddtp.errors import DecodeError
from ddtp.protocol import codec
from tests.vectors import Case, check, load

PRINTABLE = st.characters(codec="utf-8", categories=["Lu", "Ll", "Lo", "Nd", "Po", "Sm", "Zs"])


def _is_allowed(text: str) -> bool:
    try:
        codec.check_text(text)
    except DecodeError:
        return False
    return True


TEXT = st.text(PRINTABLE, max_size=40).filter(_is_allowed)
SCALARS = st.integers(-(1 << 64), (1 << 64) - 1) | TEXT | st.binary(max_size=40) | st.booleans()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)


def _notation(value: Any) -> Any:
    """Show a decoded value as JSON: byte strings become {"bytes": hex}."""
    match value:
        case bytes():
            return {"bytes": value.hex()}
        case list():
            return [_notation(item) for item in value]
        case dict():
            return {"map": [[_notation(key), _notation(item)] for key, item in value.items()]}
        case _:
            return value


def _decode(case: Case) -> Any:
    value = codec.decode(case.data("encoded"), integer_keys=case.input.get("integer_keys", False))
    assert codec.encode(value) == case.data("encoded")
    return _notation(value)


@pytest.mark.parametrize("case", [case for case in load("01-encoding") if case.operation == "decode"], ids=str)
def test_vector(case: Case) -> None:
    """The bytes of a vector give its value, or are refused with its code."""
    check(case, {"decode": _decode})


@given(VALUES)
def test_round_trip(value: codec.Value) -> None:
    """Decoding gives back what was encoded."""
    assert codec.decode(codec.encode(value)) == value


@given(VALUES, st.randoms(use_true_random=False))
def test_order_of_insertion_does_not_matter(value: codec.Value, random: Any) -> None:
    """Equal maps have equal encodings, whatever the order in which they were built."""

    def shuffled(part: Any) -> Any:
        match part:
            case dict():
                items = list(part.items())
                random.shuffle(items)
                return {key: shuffled(item) for key, item in items}
            case list():
                return [shuffled(item) for item in part]
            case _:
                return part

    assert codec.encode(shuffled(value)) == codec.encode(value)


@given(st.dictionaries(TEXT, st.just(0), max_size=20))
def test_keys_are_in_bytewise_order(value: dict[str, int]) -> None:
    """Map keys stand in the bytewise order of their encodings (RFC 8949 s.4.2.1)."""
    keys = sorted(codec.encode(key) for key in value)
    head_size = 1 if len(value) < 24 else 2
    assert codec.encode(value)[head_size:] == b"".join(key + b"\x00" for key in keys)


@given(VALUES, st.data())
def test_truncated(value: codec.Value, data: st.DataObject) -> None:
    """No proper prefix of an encoding is an encoding."""
    encoded = codec.encode(value)
    with pytest.raises(DecodeError):
        codec.decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))])


@given(VALUES, st.binary(min_size=1, max_size=8))
def test_trailing_bytes(value: codec.Value, more: bytes) -> None:
    """Bytes after the value are refused."""
    with pytest.raises(DecodeError):
        codec.decode(codec.encode(value) + more)


@given(VALUES, st.data())
def test_flipped_bit(value: codec.Value, data: st.DataObject) -> None:
    """A flipped bit gives another value or a DecodeError, never the same value and never another exception."""
    altered = bytearray(codec.encode(value))
    altered[data.draw(st.integers(0, len(altered) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        other = codec.decode(altered)
    except DecodeError:
        return
    assert codec.encode(other) == altered


@given(st.binary(max_size=64), st.booleans())
def test_arbitrary_bytes(data: bytes, integer_keys: bool) -> None:
    """Whatever the bytes are, they decode to a value with exactly this encoding or are refused."""
    try:
        value = codec.decode(data, integer_keys=integer_keys)
    except DecodeError:
        return
    assert codec.encode(value) == data


LIBRARY_VALUES = st.recursive(
    SCALARS | st.none() | st.floats() | st.builds(cbor2.CBORTag, st.integers(0, 300), st.integers() | st.text()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=4),
    max_leaves=10,
)


@given(LIBRARY_VALUES, st.booleans())
def test_what_other_encoders_write(value: object, canonical: bool) -> None:
    """Whatever another CBOR encoder writes is either our encoding of an allowed value or refused."""
    encoded = cbor2.dumps(value, canonical=canonical)
    try:
        decoded = codec.decode(encoded)
    except DecodeError:
        return
    assert codec.encode(decoded) == encoded


@pytest.mark.parametrize("value", [1.0, math.nan, None, bytearray(b"a"), {1, 2}, object(), 1 << 64, -(1 << 64) - 1])
def test_values_without_an_encoding(value: Any) -> None:
    """Floats, nothing, other types and integers beyond 64 bit have no encoding."""
    with pytest.raises(DecodeError):
        codec.encode(value)
    with pytest.raises(DecodeError):
        codec.encode({"key": [value]})


@given(st.dictionaries(st.integers(-(1 << 64), 23), st.integers(0, 9), max_size=6))
def test_integer_keys_are_in_the_order_of_their_bytes(value: dict[int, int]) -> None:
    """RFC 8949 s.4.2.1, as everywhere else; larger ones, whose order the library does not know, are refused."""
    encoded = codec.encode(value)  # type: ignore[arg-type]
    found = codec.decode(encoded, integer_keys=True)
    assert found == value
    assert list(found) == sorted(value, key=cbor2.dumps)  # type: ignore[arg-type]
    with pytest.raises(DecodeError):
        codec.encode({**value, 24: 0})  # type: ignore[arg-type]
    with pytest.raises(DecodeError):
        codec.decode(cbor2.dumps({24: 0}), integer_keys=True)


def test_mixed_keys() -> None:
    """A map has text keys or integer keys, never both."""
    with pytest.raises(DecodeError):
        codec.encode({"a": 1, 2: 3})  # type: ignore[arg-type]


def _nested(levels: int) -> codec.Value:
    value: codec.Value = []
    for level in range(levels - 1):
        value = [value] if level % 2 else {"a": value}
    return value


def test_depth() -> None:
    """Sixteen levels of lists and maps are encoded and decoded; seventeen are refused on both ways."""
    deepest = _nested(codec.MAX_DEPTH)
    assert codec.decode(codec.encode(deepest)) == deepest
    with pytest.raises(DecodeError):
        codec.encode(_nested(codec.MAX_DEPTH + 1))
    with pytest.raises(DecodeError):
        codec.decode(cbor2.dumps(_nested(codec.MAX_DEPTH + 1), canonical=True))


def test_great_depth() -> None:
    """A million opening brackets are refused without running out of stack."""
    with pytest.raises(DecodeError):
        codec.decode(b"\x81" * (1 << 20))


def test_size_bound() -> None:
    """Input longer than the bound is refused, input as long as the bound is not."""
    encoded = codec.encode(b"x" * 98)
    assert codec.decode(encoded, max_bytes=100) == b"x" * 98
    with pytest.raises(DecodeError):
        codec.decode(encoded, max_bytes=99)


@pytest.mark.parametrize("head", ["9b", "bb", "5b", "7b"])
@pytest.mark.parametrize("length", [1 << 31, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
def test_announced_length(head: str, length: int) -> None:
    """An announced length that the input does not hold is refused, not allocated."""
    with pytest.raises(DecodeError):
        codec.decode(bytes.fromhex(head) + length.to_bytes(8, "big") + b"\x00")


@pytest.mark.parametrize("tag", [0, 1, 2, 3, 4, 5, 24, 25, 28, 29, 30, 35, 36, 37, 258, 1004, 43000, 55799, 1 << 40])
def test_tags(tag: int) -> None:
    """No tag is known, so none is interpreted."""
    head = b"\xdb" + tag.to_bytes(8, "big")
    with pytest.raises(DecodeError, match="tag"):
        codec.decode(head + codec.encode("a"))


def test_costly_tag() -> None:
    """A tagged decimal of a megabyte is refused without computing it, which would take minutes."""
    with pytest.raises(DecodeError):
        codec.decode(b"\xc4\x82\x00\xc2" + codec.encode(b"\xff" * 1_000_000))


@given(st.binary(max_size=8))
def test_any_buffer(content: bytes) -> None:
    """Bytes, bytearrays and memory views decode alike."""
    encoded = codec.encode(content)
    assert codec.decode(bytearray(encoded)) == codec.decode(memoryview(encoded)) == content


@pytest.mark.parametrize("text", ["张三", "Crédit Agricole", "a b", "𠮷野家", "⽅ → 10 %", ""])
def test_text_that_people_write(text: str) -> None:
    """Names and sentences of any script are allowed."""
    codec.check_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "a\n", "\t", "\x00", "\x7f", "\x85", "e\u0301", "\u202eevil", "\u2066a", "a\u200bb", "\ufeffa", "\u2028",
        "\u2029", "\ue000", "\u0378", "\ufffe", "\ud800", "\U000e0041", "\u00ad",
    ],
)  # fmt: skip
def test_text_that_deceives(text: str) -> None:
    """Control, invisible, reordering, private and unassigned characters and text that is not NFC are refused."""
    with pytest.raises(DecodeError):
        codec.check_text(text)
    with pytest.raises(DecodeError):
        codec.encode({text: 1})


def test_many_items_are_refused_before_they_are_built() -> None:
    """A long encoding of tiny items is refused by their number, without memory for them."""
    data = bytes([0x9A]) + (900_000).to_bytes(4, "big") + b"\x80" * 900_000
    tracemalloc.start()
    with pytest.raises(DecodeError, match="items"):
        codec.decode(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(data)


def test_item_bound_is_exact() -> None:
    """An encoding with just as many items as are allowed passes; one more is refused."""
    most = codec.MAX_ITEMS
    assert len(codec.decode(codec.encode([1000] * (most - 1)))) == most - 1
    with pytest.raises(DecodeError, match="items"):
        codec.decode(codec.encode([1000] * most))
    assert len(codec.decode(codec.encode([1000] * most), max_items=most + 1)) == most
