"""The choice of implementations."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from ddtp.crypto import _backend, _libcrypto, _library, sm2, sm3, sm4
from ddtp.errors import ConfigInvalid, CryptoUnavailable

LIBCRYPTO = _libcrypto.load()


def _install(monkeypatch: pytest.MonkeyPatch, **offered: object) -> None:
    """Put something in the place of the module around the extension."""
    stand_in = ModuleType("ddtp.crypto._accelerated")
    stand_in.__dict__.update(offered)
    monkeypatch.setitem(sys.modules, "ddtp.crypto._accelerated", stand_in)


@pytest.fixture
def without_native(fresh_backend: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine without the extension, also where it is built."""
    for name in ("_accelerated", "_native"):
        fresh_backend.setitem(sys.modules, f"ddtp.crypto.{name}", None)
    return fresh_backend


@pytest.fixture
def without_libcrypto(without_native: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine without OpenSSL 3."""
    without_native.setattr(_libcrypto, "_LIBRARY_NAMES", ())
    return without_native


def test_importing_reads_no_environment() -> None:
    """A wrong DDTP_CRYPTO does not matter until a primitive is needed."""
    script = (
        "import os; os.environ['DDTP_CRYPTO'] = 'wrong'\n"
        "from ddtp.crypto import kdf, sm2, sm3, sm4\n"
        "os.environ['DDTP_CRYPTO'] = 'library'\n"
        "print(sm3.digest(b'abc').hex()[:8])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert ran.stdout.strip() == "66c7f0f4"


def test_an_unknown_choice_is_refused(fresh_backend: pytest.MonkeyPatch) -> None:
    """A misspelt DDTP_CRYPTO is never taken for the default."""
    fresh_backend.setenv("DDTP_CRYPTO", "nativ")
    with pytest.raises(ConfigInvalid, match="nativ"):
        sm3.digest(b"")


@pytest.mark.skipif(LIBCRYPTO is None, reason="this machine has no libcrypto with SM2")
def test_the_libraries_are_described(without_native: pytest.MonkeyPatch) -> None:
    """Without the extension the libraries run, each named with its version, and nothing is warned of."""
    found = _backend.describe()
    assert found.name == "library"
    assert found.sm2.startswith("libcrypto 3.") or found.sm2.startswith("libcrypto 4.")
    assert found.sm4.startswith("cryptography ")
    assert found.warning is None


def test_forcing_an_absent_extension_is_an_error(without_native: pytest.MonkeyPatch) -> None:
    """DDTP_CRYPTO=native never falls back."""
    without_native.setenv("DDTP_CRYPTO", "native")
    for use in (lambda: sm3.digest(b""), lambda: sm4.SM4GCM(bytes(16)), lambda: sm2.sign(b"\1" * 32, b"")):
        with pytest.raises(CryptoUnavailable, match="native"):
            use()


def test_the_extension_is_preferred(fresh_backend: pytest.MonkeyPatch) -> None:
    """Where the extension is there it serves everything, unless the libraries are forced."""
    pytest.importorskip("ddtp.crypto._native", reason="the extension is not built here")
    found = _backend.describe()
    assert found.name == "native"
    assert all(each.startswith("native ") for each in (found.sm2, found.sm3, found.sm4))
    sm2.verify(sm2.public_key(b"\1" * 32), b"message", sm2.sign(b"\1" * 32, b"message"))


def test_forcing_the_libraries_passes_over_the_extension(fresh_backend: pytest.MonkeyPatch) -> None:
    """DDTP_CRYPTO=library is the way back if the extension misbehaves."""
    _install(fresh_backend)
    fresh_backend.setenv("DDTP_CRYPTO", "library")
    assert not _backend.sm3().description.startswith("native")


def test_a_path_that_the_processor_lacks_is_refused(fresh_backend: pytest.MonkeyPatch) -> None:
    """A benchmark that names a path gets that path or an error."""
    _install(fresh_backend, limit=lambda path: path == "portable")
    fresh_backend.setenv("DDTP_CRYPTO_PATH", "sve2")
    with pytest.raises(ConfigInvalid, match="sve2"):
        _backend.sm3()


def test_a_path_without_the_extension_is_refused(fresh_backend: pytest.MonkeyPatch) -> None:
    """It would be a path of nothing."""
    fresh_backend.setenv("DDTP_CRYPTO", "library")
    fresh_backend.setenv("DDTP_CRYPTO_PATH", "portable")
    with pytest.raises(ConfigInvalid, match="portable"):
        _backend.sm3()


def test_an_extension_that_does_not_load_is_an_error(fresh_backend: pytest.MonkeyPatch) -> None:
    """A damaged installation is told of, not made slow."""
    fresh_backend.setitem(sys.modules, "ddtp.crypto._accelerated", None)
    fresh_backend.setattr(importlib.util, "find_spec", lambda name: ModuleSpec(name, None))
    with pytest.raises(CryptoUnavailable, match="loads"):
        _backend.sm3()


def test_a_failed_self_test_closes_every_time(fresh_backend: pytest.MonkeyPatch) -> None:
    """A wrong extension is refused at each use; nothing quietly takes its place."""
    right, wrong = _library.sm3(), _library.sm3().new()
    wrong.update(b"!")
    _install(fresh_backend, sm3=lambda: replace(right, description="native test", new=wrong.copy))
    for _ in range(2):
        with pytest.raises(CryptoUnavailable, match="native test"):
            sm3.digest(b"abc")


def test_gmssl_is_the_last_resort_and_warns_once(without_libcrypto: pytest.MonkeyPatch) -> None:
    """Without OpenSSL 3, SM2 still works, and both the warning and the description say how."""
    with pytest.warns(RuntimeWarning, match="not constant-time"):
        signature = sm2.sign(b"\1" * 32, b"message")
    sm2.verify(sm2.public_key(b"\1" * 32), b"message", signature)  # a second warning would be an error here
    found = _backend.describe()
    assert found.sm2.startswith("gmssl")
    assert found.warning is not None


def test_a_forbidden_last_resort_is_refused_even_if_in_use(without_libcrypto: pytest.MonkeyPatch) -> None:
    """An institution's daemon refuses to sign by gmssl; hashing and sealing go on."""
    with pytest.warns(RuntimeWarning, match="gmssl"):
        sm2.public_key(b"\1" * 32)
    _backend.forbid_last_resort()
    for use in (lambda: sm2.sign(b"\1" * 32, b""), lambda: sm2.public_key(b"\1" * 32), _backend.describe):
        with pytest.raises(CryptoUnavailable, match="constant-time") as refused:
            use()
        assert refused.value.hint is not None
    assert sm3.digest(b"abc")[:4].hex() == "66c7f0f4"


def test_neither_libcrypto_nor_gmssl_is_an_error(without_libcrypto: pytest.MonkeyPatch) -> None:
    """Where nothing can do SM2, that is said, and nothing is signed."""
    without_libcrypto.setitem(sys.modules, "ddtp.crypto._gmssl", None)
    with pytest.raises(CryptoUnavailable, match="neither"):
        sm2.sign(b"\1" * 32, b"")


def test_sm3_without_hashlib_comes_from_cryptography(without_native: pytest.MonkeyPatch) -> None:
    """A Python whose OpenSSL lacks SM3 hashes as well."""

    def lacking(name: str) -> None:
        raise ValueError(name)

    without_native.setattr(_library.hashlib, "new", lacking)
    assert _backend.sm3().description.startswith("cryptography")
    assert sm3.digest(b"abc")[:4].hex() == "66c7f0f4"
