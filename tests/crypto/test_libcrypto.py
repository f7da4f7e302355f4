"""SM2 by the system's libcrypto."""

import ctypes
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddtp.crypto import _libcrypto, sm3
from ddtp.crypto._curve import N
from ddtp.crypto._gmssl import GmsslSm2
from ddtp.crypto._libcrypto import LibcryptoSm2, signature_from_der, signature_to_der
from ddtp.errors import CryptoUnavailable

LIBCRYPTO = _libcrypto.load()
GMSSL = GmsslSm2(sm3.digest)
PRIVATE_KEYS = st.integers(1, N - 2).map(lambda d: d.to_bytes(32, "big"))

Vector = Callable[[str], dict[str, dict[str, str]]]

needs_libcrypto = pytest.mark.skipif(LIBCRYPTO is None, reason="this machine has no libcrypto with SM2")


@pytest.fixture
def libcrypto() -> LibcryptoSm2:
    assert LIBCRYPTO is not None
    return LIBCRYPTO


@needs_libcrypto
@given(PRIVATE_KEYS, PRIVATE_KEYS, st.binary(max_size=100))
@settings(deadline=None)
def test_agrees_with_an_independent_implementation(private_key: bytes, other_key: bytes, message: bytes) -> None:
    """Both libcrypto and gmssl find the same keys and points, and accept each other's signatures only unchanged."""
    assert LIBCRYPTO is not None
    public_key = LIBCRYPTO.public_key(private_key)
    assert GMSSL.public_key(private_key) == public_key
    assert GMSSL.agree(other_key, public_key) == LIBCRYPTO.agree(other_key, public_key)
    assert GMSSL.verify(public_key, message, LIBCRYPTO.signer(private_key).sign(message))
    signature = GMSSL.signer(private_key).sign(message)
    assert LIBCRYPTO.verify(public_key, message, signature)
    assert not LIBCRYPTO.verify(public_key, message + b"!", signature)


@needs_libcrypto
def test_the_error_queue_is_left_empty(libcrypto: LibcryptoSm2, vector: Vector) -> None:
    """Whatever fails leaves no error behind for the `ssl` module of the same thread."""
    given = vector("sm2-verify-point-at-infinity")["input"]
    off_curve = b"\x04" + b"\1" * 64

    def verify_infinity() -> None:
        names = ("public_key", "message", "signature")
        assert not libcrypto.verify(*(bytes.fromhex(given[name]) for name in names))

    def multiply_off_curve() -> None:
        with pytest.raises(CryptoUnavailable):
            libcrypto._multiply(b"\0" * 31 + b"\5", off_curve)

    def import_off_curve() -> None:
        with pytest.raises(CryptoUnavailable):
            libcrypto._import_key(0x86, off_curve, None)

    for failing in (verify_infinity, multiply_off_curve, import_off_curve):
        failing()
        assert libcrypto._library.ERR_peek_error() == 0


@needs_libcrypto
def test_cached_public_keys_are_bounded(libcrypto: LibcryptoSm2) -> None:
    """More keys than the cache holds verify as well, and memory stays bounded."""
    for index in range(1, 300):
        public_key = libcrypto.public_key(index.to_bytes(32, "big"))
        assert not libcrypto.verify(public_key, b"message", b"\1" * 64)
    assert libcrypto._public.cache_info().currsize <= 256


@needs_libcrypto
def test_a_failing_libcrypto_raises(libcrypto: LibcryptoSm2) -> None:
    """What libcrypto refuses becomes CryptoUnavailable, never a result."""
    with pytest.raises(CryptoUnavailable, match="EC_POINT_oct2point"):
        libcrypto._multiply(b"\0" * 31 + b"\5", b"\x04" + b"\1" * 64)
    with pytest.raises(CryptoUnavailable, match="EVP_PKEY_fromdata"):
        libcrypto._import_key(0x86, b"\x04" + b"\1" * 64, None)


def test_a_missing_or_unsuitable_library_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is absent, or is no libcrypto, is passed over."""
    monkeypatch.setattr(_libcrypto, "_LIBRARY_NAMES", ("no-such-library.so", str(ctypes.__file__), "libc.so.6"))
    assert _libcrypto.load() is None


@given(st.integers(1, N - 1), st.integers(1, N - 1))
def test_der_round_trip(r: int, s: int) -> None:
    """Raw and DER forms stand for each other."""
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert signature_from_der(signature_to_der(raw)) == raw


@pytest.mark.parametrize(
    "der",
    [
        "",
        "3006020101020101ff",
        "3007020101020101",
        "308106020101020101",
        "300702020001020101",
        "3006020181020101",
        "3006020100020101",
        "3006020101030101",
        "3006020201020101",
        "30060201010201",
    ],
    ids=[
        "empty",
        "trailing",
        "sequence-too-long",
        "long-form-length",
        "padded-integer",
        "negative",
        "zero",
        "not-an-integer",
        "length-past-the-next",
        "truncated",
    ],
)
def test_other_than_the_one_der_form_is_refused(der: str) -> None:
    """There is one DER encoding of a signature, and only that is read."""
    assert signature_from_der(bytes.fromhex("3006020101020101")) == bytes(31) + b"\1" + bytes(31) + b"\1"
    with pytest.raises(CryptoUnavailable):
        signature_from_der(bytes.fromhex(der))
