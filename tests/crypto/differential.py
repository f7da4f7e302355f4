"""Random cases against independent implementations: `python -m tests.crypto.differential CASES`.

SM4-GCM against cryptography's OpenSSL, SM3 against hashlib's, SM2 against the system's libcrypto both ways; and one
case in a hundred against GmSSL, if its package gmssl_pyx is installed. Every path of this processor gets
the same share. The seed is printed first, so that a failure can be repeated.
"""

import hashlib
import hmac
import importlib
import importlib.util
import os
import random
import sys
from types import ModuleType

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.hashes import SM3
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from ddtp.crypto import _accelerated, _libcrypto, _native
from ddtp.crypto._contracts import ChunkRun, Leaves
from ddtp.crypto._curve import N
from ddtp.errors import AuthenticationFailed

SM2_SHARE = 50
"""One case in so many is one of SM2, which take a thousand times longer at OpenSSL."""
GMSSL_SHARE = 100
"""One case in so many is one of GmSSL, whose SM2 takes milliseconds."""


def check_sm4(generator: random.Random) -> None:
    """One message: sealed alike, opened, refused with one bit flipped; and in runs of chunks, parts and in place."""
    key, nonce = generator.randbytes(16), generator.randbytes(12)
    aad, plain = generator.randbytes(generator.choice((0, 0, 13, 300))), generator.randbytes(_length(generator))
    encryptor = Cipher(SM4(key), modes.GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(aad)
    expected = encryptor.update(plain) + encryptor.finalize() + encryptor.tag
    cipher = _native.Sm4Gcm(key)
    assert cipher.seal(nonce, plain, aad) == expected
    assert cipher.open(nonce, expected, aad) == plain
    place = bytearray(plain + bytes(16))
    cipher.seal_into(nonce, memoryview(place)[: len(plain)], aad, place)
    assert place == expected
    cut = generator.randint(0, len(plain))
    stream, out = cipher.stream(nonce, aad, True), bytearray(len(plain))
    for part in (slice(0, cut), slice(cut, None)):
        stream.update_into(plain[part], memoryview(out)[part])
    assert bytes(out) + stream.finish() == expected
    flipped = bytearray(expected)
    flipped[generator.randrange(len(flipped))] ^= 1 << generator.randrange(8)
    try:
        cipher.open(nonce, flipped, aad)
    except AuthenticationFailed:
        return
    raise AssertionError("a flipped bit was accepted")


def check_chunks(generator: random.Random) -> None:
    """A run of chunks gives what single messages give, and leaves that hashlib gives."""
    size, count = generator.randint(1, 3000), generator.randint(1, 40)
    plain = generator.randbytes((count - 1) * size + generator.randint(0, size))
    heads, digests, base = generator.randbytes(64 * count), bytearray(32 * count), generator.randbytes(12)
    first = generator.randrange(1 << 40)
    cipher = _accelerated.NativeSm4Gcm(generator.randbytes(16))
    sealed = cipher.seal_chunks(ChunkRun(base, first, count, size, sealed=Leaves(heads, digests)), plain)
    for number in range(count):
        nonce = (int.from_bytes(base, "big") ^ first + number).to_bytes(12, "big")
        chunk = sealed[(size + 16) * number : (size + 16) * (number + 1)]
        assert chunk == cipher.seal(nonce, plain[size * number : size * (number + 1)], b"")
        leaf = hashlib.new("sm3", heads[64 * number : 64 * (number + 1)] + chunk).digest()
        assert digests[32 * number : 32 * (number + 1)] == leaf
    assert cipher.open_chunks(ChunkRun(base, first, count, size), sealed) == plain


def check_sm3(generator: random.Random) -> None:
    """One message in two parts, and its HMAC and HKDF."""
    message = generator.randbytes(_length(generator))
    cut = generator.randint(0, len(message))
    state = _native.Sm3State()
    state.update(message[:cut])
    state.update(message[cut:])
    assert state.digest() == hashlib.new("sm3", message).digest()
    key, size = generator.randbytes(generator.randint(0, 150)), generator.randint(1, 200)
    code = hmac.digest(key, message, "sm3")
    assert _native.sm3_hmac(key, message) == code
    assert _native.sm3_hkdf_expand(code, message, size) == HKDFExpand(SM3(), size, message).derive(code)


def check_sm2(generator: random.Random, theirs: _libcrypto.LibcryptoSm2) -> None:
    """Keys, agreement, and signatures that each side accepts from the other, and only unchanged."""
    ours = _native.Sm2()
    key, other = (generator.randrange(1, N - 1).to_bytes(32) for _ in range(2))
    public_key, message = ours.public_key(key), generator.randbytes(_length(generator))
    assert public_key == theirs.public_key(key)
    assert ours.agree(key, theirs.public_key(other)) == theirs.agree(key, ours.public_key(other))
    signature, their_signature = ours.signer(key).sign(message), theirs.signer(key).sign(message)
    assert theirs.verify(public_key, message, signature)
    wrong = bytes([their_signature[0] ^ 1]) + their_signature[1:]
    checks = [(public_key, message, their_signature), (public_key, message, wrong)] * 4
    assert ours.verify_many(checks) == bytes((1, 0)) * 4
    assert ours.verify(public_key, message, their_signature)


def check_gmssl(generator: random.Random, theirs: ModuleType) -> None:
    """One digest, one sealed message, and one signature each way."""
    message, aad = generator.randbytes(_length(generator)), generator.randbytes(generator.choice((0, 13, 300)))
    state = _native.Sm3State()
    state.update(message)
    assert state.digest() == theirs.sm3_hash(message)
    if message:  # GmSSL's package refuses to seal nothing
        key, nonce = generator.randbytes(16), generator.randbytes(12)
        sealed, tag = theirs.sm4_gcm_encrypt(key=key, iv=nonce, aad=aad, plaintext=message)
        assert _native.Sm4Gcm(key).seal(nonce, message, aad) == sealed + tag
    ours, secret = _native.Sm2(), generator.randrange(1, N - 1).to_bytes(32)
    public_key = ours.public_key(secret)
    point = theirs.normalize_sm2_public_key(public_key)
    r, s = decode_dss_signature(theirs.sm2_sign(secret, point, message))
    assert ours.verify(public_key, message, r.to_bytes(32) + s.to_bytes(32))
    signature = ours.signer(secret).sign(message)
    der = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    assert theirs.sm2_verify(point, message, der)


def run(cases: int, seed: int, gmssl: ModuleType | None) -> None:
    """Run so many random cases; without GmSSL those of the others.

    Raises:
        AssertionError: Two implementations disagree.
    """
    generator, theirs = random.Random(seed), _libcrypto.load()
    for number in range(cases):
        if number % SM2_SHARE == 0 and theirs is not None:
            check_sm2(generator, theirs)
        elif number % SM2_SHARE == 1:
            check_chunks(generator)
        elif number % GMSSL_SHARE == 3 and gmssl is not None:
            check_gmssl(generator, gmssl)
        elif number % 2:
            check_sm4(generator)
        else:
            check_sm3(generator)


def _length(generator: random.Random) -> int:
    # mostly short, with all borders of blocks and batches among them
    return generator.choice((generator.randint(0, 80), generator.randint(0, 80), generator.randint(0, 1200), 4096))


if __name__ == "__main__":
    chosen = int.from_bytes(os.urandom(8))
    sys.stdout.write(f"seed {chosen}\n")
    if _libcrypto.load() is None:
        sys.exit("expected a libcrypto with SM2 to compare with, found none")
    peer = importlib.import_module("gmssl_pyx") if importlib.util.find_spec("gmssl_pyx") else None
    paths = _native.levels()
    for path in paths:
        _native.limit(path)
        run(int(sys.argv[1]) // len(paths), chosen, peer)
        sys.stdout.write(f"{path}: cases agree, {'GmSSL among the peers' if peer else 'without GmSSL'}\n")
