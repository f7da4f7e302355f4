"""Which implementation of SM2, SM3 and SM4 runs (spec/00 s.9).

A primitive is chosen when it is first needed, passes its self-test, and stays for the life of the process. The order
is: the extension `ddtp.crypto._native` if it is installed; the libraries; for SM2, where OpenSSL 3 is missing, gmssl
behind guards. DDTP_CRYPTO forces one of `native`, `library` and `gmssl`; what is forced and absent is an error.
DDTP_CRYPTO_PATH makes the extension use a slower path of the processor, for tests and benchmarks.
"""

import importlib
import importlib.util
import os
import warnings
from dataclasses import dataclass
from enum import Enum
from functools import cache
from types import ModuleType

from ddtp.crypto import _libcrypto, _library, _selftest
from ddtp.crypto._contracts import Sm2, Sm3, Sm4
from ddtp.errors import ConfigInvalid, CryptoUnavailable

_ENVIRONMENT_VARIABLE = "DDTP_CRYPTO"
_PATH_VARIABLE = "DDTP_CRYPTO_PATH"
_ACCELERATED_MODULE = "ddtp.crypto._accelerated"
_EXTENSION = "ddtp.crypto._native"
_LAST_RESORT_MODULE = "ddtp.crypto._gmssl"
_LAST_RESORT_WARNING = "SM2 runs on gmssl: slow and not constant-time; install OpenSSL 3 or the native extension"
_LAST_RESORT_HINT = "install OpenSSL 3 or later (libcrypto), or ddtp with its native extension"


class _Forced(Enum):
    NOTHING = ""
    NATIVE = "native"
    LIBRARY = "library"
    GMSSL = "gmssl"


@dataclass(frozen=True, slots=True)
class Backend:
    """What runs on this machine, for `ddtp doctor`.

    Args:
        name: `native` if any primitive is native, else `library`.
        sm2: Implementation and version of SM2.
        sm3: Implementation and version of SM3.
        sm4: Implementation and version of SM4-GCM.
        warning: What is weak about it, or None.
    """

    name: str
    sm2: str
    sm3: str
    sm4: str
    warning: str | None = None


class _Policy:
    """What this process allows; an institution's daemon tightens it once, at its start."""

    last_resort_allowed = True


def forbid_last_resort() -> None:
    """Refuse gmssl in this process: any later use of SM2 raises CryptoUnavailable if nothing better is there."""
    _Policy.last_resort_allowed = False


def describe() -> Backend:
    """Return what runs, choosing and testing it now if it has not been needed yet.

    Raises:
        ConfigInvalid: DDTP_CRYPTO has an unknown value.
        CryptoUnavailable: a primitive has no implementation that passes its self-test, or only a forbidden one.
    """
    chosen = (sm2().description, sm3().description, sm4().description)
    name = "native" if any(description.startswith("native") for description in chosen) else "library"
    warning = _LAST_RESORT_WARNING if sm2().last_resort else None
    return Backend(name, *chosen, warning)


def sm2() -> Sm2:
    """Return SM2.

    Raises:
        ConfigInvalid: DDTP_CRYPTO has an unknown value.
        CryptoUnavailable: no implementation, a failed self-test, or only the last resort, which is forbidden.
    """
    implementation = choose_sm2()
    if implementation.last_resort and not _Policy.last_resort_allowed:
        raise CryptoUnavailable("expected a constant-time SM2, found only gmssl", hint=_LAST_RESORT_HINT)
    return implementation


@cache
def choose_sm2() -> Sm2:
    """Choose and test SM2, once; use `sm2`, which also applies the policy."""
    implementation = _find_sm2()
    _selftest.check_sm2(implementation)
    if implementation.last_resort:
        warnings.warn(_LAST_RESORT_WARNING, RuntimeWarning, stacklevel=2)
    return implementation


@cache
def sm3() -> Sm3:
    """Return SM3.

    Raises:
        ConfigInvalid: DDTP_CRYPTO has an unknown value.
        CryptoUnavailable: no implementation, or a failed self-test.
    """
    extension = accelerated()
    implementation: Sm3 = extension.sm3() if extension else _library.sm3()
    _selftest.check_sm3(implementation)
    return implementation


@cache
def sm4() -> Sm4:
    """Return SM4-GCM.

    Raises:
        ConfigInvalid: DDTP_CRYPTO has an unknown value.
        CryptoUnavailable: no implementation, or a failed self-test.
    """
    extension = accelerated()
    implementation: Sm4 = extension.sm4() if extension else _library.sm4()
    _selftest.check_sm4(implementation, sm3().new)
    return implementation


def _find_sm2() -> Sm2:
    extension = accelerated()
    if extension:
        native: Sm2 = extension.NativeSm2()
        return native
    libcrypto = None if _forced() is _Forced.GMSSL else _libcrypto.load()
    return libcrypto or _last_resort()


def _last_resort() -> Sm2:
    try:
        gmssl = importlib.import_module(_LAST_RESORT_MODULE)
    except ImportError as err:
        raise CryptoUnavailable("expected libcrypto >= 3 or gmssl, found neither", hint=_LAST_RESORT_HINT) from err
    implementation: Sm2 = gmssl.GmsslSm2(_digest)
    return implementation


def _digest(data: bytes) -> bytes:
    state = sm3().new()
    state.update(data)
    return state.digest()


@cache
def accelerated() -> ModuleType | None:
    """Return the module around the extension if the extension is to be used."""
    forced, path = _forced(), os.environ.get(_PATH_VARIABLE, "")
    extension = _load_extension(forced) if forced in (_Forced.NOTHING, _Forced.NATIVE) else None
    if path and not (extension and extension.limit(path)):
        raise ConfigInvalid(
            f"expected {_PATH_VARIABLE} to be a path of the extension on this processor, found {path!r}"
        )
    return extension


def _load_extension(forced: _Forced) -> ModuleType | None:
    try:
        return importlib.import_module(_ACCELERATED_MODULE)
    except ImportError as err:
        if forced is _Forced.NATIVE:
            raise CryptoUnavailable(
                f"expected the native extension, because {_ENVIRONMENT_VARIABLE}=native, found: {err}",
                hint="build it again with gcc and python3-dev (README, Set up)",
            ) from err
        if importlib.util.find_spec(_EXTENSION) is not None:
            raise CryptoUnavailable(
                f"expected a native extension that loads, found: {err}",
                hint=f"install ddtp again, or set {_ENVIRONMENT_VARIABLE}=library to do without it",
            ) from err
        return None


def _forced() -> _Forced:
    # The one place outside config.py that reads the environment: this is decided before there is a configuration.
    value = os.environ.get(_ENVIRONMENT_VARIABLE, "")
    try:
        return _Forced(value)
    except ValueError as err:
        raise ConfigInvalid(
            f"expected {_ENVIRONMENT_VARIABLE} to be native, library or gmssl, found {value!r}"
        ) from err
