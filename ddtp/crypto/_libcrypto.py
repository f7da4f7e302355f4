"""SM2 by the system's libcrypto, OpenSSL 3 or later, through ctypes (spec/00 s.4).

OpenSSL multiplies a secret scalar by a constant-time ladder. Its default user id is the empty one, so the id is set for
each operation. Everything allocated is freed in the same call, except public keys, of which a bounded number is
cached. The thread's error queue is left empty, because the `ssl` module reads the same queue.
"""

import ctypes
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint, c_ulong, c_void_p
from functools import lru_cache, partial
from typing import final

from ddtp.crypto._curve import USER_ID, N, compress_point, decode_point
from ddtp.crypto._single import MessageSigner
from ddtp.errors import CryptoUnavailable

# By name where the system's loader decides; by full path where it would not look (macOS refuses its own libcrypto).
_LIBRARY_NAMES = (
    "libcrypto.so.3",
    "libcrypto.so.4",
    "/opt/homebrew/opt/openssl@3/lib/libcrypto.3.dylib",
    "/usr/local/opt/openssl@3/lib/libcrypto.3.dylib",
    "libcrypto-3-x64.dll",
    "libcrypto-3.dll",
)
_MIN_VERSION = 0x30000000
_PUBLIC_KEY_CACHE_COUNT = 256  # about 2 KiB each; more peers than one agent talks to at once

# <openssl/obj_mac.h>, <openssl/bn.h>, <openssl/ec.h>, <openssl/evp.h>, <openssl/core.h>
_NID_SM2 = 1172
_BN_FLG_CONSTTIME = 4
_POINT_CONVERSION_UNCOMPRESSED = 4
_EVP_PKEY_PUBLIC_KEY = 0x86
_EVP_PKEY_KEYPAIR = 0x87
_OSSL_PARAM_UNSIGNED_INTEGER = 2
_OSSL_PARAM_UTF8_STRING = 4
_OSSL_PARAM_OCTET_STRING = 5
_OSSL_PARAM_UNMODIFIED = c_size_t(-1).value

_POINT_SIZE = 65
_MAX_DER_SIZE = 72  # two INTEGERs of 33 bytes with their headers, in a SEQUENCE


class _OsslParam(ctypes.Structure):
    _fields_ = (
        ("key", c_char_p),
        ("data_type", c_uint),
        ("data", c_void_p),
        ("data_size", c_size_t),
        ("return_size", c_size_t),
    )


_PROTOTYPES = {
    "BN_bin2bn": (c_void_p, (c_char_p, c_int, c_void_p)),
    "BN_clear_free": (None, (c_void_p,)),
    "BN_set_flags": (None, (c_void_p, c_int)),
    "EC_GROUP_new_by_curve_name": (c_void_p, (c_int,)),
    "EC_POINT_clear_free": (None, (c_void_p,)),
    "EC_POINT_mul": (c_int, (c_void_p,) * 6),
    "EC_POINT_new": (c_void_p, (c_void_p,)),
    "EC_POINT_oct2point": (c_int, (c_void_p, c_void_p, c_char_p, c_size_t, c_void_p)),
    "EC_POINT_point2oct": (c_size_t, (c_void_p, c_void_p, c_int, c_void_p, c_size_t, c_void_p)),
    "ERR_clear_error": (None, ()),
    "EVP_DigestSign": (c_int, (c_void_p, c_void_p, POINTER(c_size_t), c_char_p, c_size_t)),
    "EVP_DigestSignInit": (c_int, (c_void_p, POINTER(c_void_p), c_void_p, c_void_p, c_void_p)),
    "EVP_DigestVerify": (c_int, (c_void_p, c_char_p, c_size_t, c_char_p, c_size_t)),
    "EVP_DigestVerifyInit": (c_int, (c_void_p, POINTER(c_void_p), c_void_p, c_void_p, c_void_p)),
    "EVP_MD_CTX_free": (None, (c_void_p,)),
    "EVP_MD_CTX_new": (c_void_p, ()),
    "EVP_PKEY_CTX_free": (None, (c_void_p,)),
    "EVP_PKEY_CTX_new_from_name": (c_void_p, (c_void_p, c_char_p, c_char_p)),
    "EVP_PKEY_CTX_set1_id": (c_int, (c_void_p, c_char_p, c_int)),
    "EVP_PKEY_free": (None, (c_void_p,)),
    "EVP_PKEY_fromdata": (c_int, (c_void_p, POINTER(c_void_p), c_int, POINTER(_OsslParam))),
    "EVP_PKEY_fromdata_init": (c_int, (c_void_p,)),
    "EVP_sm3": (c_void_p, ()),
    "OPENSSL_cleanse": (None, (c_void_p, c_size_t)),
}


def load() -> "LibcryptoSm2 | None":
    """Return SM2 by the first usable libcrypto, or None if this machine has none with SM2."""
    for name in _LIBRARY_NAMES:
        library = _open_library(name)
        if library is not None:
            group = library.EC_GROUP_new_by_curve_name(_NID_SM2)
            library.ERR_clear_error()
            if group:  # some distributions build OpenSSL without SM2
                return LibcryptoSm2(library, group)
    return None


