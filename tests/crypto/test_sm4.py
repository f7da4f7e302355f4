"""SM4-GCM."""

import pytest
from gmssl.sm4 import SM4_ENCRYPT, CryptSM4
from hypothesis import given, settings
from hypothesis import strategies as st

from ddtp.crypto import sm4
from ddtp.errors import AuthenticationFailed, DecodeError

KEY, NONCE, AAD, PLAINTEXT = bytes(range(16)), bytes(12), b"header", b"the quick brown fox jumps"


def _block(key: bytes, block: bytes) -> bytes:
    cipher = CryptSM4()
    cipher.set_key(key, SM4_ENCRYPT)
    return bytes(cipher.one_round(cipher.sk, list(block)))


def _gf128_multiply(x: int, y: int) -> int:
    """Multiply in GF(2^128) as NIST SP 800-38D s.6.3 writes it, bit by bit."""
    product = 0
    for position in range(127, -1, -1):
        if x >> position & 1:
            product ^= y
        y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
    return product


def _gcm_by_the_book(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """SM4-GCM on the block cipher of gmssl: no line of it is shared with OpenSSL."""
    pad = lambda data: data + bytes(-len(data) % 16)  # noqa: E731
    stream = b"".join(_block(key, nonce + (i + 2).to_bytes(4, "big")) for i in range(-(-len(plaintext) // 16)))
    ciphertext = bytes(a ^ b for a, b in zip(plaintext, stream, strict=False))
    lengths = (8 * len(aad)).to_bytes(8, "big") + (8 * len(ciphertext)).to_bytes(8, "big")
    hashed, hash_key = 0, int.from_bytes(_block(key, bytes(16)), "big")
    blocks = pad(aad) + pad(ciphertext) + lengths
    for start in range(0, len(blocks), 16):
        hashed = _gf128_multiply(hashed ^ int.from_bytes(blocks[start : start + 16], "big"), hash_key)
    tag = hashed ^ int.from_bytes(_block(key, nonce + b"\0\0\0\1"), "big")
    return ciphertext + tag.to_bytes(16, "big")


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=12, max_size=12), st.binary(max_size=70), st.binary())
@settings(deadline=None)
def test_agrees_with_an_independent_implementation(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> None:
    """A GCM written from the standard seals to the same bytes, and they open again."""
    sealed = sm4.SM4GCM(key).seal(nonce, plaintext, aad=aad)
    assert sealed == _gcm_by_the_book(key, nonce, plaintext, aad)
    assert sm4.SM4GCM(key).open(nonce, sealed, aad=aad) == plaintext


def test_every_flipped_bit_is_refused(implementation: str) -> None:
    """No bit of ciphertext, tag or additional data can change unnoticed."""
    cipher = sm4.SM4GCM(KEY)
    sealed = cipher.seal(NONCE, PLAINTEXT, aad=AAD)
    for target, other in ((sealed, False), (AAD, True)):
        for bit in range(8 * len(target)):
            changed = bytearray(target)
            changed[bit // 8] ^= 1 << bit % 8
            with pytest.raises(AuthenticationFailed):
                cipher.open(NONCE, sealed if other else changed, aad=changed if other else AAD)


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_another_key_size_is_refused(size: int) -> None:
    """SM4 has one key size."""
    with pytest.raises(DecodeError):
        sm4.SM4GCM(bytes(size))


@pytest.mark.parametrize("size", [0, 8, 11, 13, 16])
def test_another_nonce_size_is_refused(size: int) -> None:
    """GCM would accept other nonces; the suite does not."""
    cipher = sm4.SM4GCM(KEY)
    with pytest.raises(DecodeError):
        cipher.seal(bytes(size), PLAINTEXT)
    with pytest.raises(DecodeError):
        cipher.open(bytes(size), bytes(32))


def test_buffers_are_taken_as_they_are(implementation: str) -> None:
    """A bytearray or a slice of a memoryview is as good as bytes."""
    cipher = sm4.SM4GCM(KEY)
    sealed = cipher.seal(NONCE, memoryview(b"--" + PLAINTEXT)[2:], aad=bytearray(AAD))
    assert sealed == cipher.seal(NONCE, PLAINTEXT, aad=AAD)
    assert cipher.open(NONCE, memoryview(b"--" + sealed)[2:], aad=memoryview(AAD)) == PLAINTEXT
    assert cipher.open(NONCE, bytearray(cipher.seal(NONCE, b""))) == b""
