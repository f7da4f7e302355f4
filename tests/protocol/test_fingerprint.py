"""Hashing a file chunk by chunk; the results are vectors of spec/03."""

import pytest

from ddtp.errors import DecodeError, InternalError
from ddtp.protocol import merkle
from ddtp.protocol.fingerprint import FileHasher
from ddtp.protocol.leaves import CanonicalForm

CHUNK = 1 << 16
KEY = bytes(32)


def _hasher(chunk_size: int = CHUNK) -> FileHasher:
    return FileHasher("a.csv", "text/csv", chunk_size=chunk_size, file_key=KEY)


def test_the_head_covers_the_leaves_that_were_returned() -> None:
    """What `add` returns are the leaves of the root, so a caller can check a chunk again later."""
    hasher = _hasher()
    leaves = [hasher.add(bytes(CHUNK)), hasher.add(memoryview(b"tail"))]
    head = hasher.finish(canonical=(CanonicalForm.CSV, bytes(32)))
    assert head.root == merkle.root(leaves)
    assert (head.size_bytes, head.canonical_form, head.canonical) == (CHUNK + 4, CanonicalForm.CSV, bytes(32))


def test_no_bytes_are_no_chunk() -> None:
    """An empty file has no chunks, and no chunk is empty."""
    with pytest.raises(InternalError):
        _hasher().add(b"")


def test_chunks_may_come_together() -> None:
    """However many come at a time, the tree is the same."""
    content = bytes(range(256)) * 700
    one_by_one, together = _hasher(), _hasher()
    for start in range(0, len(content), CHUNK):
        last = one_by_one.add(content[start : start + CHUNK])
    assert together.add(content) == last
    assert together.finish() == one_by_one.finish()


def test_nothing_follows_a_short_chunk() -> None:
    """Only the last chunk is short."""
    hasher = _hasher()
    hasher.add(b"short")
    with pytest.raises(InternalError):
        hasher.add(bytes(CHUNK))


def test_a_chunk_size_outside_the_rules_is_refused_before_any_work() -> None:
    """A hasher for chunks of 3 bytes cannot be made."""
    with pytest.raises(DecodeError):
        _hasher(3)
