"""The vectors of spec/03, whose values come from a second implementation."""

from typing import Any

import pytest

from ddtp.errors import ProofInvalid
from ddtp.protocol import canonical, container, paths
from ddtp.protocol.layout import Layout
from ddtp.protocol.package import (
    Disclosure,
    Field,
    FieldKind,
    FileHasher,
    FileHead,
    Manifest,
    Openings,
    build_package,
    check_openings,
)
from tests.vectors import Case, check, load


def _content(case: Case) -> bytes:
    return b"".join(bytes.fromhex(run["bytes"]) * run["times"] for run in case.input["content"])


def _paths(case: Case) -> None:
    for path in case.input["paths"]:
        paths.check_path(path)
    paths.check_distinct(case.input["paths"])


def _field(case: Case) -> dict[str, str]:
    kinds: list[Any] = [kind for kind in FieldKind if kind.value == case.input["kind"]]
    return {"encoded": Field(case.input["path"], *(kinds or [None]), case.input["value"]).encode().hex()}


def _file(case: Case) -> dict[str, str]:
    chunk_size, content = case.input["chunk_size"], _content(case)
    hasher = FileHasher(
        case.input["path"], case.input["media_type"], chunk_size=chunk_size, file_key=case.data("file_key")
    )
    for start in range(0, len(content), chunk_size):
        hasher.add(content[start : start + chunk_size])
    return {"head": hasher.finish().encode().hex()}


def _canonical(case: Case) -> dict[str, str] | None:
    content = _content(case)
    found = canonical.canonical_digest(case.input["media_type"], content)
    if found is None:
        return None
    form, digest = found
    output = {"form": form.value, "digest": digest.hex()}
    if "content" in case.output:
        output["content"] = "".join(canonical.canonical_pieces(form, content))
    return output


def _build(case: Case) -> dict[str, Any]:
    package = build_package(
        schema=case.input["schema"],
        fields=[Field(entry["path"], FieldKind(entry["kind"]), entry["value"]) for entry in case.input["fields"]],
        files=[FileHead.parse(bytes.fromhex(head)) for head in case.input["files"]],
        master_salt=case.data("master_salt"),
        groups=case.input["groups"],
    )
    return {
        "leaves": [leaf.hex() for leaf in package.leaves],
        "root": package.root.hex(),
        "openings": package.openings.encode().hex(),
    }


def _disclosure(case: Case) -> dict[str, str]:
    disclosure = Disclosure.parse(case.data("disclosure"))
    if disclosure.root() != case.data("root"):
        raise ProofInvalid("another root")
    return {"leaf_set": disclosure.leaf_set().hex()}


def _openings(case: Case) -> None:
    check_openings(Openings.parse(case.data("openings")), Disclosure.parse(case.data("disclosure")))


def _layout(case: Case) -> dict[str, Any]:
    layout = Layout(case.input["chunk_size"], case.input["openings_bytes"], tuple(case.input["file_sizes"]))
    files = [layout.file_extents(file) for file in range(len(layout.file_sizes))]
    return {
        "content_bytes": layout.content_bytes,
        "openings_offset": layout.openings_offset,
        "files": [[list(whole), list(tail)] for whole, tail in files],
    }


def _manifest(case: Case) -> None:
    encoded = case.data("encoded")
    assert Manifest.parse(encoded).encode() == encoded


def _container(case: Case) -> None:
    file = case.data("file")
    start = len(file) - container.TAIL_SIZE
    length = container.parse_footer_size(file[max(start, 0) :])
    header = container.parse_header(file[max(start - length, 0) : start])
    container.check_file_size(header, len(file))


OPERATIONS = {
    "paths": _paths,
    "field": _field,
    "file": _file,
    "canonical": _canonical,
    "build": _build,
    "disclosure": _disclosure,
    "openings": _openings,
    "layout": _layout,
    "manifest": _manifest,
    "container": _container,
}


@pytest.mark.parametrize("case", load("03-package"), ids=str)
def test_vector(case: Case) -> None:
    """Each vector gives its output, or is refused with its code."""
    check(case, OPERATIONS)
