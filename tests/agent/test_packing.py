"""Packing: what is read is what is sealed and signed, or nothing is left."""

import os
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from ddtp.agent.opening import open_package
from ddtp.agent.packing import RUN_BYTES, Order, SealedPackage, pack
from ddtp.agent.scanning import scan
from ddtp.errors import DecodeError, DiskFull, NotFound, SourceChanged, StorageFailed
from ddtp.identity.document import HolderAddress
from ddtp.identity.keys import Seed
from ddtp.protocol.leaves import Field, FieldKind
from tests.disks import names, small_disk
from tests.worlds import ISSUER, NOW

CHUNK = 64 << 10
SEED = Seed(bytes(range(32)))
HOLDER = HolderAddress(
    did=SEED.holder_key(ISSUER.did).did, agreement=SEED.agreement_key(ISSUER.did).public_key, issued=NOW
)
FIELDS = (Field("name", FieldKind.TEXT, "小明"), Field("age", FieldKind.INTEGER, "18"))


def ignore(_count: int) -> None:
    pass


def bytes_of(length: int) -> bytes:
    return random.Random(length).randbytes(length)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out" / "package.ddtp"


def order(folder: Path, output: Path, **changes: object) -> Order:
    values = {
        "sources": scan([folder]),
        "fields": FIELDS,
        "schema": "student-card/1",
        "issuer": ISSUER.did,
        "holder": HOLDER,
        "issued": NOW,
        "expires": NOW + 1000,
        "path": output,
    }
    return Order(**(values | changes))


def packed(order: Order, tick: Callable[[int], None] = ignore) -> SealedPackage:
    return pack(order, signer=ISSUER, random_bytes=os.urandom, tick=tick)


def finish(order: Order, tick: Callable[[int], None] = ignore) -> SealedPackage:
    sealed = packed(order, tick)
    sealed.writer.finish(sealed.header)
    return sealed


def contents(path: Path) -> dict[str, bytes]:
    """All files of a package, as its holder reads them."""
    opened = open_package(path, SEED)
    try:
        found = {}
        for part, opening in enumerate(opened.package.openings.files):
            (whole, whole_bytes), (tail, tail_bytes) = opened.layout.file_extents(part)
            found[opening.head.path] = opened.reader.read(whole, whole_bytes) + opened.reader.read(tail, tail_bytes)
        return found
    finally:
        opened.reader.close()


def left(output: Path) -> list[str]:
    return names(output.parent) if output.parent.exists() else []


def test_holder_reads_what_was_packed(folder: Path, output: Path) -> None:
    """Files of every kind of length, many small ones among them, come back from the package, and so do the fields."""
    lengths = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7, *range(50, 90)]
    files = {f"{length}.bin": bytes_of(length) for length in lengths} | {"a.json": b'{"b": 1.0}', "b.csv": b"a,b\r\n"}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    counted: list[int] = []
    sealed = finish(order(folder, output), counted.append)
    assert contents(output) == {f"documents/{name}": content for name, content in files.items()}
    assert sum(counted) == sum(map(len, files.values()))
    opened = open_package(output, SEED)
    opened.reader.close()
    assert opened.package.root == sealed.package.root == sealed.manifest.body.root
    assert {opening.field for opening in opened.package.openings.fields} == set(FIELDS)
    assert opened.manifest.envelope == sealed.manifest.envelope
    forms = {opening.head.path: opening.head.canonical_form for opening in opened.package.openings.files}
    assert {path for path, form in forms.items() if form} == {"documents/a.json", "documents/b.csv"}


def test_fields_alone_are_a_package(folder: Path, output: Path) -> None:
    """A package needs no file."""
    finish(order(folder, output))
    assert contents(output) == {}


def test_nothing_to_pack_leaves_nothing(folder: Path, output: Path) -> None:
    """A package of nothing is refused, and its file is gone."""
    with pytest.raises(DecodeError):
        packed(order(folder, output, fields=()))
    assert left(output) == []


def test_clash_of_field_and_file_leaves_nothing(folder: Path, output: Path) -> None:
    """A field and a file of one name are refused, and the file is gone."""
    (folder / "name").write_bytes(b"content")
    with pytest.raises(DecodeError):
        packed(order(folder, output, fields=(Field("documents/name", FieldKind.TEXT, "x"),)))
    assert left(output) == []


def test_two_packages_of_one_file_share_nothing(folder: Path, output: Path) -> None:
    """Each package has its own id, keys and salts, so nobody can tell that they hold the same."""
    (folder / "a.txt").write_bytes(bytes_of(CHUNK + 5))
    first = finish(order(folder, output))
    second = finish(order(folder, output.with_name("second.ddtp")))
    assert first.package.root != second.package.root
    assert first.header.seal.salt != second.header.seal.salt
    assert not set(first.package.leaves) & set(second.package.leaves)
    assert output.read_bytes()[:CHUNK] != output.with_name("second.ddtp").read_bytes()[:CHUNK]


def test_abort_before_the_footer_leaves_nothing(folder: Path, output: Path) -> None:
    """Sealed content without a footer can be thrown away."""
    (folder / "a.txt").write_bytes(b"content")
    sealed = packed(order(folder, output))
    assert not output.exists()
    sealed.writer.abort()
    assert left(output) == []


