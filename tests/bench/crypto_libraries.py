"""C libraries that `crypto` measures beside ours and that no Python package binds: libgcrypt, Intel's crypto_mb.

Both are called through ctypes with prepared buffers, so that a call costs them microseconds at most.
"""

import ctypes
import importlib.metadata
from collections.abc import Mapping, Sequence
from ctypes import c_char, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Protocol, final

from ddtp.crypto._curve import USER_ID, decode_point

SM2_LANES = 8
"""How many signatures crypto_mb works on at once."""
TAG_SIZE, DIGEST_SIZE, SCALAR_SIZE = 16, 32, 32

# <gcrypt.h>
_CIPHER_SM4, _MODE_GCM, _MD_SM3 = 318, 9, 326
_CTL_RESET, _CTL_IS_THERE = 4, 8
# <crypto_mb/sm4_gcm.h>: a little more than 5 KiB
_GCM_CONTEXT_SIZE, _ALIGNMENT = 8192, 64
_AFFINE_WITHOUT_SCRATCH = (None, None)
"""No Z coordinates, no buffer."""
# in the order in which they need each other
_INTEL_RUNTIME = ("libintlc.so.5", "libimf.so", "libirng.so", "libsvml.so")


class Library(Protocol):
    """Seals and hashes the same chunks in each call; the calls return what went wrong, as bits."""

    lanes: int
    """How many of the chunks one call takes."""

    def seal(self) -> int:
        """Seal the chunks, each under the same key and nonce."""

    def digest(self) -> int:
        """Hash the chunks."""

    def digest_sealed(self) -> int:
        """Hash what was sealed, without the tags."""

    def results(self) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Return the sealed chunks with their tags, and the digests."""


@final
class Libgcrypt:
    """SM4-GCM and SM3 of libgcrypt; its SM2 makes some hundred signatures a second and is not measured.

    Raises:
        OSError: It is not here, or knows no SM4 or no SM3; the text says which.
    """

    lanes = 1

    def __init__(self, *, key: bytes, nonce: bytes, chunks: Sequence[bytes]) -> None:
        self._library = library = ctypes.CDLL("libgcrypt.so.20")
        library.gcry_check_version.restype = c_char_p
        version = library.gcry_check_version(None).decode()
        self._cipher, self._nonce, self._chunk = c_void_p(), nonce, chunks[0]
        if library.gcry_cipher_open(ctypes.byref(self._cipher), _CIPHER_SM4, _MODE_GCM, 0):
            raise OSError(f"libgcrypt {version} has no SM4")
        if library.gcry_md_algo_info(_MD_SM3, _CTL_IS_THERE, None, None):
            raise OSError(f"libgcrypt {version} has no SM3")
        library.gcry_cipher_setkey(self._cipher, key, c_size_t(len(key)))
        self._sealed, self._tag, self._digest = ((c_char * size)() for size in (len(chunks[0]), TAG_SIZE, DIGEST_SIZE))

    def seal(self) -> int:
        call, cipher, size = self._library, self._cipher, c_size_t(len(self._chunk))
        return (
            call.gcry_cipher_ctl(cipher, _CTL_RESET, None, c_size_t(0))
            | call.gcry_cipher_setiv(cipher, self._nonce, c_size_t(len(self._nonce)))
            | call.gcry_cipher_encrypt(cipher, self._sealed, size, self._chunk, size)
            | call.gcry_cipher_gettag(cipher, self._tag, c_size_t(TAG_SIZE))
        )

    def digest(self) -> int:
        self._library.gcry_md_hash_buffer(_MD_SM3, self._digest, self._chunk, c_size_t(len(self._chunk)))
        return 0

    def digest_sealed(self) -> int:
        self._library.gcry_md_hash_buffer(_MD_SM3, self._digest, self._sealed, c_size_t(len(self._sealed)))
        return 0

    def results(self) -> tuple[Sequence[bytes], Sequence[bytes]]:
        return [self._sealed.raw + self._tag.raw], [self._digest.raw]


@final
class CryptoMb:
    """SM4-GCM, SM3 and SM2 of Intel's crypto_mb, which works on 16 messages and on 8 signatures at once.

    Raises:
        OSError: It is not here, or does not run on this processor; the text says which.
    """

    lanes = 16

    def __init__(self, *, key: bytes, nonce: bytes, chunks: Sequence[bytes]) -> None:
        for name in _INTEL_RUNTIME:
            _open_packaged("intel-cmplr-lib-rt", name)
        self._library = library = _open_packaged("ipp-crypto", "libcrypto_mb.so.13")
        library.mbx_is_crypto_mb_applicable.argtypes = (c_uint64,)
        if not library.mbx_is_crypto_mb_applicable(0):
            raise OSError("crypto_mb needs AVX-512 IFMA")
        for name in ("gcm_init", "gcm_encrypt", "gcm_get_tag"):
            getattr(library, f"mbx_sm4_{name}_mb16").restype = c_uint64
        library.mbx_sm3_msg_digest_mb16.restype = c_uint64
        self._chunks = _Buffers(chunks[: self.lanes])
        self._sealed = _Buffers([bytes(len(chunk)) for chunk in chunks[: self.lanes]])
        self._key, self._nonce, self._tags, self._digests = (
            _Buffers([data] * self.lanes) for data in (key, nonce, bytes(TAG_SIZE), bytes(DIGEST_SIZE))
        )
        self._context = (c_char * (_GCM_CONTEXT_SIZE + _ALIGNMENT))()
        address = ctypes.addressof(self._context)
        self._aligned = c_void_p(address + -address % _ALIGNMENT)

    def seal(self) -> int:
        call, context = self._library, self._aligned
        return (
            call.mbx_sm4_gcm_init_mb16(self._key.pointers, self._nonce.pointers, self._nonce.sizes, context)
            | call.mbx_sm4_gcm_encrypt_mb16(self._sealed.pointers, self._chunks.pointers, self._chunks.sizes, context)
            | call.mbx_sm4_gcm_get_tag_mb16(self._tags.pointers, self._tags.sizes, context)
        )

    def digest(self) -> int:
        return self._digest(self._chunks)

    def digest_sealed(self) -> int:
        return self._digest(self._sealed)

    def results(self) -> tuple[Sequence[bytes], Sequence[bytes]]:
        sealed = [chunk + tag for chunk, tag in zip(self._sealed.contents(), self._tags.contents(), strict=True)]
        return sealed, self._digests.contents()

    def _digest(self, data: "_Buffers") -> int:
        return self._library.mbx_sm3_msg_digest_mb16(data.pointers, data.sizes, self._digests.pointers)

    def sm2(self, private_key: bytes, public_key: bytes, message: bytes) -> "CryptoMbSm2":
        """Return SM2 with one key and one message in all lanes."""
        return CryptoMbSm2(self._library, private_key, public_key=public_key, message=message)


@final
class CryptoMbSm2:
    """SM2 of crypto_mb; a call does the same eight times. Nonces are given, so drawing them is not measured."""

    def __init__(self, library: ctypes.CDLL, private_key: bytes, *, public_key: bytes, message: bytes) -> None:
        self._library = library
        for name in ("ecdsa_sign", "ecdsa_verify", "ecdh"):
            getattr(library, f"mbx_sm2_{name}_mb8").restype = c_uint
        self._private, self._nonce = (_Buffers([key[::-1]] * SM2_LANES) for key in (private_key, message[:-1] + b"\1"))
        x, y = (number.to_bytes(SCALAR_SIZE, "little") for number in decode_point(public_key))
        self._x, self._y = (_Buffers([number] * SM2_LANES) for number in (x, y))
        self._id, self._message = (_Buffers([data] * SM2_LANES) for data in (USER_ID, message))
        self._r, self._s, self._shared = (_Buffers([bytes(SCALAR_SIZE)] * SM2_LANES) for _ in range(3))

    def sign(self) -> int:
        """Sign; return what went wrong, as bits."""
        keys = (self._nonce.pointers, self._private.pointers, self._x.pointers, self._y.pointers)
        return self._library.mbx_sm2_ecdsa_sign_mb8(*self._signed(), *keys, *_AFFINE_WITHOUT_SCRATCH)

    def verify(self) -> int:
        """Verify what was signed last; return what went wrong, as bits."""
        keys = (self._x.pointers, self._y.pointers)
        return self._library.mbx_sm2_ecdsa_verify_mb8(*self._signed(), *keys, *_AFFINE_WITHOUT_SCRATCH)

    def agree(self) -> int:
        """Agree with the public key; return what went wrong, as bits."""
        keys = (self._private.pointers, self._x.pointers, self._y.pointers)
        return self._library.mbx_sm2_ecdh_mb8(self._shared.pointers, *keys, *_AFFINE_WITHOUT_SCRATCH)

    def results(self) -> tuple[bytes, bytes]:
        """Return the signature and the agreed x coordinate of the first lane."""
        return self._r.contents()[0] + self._s.contents()[0], self._shared.contents()[0]

    def _signed(self) -> tuple[object, ...]:
        data = (self._id.pointers, self._id.sizes, self._message.pointers, self._message.sizes)
        return self._r.pointers, self._s.pointers, *data


def load(*, key: bytes, nonce: bytes, chunks: Sequence[bytes]) -> tuple[dict[str, Library], dict[str, str]]:
    """Return the libraries that are here, by name, and of the others why not.

    Args:
        key: Of SM4.
        nonce: Of SM4-GCM.
        chunks: At least 16, of one size.
    """
    kinds: Mapping[str, type[Libgcrypt | CryptoMb]] = {"libgcrypt": Libgcrypt, "crypto_mb": CryptoMb}
    here: dict[str, Library] = {}
    missing: dict[str, str] = {}
    for name, kind in kinds.items():
        try:
            here[name] = kind(key=key, nonce=nonce, chunks=chunks)
        except OSError as err:
            missing[name] = str(err)
    return here, missing


@final
class _Buffers:
    """Buffers of their own for all lanes, as C takes them."""

    def __init__(self, contents: Sequence[bytes]) -> None:
        self._buffers = [(c_char * len(data)).from_buffer_copy(data) for data in contents]
        self.pointers = (c_void_p * len(contents))(*map(ctypes.addressof, self._buffers))
        self.sizes = (c_int * len(contents))(*map(len, contents))

    def contents(self) -> list[bytes]:
        return [buffer.raw for buffer in self._buffers]


def _open_packaged(package: str, name: str) -> ctypes.CDLL:
    """Open a library that a package brings, where the system's loader does not look."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError as err:
        raise OSError(f"the package {package} is not installed") from err
    paths = [str(file.locate()) for file in files if file.name == name]
    if not paths:
        raise OSError(f"the package {package} holds no {name}")
    return ctypes.CDLL(paths[0])
