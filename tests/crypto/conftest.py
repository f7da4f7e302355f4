"""Runs a test over every implementation that this machine has."""

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


NATIVE = ["native"] if importlib.util.find_spec("ddtp.crypto._native") else []


@pytest.fixture(params=[*NATIVE, "library", "gmssl"])
def implementation(request: pytest.FixtureRequest, fresh_backend: pytest.MonkeyPatch) -> str:
    """The name of the implementation that DDTP_CRYPTO forces during the test."""
    name: str = request.param
    if name == "library" and _libcrypto.load() is None:
        pytest.skip("this machine has no libcrypto with SM2")
    fresh_backend.setenv("DDTP_CRYPTO", name)
    if name == "gmssl":
        with pytest.warns(RuntimeWarning, match="gmssl"):
            _backend.sm2()
    return name


@pytest.fixture(scope="session")
def vector() -> Callable[[str], dict[str, dict[str, str]]]:
    """Reads one file of spec/vectors/00-suite by its name."""

    def read(name: str) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
        return found

    return read
