"""Fields on the command line, and the size that progress is measured against."""

from pathlib import Path

import pytest

from ddtp.agent.addressing import holder_address
from ddtp.cli.packing import check_schema, counting, parse_fields, parse_holder
from ddtp.errors import UsageError
from ddtp.identity.document import encode_holder_address
from ddtp.identity.keys import Seed
from ddtp.protocol.leaves import Field, FieldKind
from tests.cli.conftest import Run


def test_fields() -> None:
    """A field is PATH=VALUE, with its kind behind a colon; values may hold any of these characters."""
    assert parse_fields(["name=小明", "age:integer=18", "note=a:b=c"]) == (
        Field("name", FieldKind.TEXT, "小明"),
        Field("age", FieldKind.INTEGER, "18"),
        Field("note", FieldKind.TEXT, "a:b=c"),
    )


@pytest.mark.parametrize(
    "text", ["name", "=value", "age:number=18", "age:integer=018", "../x=1", "day:date=2026-02-30"]
)
def test_wrong_fields(text: str) -> None:
    """What cannot stand in a package is the user's mistake."""
    with pytest.raises(UsageError):
        parse_fields([text])


@pytest.mark.parametrize(
    "text", ["", "bad schema/1", "statement", "/1", "a/", "a/b", "a\u2800/1", "a" * 200 + "/1", "a/1\n"]
)
def test_wrong_schemas(text: str) -> None:
    """A kind is a name and a number."""
    with pytest.raises(UsageError, match="--schema"):
        check_schema(text)
    assert check_schema("bank-statement/1") == "bank-statement/1"


@pytest.mark.parametrize("cut", [0, 5, 200])
def test_addresses(cut: int) -> None:
    """Blanks around an address are no mistake; what is cut short is one of the user, and the option is named."""
    address = encode_holder_address(holder_address(Seed(bytes(31) + b"\x01"), "did:key:z", now=1))
    assert parse_holder(f" {address}\n").did.startswith("did:key:")
    with pytest.raises(UsageError, match="--holder"):
        parse_holder(address[:cut])


def test_valid_days_are_bounded(person: Run) -> None:
    """A number that no date can follow is a mistake on the line, with the option named."""
    done = person("issue", "--holder", "ddtp1:x", "--schema", "a/1", "--valid", "99999999999")
    assert (done.code, done.out) == (2, "")
    assert "--valid" in done.err


def test_total_of_files_and_folders(tmp_path: Path) -> None:
    """The total is that of all files below the paths; what is packed adds up."""
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "folder" / "inner" / "a").write_bytes(bytes(30))
    (tmp_path / "b").write_bytes(bytes(12))
    seen: list[tuple[str, int, int]] = []
    tick = counting(lambda *values: seen.append(values), [tmp_path / "folder", tmp_path / "b", tmp_path / "none"])
    tick(10)
    tick(32)
    assert seen == [("packing", 10, 42), ("packing", 42, 42)]
