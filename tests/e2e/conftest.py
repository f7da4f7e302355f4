"""A network of institutions, each a process, shared by all tests that do not hurt it."""

from collections.abc import Iterator

import pytest

from tests.daemons import Network


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A ledger, an issuer, a verifier and a receiver; at the end all stop cleanly, and none has found a defect."""
    network = Network(tmp_path_factory.mktemp("network"))
    try:
        network.start()
        yield network
    finally:
        codes = network.stop()
    assert set(codes.values()) == {0}, codes
    assert [line for daemon in network.daemons.values() for line in daemon.defects()] == []
