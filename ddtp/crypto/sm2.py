"""SM2 keys, signatures and key agreement (spec/00 s.3 and s.4, GB/T 32918-2016).

A private key is 32 bytes, big-endian, in [1, n-2]. A public key is 33 bytes: 0x02 or 0x03 ‖ x. A signature is
64 bytes: r ‖ s. The user id is always 1234567812345678. One key either signs or agrees, never both (spec/00 s.3).
"""

from collections.abc import Callable
from typing import Final

from ddtp.crypto import _backend
from ddtp.crypto._contracts import Buffer
from ddtp.crypto._curve import PUBLIC_KEY_SIZE, SCALAR_SIZE, SIGNATURE_SIZE, N, decode_point
from ddtp.errors import DecodeError, InternalError, SignatureInvalid

__all__ = [
    "PRIVATE_KEY_SIZE",
    "PUBLIC_KEY_SIZE",
    "SIGNATURE_SIZE",
    "agree",
    "check_private_key",
    "check_public_key",
    "generate_private_key",
    "public_key",
    "sign",
    "verify",
]

PRIVATE_KEY_SIZE: Final = SCALAR_SIZE

# A draw is refused with probability 2^-32; eight refusals in a row mean that `random_bytes` is broken.
_MAX_DRAWS: Final = 8


def generate_private_key(random_bytes: Callable[[int], bytes]) -> bytes:
    """Return a private key drawn uniformly from [1, n-2] by rejection.

    Args:
        random_bytes: Returns that many bytes from a cryptographic generator, as `os.urandom` does.

    Raises:
        InternalError: `random_bytes` returned no usable key in eight draws.
    """
    for _ in range(_MAX_DRAWS):
        candidate = random_bytes(PRIVATE_KEY_SIZE)
        if len(candidate) == PRIVATE_KEY_SIZE and 1 <= int.from_bytes(candidate, "big") <= N - 2:
            return candidate
    raise InternalError("expected random bytes, found a generator that never gives a usable key")


def check_private_key(private_key: bytes) -> None:
    """Check length and range.

    Raises:
        DecodeError: not 32 bytes, or not in [1, n-2]. With d = n-1, 1 + d has no inverse and signing fails.
    """
    if len(private_key) != PRIVATE_KEY_SIZE:
        raise DecodeError(f"expected a private key of {PRIVATE_KEY_SIZE} bytes, found {len(private_key)}")
    if not 1 <= int.from_bytes(private_key, "big") <= N - 2:
        raise DecodeError("expected a private key in [1, n-2], found one outside")


def check_public_key(public_key: bytes) -> None:
    """Check that these 33 bytes are a point of the curve.

    Raises:
        DecodeError: wrong length or prefix, x not below p, or x is not on the curve.
    """
    decode_point(public_key)


def public_key(private_key: bytes) -> bytes:
    """Return the 33-byte public key of `private_key`.

    Raises:
        DecodeError: `private_key` is malformed.
        CryptoUnavailable: no safe implementation of SM2 is available.
    """
    check_private_key(private_key)
    return _backend.sm2().public_key(private_key)


def sign(private_key: bytes, message: Buffer) -> bytes:
    """Return a 64-byte signature; two signatures of one message differ.

    Raises:
        DecodeError: `private_key` is malformed.
        CryptoUnavailable: no safe implementation of SM2 is available.
    """
    check_private_key(private_key)
    return _backend.sm2().sign(private_key, bytes(message))


def verify(public_key: bytes, message: Buffer, signature: bytes) -> None:
    """Verify a signature of `message`.

    Raises:
        SignatureInvalid: not 64 bytes, r or s outside [1, n-1], r + s = n, or no signature of this message.
        DecodeError: `public_key` is malformed.
        CryptoUnavailable: no safe implementation of SM2 is available.
    """
    if len(signature) != SIGNATURE_SIZE:
        raise SignatureInvalid(f"expected a signature of {SIGNATURE_SIZE} bytes, found {len(signature)}")
    r = int.from_bytes(signature[:SCALAR_SIZE], "big")
    s = int.from_bytes(signature[SCALAR_SIZE:], "big")
    if not (1 <= r < N and 1 <= s < N and r + s != N):
        raise SignatureInvalid("expected r and s in [1, n-1] with r + s not n, found others")
    if not _backend.sm2().verify(public_key, bytes(message), signature):
        raise SignatureInvalid("expected a signature of this message by this key, found another")


def agree(private_key: bytes, public_key: bytes) -> bytes:
    """Return the x coordinate, 32 bytes, of the shared point (ECDH); derive keys from it, never use it as one.

    Raises:
        DecodeError: a key is malformed, or the public key is not a point of the curve.
        CryptoUnavailable: no safe implementation of SM2 is available.
    """
    check_private_key(private_key)
    return _backend.sm2().agree(private_key, public_key)
