"""Reads the vectors of the spec: one case per file of spec/vectors/<chapter>."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ddtp.errors import DdtpError

VECTORS = Path(__file__).parents[1] / "spec" / "vectors"
FIELDS = {"name", "description", "source", "operation", "input", "output", "expect"}


@dataclass(frozen=True, slots=True)
class Case:
    """One vector.

    Attributes:
        name: What is special about it; also the name of its file.
        description: A sentence for people.
        operation: Which operation of the chapter it exercises; empty if the chapter has only one.
        input: JSON values; byte strings are lower case hexadecimal.
        output: Expected JSON value, None where `expect` is an error or the operation returns nothing.
        expect: "ok", or the code of spec/12 that the operation fails with.
    """

    name: str
    description: str
    operation: str
    input: Mapping[str, Any]
    output: Any
    expect: str

    def __str__(self) -> str:
        return self.name

    def data(self, name: str) -> bytes:
        """Return one byte string of the input."""
        return bytes.fromhex(self.input[name])


def load(chapter: str) -> list[Case]:
    """Return all cases of a chapter, in the order of their names.

    Use: `@pytest.mark.parametrize("case", load("01-encoding"), ids=str)`.
    """
    paths = sorted((VECTORS / chapter).glob("*.json"))
    assert paths, f"spec/vectors/{chapter} holds no vectors"
    return [_read(path) for path in paths]


def check(case: Case, operations: Mapping[str, Callable[[Case], Any]]) -> None:
    """Run the case's operation, which gives its output or fails with its code."""
    operation = operations[case.operation]
    if case.expect == "ok":
        assert operation(case) == case.output
        return
    with pytest.raises(DdtpError) as caught:
        operation(case)
    assert caught.value.code == case.expect


def _read(path: Path) -> Case:
    vector = json.loads(path.read_text(encoding="utf-8"))
    unknown = vector.keys() - FIELDS
    assert not unknown, f"{path.name} has the unknown fields {unknown}"
    assert vector["name"] == path.stem, f"{path.name} is named {vector['name']!r} inside"
    return Case(
        name=vector["name"],
        description=vector["description"],
        operation=vector.get("operation", ""),
        input=vector["input"],
        output=vector.get("output"),
        expect=vector["expect"],
    )
