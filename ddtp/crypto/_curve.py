"""The curve sm2p256v1, the encodings of its keys and the user id (spec/00 s.3 and s.4).

Arithmetic here touches public values only: Python integers are not constant-time, so no private key and no nonce may
enter this module except to compare it with the bounds of its range.
"""

from ddtp.errors import DecodeError

# GB/T 32918.5-2017: the recommended curve y² = x³ + ax + b over GF(p), of prime order n (cofactor 1).
P = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
A = P - 3
B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
GX = 0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7
GY = 0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0

# Enters every signature. Libraries differ in what they take if none is given, so it is always given.
USER_ID = b"1234567812345678"

SCALAR_SIZE = 32
PUBLIC_KEY_SIZE = 33
SIGNATURE_SIZE = 64


def decode_point(public_key: bytes) -> tuple[int, int]:
    """Return the affine coordinates of a compressed point.

    Raises:
        DecodeError: wrong length or prefix, x not below p, or no point of the curve has this x.
    """
    if len(public_key) != PUBLIC_KEY_SIZE:
        raise DecodeError(f"expected a public key of {PUBLIC_KEY_SIZE} bytes, found {len(public_key)}")
    if public_key[0] not in (0x02, 0x03):
        raise DecodeError(f"expected a compressed point starting 02 or 03, found {public_key[0]:02x}")
    x = int.from_bytes(public_key[1:], "big")
    if x >= P:
        raise DecodeError("expected an x coordinate below p, found a larger one")
    y_squared = (x * x * x + A * x + B) % P
    y = pow(y_squared, (P + 1) // 4, P)  # a square root, because p = 3 mod 4
    if y * y % P != y_squared:
        raise DecodeError("expected a point on the curve, found an x coordinate without one")
    if y & 1 != public_key[0] & 1:
        y = P - y  # y is never 0: the order is odd, so no point is its own negative
    return x, y


def compress_point(x: bytes, y: bytes) -> bytes:
    """Return the 33-byte form of the point with these 32-byte coordinates."""
    return bytes([0x02 | y[-1] & 1]) + x
