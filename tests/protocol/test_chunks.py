"""Sealed chunks of spec/07: every size, and every chunk elsewhere, cut short or under another key."""

import dataclasses
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.hashes import SM3
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given, settings
from hypothesis import strategies as st

from ddtp.errors import AuthenticationFailed, DecodeError, InternalError
from ddtp.protocol import chunks, merkle
from ddtp.protocol.chunks import ChunkCipher, SealContext, SealHeader, SealPurpose
from tests.sessions import leaf_of
from tests.vectors import Case, check, load

SIZE = chunks.CHUNK_SIZE_LEAST
KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
SALT = bytes(range(24))
CONTEXT = SealContext(SealPurpose.TRANSFER, bytes(16), "did:key:zSender", "did:key:zReceiver", SIZE)


def _header(content_bytes: int, *, key: bytes = KEY, salt: bytes = SALT, context: SealContext = CONTEXT) -> SealHeader:
    commitment = ChunkCipher(key, salt=salt, context=context).commitment
    return SealHeader(context.chunk_size, content_bytes, 0, 0, salt, commitment)


def _content(size: int) -> bytes:
    return hashlib.shake_128(b"content").digest(size)


def _seal(content: bytes, *, key: bytes = KEY, salt: bytes = SALT, context: SealContext = CONTEXT) -> list[bytes]:
    cipher, size = ChunkCipher(key, salt=salt, context=context), context.chunk_size
    count = chunks.chunk_count(len(content), size)
    return [cipher.seal(index, content[index * size : (index + 1) * size]) for index in range(count)]


def _open(sealed: list[bytes], header: SealHeader, *, key: bytes = KEY, context: SealContext = CONTEXT) -> bytes:
    cipher = ChunkCipher.open_with(key, header, context=context)
    count = chunks.chunk_count(header.content_bytes, header.chunk_size)
    return b"".join(cipher.open(index, sealed[index]) for index in range(count))


SIZES = [0, 1, 15, 16, SIZE - 1, SIZE, SIZE + 1, 2 * SIZE - 1, 2 * SIZE, 2 * SIZE + 1, 3 * SIZE]


@pytest.mark.parametrize("size", SIZES)
def test_round_trip(size: int) -> None:
    """Content of any size opens again, and its last chunk is short."""
    content, header = _content(size), _header(size)
    sealed = _seal(content)
    assert _open(sealed, header) == content
    assert len(sealed[-1]) < SIZE + 16
    assert all(len(chunk) == SIZE + 16 for chunk in sealed[:-1])


@pytest.mark.parametrize("size", SIZES)
def test_a_run_opens_into_memory_of_the_caller(size: int) -> None:
    """The same bytes as chunk by chunk; nothing of them if one chunk is not what was sealed."""
    content, header = _content(size), _header(size)
    cipher = ChunkCipher.open_with(KEY, header, context=CONTEXT)
    count = chunks.chunk_count(size, SIZE)
    sealed, out = bytearray(b"".join(_seal(content))), bytearray(size)
    cipher.open_run_into(0, sealed, out, count=count)
    assert bytes(out) == content == cipher.open_run(0, sealed, count=count)
    with pytest.raises(InternalError):
        cipher.open_run_into(0, sealed, bytearray(size + 1), count=count)
    sealed[-1] ^= 1
    out = bytearray(size)
    with pytest.raises(AuthenticationFailed):
        cipher.open_run_into(0, sealed, out, count=count)
    assert out == bytes(size)


@pytest.mark.parametrize("size", SIZES)
def test_sizes_and_places(size: int) -> None:
    """Sizes and offsets are those of the chunks stored one after the other."""
    header, sealed = _header(size), _seal(_content(size))
    assert chunks.sealed_bytes(header) == sum(map(len, sealed))
    for index, chunk in enumerate(sealed):
        assert chunks.sealed_size(index, header) == len(chunk)
        assert chunks.sealed_offset(index, SIZE) == sum(map(len, sealed[:index]))
    for index in (-1, len(sealed)):
        with pytest.raises(DecodeError):
            chunks.sealed_size(index, header)


@pytest.mark.parametrize("chunk_size", [1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 20])
def test_chunk_sizes(chunk_size: int) -> None:
    """Each allowed chunk size works."""
    context = dataclasses.replace(CONTEXT, chunk_size=chunk_size)
    content = _content(chunk_size + 5)
    sealed = _seal(content, context=context)
    assert _open(sealed, _header(len(content), context=context), context=context) == content


