"""Wrapping a content key to an SM2 public key: HPKE base mode of RFC 9180 with the suite's own ids (spec/07 s.5).

A wrapped key is one message of a fixed length: ephemeral public key, ciphertext, tag. Nothing here tells the receiver
who wrapped it; that comes from what `info` and `aad` bind, and from signed objects around it.
"""

from collections.abc import Callable

from ddtp.crypto import kdf, sm2
from ddtp.crypto.sm4 import KEY_SIZE, NONCE_SIZE, SM4GCM, TAG_SIZE
from ddtp.errors import DecodeError
from ddtp.protocol.chunks import CONTENT_KEY_SIZE

WRAPPED_KEY_SIZE = sm2.PUBLIC_KEY_SIZE + CONTENT_KEY_SIZE + TAG_SIZE

# spec/00 s.7: private ids, because RFC 9180 has none for SM2, SM3 and SM4
_KEM_SUITE = b"KEM\xff\x01"
_HPKE_SUITE = b"HPKE\xff\x01\xff\x01\xff\x01"
_VERSION = b"HPKE-v1"
_MODE_BASE = b"\x00"
_SHARED_SECRET_SIZE = 32


def wrap(
    content_key: bytes, *, recipient: bytes, info: bytes, aad: bytes, random_bytes: Callable[[int], bytes]
) -> bytes:
    """Wrap a content key so that only one private key unwraps it.

    Args:
        content_key: 32 bytes.
        recipient: The agreement public key, 33 bytes.
        info: What the wrapping is for; a constant label.
        aad: What this one wrapping belongs to.
        random_bytes: Source of the ephemeral key.

    Returns:
        81 bytes: ephemeral public key ‖ ciphertext ‖ tag.

    Raises:
        DecodeError: The content key or the recipient is malformed.
    """
    if len(content_key) != CONTENT_KEY_SIZE:
        raise DecodeError(f"expected a content key of {CONTENT_KEY_SIZE} bytes, found {len(content_key)}")
    ephemeral = sm2.generate_private_key(random_bytes)
    encapsulated = sm2.public_key(ephemeral)
    shared = _shared_secret(sm2.agree(ephemeral, recipient), encapsulated + recipient)
    key, nonce = _key_schedule(shared, info)
    return encapsulated + SM4GCM(key).seal(nonce, content_key, aad=aad)


def unwrap(wrapped: bytes, *, private_key: bytes, info: bytes, aad: bytes) -> bytes:
    """Unwrap a content key.

    Args:
        wrapped: 81 bytes from `wrap`.
        private_key: The recipient's agreement private key, 32 bytes.
        info: The label given to `wrap`.
        aad: The bytes given to `wrap`.

    Returns:
        The content key, 32 bytes.

    Raises:
        AuthenticationFailed: It was wrapped to another key, with another `info` or `aad`, or was altered.
        DecodeError: Its length is wrong, its ephemeral key is no point of the curve, or `private_key` is malformed.
    """
    if len(wrapped) != WRAPPED_KEY_SIZE:
        raise DecodeError(f"expected a wrapped key of {WRAPPED_KEY_SIZE} bytes, found {len(wrapped)}")
    encapsulated, sealed = wrapped[: sm2.PUBLIC_KEY_SIZE], wrapped[sm2.PUBLIC_KEY_SIZE :]
    recipient = sm2.public_key(private_key)
    shared = _shared_secret(sm2.agree(private_key, encapsulated), encapsulated + recipient)
    key, nonce = _key_schedule(shared, info)
    return SM4GCM(key).open(nonce, sealed, aad=aad)


def _shared_secret(agreed: bytes, kem_context: bytes) -> bytes:
    # RFC 9180 s.4.1 ExtractAndExpand
    key = _labeled_extract(_KEM_SUITE, b"", label=b"eae_prk", input_key=agreed)
    return _labeled_expand(_KEM_SUITE, key, label=b"shared_secret", info=kem_context, length=_SHARED_SECRET_SIZE)


def _key_schedule(shared_secret: bytes, info: bytes) -> tuple[bytes, bytes]:
    # RFC 9180 s.5.1 in base mode: no pre-shared key, and the one message has sequence number 0, so its nonce is the
    # base nonce
    psk_id_hash = _labeled_extract(_HPKE_SUITE, b"", label=b"psk_id_hash", input_key=b"")
    info_hash = _labeled_extract(_HPKE_SUITE, b"", label=b"info_hash", input_key=info)
    context = _MODE_BASE + psk_id_hash + info_hash
    secret = _labeled_extract(_HPKE_SUITE, shared_secret, label=b"secret", input_key=b"")
    key = _labeled_expand(_HPKE_SUITE, secret, label=b"key", info=context, length=KEY_SIZE)
    nonce = _labeled_expand(_HPKE_SUITE, secret, label=b"base_nonce", info=context, length=NONCE_SIZE)
    return key, nonce


def _labeled_extract(suite: bytes, salt: bytes, *, label: bytes, input_key: bytes) -> bytes:
    return kdf.hkdf_extract(salt, _VERSION + suite + label + input_key)


def _labeled_expand(suite: bytes, key: bytes, *, label: bytes, info: bytes, length: int) -> bytes:
    return kdf.hkdf_expand(key, length.to_bytes(2, "big") + _VERSION + suite + label + info, length)
