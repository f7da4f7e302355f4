"""Each guard around gmssl: what gmssl alone does wrong, and that ours does not."""

import random

import pytest
from gmssl import func
from gmssl.sm2 import CryptSM2

from ddtp.crypto import sm2, sm3
from ddtp.crypto._curve import GX, GY, N, decode_point
from ddtp.crypto._gmssl import GmsslSm2
from ddtp.errors import DecodeError, SignatureInvalid

GENERATOR = f"{GX:064x}{GY:064x}"
D = 0x3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8
# The public key of this one has an x that starts with the byte 04.
D_STARTING_04 = 0x59276E27D506861A16680F3AD9C02DCCEF3CC1FA3CDBE4CE6D54B80DEAC1BC21

pytestmark = pytest.mark.parametrize("implementation", ["gmssl"], indirect=True)


def _scalar(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _raw(d: int) -> CryptSM2:
    signer = CryptSM2(f"{d:064x}", "")
    signer.public_key = signer._kg(d, GENERATOR)
    return signer


def _key_from_equal_nonces(first: bytes, second: bytes) -> int:
    r1, s1, r2, s2 = (int.from_bytes(value[at : at + 32], "big") for value in (first, second) for at in (0, 32))
    return (s2 - s1) * pow(s1 + r1 - s2 - r2, -1, N) % N


def test_nonces_do_not_come_from_the_mersenne_twister(implementation: str) -> None:
    """Restoring the generator's state twice gives gmssl's private key away, and not ours."""
    raw, ours, messages = _raw(D), [], (b"\1" * 32, b"\2" * 32)
    theirs = []
    for message in messages:
        random.seed(42)
        theirs.append(bytes.fromhex(raw.sign(message, func.random_hex(64))))
        random.seed(42)
        ours.append(sm2.sign(_scalar(D), message))
    assert _key_from_equal_nonces(*theirs) == D
    assert _key_from_equal_nonces(*ours) != D


@pytest.mark.parametrize("prefix", ["", "04"])
def test_keys_that_start_with_04_are_not_corrupted(implementation: str, prefix: str) -> None:
    """By itself gmssl strips the digits 0 and 4 from such a key and verifies nothing under it; we verify."""
    point = CryptSM2("", "")._kg(D_STARTING_04, GENERATOR)
    assert CryptSM2("", prefix + point).public_key != point
    signature = sm2.sign(_scalar(D_STARTING_04), b"message")
    sm2.verify(sm2.public_key(_scalar(D_STARTING_04)), b"message", signature)


def test_s_above_n_is_refused(implementation: str) -> None:
    """By itself gmssl accepts s + n for s, so that one signature has two forms; we refuse by range."""
    raw, s, t = _raw(D), 5, 7
    x = (s + t * D) % N
    e = (t - s - int(raw._kg(x, GENERATOR)[:64], 16)) % N
    r = t - s
    assert raw.verify(f"{r:064x}{s:064x}", _scalar(e))
    assert raw.verify(f"{r:064x}{s + N:064x}", _scalar(e))
    with pytest.raises(SignatureInvalid, match="n-1"):
        sm2.verify(sm2.public_key(_scalar(D)), b"message", _scalar(r) + _scalar(s + N))


def test_a_sum_at_infinity_is_refused(implementation: str) -> None:
    """A signer can make gmssl raise TypeError in the verifier; ours says that the signature is invalid."""
    s = 7
    r = (-s * pow(D, -1, N) - s) % N
    with pytest.raises(TypeError):
        _raw(D).verify(f"{r:064x}{s:064x}", _scalar(1))
    with pytest.raises(SignatureInvalid):
        sm2.verify(sm2.public_key(_scalar(D)), b"message", _scalar(r) + _scalar(s))


def test_equal_summands_are_doubled(implementation: str) -> None:
    """A sum of two equal points is wrong in gmssl; ours is a doubling."""
    t = 11
    s = t * D % N
    r = (t - s) % N
    e = (r - int(_raw(D)._kg(2 * s % N, GENERATOR)[:64], 16)) % N
    assert not _raw(D).verify(f"{r:064x}{s:064x}", _scalar(e))
    checker = GmsslSm2(lambda _: _scalar(e))
    assert checker.verify(sm2.public_key(_scalar(D)), b"", _scalar(r) + _scalar(s))


def test_points_off_the_curve_never_meet_a_private_key(implementation: str) -> None:
    """By itself gmssl multiplies any pair of numbers by the private key; we refuse what is not on the curve."""
    assert CryptSM2("", "")._kg(D, f"{2:064x}{1:064x}") is not None
    with pytest.raises(DecodeError):
        sm2.agree(_scalar(D), b"\x02" + _scalar(2))


def test_decryption_is_not_offered(implementation: str) -> None:
    """By itself gmssl decrypts tampered ciphertext without complaint, so its encryption is not used at all."""
    raw = _raw(D)
    raw.mode = 1
    random.seed(1)
    tampered = bytearray(raw.encrypt(b"pay 100 to alice"))
    tampered[-1] ^= 1
    assert raw.decrypt(bytes(tampered)) == b"pay 100 to alicd"
    assert not hasattr(sm2, "decrypt")
    assert not hasattr(GmsslSm2(sm3.digest), "decrypt")


@pytest.mark.parametrize("d", [1, 2, 3, (N - 1) // 2, (N + 1) // 2, N - 2])
def test_extreme_private_keys_work(implementation: str, d: int) -> None:
    """The additions that double-and-add could get wrong come out on the curve and verify."""
    public_key = sm2.public_key(_scalar(d))
    decode_point(public_key)
    sm2.verify(public_key, b"message", sm2.sign(_scalar(d), b"message"))