@pytest.mark.parametrize("chunk_size", [0, 1, 1 << 15, (1 << 16) - 1, (1 << 16) + 1, 3 << 16, 1 << 21, 1 << 40])
def test_other_chunk_sizes(chunk_size: int) -> None:
    """Any other chunk size is refused wherever it stands."""
    with pytest.raises(DecodeError):
        chunks.check_chunk_size(chunk_size)
    with pytest.raises(DecodeError):
        dataclasses.replace(CONTEXT, chunk_size=chunk_size)
    with pytest.raises(DecodeError):
        dataclasses.replace(_header(0), chunk_size=chunk_size)


@settings(max_examples=30)
@given(st.binary(max_size=200), st.integers(0, 1 << 24), st.binary(min_size=32, max_size=32))
def test_any_chunk_at_any_index(chunk: bytes, index: int, key: bytes) -> None:
    """A chunk opens at the index at which it was sealed."""
    cipher = ChunkCipher(key, salt=SALT, context=CONTEXT)
    sealed = cipher.seal(index, chunk)
    assert len(sealed) == len(chunk) + 16
    assert cipher.open(index, memoryview(sealed)) == chunk


def test_sealing_again_gives_the_same_bytes() -> None:
    """After an interruption the same content under the same salt gives the same sealed chunks."""
    assert _seal(_content(SIZE + 1)) == _seal(_content(SIZE + 1))


def test_resumed_at_any_chunk() -> None:
    """Each chunk opens alone, in any order."""
    content, header = _content(3 * SIZE + 7), _header(3 * SIZE + 7)
    sealed, cipher = _seal(content), ChunkCipher.open_with(KEY, header, context=CONTEXT)
    for index in (3, 1, 0, 2):
        assert cipher.open(index, sealed[index]) == content[index * SIZE : (index + 1) * SIZE]


def test_wrong_index() -> None:
    """A chunk does not open at another place of the same content."""
    sealed = _seal(_content(3 * SIZE))
    cipher = ChunkCipher.open_with(KEY, _header(3 * SIZE), context=CONTEXT)
    for place in range(3):
        for index in range(3):
            if place != index:
                with pytest.raises(AuthenticationFailed):
                    cipher.open(place, sealed[index])


def test_index_out_of_bounds() -> None:
    """An index that no content has is refused when sealing and when opening."""
    cipher = ChunkCipher(KEY, salt=SALT, context=CONTEXT)
    sealed = cipher.seal(0, b"")
    for index in (-1, 1 << 40, 1 << 96):
        with pytest.raises(DecodeError):
            cipher.seal(index, b"")
        with pytest.raises(DecodeError):
            cipher.open(index, sealed)


@pytest.mark.parametrize("cut", [1, 15, 16, 17, 100])
def test_truncated_last_chunk(cut: int) -> None:
    """A last chunk without its end is refused."""
    sealed = _seal(_content(SIZE + 99))
    with pytest.raises(AuthenticationFailed):
        _open([sealed[0], sealed[1][:-cut]], _header(SIZE + 99))


def test_content_cut_at_a_chunk_border() -> None:
    """Whoever cuts whole chunks off and corrects the header is refused: a full chunk cannot be the last one."""
    sealed = _seal(_content(2 * SIZE + 5))
    for kept in (1, 2):
        for content_bytes in (kept * SIZE, kept * SIZE - 1):
            header = dataclasses.replace(_header(0), content_bytes=content_bytes)
            with pytest.raises(AuthenticationFailed):
                _open([*sealed[:kept], b""], header)


def test_content_extended() -> None:
    """A header that claims more content than was sealed is refused at the chunk that was the last."""
    sealed = _seal(_content(SIZE + 5))
    with pytest.raises(AuthenticationFailed):
        _open([*sealed, sealed[1]], _header(2 * SIZE + 5))


