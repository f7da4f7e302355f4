"""Key wrapping of spec/07 s.5: one recipient, one label, one purpose."""

import os

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.hashes import SM3
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given, settings
from hypothesis import strategies as st

from ddtp.crypto import sm2
from ddtp.errors import AuthenticationFailed, DecodeError, EvidenceError
from ddtp.protocol import keywrap
from tests.vectors import Case, check, load

ALICE, BOB = bytes(31) + b"\x07", bytes(31) + b"\x08"
EPHEMERAL = bytes(31) + b"\x09"
KEY = bytes(range(32))
INFO, AAD = b"ddtp.package.v1", b"manifest digest"


def _wrap(content_key: bytes = KEY, *, recipient: bytes = ALICE) -> bytes:
    return keywrap.wrap(
        content_key, recipient=sm2.public_key(recipient), info=INFO, aad=AAD, random_bytes=lambda _size: EPHEMERAL
    )


WRAPPED = _wrap()


@settings(max_examples=20)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100), st.binary(max_size=100))
def test_round_trip(content_key: bytes, info: bytes, aad: bytes) -> None:
    """The recipient unwraps the key with the same label and the same purpose."""
    wrapped = keywrap.wrap(content_key, recipient=sm2.public_key(ALICE), info=info, aad=aad, random_bytes=os.urandom)
    assert len(wrapped) == keywrap.WRAPPED_KEY_SIZE == 81
    assert keywrap.unwrap(wrapped, private_key=ALICE, info=info, aad=aad) == content_key


def test_fresh_each_time() -> None:
    """Two wrappings of one key have nothing in common."""
    first, second = (
        keywrap.wrap(KEY, recipient=sm2.public_key(ALICE), info=INFO, aad=AAD, random_bytes=os.urandom)
        for _ in range(2)
    )
    assert first[:33] != second[:33]
    assert first[33:] != second[33:]


@pytest.mark.parametrize(
    ("private_key", "info", "aad"),
    [
        (BOB, INFO, AAD),
        (ALICE, b"ddtp.transfer.v1", AAD),
        (ALICE, b"", AAD),
        (ALICE, INFO, b"other digest"),
        (ALICE, INFO, b""),
        (ALICE, INFO + AAD, b""),
        (EPHEMERAL, INFO, AAD),
    ],
)
def test_other_recipient_or_purpose(private_key: bytes, info: bytes, aad: bytes) -> None:
    """No other key, label or purpose unwraps it."""
    with pytest.raises(AuthenticationFailed):
        keywrap.unwrap(WRAPPED, private_key=private_key, info=info, aad=aad)


@pytest.mark.parametrize("size", [0, 1, 33, 65, 80, 82, 162])
def test_other_length(size: int) -> None:
    """A wrapped key has 81 bytes."""
    with pytest.raises(DecodeError):
        keywrap.unwrap((WRAPPED * 2)[:size], private_key=ALICE, info=INFO, aad=AAD)


@pytest.mark.parametrize(
    "encapsulated",
    [
        bytes(33),
        b"\x02" + b"\xff" * 32,
        b"\x02" + bytes(31) + b"\x02",
        b"\x04" + WRAPPED[1:33],
        b"\x06" + WRAPPED[1:33],
        b"\x00" + WRAPPED[1:33],
    ],
)
def test_off_curve(encapsulated: bytes) -> None:
    """An ephemeral key that is no point of the curve is refused before the private key meets it."""
    with pytest.raises(DecodeError):
        sm2.check_public_key(encapsulated)
    with pytest.raises(DecodeError):
        keywrap.unwrap(encapsulated + WRAPPED[33:], private_key=ALICE, info=INFO, aad=AAD)


def test_negated_ephemeral_key() -> None:
    """The other point with the same x has the same shared secret, so the key itself has to be bound."""
    negated = bytes([WRAPPED[0] ^ 1]) + WRAPPED[1:33]
    assert sm2.agree(ALICE, negated) == sm2.agree(ALICE, WRAPPED[:33])
    with pytest.raises(AuthenticationFailed):
        keywrap.unwrap(negated + WRAPPED[33:], private_key=ALICE, info=INFO, aad=AAD)


