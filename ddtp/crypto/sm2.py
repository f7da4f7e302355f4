"""SM2 keys, signatures and key agreement (spec/00 s.3 and s.4, GB/T 32918-2016).

A private key is 32 bytes, big-endian, in [1, n-2]. A public key is 33 bytes: 0x02 or 0x03 ‖ x. A signature is
64 bytes: r ‖ s. The user id is always 1234567812345678. One key either signs or agrees, never both (spec/00 s.3).
"""

from collections.abc import Callable, Sequence
from typing import Final, final

from ddtp.crypto import _backend
from ddtp.crypto._contracts import Buffer
from ddtp.crypto._curve import PUBLIC_KEY_SIZE, SCALAR_SIZE, SIGNATURE_SIZE, N, decode_point
from ddtp.errors import DecodeError, InternalError, SignatureInvalid

__all__ = [
    "PRIVATE_KEY_SIZE",
    "PUBLIC_KEY_SIZE",
    "SIGNATURE_SIZE",
    "Signer",
    "agree",
    "check_private_key",
    "check_public_key",
    "generate_private_key",
    "public_key",
    "sign",
    "verify",
    "verify_many",
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
    return Signer(private_key).sign(message)


@final
class Signer:
    """A private key made ready for many signatures; safe to share between threads.

    Args:
        private_key: 32 bytes.

    Raises:
        DecodeError: `private_key` is malformed.
        CryptoUnavailable: no safe implementation of SM2 is available.
    """

    __slots__ = ("sign",)

    def __init__(self, private_key: bytes) -> None:
        check_private_key(private_key)
        self.sign = _backend.sm2().signer(private_key).sign


def verify(public_key: bytes, message: Buffer, signature: bytes) -> None:
    """Verify a signature of `message`.

    Raises:
        SignatureInvalid: not 64 bytes, r or s outside [1, n-1], r + s = n, or no signature of this message.
        DecodeError: `public_key` is malformed.
        CryptoUnavailable: no safe implementation of SM2 is available.
    """
    if not _is_possible(signature):
        raise SignatureInvalid(
            f"expected a signature of {SIGNATURE_SIZE} bytes, r and s in [1, n-1] and r + s not n, found another form"
        )
    if not _backend.sm2().verify(public_key, bytes(message), signature):
        raise SignatureInvalid("expected a signature of this message by this key, found another")


def verify_many(checks: Sequence[tuple[bytes, Buffer, bytes]]) -> list[bool]:
    """Tell of many signatures whether they are valid; faster than one by one from eight on where the processor helps.

    Args:
        checks: Public key, message and signature of each.

    Raises:
        DecodeError: A public key is malformed.
        CryptoUnavailable: no safe implementation of SM2 is available.
    """
    possible = [number for number, (_, _, signature) in enumerate(checks) if _is_possible(signature)]
    found = _backend.sm2().verify_many([(checks[i][0], bytes(checks[i][1]), checks[i][2]) for i in possible])
    results = [False] * len(checks)
    for number, valid in zip(possible, found, strict=True):
        results[number] = valid
    return results


def agree(private_key: bytes, public_key: bytes) -> bytes:
    """Return the x coordinate, 32 bytes, of the shared point (ECDH); derive keys from it, never use it as one.

    Raises:
        DecodeError: a key is malformed, or the public key is not a point of the curve.
        CryptoUnavailable: no safe implementation of SM2 is available.
    """
    check_private_key(private_key)
    return _backend.sm2().agree(private_key, public_key)


def _is_possible(signature: bytes) -> bool:
    r = int.from_bytes(signature[:SCALAR_SIZE], "big")
    s = int.from_bytes(signature[SCALAR_SIZE:], "big")
    return len(signature) == SIGNATURE_SIZE and 1 <= r < N and 1 <= s < N and r + s != N