@settings(max_examples=60)
@given(st.integers(0, (40 + 16) * 8 - 1))
def test_flipped_bit(bit: int) -> None:
    """No sealed chunk with one bit flipped opens."""
    cipher = ChunkCipher(KEY, salt=SALT, context=CONTEXT)
    altered = bytearray(cipher.seal(3, bytes(40)))
    altered[bit // 8] ^= 1 << bit % 8
    with pytest.raises(AuthenticationFailed):
        cipher.open(3, altered)


@pytest.mark.parametrize("size", [0, 1, 15, SIZE + 17, 2 * SIZE])
def test_impossible_size(size: int) -> None:
    """What is shorter than a tag or longer than a sealed chunk is refused."""
    with pytest.raises(AuthenticationFailed):
        ChunkCipher(KEY, salt=SALT, context=CONTEXT).open(0, bytes(size))


def test_chunk_too_long() -> None:
    """More than one chunk is not sealed as one."""
    with pytest.raises(DecodeError):
        ChunkCipher(KEY, salt=SALT, context=CONTEXT).seal(0, bytes(SIZE + 1))


OTHER_CONTEXTS = [
    {"purpose": SealPurpose.PACKAGE},
    {"identifier": bytes(15) + b"\x01"},
    {"sender": "did:key:zOther"},
    {"receiver": "did:key:zOther"},
    {"chunk_size": 2 * SIZE},
    {"sender": CONTEXT.receiver, "receiver": CONTEXT.sender},
]


@pytest.mark.parametrize("change", OTHER_CONTEXTS, ids="-".join)
def test_other_context(change: dict[str, Any]) -> None:
    """What was sealed for one transfer opens in no other one, even with the same key and salt."""
    context = dataclasses.replace(CONTEXT, **change)
    sealed, header = _seal(b"data")[0], _header(4)
    with pytest.raises(AuthenticationFailed):
        ChunkCipher(KEY, salt=SALT, context=context).open(0, sealed)
    header = dataclasses.replace(header, chunk_size=context.chunk_size)
    with pytest.raises(AuthenticationFailed):
        ChunkCipher.open_with(KEY, header, context=context)


def test_other_salt_or_key() -> None:
    """A chunk does not open under another salt or another key, nor does the header fit them."""
    sealed, header = _seal(b"data")[0], _header(4)
    for key, salt in ((KEY, bytes(24)), (OTHER_KEY, SALT)):
        with pytest.raises(AuthenticationFailed):
            ChunkCipher(key, salt=salt, context=CONTEXT).open(0, sealed)
        with pytest.raises(AuthenticationFailed):
            ChunkCipher.open_with(key, dataclasses.replace(header, salt=salt), context=CONTEXT)


def test_header_and_context_disagree() -> None:
    """A context with another chunk size than the header is a mistake, not a wrong key."""
    with pytest.raises(DecodeError):
        ChunkCipher.open_with(KEY, _header(4), context=dataclasses.replace(CONTEXT, chunk_size=2 * SIZE))


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_key_sizes(size: int) -> None:
    """A content key is 32 bytes."""
    with pytest.raises(DecodeError):
        ChunkCipher(bytes(size), salt=SALT, context=CONTEXT)


@pytest.mark.parametrize("size", [0, 23, 25, 32])
def test_salt_sizes(size: int) -> None:
    """A salt is 24 bytes."""
    with pytest.raises(DecodeError):
        ChunkCipher(KEY, salt=bytes(size), context=CONTEXT)


@pytest.mark.parametrize(
    "change",
    [
        {"content_bytes": -1},
        {"content_bytes": (1 << 40) + 1},
        {"openings_offset": 1},
        {"openings_offset": SIZE, "openings_bytes": SIZE + 1},
        {"openings_offset": 4 * SIZE},
        {"openings_bytes": (64 << 20) + 1, "content_bytes": 1 << 30},
        {"salt": bytes(23)},
        {"commitment": bytes(31)},
    ],
)
def test_header_out_of_bounds(change: dict[str, Any]) -> None:
    """A header whose parts do not fit each other cannot be made or parsed."""
    good = SealHeader(SIZE, 2 * SIZE, SIZE, 100, SALT, bytes(32))
    assert SealHeader.parse(good.encode()) == good
    with pytest.raises(DecodeError):
        dataclasses.replace(good, **change)


def _derive(key: bytes) -> tuple[bytes, bytes]:
    """Key and base nonce by another implementation of HKDF-SM3."""
    info = b"ddtp.chunks.v1\x00" + SALT + CONTEXT.encode()
    derived = HKDFExpand(SM3(), 60, info).derive(key)
    return derived[:16], derived[16:28]


def _multiply(left: int, right: int) -> int:
    """Multiply in the field of GCM (NIST SP 800-38D s.6.3)."""
    product = 0
    for bit in range(127, -1, -1):
        if right >> bit & 1:
            product ^= left
        left = left >> 1 ^ (0xE1 << 120 if left & 1 else 0)
    return product


def _inverse(element: int) -> int:
    result, power = 1 << 127, element
    for _ in range(127):
        power = _multiply(power, power)
        result = _multiply(result, power)
    return result


def _gcm_parts(key: bytes) -> tuple[int, int]:
    """Hash key and encrypted first counter block of chunk 0 under a content key."""
    cipher_key, nonce = _derive(key)
    encryptor = Cipher(SM4(cipher_key), modes.ECB()).encryptor()
    blocks = encryptor.update(bytes(16) + nonce + b"\x00\x00\x00\x01")
    return int.from_bytes(blocks[:16], "big"), int.from_bytes(blocks[16:], "big")


def _chunk_for_two_keys(first: bytes, second: bytes) -> bytes:
    """Return one sealed chunk that opens under both content keys.

    The tag of one block C is C·H² ^ L·H ^ E, with L the length block; both tags are equal for one C.
    """
    (hash_1, mask_1), (hash_2, mask_2) = _gcm_parts(first), _gcm_parts(second)
    length = 128
    square_1, square_2 = _multiply(hash_1, hash_1), _multiply(hash_2, hash_2)
    right = _multiply(length, hash_1 ^ hash_2) ^ mask_1 ^ mask_2
    block = _multiply(right, _inverse(square_1 ^ square_2))
    tag = _multiply(block, square_1) ^ _multiply(length, hash_1) ^ mask_1
    return block.to_bytes(16, "big") + tag.to_bytes(16, "big")


def test_commitment() -> None:
    """A chunk made to open under two keys opens under one only: the header commits to it before anything is opened."""
    sealed = _chunk_for_two_keys(KEY, OTHER_KEY)
    first = ChunkCipher(KEY, salt=SALT, context=CONTEXT).open(0, sealed)
    second = ChunkCipher(OTHER_KEY, salt=SALT, context=CONTEXT).open(0, sealed)
    assert first != second
    header = _header(16)
    assert ChunkCipher.open_with(KEY, header, context=CONTEXT).open(0, sealed) == first
    with pytest.raises(AuthenticationFailed, match="commits"):
        ChunkCipher.open_with(OTHER_KEY, header, context=CONTEXT)


def test_layout() -> None:
    """Key, base nonce and commitment are those of another implementation of HKDF and SM4-GCM."""
    cipher_key, base_nonce = _derive(KEY)
    nonce = (int.from_bytes(base_nonce, "big") ^ 5).to_bytes(12, "big")
    encryptor = Cipher(SM4(cipher_key), modes.GCM(nonce)).encryptor()
    expected = encryptor.update(b"chunk five") + encryptor.finalize() + encryptor.tag
    assert ChunkCipher(KEY, salt=SALT, context=CONTEXT).seal(5, b"chunk five") == expected


def test_leaves() -> None:
    """The leaf of a sealed chunk says its place."""
    sealed = _seal(b"data")[0]
    assert chunks.sealed_leaves(7, sealed, count=1, chunk_size=SIZE) == leaf_of(7, sealed)
    assert chunks.sealed_leaves(8, sealed, count=1, chunk_size=SIZE) != leaf_of(7, sealed)


def _context(case: Case) -> SealContext:
    return SealContext.parse(case.data("context"))


def _vector_seal(case: Case) -> dict[str, str]:
    content = bytes.fromhex(case.input["fill"]) * case.input["content_bytes"]
    context = _context(case)
    cipher = ChunkCipher(case.data("content_key"), salt=case.data("salt"), context=context)
    size = context.chunk_size
    count = chunks.chunk_count(len(content), size)
    sealed = [cipher.seal(index, content[index * size : (index + 1) * size]) for index in range(count)]
    leaves = [leaf_of(index, chunk) for index, chunk in enumerate(sealed)]
    return {"commitment": cipher.commitment.hex(), "last": sealed[-1].hex(), "root": merkle.root(leaves).hex()}


def _vector_open(case: Case) -> str:
    header = SealHeader.parse(case.data("header"))
    cipher = ChunkCipher.open_with(case.data("content_key"), header, context=_context(case))
    return cipher.open(case.input["index"], case.data("sealed")).hex()


OPERATIONS = {"seal": _vector_seal, "open": _vector_open}


@pytest.mark.parametrize("case", [case for case in load("07-sealing") if case.operation in OPERATIONS], ids=str)
def test_vector(case: Case) -> None:
    """The operation of a vector gives its output, or fails with its code."""
    check(case, OPERATIONS)