def _open_library(name: str) -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(name)
        library.OpenSSL_version_num.restype = c_ulong
        if library.OpenSSL_version_num() < _MIN_VERSION:
            return None
        for function, (restype, argtypes) in _PROTOTYPES.items():
            prototype = getattr(library, function)
            prototype.restype = restype
            prototype.argtypes = argtypes
    except (OSError, AttributeError):  # not there, or built without what SM2 needs
        return None
    return library


@final
class _Key:
    """Owns an EVP_PKEY."""

    __slots__ = ("_free", "pointer")

    def __init__(self, pointer: c_void_p, free: Callable[[c_void_p], None]) -> None:
        self.pointer = pointer
        self._free = free

    def __del__(self) -> None:
        self._free(self.pointer)


@final
class LibcryptoSm2:
    """SM2 by one libcrypto; see `ddtp.crypto._contracts.Sm2`.

    Args:
        library: A libcrypto with the prototypes of this module.
        group: Its EC_GROUP of sm2p256v1; it lives as long as the process and is only read.
    """

    last_resort = False

    def __init__(self, library: ctypes.CDLL, group: int) -> None:
        self._library = library
        self._group = group
        library.OpenSSL_version.restype = c_char_p
        library.OpenSSL_version.argtypes = (c_int,)
        self.description = f"libcrypto {library.OpenSSL_version(0).decode('ascii').split()[1]}"
        self._public = lru_cache(maxsize=_PUBLIC_KEY_CACHE_COUNT)(self._import_public)

    def public_key(self, private_key: bytes, /) -> bytes:
        """Return the 33-byte public key."""
        point = self._multiply(private_key, None)
        return compress_point(point[1:33], point[33:])

    def agree(self, private_key: bytes, public_key: bytes, /) -> bytes:
        """Return the 32-byte x coordinate of the shared point.

        Raises:
            DecodeError: `public_key` is not a compressed point of the curve.
        """
        return self._multiply(private_key, _uncompressed(public_key))[1:33]

    def signer(self, private_key: bytes, /) -> MessageSigner:
        """Return `private_key` imported once for many signatures."""
        return MessageSigner(partial(self._sign, self._import_private(private_key)))

    def _sign(self, key: _Key, message: bytes) -> bytes:
        """Return r ‖ s."""
        library = self._library
        signature = ctypes.create_string_buffer(_MAX_DER_SIZE)
        size = c_size_t(_MAX_DER_SIZE)
        with ExitStack() as stack:
            context = self._context(stack, "EVP_DigestSignInit", key)
            self._check(
                library.EVP_DigestSign(context, signature, ctypes.byref(size), message, len(message)), "EVP_DigestSign"
            )
        return signature_from_der(signature.raw[: size.value])

    def verify(self, public_key: bytes, message: bytes, signature: bytes, /) -> bool:
        """Return whether the signature is valid.

        Raises:
            DecodeError: `public_key` is not a compressed point of the curve.
        """
        key = self._public(bytes(public_key))
        der = signature_to_der(signature)
        with ExitStack() as stack:
            context = self._context(stack, "EVP_DigestVerifyInit", key)
            return bool(self._library.EVP_DigestVerify(context, der, len(der), message, len(message)) == 1)

    def verify_many(self, checks: Sequence[tuple[bytes, bytes, bytes]], /) -> list[bool]:
        """Return for each public key, message and signature whether it is valid."""
        return [self.verify(*check) for check in checks]

    def _multiply(self, scalar: bytes, point: bytes | None) -> bytes:
        """Return scalar · point, uncompressed; `point` None means the generator."""
        library = self._library
        with ExitStack() as stack:
            stack.callback(library.ERR_clear_error)
            factor = self._own(stack, library.BN_bin2bn(scalar, len(scalar), None), library.BN_clear_free)
            library.BN_set_flags(factor, _BN_FLG_CONSTTIME)
            product = self._own(stack, library.EC_POINT_new(self._group), library.EC_POINT_clear_free)
            if point is None:
                done = library.EC_POINT_mul(self._group, product, factor, None, None, None)
            else:
                other = self._own(stack, library.EC_POINT_new(self._group), library.EC_POINT_clear_free)
                self._check(
                    library.EC_POINT_oct2point(self._group, other, point, len(point), None), "EC_POINT_oct2point"
                )
                done = library.EC_POINT_mul(self._group, product, None, other, factor, None)
            self._check(done, "EC_POINT_mul")
            encoded = ctypes.create_string_buffer(_POINT_SIZE)
            stack.callback(library.OPENSSL_cleanse, encoded, _POINT_SIZE)
            size = library.EC_POINT_point2oct(
                self._group, product, _POINT_CONVERSION_UNCOMPRESSED, encoded, _POINT_SIZE, None
            )
            self._check(int(size == _POINT_SIZE), "EC_POINT_point2oct")
            return encoded.raw

    def _context(self, stack: ExitStack, initialise: str, key: _Key) -> int:
        """Return an EVP_MD_CTX for SM3 with SM2 under `key`, with the user id set."""
        library = self._library
        stack.callback(library.ERR_clear_error)
        context = self._own(stack, library.EVP_MD_CTX_new(), library.EVP_MD_CTX_free)
        key_context = c_void_p()  # belongs to `context`
        self._check(
            getattr(library, initialise)(context, ctypes.byref(key_context), library.EVP_sm3(), None, key.pointer),
            initialise,
        )
        self._check(library.EVP_PKEY_CTX_set1_id(key_context, USER_ID, len(USER_ID)), "EVP_PKEY_CTX_set1_id")
        return context

    def _import_public(self, public_key: bytes) -> _Key:
        return self._import_key(_EVP_PKEY_PUBLIC_KEY, _uncompressed(public_key), None)

    def _import_private(self, private_key: bytes) -> _Key:
        point = self._multiply(private_key, None)
        ordered = bytearray(private_key)
        if sys.byteorder == "little":  # OSSL_PARAM integers are in the machine's order
            ordered.reverse()
        scalar = (ctypes.c_char * len(ordered)).from_buffer(ordered)
        try:
            return self._import_key(_EVP_PKEY_KEYPAIR, point, scalar)
        finally:
            self._library.OPENSSL_cleanse(scalar, len(scalar))

    def _import_key(self, selection: int, point: bytes, scalar: "ctypes.Array[ctypes.c_char] | None") -> _Key:
        library = self._library
        parameters = [
            _parameter(b"group", _OSSL_PARAM_UTF8_STRING, ctypes.create_string_buffer(b"SM2", 3)),
            _parameter(b"pub", _OSSL_PARAM_OCTET_STRING, ctypes.create_string_buffer(point, len(point))),
        ]
        if scalar is not None:
            parameters.append(_parameter(b"priv", _OSSL_PARAM_UNSIGNED_INTEGER, scalar))
        array = (_OsslParam * (len(parameters) + 1))(*parameters)  # the last one, all zero, ends the list
        with ExitStack() as stack:
            stack.callback(library.ERR_clear_error)
            context = self._own(
                stack, library.EVP_PKEY_CTX_new_from_name(None, b"SM2", None), library.EVP_PKEY_CTX_free
            )
            self._check(library.EVP_PKEY_fromdata_init(context), "EVP_PKEY_fromdata_init")
            pointer = c_void_p()
            self._check(
                library.EVP_PKEY_fromdata(context, ctypes.byref(pointer), selection, array), "EVP_PKEY_fromdata"
            )
            return _Key(pointer, library.EVP_PKEY_free)

    def _own(self, stack: ExitStack, pointer: int | None, free: Callable[[int], None]) -> int:
        if pointer is None:
            raise CryptoUnavailable(f"expected {self.description} to allocate, found no memory")
        stack.callback(free, pointer)
        return pointer

    def _check(self, result: int, function: str) -> None:
        if result != 1:
            raise CryptoUnavailable(f"expected {self.description} to succeed, found a failure in {function}")


