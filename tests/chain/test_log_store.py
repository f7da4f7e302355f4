"""The stored form of entries."""

from hypothesis import given
from hypothesis import strategies as st

from ddtp.chain.log_store import pack_bundle, unpack_bundle


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_bundle_round_trip(entries: list[bytes]) -> None:
    """A bundle gives back its entries, empty ones too."""
    assert unpack_bundle(pack_bundle(entries)) == tuple(entries)


@given(st.binary(max_size=200))
def test_any_bytes_can_be_unpacked(data: bytes) -> None:
    """Damaged bundles never raise here: the hashes tell."""
    assert sum(map(len, unpack_bundle(data))) <= len(data)


def test_longest_entry_fits() -> None:
    """Two bytes of length hold an entry of 8 KiB."""
    assert unpack_bundle(pack_bundle([bytes(8192)])) == (bytes(8192),)
