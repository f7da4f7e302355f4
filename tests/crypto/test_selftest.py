"""The known answers are the published ones, and a wrong implementation does not pass."""

import os
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest

from ddtp.crypto import _backend, _library, _selftest
from ddtp.crypto._contracts import Sm2, Sm4
from ddtp.errors import AuthenticationFailed, CryptoUnavailable

Vector = Callable[[str], dict[str, dict[str, str]]]


class WrongCipher(_library.CryptographySm4Gcm):  # type: ignore[misc]
    """SM4-GCM whose tag is not checked."""

    def open(self, *arguments: bytes) -> bytes:
        try:
            return super().open(*arguments)
        except AuthenticationFailed:
            return _selftest.SM4_PLAINTEXT


class WrongSm2:
    """SM2 with one method replaced."""

    description = "wrong"
    last_resort = False

    def __init__(self, sm2: Sm2, **replaced: object) -> None:
        self.public_key, self.signer, self.agree = sm2.public_key, sm2.signer, sm2.agree
        self.verify, self.verify_many = sm2.verify, sm2.verify_many
        for name, method in replaced.items():
            setattr(self, name, method)


def test_the_known_answers_are_the_vectors(vector: Vector) -> None:
    """The constants in the code equal those of the spec."""
    abc, gcm, verify = vector("sm3-abc"), vector("sm4-gcm"), vector("sm2-verify")
    assert abc["input"]["message"] == _selftest.SM3_MESSAGE.hex()
    assert abc["output"]["digest"] == _selftest.SM3_DIGEST.hex()
    assert gcm["input"] == {
        "key": _selftest.SM4_KEY.hex(),
        "nonce": _selftest.SM4_NONCE.hex(),
        "aad": _selftest.SM4_AAD.hex(),
        "sealed": _selftest.SM4_SEALED.hex(),
    }
    assert gcm["output"]["plaintext"] == _selftest.SM4_PLAINTEXT.hex()
    assert verify["input"] == {
        "public_key": _selftest.SM2_PUBLIC_KEY.hex(),
        "message": _selftest.SM2_MESSAGE.hex(),
        "signature": _selftest.SM2_SIGNATURE.hex(),
    }
    assert vector("sm2-public-key")["input"]["private_key"] == _selftest.SM2_PRIVATE_KEY.hex()


def test_another_hash_does_not_pass() -> None:
    """A state that has absorbed something before is not SM3."""
    state = _library.sm3().new()
    state.update(b"!")
    with pytest.raises(CryptoUnavailable, match="SM3"):
        _selftest.check_sm3(replace(_library.sm3(), new=state.copy))


@pytest.mark.parametrize("name", ["leaves", "root", "hmac", "expand"])
def test_another_tree_or_code_does_not_pass(name: str) -> None:
    """What is built on the hash is checked too, because other code computes it."""
    with pytest.raises(CryptoUnavailable, match="SM3"):
        _selftest.check_sm3(replace(_library.sm3(), **{name: lambda *_: bytes(96)}))


@pytest.mark.parametrize("gcm", [WrongCipher, lambda key: _library.CryptographySm4Gcm(key[::-1])])
def test_another_cipher_does_not_pass(gcm: Callable[[bytes], _library.CryptographySm4Gcm]) -> None:
    """Neither wrong bytes nor an unchecked tag passes."""
    with pytest.raises(CryptoUnavailable, match="SM4"):
        _selftest.check_sm4(Sm4("wrong", gcm), _library.sm3().new)


@pytest.mark.parametrize(
    "replaced",
    [
        {"verify": lambda *_: True},
        {"verify": lambda *_: False},
        {"signer": lambda _: SimpleNamespace(sign=lambda _: os.urandom(64))},
        {"public_key": lambda _: bytes(33)},
        {"verify_many": lambda checks: [True] * len(checks)},
        {"agree": lambda *_: bytes(32)},
    ],
    ids=["accepts-all", "refuses-all", "signs-noise", "other-key", "accepts-many", "agrees-on-nothing"],
)
def test_another_sm2_does_not_pass(implementation: str, replaced: dict[str, object]) -> None:
    """One wrong operation is enough to be refused."""
    with pytest.raises(CryptoUnavailable, match="SM2"):
        _selftest.check_sm2(WrongSm2(_backend.sm2(), **replaced))
