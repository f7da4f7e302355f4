"""Every vector of spec/vectors/00-suite, on every implementation."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import SM4

from ddtp.crypto import kdf, sm2, sm3, sm4
from ddtp.errors import DdtpError

VECTORS = sorted((Path(__file__).parents[2] / "spec" / "vectors" / "00-suite").glob("*.json"))

Input = dict[str, str | int]
Output = dict[str, str]


def _bytes(given: Input, name: str) -> bytes:
    return bytes.fromhex(str(given[name]))


def _sm3(given: Input) -> Output:
    return {"digest": sm3.digest(_bytes(given, "message")).hex()}


def _hmac(given: Input) -> Output:
    return {"mac": sm3.hmac(_bytes(given, "key"), _bytes(given, "message")).hex()}


def _hkdf(given: Input) -> Output:
    key = kdf.hkdf_extract(_bytes(given, "salt"), _bytes(given, "input_key"))
    output_key = kdf.hkdf_expand(key, _bytes(given, "info"), int(given["length"]))
    return {"pseudorandom_key": key.hex(), "output_key": output_key.hex()}


def _sm4_block(given: Input) -> Output:
    encryptor = Cipher(SM4(_bytes(given, "key")), modes.ECB()).encryptor()
    return {"ciphertext": (encryptor.update(_bytes(given, "plaintext")) + encryptor.finalize()).hex()}


def _sm4_gcm_open(given: Input) -> Output:
    cipher, nonce, aad = sm4.SM4GCM(_bytes(given, "key")), _bytes(given, "nonce"), _bytes(given, "aad")
    plaintext = cipher.open(nonce, _bytes(given, "sealed"), aad=aad)
    assert cipher.seal(nonce, plaintext, aad=aad).hex() == given["sealed"]
    return {"plaintext": plaintext.hex()}


def _sm2_public_key(given: Input) -> Output:
    return {"public_key": sm2.public_key(_bytes(given, "private_key")).hex()}


def _sm2_verify(given: Input) -> None:
    sm2.verify(_bytes(given, "public_key"), _bytes(given, "message"), _bytes(given, "signature"))


def _sm2_agree(given: Input) -> Output:
    return {"shared": sm2.agree(_bytes(given, "private_key"), _bytes(given, "public_key")).hex()}


OPERATIONS: dict[str, Callable[[Input], Output | None]] = {
    "sm3": _sm3,
    "hmac-sm3": _hmac,
    "hkdf-sm3": _hkdf,
    "sm4-block": _sm4_block,
    "sm4-gcm-open": _sm4_gcm_open,
    "sm2-public-key": _sm2_public_key,
    "sm2-verify": _sm2_verify,
    "sm2-agree": _sm2_agree,
}


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_vector(path: Path, implementation: str) -> None:
    """The operation gives the output of the vector, or fails with its code."""
    vector = json.loads(path.read_text(encoding="utf-8"))
    assert vector["name"] == path.stem
    try:
        output, code = OPERATIONS[vector["operation"]](vector["input"]), "ok"
    except DdtpError as err:
        output, code = None, err.code
    assert code == vector["expect"]
    assert output == vector.get("output")


def test_every_operation_has_a_vector() -> None:
    """No operation of the suite is left without a vector."""
    assert {json.loads(path.read_text(encoding="utf-8"))["operation"] for path in VECTORS} == set(OPERATIONS)
