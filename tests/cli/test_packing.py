"""Fields on the command line, and the size that progress is measured against."""

from pathlib import Path

import pytest

from ddtp.cli.packing import counting, parse_fields
from ddtp.errors import UsageError
from ddtp.protocol.leaves import Field, FieldKind


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
