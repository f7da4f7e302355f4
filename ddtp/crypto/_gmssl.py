"""The last resort for SM2: gmssl 3.2.2, in pure Python, behind guards (spec/00 s.9).

gmssl by itself draws nonces from the Mersenne Twister, corrupts public keys that start with "04" as hexadecimal
digits, does not check r and s, multiplies points that are not on the curve, and raises TypeError on a signature whose
point is at infinity. Each is guarded here. What no guard can give is constant time: institutions forbid this module
with `forbid_last_resort`.
"""

import secrets
from collections.abc import Callable
from importlib.metadata import version
from typing import final

from gmssl.sm2 import CryptSM2

from ddtp.crypto._curve import GX, GY, A, B, N, compress_point, decode_point
from ddtp.errors import CryptoUnavailable

_USER_ID = b"1234567812345678"
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

    def sign(self, private_key: bytes, message: bytes, /) -> bytes:
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
        point = x.to_bytes(32, "big") + y.to_bytes(32, "big")
        verifier = CryptSM2("", "")
        verifier.public_key = point.hex()  # the constructor strips leading digits 0 and 4 of a key that begins 04
        try:
            return bool(verifier.verify(signature.hex(), self._message_hash(point, message)))
        except TypeError:  # sG + tP is the point at infinity, which gmssl represents as None: no x, so no signature
            return False

    def _message_hash(self, point: bytes, message: bytes) -> bytes:
        # GB/T 32918.2 s.5.5: Z = SM3(bits of id ‖ id ‖ a ‖ b ‖ G ‖ P), e = SM3(Z ‖ M).
        id_bits = (8 * len(_USER_ID)).to_bytes(2, "big")
        return self._digest(self._digest(id_bits + _USER_ID + _CURVE_AND_GENERATOR + point) + message)


def _multiply(scalar: bytes, x: int, y: int) -> tuple[bytes, bytes]:
    """Return the coordinates of scalar · (x, y), a point already known to be on the curve."""
    product = CryptSM2("", "")._kg(int.from_bytes(scalar, "big"), f"{x:064x}{y:064x}")  # noqa: SLF001 - no public name
    if product is None:
        raise CryptoUnavailable("expected gmssl to multiply, found the point at infinity")
    return bytes.fromhex(product[:64]), bytes.fromhex(product[64:])
