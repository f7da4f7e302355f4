"""Part of libp2p without the rest of it, and all of it for whoever wants it, before or after us."""

import subprocess
import sys

import pytest

from ddtp.transfer.hollow import hollow


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_nobody_needs_is_not_loaded() -> None:
    """An agent starts without QUIC, ACME, HTTP, TLS, and kinds of keys that it refuses."""
    unwanted = {"aioquic", "httpx", "requests", "OpenSSL", "Crypto", "coincurve", "anyio", "libp2p"}
    program = f"import sys, ddtp.agent.facade; print(*{unwanted} & {{*sys.modules}})"
    assert run(program).split() == []


@pytest.mark.slow
@pytest.mark.parametrize("first", ["ddtp.agent.facade", "libp2p"])
def test_others_get_the_whole_package(first: str) -> None:
    """An application that embeds an agent may run a libp2p host of its own, whatever it imports first."""
    program = f"""
import {first}
import ddtp.transfer.libp2p as ours
import libp2p.transport.quic.stream
assert libp2p.new_host().get_id()
assert libp2p.transport.quic.stream.QUICStream is not object
assert ours.Identity(bytes(32)).peer_id.startswith("12D3KooW")
"""
    run(program)


def test_a_package_that_is_missing_is_told() -> None:
    """And nothing of it stays behind."""
    with pytest.raises(ImportError, match="found none"), hollow(["no_such_package"], {}):
        pass
    assert "no_such_package" not in sys.modules
