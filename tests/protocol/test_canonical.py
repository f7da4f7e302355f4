"""Canonical content: equal for equal content, and for nothing else."""

import csv
import io
import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddtp.protocol import canonical
from ddtp.protocol.canonical import MAX_BYTES, Likeness, canonical_digest, canonical_pieces, compare, es6_number
from ddtp.protocol.leaves import CanonicalForm, FileHead

JSON, CSV = "application/json", "text/csv"

# RFC 8785 appendix B: the bits of a double, and how ECMAScript writes it
APPENDIX_B = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(("bits", "text"), APPENDIX_B.items())
def test_numbers_are_written_as_in_rfc_8785_appendix_b(bits: str, text: str) -> None:
    """The published table of doubles is reproduced."""
    assert es6_number(struct.unpack(">d", bytes.fromhex(bits))[0]) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_written_number_is_the_same_number(value: float) -> None:
    """Writing loses nothing."""
    assert float(es6_number(value)) == value


@settings(max_examples=50)
@given(JSON_VALUES, st.data())
def test_json_that_says_the_same_has_one_digest(value: object, data: st.DataObject) -> None:
    """Spaces, escapes and the order of names do not matter."""

    def shuffled(part: object) -> object:
        if isinstance(part, dict):
            return {name: shuffled(part[name]) for name in data.draw(st.permutations(list(part)))}
        return [shuffled(item) for item in part] if isinstance(part, list) else part

    first = canonical_digest(JSON, json.dumps(value, indent=3).encode())
    second = canonical_digest(JSON, json.dumps(shuffled(value), ensure_ascii=False).encode())
    assert first is not None
    assert first == second


@settings(max_examples=50)
@given(JSON_VALUES)
def test_the_canonical_form_of_json_is_its_own(value: object) -> None:
    """The canonical form says what the text said, and is its own canonical form."""
    text = json.dumps(value)
    written = "".join(canonical_pieces(CanonicalForm.JSON, text.encode()))
    assert json.loads(written, parse_int=float) == value
    assert "".join(canonical_pieces(CanonicalForm.JSON, written.encode())) == written


@settings(max_examples=50)
@given(st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\ufeff"), max_size=8), min_size=1)))
def test_rows_do_not_depend_on_quotes_and_line_ends(rows: list[list[str]]) -> None:
    """Two programs that write the same rows give one digest."""
    written = []
    for quoting, end in ((csv.QUOTE_ALL, "\r\n"), (csv.QUOTE_ALL, "\n"), (csv.QUOTE_MINIMAL, "\r\n")):
        file = io.StringIO(newline="")
        csv.writer(file, quoting=quoting, lineterminator=end).writerows(rows)
        written.append(canonical_digest(CSV, file.getvalue().encode()))
    assert written[0] is not None
    assert written == [written[0]] * 3


@given(st.integers(0, 10**20), st.integers(0, 10**20))
def test_different_account_numbers_are_never_the_same_content(first: int, second: int) -> None:
    """Integers beyond the doubles have no canonical form rather than a rounded one."""
    digests = [canonical_digest(JSON, f'{{"account":{number}}}'.encode()) for number in (first, second)]
    assert (digests[0] == digests[1]) <= (first == second or digests[0] is None)


def test_endless_nesting_has_no_canonical_form() -> None:
    """What the parser itself cannot read is refused like what is a little too deep."""
    assert canonical_digest(JSON, b"[" * 100_000) is None


def test_a_large_file_is_no_candidate() -> None:
    """The bound holds for the question and for the answer."""
    assert canonical.is_candidate(CSV, MAX_BYTES)
    assert not canonical.is_candidate(CSV, MAX_BYTES + 1)
    assert not canonical.is_candidate("application/pdf", 10)
    assert canonical_digest(CSV, bytes(MAX_BYTES + 1)) is None


@pytest.mark.parametrize(
    ("root", "found", "likeness"),
    [
        (bytes(32), None, Likeness.SAME),
        (b"r" * 32, (CanonicalForm.CSV, b"c" * 32), Likeness.SAME_CONTENT),
        (b"r" * 32, (CanonicalForm.JSON, b"c" * 32), Likeness.DIFFERENT),
        (b"r" * 32, (CanonicalForm.CSV, bytes(32)), Likeness.DIFFERENT),
        (b"r" * 32, None, Likeness.DIFFERENT),
    ],
)
def test_files_are_compared_by_bytes_then_by_content(
    root: bytes, found: tuple[CanonicalForm, bytes] | None, likeness: Likeness
) -> None:
    """Equal bytes are the same; equal content in one form is told apart from other content."""
    head = FileHead("a", CSV, 1, 1 << 16, bytes(32), canonical=b"c" * 32, canonical_form=CanonicalForm.CSV)
    assert compare(head, root, found) is likeness


def test_two_files_without_canonical_content_are_different() -> None:
    """Having no canonical form is nothing in common."""
    head = FileHead("a", "application/pdf", 1, 1 << 16, bytes(32))
    assert compare(head, b"r" * 32, None) is Likeness.DIFFERENT
