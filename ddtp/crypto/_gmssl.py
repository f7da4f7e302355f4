"""The last resort for SM2: gmssl 3.2.2, in pure Python, behind guards (spec/00 s.9).

Of gmssl, only its scalar multiplication and its signing formula are used. Its nonces come from the Mersenne Twister;
its keys are corrupted if they start with the hexadecimal digits 04; it multiplies points that are not on the curve;
its verification checks no range, fails with TypeError on a sum at infinity and with a wrong result on two equal
points; its decryption accepts changed ciphertext. What no guard can give is constant time: institutions forbid this
module with `forbid_last_resort`.
"""

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from typing import final

from gmssl.sm2 import CryptSM2

from ddtp.crypto._curve import GX, GY, USER_ID, A, B, N, P, compress_point, decode_point
from ddtp.crypto._single import MessageSigner
from ddtp.errors import CryptoUnavailable

_CURVE_AND_GENERATOR = b"".join(value.to_bytes(32, "big") for value in (A, B, GX, GY))
# A nonce is refused with probability about 2^-254; more than two refusals mean that something is broken.
_MAX_NONCES = 2


@final
class GmsslSm2:
    """SM2 by gmssl; see `ddtp.crypto._contracts.Sm2`.

    Args:
        digest: SM3 of another implementation; that of gmssl is a thousand times slower.
    """

    last_resort = True

    def __init__(self, digest: Callable[[bytes], bytes]) -> None:
        self.description = f"gmssl {version('gmssl')} (last resort)"
        self._digest = digest

    def public_key(self, private_key: bytes, /) -> bytes:
        """Return the 33-byte public key."""
        return compress_point(*_multiply(private_key, GX, GY))

    def agree(self, private_key: bytes, public_key: bytes, /) -> bytes:
        """Return the 32-byte x coordinate of the shared point.

        Raises:
            DecodeError: `public_key` is not a compressed point of the curve.
        """
        x, _ = _multiply(private_key, *decode_point(public_key))
        return x

    def signer(self, private_key: bytes, /) -> MessageSigner:
        """Return `private_key` with what signs."""
        return MessageSigner(partial(self._sign, private_key))

    def verify_many(self, checks: Sequence[tuple[bytes, bytes, bytes]], /) -> list[bool]:
        """Return for each public key, message and signature whether it is valid."""
        return [self.verify(*check) for check in checks]

    def _sign(self, private_key: bytes, message: bytes) -> bytes:
        """Return r ‖ s, with a nonce from `secrets`."""
        x, y = _multiply(private_key, GX, GY)
        hashed = self._message_hash(x + y, message)
        signer = CryptSM2(private_key.hex(), "")
        for _ in range(_MAX_NONCES):
            nonce = 1 + secrets.randbelow(N - 1)
            signature = signer.sign(hashed, f"{nonce:064x}")
            if signature is not None:
                return bytes.fromhex(signature)
        raise CryptoUnavailable("expected gmssl to sign, found every nonce refused")

    def verify(self, public_key: bytes, message: bytes, signature: bytes, /) -> bool:
        """Return whether the signature is valid.

        Raises:
            DecodeError: `public_key` is not a compressed point of the curve.
        """
        x, y = decode_point(public_key)
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        t = (r + s) % N
        of_generator = _multiply(signature[32:], GX, GY)
        of_key = _multiply(t.to_bytes(32, "big"), x, y)
        sum_x = _add_x(of_generator, of_key)
        if sum_x is None:
            return False
        e = int.from_bytes(self._message_hash(x.to_bytes(32, "big") + y.to_bytes(32, "big"), message), "big")
        return (e + sum_x) % N == r

    def _message_hash(self, point: bytes, message: bytes) -> bytes:
        # GB/T 32918.2 s.5.5: Z = SM3(bits of id ‖ id ‖ a ‖ b ‖ G ‖ P), e = SM3(Z ‖ M).
        id_bits = (8 * len(USER_ID)).to_bytes(2, "big")
        return self._digest(self._digest(id_bits + USER_ID + _CURVE_AND_GENERATOR + point) + message)


def _multiply(scalar: bytes, x: int, y: int) -> tuple[bytes, bytes]:
    """Return the coordinates of scalar · (x, y), a point already known to be on the curve."""
    product = CryptSM2("", "")._kg(int.from_bytes(scalar, "big"), f"{x:064x}{y:064x}")  # noqa: SLF001 - no public name
    if product is None:
        raise CryptoUnavailable("expected gmssl to multiply, found the point at infinity")
    return bytes.fromhex(product[:64]), bytes.fromhex(product[64:])


def _add_x(first: tuple[bytes, bytes], second: tuple[bytes, bytes]) -> int | None:
    """Return the x coordinate of the sum of two public points, or None for the point at infinity."""
    (x1, y1), (x2, y2) = ([int.from_bytes(value, "big") for value in point] for point in (first, second))
    if x1 != x2:
        slope = (y2 - y1) * pow(x2 - x1, -1, P)
    elif y1 == y2:
        slope = (3 * x1 * x1 + A) * pow(2 * y1, -1, P)
    else:
        return None
    return (slope * slope - x1 - x2) % P