def signature_to_der(signature: bytes) -> bytes:
    """Return the DER SEQUENCE of two INTEGERs for the 64 bytes r ‖ s."""
    integers = b"".join(_der_integer(signature[start : start + 32]) for start in (0, 32))
    return bytes([0x30, len(integers)]) + integers


def signature_from_der(der: bytes) -> bytes:
    """Return r ‖ s, 64 bytes, of a DER signature.

    Raises:
        CryptoUnavailable: not the one DER encoding of two integers in [1, n-1]; libcrypto never writes another.
    """
    if len(der) >= 8 and len(der) >= 6 + der[3]:
        r = der[4 : 4 + der[3]]
        s = der[6 + der[3] :]
        if all(1 <= int.from_bytes(value, "big") < N for value in (r, s)):
            raw = b"".join(int.from_bytes(value, "big").to_bytes(32, "big") for value in (r, s))
            if signature_to_der(raw) == der:
                return raw
    raise CryptoUnavailable("expected a DER signature of two integers in [1, n-1], found another form")


def _der_integer(value: bytes) -> bytes:
    digits = value.lstrip(b"\0") or b"\0"
    if digits[0] & 0x80:
        digits = b"\0" + digits
    return bytes([0x02, len(digits)]) + digits


def _uncompressed(public_key: bytes) -> bytes:
    x, y = decode_point(public_key)
    return b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")


def _parameter(key: bytes, data_type: int, data: "ctypes.Array[ctypes.c_char]") -> _OsslParam:
    # The pointer that `cast` returns keeps `data` alive as long as the structure.
    return _OsslParam(key, data_type, ctypes.cast(data, c_void_p), ctypes.sizeof(data), _OSSL_PARAM_UNMODIFIED)