@settings(max_examples=60)
@given(st.integers(0, 81 * 8 - 1))
def test_flipped_bit(bit: int) -> None:
    """No wrapped key with one bit flipped unwraps."""
    altered = bytearray(WRAPPED)
    altered[bit // 8] ^= 1 << bit % 8
    with pytest.raises(EvidenceError):
        keywrap.unwrap(bytes(altered), private_key=ALICE, info=INFO, aad=AAD)


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_content_key_sizes(size: int) -> None:
    """Only content keys of 32 bytes are wrapped."""
    with pytest.raises(DecodeError):
        _wrap(bytes(size))


@pytest.mark.parametrize("recipient", [b"", bytes(33), b"\x02" + b"\xff" * 32, b"\x04" + bytes(64)])
def test_bad_recipient(recipient: bytes) -> None:
    """Nothing is wrapped to bytes that are no public key."""
    with pytest.raises(DecodeError):
        keywrap.wrap(KEY, recipient=recipient, info=INFO, aad=AAD, random_bytes=os.urandom)


@pytest.mark.parametrize("private_key", [b"", bytes(32), b"\xff" * 32])
def test_bad_private_key(private_key: bytes) -> None:
    """A private key out of range is refused."""
    with pytest.raises(DecodeError):
        keywrap.unwrap(WRAPPED, private_key=private_key, info=INFO, aad=AAD)


def _extract(salt: bytes, input_key: bytes) -> bytes:
    mac = HMAC(salt or bytes(32), SM3())
    mac.update(input_key)
    return mac.finalize()


def _expand(key: bytes, size: int, info: bytes) -> bytes:
    return HKDFExpand(SM3(), size, size.to_bytes(2, "big") + info).derive(key)


def test_rfc_9180_step_by_step() -> None:
    """The wrapped key is that of RFC 9180 s.4.1 and s.5.1 with another HKDF and SM4-GCM."""
    recipient, encapsulated = sm2.public_key(ALICE), sm2.public_key(EPHEMERAL)
    kem, hpke = b"HPKE-v1KEM\xff\x01", b"HPKE-v1HPKE\xff\x01\xff\x01\xff\x01"
    eae_prk = _extract(b"", kem + b"eae_prk" + sm2.agree(EPHEMERAL, recipient))
    shared_secret = _expand(eae_prk, 32, kem + b"shared_secret" + encapsulated + recipient)
    context = b"\x00" + _extract(b"", hpke + b"psk_id_hash") + _extract(b"", hpke + b"info_hash" + INFO)
    secret = _extract(shared_secret, hpke + b"secret")
    key, nonce = _expand(secret, 16, hpke + b"key" + context), _expand(secret, 12, hpke + b"base_nonce" + context)
    encryptor = Cipher(SM4(key), modes.GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(AAD)
    assert encapsulated + encryptor.update(KEY) + encryptor.finalize() + encryptor.tag == WRAPPED


def _vector_wrap(case: Case) -> str:
    given = case.input
    ephemeral = case.data("ephemeral_private_key")
    wrapped = keywrap.wrap(
        case.data("content_key"),
        recipient=case.data("recipient"),
        info=given["info"].encode(),
        aad=case.data("aad"),
        random_bytes=lambda _size: ephemeral,
    )
    return wrapped.hex()


def _vector_unwrap(case: Case) -> str:
    return keywrap.unwrap(
        case.data("wrapped"),
        private_key=case.data("private_key"),
        info=case.input["info"].encode(),
        aad=case.data("aad"),
    ).hex()


OPERATIONS = {"wrap": _vector_wrap, "unwrap": _vector_unwrap}


@pytest.mark.parametrize("case", [case for case in load("07-sealing") if case.operation in OPERATIONS], ids=str)
def test_vector(case: Case) -> None:
    """The operation of a vector gives its output, or fails with its code."""
    check(case, OPERATIONS)


def test_every_operation_is_run() -> None:
    """This file and that of the chunks run every vector of the chapter."""
    assert {case.operation for case in load("07-sealing")} == {"seal", "open", "wrap", "unwrap"}