def later(path: Path) -> None:
    """Give a file a time of change that no clock is too coarse to show."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def shrink_much(path: Path) -> None:
    os.truncate(path, RUN_BYTES)


def rewrite(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))
    later(path)


def touch(path: Path) -> None:
    later(path)


@pytest.mark.parametrize("length", [3 * RUN_BYTES, 3 * RUN_BYTES + 9])
@pytest.mark.parametrize("change", [grow, shrink, shrink_much, rewrite, touch])
@pytest.mark.parametrize("at", [0, 2])
def test_file_that_changes_while_it_is_read(
    folder: Path, output: Path, change: Callable[[Path], None], length: int, at: int
) -> None:
    """Whatever happens to a file after its first or third reading is found, and nothing is left."""
    path = folder / "a.bin"
    path.write_bytes(bytes_of(length))
    ticks = iter(range(100))

    def tick(_count: int) -> None:
        if next(ticks) == at:
            change(path)

    with pytest.raises(SourceChanged) as caught:
        packed(order(folder, output), tick)
    assert str(path) in caught.value.message
    assert left(output) == []


@pytest.mark.parametrize("change", [grow, shrink, rewrite, touch])
def test_file_that_changes_between_its_two_readings(folder: Path, output: Path, change: Callable[[Path], None]) -> None:
    """A file that changes while the next one is read is found when its tail is."""
    (folder / "a.bin").write_bytes(bytes_of(RUN_BYTES + 9))
    (folder / "b.bin").write_bytes(bytes_of(RUN_BYTES))
    ticks = iter(range(100))

    def tick(_count: int) -> None:
        if next(ticks) == 2:
            change(folder / "a.bin")

    with pytest.raises(SourceChanged, match=r"a\.bin"):
        packed(order(folder, output), tick)
    assert left(output) == []


def test_change_that_the_clock_does_not_show(folder: Path, output: Path) -> None:
    """A tail of the same length and time, but of other bytes, is found by its hash."""
    path = folder / "a.bin"
    path.write_bytes(bytes_of(RUN_BYTES + 9))
    (folder / "b.bin").write_bytes(b"b")
    status = path.stat()
    ticks = iter(range(100))

    def tick(_count: int) -> None:
        if next(ticks) == 2:
            path.write_bytes(bytes_of(RUN_BYTES + 9)[:-1] + b"?")
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    with pytest.raises(SourceChanged, match=r"a\.bin"):
        packed(order(folder, output), tick)
    assert left(output) == []


def test_hidden_change_of_whole_chunks_gives_a_sound_package(folder: Path, output: Path) -> None:
    """Whole chunks are hashed and sealed from one reading, so even then the package holds what it says."""
    path = folder / "a.bin"
    path.write_bytes(bytes_of(3 * RUN_BYTES))
    status = path.stat()
    ticks = iter(range(100))

    def tick(_count: int) -> None:
        if next(ticks) == 0:
            path.write_bytes(bytes(3 * RUN_BYTES))
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    finish(order(folder, output), tick)
    assert contents(output) == {"documents/a.bin": bytes_of(3 * RUN_BYTES)[:RUN_BYTES] + bytes(2 * RUN_BYTES)}


def test_file_that_changed_since_the_scan(folder: Path, output: Path) -> None:
    """A change between scanning and packing is found, and so is a file that is gone."""
    path = folder / "a.bin"
    path.write_bytes(bytes_of(100))
    ordered = order(folder, output)
    grow(path)
    with pytest.raises(SourceChanged):
        packed(ordered)
    path.unlink()
    with pytest.raises(NotFound):
        packed(ordered)
    assert left(output) == []


def test_work_that_is_stopped_leaves_nothing(folder: Path, output: Path) -> None:
    """An error of the progress call, as a cancellation is, ends the work and comes out."""
    (folder / "a.bin").write_bytes(bytes_of(3 * CHUNK))

    def stop(_count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        packed(order(folder, output), stop)
    assert left(output) == []


def test_existing_package_is_kept(folder: Path, output: Path) -> None:
    """A package never takes the place of a file, and no source is read for one that cannot be written."""
    (folder / "a.bin").write_bytes(bytes_of(3 * CHUNK))
    output.parent.mkdir()
    output.write_bytes(b"theirs")
    with pytest.raises(StorageFailed, match="found one"):
        packed(order(folder, output), lambda _count: pytest.fail("nothing should be read"))
    assert (left(output), output.read_bytes()) == (["package.ddtp"], b"theirs")


@pytest.mark.parametrize("kind", ["tmpfs", "limit"])
def test_full_disk_leaves_nothing(folder: Path, tmp_path: Path, kind: str) -> None:
    """A package that does not fit is an error that says so, and the room is free again."""
    (folder / "a.bin").write_bytes(bytes_of(2 * CHUNK))
    with small_disk(kind, tmp_path) as disk:
        (folder / "b.bin").write_bytes(bytes_of(2 * CHUNK))
        with pytest.raises(DiskFull):
            packed(order(folder, disk / "package.ddtp"))
        assert names(disk) == []
        (folder / "b.bin").unlink()
        finish(order(folder, disk / "package.ddtp"))
        assert names(disk) == ["package.ddtp"]


@pytest.mark.slow
def test_memory_does_not_grow_with_files(folder: Path, output: Path) -> None:
    """A file of 16 MiB is packed in less than 4 MiB of memory."""
    with (folder / "a.bin").open("wb") as file:
        file.truncate(16 << 20)
    ordered = order(folder, output)
    packed(order(folder, output.with_name("warm.ddtp"), sources=())).writer.abort()
    tracemalloc.start()
    try:
        finish(ordered)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20
