"""The extension: every processor path of this machine against others' implementations, and its buffers and errors."""

from collections.abc import Iterator

import pytest

pytest.importorskip("ddtp.crypto._native", reason="the extension is not built here")

from ddtp.crypto import _accelerated, _native
from ddtp.crypto._contracts import ChunkRun
from ddtp.crypto.sm4 import SM4GCM
from ddtp.errors import AuthenticationFailed, DecodeError, InternalError
from tests.crypto import differential

KEY, NONCE = bytes(range(16)), bytes(range(12))
LENGTHS = [near + step for near in (1, 16, 64, 256, 1024, 2048, 4096) for step in (-1, 0, 1)]


@pytest.fixture(params=_native.levels())
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each path that this processor has."""
    best = _native.level()
    _native.limit(request.param)
    yield request.param
    _native.limit(best)


@pytest.mark.slow
def test_random_cases_agree(path: str) -> None:
    """A few of the cases that CI runs a million of."""
    differential.run(500, seed=len(path), gmssl=None)


def test_a_path_that_is_not_there_is_refused() -> None:
    """Nothing is chosen by guessing."""
    with pytest.raises(ValueError, match="level"):
        _native.limit("sve2")


def test_every_length_in_place_and_unaligned(path: str) -> None:
    """Buffers that start at any address, results in the place of the input."""
    cipher = _native.Sm4Gcm(KEY)
    for length in LENGTHS:
        content = bytes(range(256)) * 17
        expected = cipher.seal(NONCE, content[:length], b"aad")
        for shift in range(0, 17, 4):
            room = bytearray(shift + length + 16)
            room[shift : shift + length] = content[:length]
            view = memoryview(room)[shift:]
            cipher.seal_into(NONCE, view[:length], b"aad", view)
            assert view == expected
            cipher.open_into(NONCE, view, b"aad", view[:length])
            assert view[:length] == content[:length]


def test_a_wrong_tag_leaves_zeros(path: str) -> None:
    """A caller that ignores the error gets nothing."""
    cipher, out = _native.Sm4Gcm(KEY), bytearray(b"x" * 100)
    sealed = bytearray(cipher.seal(NONCE, bytes(range(100)), b""))
    sealed[-1] ^= 1
    with pytest.raises(AuthenticationFailed):
        cipher.open_into(NONCE, sealed, b"", out)
    assert out == bytes(100)


def test_a_wrong_chunk_is_named(path: str) -> None:
    """And nothing of the run is returned."""
    cipher, run = _accelerated.NativeSm4Gcm(KEY), ChunkRun(NONCE, 7, 20, 100)
    sealed = bytearray(cipher.seal_chunks(run, bytes(1990)))
    sealed[116 * 18] ^= 1
    with pytest.raises(AuthenticationFailed, match="chunk 25"):
        cipher.open_chunks(run, sealed)
    out = bytearray(b"x" * 1990)
    with pytest.raises(AuthenticationFailed, match="chunk 25"):
        cipher.open_chunks_into(run, sealed, out)
    assert out == bytes(1990)


@pytest.mark.parametrize(
    "call",
    [
        lambda _cipher: _native.Sm4Gcm(bytes(15)),
        lambda cipher: cipher.seal(bytes(11), b"", b""),
        lambda cipher: cipher.seal_into(NONCE, b"four", b"", bytearray(19)),
        lambda cipher: cipher.stream(bytes(13), b"", True),
        lambda cipher: cipher.seal_chunks(NONCE, 0, 0, 16, b"", None, None, None, None),
        lambda cipher: cipher.seal_chunks(NONCE, 0, 2, 16, bytes(33), None, None, None, None),
        lambda cipher: cipher.seal_chunks(NONCE, 0, 2, 16, bytes(15), None, None, None, None),
        lambda cipher: cipher.seal_chunks(NONCE, 0, 1, 16, bytes(16), bytes(63), bytearray(32), None, None),
        lambda cipher: cipher.seal_chunks(NONCE, 0, 1, 16, bytes(16), bytes(64), bytearray(31), None, None),
        lambda cipher: cipher.open_chunks(NONCE, 0, 1, 16, bytes(15), None, None, None, None),
        lambda cipher: cipher.open_chunks_into(NONCE, 0, 1, 16, bytes(32), None, None, None, None, bytearray(15)),
        lambda _cipher: _native.sm3_leaves(bytes(64), bytes(65), 64, bytearray(32)),
        lambda _cipher: _native.sm3_leaves(bytes(65), bytes(64), 64, bytearray(32)),
        lambda _cipher: _native.sm3_root(bytes(64), b""),
        lambda _cipher: _native.sm3_hkdf_expand(bytes(31), b"", 32),
        lambda _cipher: _native.sm3_hkdf_expand(bytes(32), b"", 8161),
        lambda _cipher: _native.Sm2().signer(bytes(32)),
        lambda _cipher: _native.Sm2().verify(bytes(33), b"", bytes(64)),
    ],
)
def test_sizes_that_do_not_fit_are_refused(call: object) -> None:
    """Before a byte is read or written."""
    with pytest.raises(DecodeError):
        call(_native.Sm4Gcm(KEY))


def test_buffers_that_overlap_are_refused() -> None:
    """Input and output are one place, or two that do not touch."""
    room = bytearray(100)
    view = memoryview(room)
    with pytest.raises(DecodeError, match="overlap"):
        _native.Sm4Gcm(KEY).seal_into(NONCE, view[1:51], b"", view[:66])
    with pytest.raises(DecodeError, match="overlap"):
        _native.Sm4Gcm(KEY).open_chunks_into(NONCE, 0, 1, 50, view[:66], None, None, None, None, view[50:])
    with pytest.raises(DecodeError, match="overlap"):
        _native.Sm4Gcm(KEY).open_chunks_into(NONCE, 0, 1, 50, bytes(66), bytes(64), view[:32], None, None, view[:50])
    with pytest.raises(DecodeError, match="overlap"):
        _native.Sm4Gcm(KEY).seal_chunks(NONCE, 0, 1, 50, view[:50], bytes(64), view[18:50], None, None)
    with pytest.raises(DecodeError, match="overlap"):
        _native.sm3_leaves(bytes(64), view[:50], 50, view[40:72])


@pytest.mark.parametrize("size", [16, 300, 3000])
def test_a_nonce_may_lie_where_the_result_goes(path: str, size: int) -> None:
    """It is read once, before anything is written."""
    cipher, plain = _native.Sm4Gcm(KEY), bytes(range(16)) * (size // 16 + 1)
    room = bytearray(NONCE + bytes(size + 16))
    cipher.seal_into(memoryview(room)[:12], plain[:size], b"", memoryview(room)[: size + 16])
    assert bytes(room[: size + 16]) == cipher.seal(NONCE, plain[:size], b"")


def test_a_path_is_named_exactly() -> None:
    """Nothing after its name is overlooked."""
    with pytest.raises(ValueError, match="portable"):
        _native.limit("portable\0x")


def test_an_index_does_not_wrap(path: str) -> None:
    """Two chunks would share a nonce."""
    cipher = SM4GCM(KEY)
    for first, count in ((1 << 64, 1), ((1 << 64) - 1, 2), (-1, 1)):
        with pytest.raises(InternalError, match="index"):
            cipher.seal_chunks(ChunkRun(NONCE, first, count, 16), bytes(16 * count))
    with pytest.raises(DecodeError, match="index"):
        _native.Sm4Gcm(KEY).seal_chunks(NONCE, (1 << 64) - 1, 2, 16, bytes(32), None, None, None, None)
    with pytest.raises(OverflowError):
        _native.Sm4Gcm(KEY).seal_chunks(NONCE, 1 << 64, 1, 16, bytes(16), None, None, None, None)


def test_the_tag_of_an_opened_message_is_not_told() -> None:
    """It would be the tag of whatever was given to open; and a sealed message has nothing to check."""
    with pytest.raises(DecodeError, match="sealed"):
        _native.Sm4Gcm(KEY).stream(NONCE, b"", False).finish()
    with pytest.raises(DecodeError, match="opened"):
        _native.Sm4Gcm(KEY).stream(NONCE, b"", True).check(bytes(16))


def test_objects_that_are_no_buffers_are_refused() -> None:
    """A wrong type is a defect of the caller."""
    cipher = _native.Sm4Gcm(KEY)
    for call in (lambda: cipher.seal(NONCE, "text", b""), lambda: cipher.seal(NONCE), _native.Sm4Gcm):
        with pytest.raises(TypeError):
            call()
    with pytest.raises((TypeError, BufferError)):
        cipher.seal_into(NONCE, b"", b"", bytes(16))


def test_a_message_that_is_finished_goes_on_no_more() -> None:
    """Neither with more parts nor with a second tag."""
    stream = _native.Sm4Gcm(KEY).stream(NONCE, b"", False)
    with pytest.raises(AuthenticationFailed):
        stream.check(bytes(16))
    for call in (lambda: stream.update_into(b"", bytearray()), stream.finish, lambda: stream.check(bytes(16))):
        with pytest.raises(DecodeError, match="finished"):
            call()
