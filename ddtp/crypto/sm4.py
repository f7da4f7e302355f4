"""SM4-GCM with 12-byte nonces and 16-byte tags (spec/00 s.6, GB/T 32907-2016, RFC 8998)."""

from typing import Final, final

from ddtp.crypto import _backend
from ddtp.crypto._contracts import Buffer
from ddtp.errors import AuthenticationFailed, DecodeError

KEY_SIZE: Final = 16
NONCE_SIZE: Final = 12
TAG_SIZE: Final = 16
# NIST SP 800-38D s.5.2.1.1: 2^32 - 2 blocks, because the block counter has 32 bits and two values are taken.
MAX_PLAINTEXT_SIZE: Final = (2**32 - 2) * 16


@final
class SM4GCM:
    """SM4-GCM under one key; safe to share between threads.

    A nonce must never be used twice with one key: that reveals both plaintexts and lets anybody forge. The caller
    owns the uniqueness of nonces.

    Args:
        key: 16 bytes.

    Raises:
        DecodeError: `key` is not 16 bytes.
        CryptoUnavailable: no implementation passes its self-test.
    """

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_SIZE:
            raise DecodeError(f"expected an SM4 key of {KEY_SIZE} bytes, found {len(key)}")
        self._cipher = _backend.sm4().gcm(key)

    def seal(self, nonce: bytes, plaintext: Buffer, *, aad: Buffer = b"") -> bytes:
        """Return ciphertext ‖ 16-byte tag.

        Args:
            nonce: 12 bytes, never used before with this key.
            plaintext: At most 64 GiB - 32 bytes.
            aad: Bytes that are authenticated and not encrypted.

        Raises:
            DecodeError: `nonce` is not 12 bytes, or `plaintext` is too long.
        """
        _check_nonce(nonce)
        if memoryview(plaintext).nbytes > MAX_PLAINTEXT_SIZE:
            raise DecodeError(f"expected at most {MAX_PLAINTEXT_SIZE} bytes of plaintext, found more")
        return self._cipher.seal(nonce, plaintext, aad)

    def open(self, nonce: bytes, sealed: Buffer, *, aad: Buffer = b"") -> bytes:
        """Return the plaintext of `sealed`; nothing is released unless the tag matches.

        Args:
            nonce: The 12 bytes used to seal.
            sealed: Ciphertext ‖ tag.
            aad: The bytes authenticated when sealing.

        Raises:
            DecodeError: `nonce` is not 12 bytes.
            AuthenticationFailed: key, nonce, `aad` or `sealed` is not what was sealed.
        """
        _check_nonce(nonce)
        if not TAG_SIZE <= memoryview(sealed).nbytes <= MAX_PLAINTEXT_SIZE + TAG_SIZE:
            raise AuthenticationFailed("expected a ciphertext with a 16-byte tag, found another length")
        return self._cipher.open(nonce, sealed, aad)


def _check_nonce(nonce: bytes) -> None:
    if len(nonce) != NONCE_SIZE:
        raise DecodeError(f"expected a nonce of {NONCE_SIZE} bytes, found {len(nonce)}")
