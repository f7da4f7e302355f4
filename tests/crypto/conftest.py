"""Runs a test over every implementation that this machine has."""

import importlib
import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ddtp.crypto import _backend, _libcrypto

VECTORS = Path(__file__).parents[2] / "spec" / "vectors" / "00-suite"


def _forget_choices() -> None:
    for choice in (_backend.accelerated, _backend.choose_sm2, _backend.sm3, _backend.sm4):
        choice.cache_clear()


@pytest.fixture
def fresh_backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A process that has not chosen yet, and forgets afterwards what the test made it choose."""
    monkeypatch.delenv("DDTP_CRYPTO", raising=False)
    monkeypatch.delenv("DDTP_CRYPTO_PATH", raising=False)
    monkeypatch.setattr(_backend._Policy, "last_resort_allowed", True)
    _forget_choices()
    yield monkeypatch
    _forget_choices()


def _native_paths() -> list[str]:
    if importlib.util.find_spec("ddtp.crypto._native") is None:
        return []
    native = importlib.import_module("ddtp.crypto._native")
    return [f"native-{path}" for path in native.levels()]


@pytest.fixture(params=[*_native_paths(), "library", "gmssl"])
def implementation(request: pytest.FixtureRequest, fresh_backend: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of the implementation that is forced during the test: each processor path of ours, and the others."""
    name, _, path = request.param.partition("-")
    if name == "library" and _libcrypto.load() is None:
        pytest.skip("this machine has no libcrypto with SM2")
    fresh_backend.setenv("DDTP_CRYPTO", name)
    if name == "gmssl":
        with pytest.warns(RuntimeWarning, match="gmssl"):
            _backend.sm2()
    if not path:
        yield name
        return
    native = importlib.import_module("ddtp.crypto._native")
    best = native.level()
    fresh_backend.setenv("DDTP_CRYPTO_PATH", path)
    yield name
    native.limit(best)


@pytest.fixture(scope="session")
def vector() -> Callable[[str], dict[str, dict[str, str]]]:
    """Reads one file of spec/vectors/00-suite by its name."""

    def read(name: str) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
        return found

    return read
