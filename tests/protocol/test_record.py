"""Records of spec/01 s.5: exactly their fields, always within their bounds."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddtp.errors import DecodeError
from ddtp.protocol import codec
from ddtp.protocol.record import Record
from tests.protocol.specimen import Colour, Part, Specimen
from tests.vectors import Case, check, load

WORDS = st.text(st.characters(codec="ascii", categories=["L", "Nd"]), min_size=1, max_size=20)
PARTS = st.builds(Part, size=st.integers(0, (1 << 63) - 1))
SPECIMENS = st.builds(
    Specimen,
    name=WORDS,
    digest=st.binary(min_size=32, max_size=32),
    data=st.binary(min_size=1, max_size=8),
    count=st.integers(1, 100),
    flag=st.booleans(),
    colour=st.sampled_from(Colour),
    parts=st.lists(PARTS, max_size=3).map(tuple),
    pairs=st.lists(st.lists(st.integers(0, 9), max_size=3).map(tuple), max_size=3).map(tuple),
    note=st.none() | WORDS,
    part=st.none() | PARTS,
)
SPECIMEN = Specimen("n", bytes(32), b"\x01", 1, flag=False, colour=Colour.RED, parts=(), pairs=())


def _parse(case: Case) -> None:
    assert Specimen.parse(case.data("encoded")).encode() == case.data("encoded")


@pytest.mark.parametrize("case", [case for case in load("01-encoding") if case.operation == "record"], ids=str)
def test_vector(case: Case) -> None:
    """The bytes of a vector are a specimen, or are refused with its code."""
    check(case, {"record": _parse})


def test_every_operation_is_run() -> None:
    """This file and that of the codec run every vector of the chapter."""
    assert {case.operation for case in load("01-encoding")} == {"decode", "record"}


@given(SPECIMENS)
def test_round_trip(specimen: Specimen) -> None:
    """Parsing gives back the record that was encoded."""
    assert Specimen.parse(specimen.encode()) == specimen
    assert Specimen.from_value(specimen.to_value()) == specimen


@given(SPECIMENS, st.data())
def test_truncated(specimen: Specimen, data: st.DataObject) -> None:
    """No proper prefix of a record is a record."""
    encoded = specimen.encode()
    with pytest.raises(DecodeError):
        Specimen.parse(encoded[: data.draw(st.integers(0, len(encoded) - 1))])


@given(SPECIMENS, st.data())
def test_flipped_bit(specimen: Specimen, data: st.DataObject) -> None:
    """A flipped bit gives another record or a DecodeError, never another exception."""
    altered = bytearray(specimen.encode())
    altered[data.draw(st.integers(0, len(altered) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        other = Specimen.parse(altered)
    except DecodeError:
        return
    assert other != specimen
    assert other.encode() == altered


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Specimen)])
@given(specimen=SPECIMENS)
def test_nothing_in_a_field(name: str, specimen: Specimen) -> None:
    """An absent field is left out; one that is there and empty is refused, optional or not."""
    with pytest.raises(DecodeError):
        Specimen.from_value({**specimen.to_value(), name: None})


@given(SPECIMENS, st.sampled_from([field.name for field in dataclasses.fields(Specimen)]), st.data())
def test_other_value_in_a_field(specimen: Specimen, name: str, data: st.DataObject) -> None:
    """Any value in any field gives a record that encodes to it, or a DecodeError."""
    value: dict[str, Any] = dict(specimen.to_value())
    value[name] = data.draw(
        st.integers() | st.text() | st.binary() | st.booleans() | st.none() | st.just([]) | st.just({}) | st.just([[]])
    )
    try:
        other = Specimen.from_value(value)
    except DecodeError:
        return
    assert other.to_value() == value


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""}, {"name": "a\n"}, {"name": b"n"}, {"digest": bytes(31)}, {"digest": bytearray(32)},
        {"data": b""}, {"data": bytes(9)}, {"count": 0}, {"count": True}, {"flag": 1}, {"colour": "red"},
        {"parts": [Part(1)]}, {"parts": (Part(1),) * 4}, {"parts": (1,)}, {"pairs": ([1],)}, {"pairs": ((-1,),)},
        {"note": "e\u0301"}, {"note": 5}, {"part": {"size": 1}}, {"name": None},
    ],
)  # fmt: skip
def test_our_own_mistakes(change: dict[str, Any]) -> None:
    """A record out of bounds cannot be constructed by our own code either."""
    with pytest.raises(DecodeError):
        dataclasses.replace(SPECIMEN, **change)


def test_too_long_to_be_parsed() -> None:
    """A record that is longer than its bound is not encoded, since nobody would parse it."""
    with pytest.raises(DecodeError):
        dataclasses.replace(SPECIMEN, note="x" * 1000).encode()


def test_message_does_not_repeat_long_input() -> None:
    """The name of an unknown field stands in the message with at most 40 characters."""
    with pytest.raises(DecodeError) as caught:
        Specimen.from_value({**SPECIMEN.to_value(), "!" * 10_000: 1})
    assert len(caught.value.message) < 120


def test_records_are_frozen() -> None:
    """A record does not change after it has been checked."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        SPECIMEN.count = 2  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class Ordered(Record):
    """A record with a rule of its own."""

    KIND: ClassVar[str] = "ordered"

    first: int
    second: int

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        if self.first > self.second:
            raise DecodeError("expected first to be at most second")


def test_rule_of_a_record() -> None:
    """A rule in `__post_init__` holds for parsed and for constructed records."""
    assert Ordered.parse(Ordered(1, 2).encode()) == Ordered(1, 2)
    with pytest.raises(DecodeError):
        Ordered(2, 1)
    with pytest.raises(DecodeError):
        Ordered.parse(codec.encode({"first": 2, "second": 1}))
