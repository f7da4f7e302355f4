"""The package file's footer; its defects are vectors of spec/03."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddtp.errors import DecodeError
from ddtp.protocol import container
from ddtp.protocol.chunks import SealHeader, sealed_bytes
from ddtp.protocol.container import PackageHeader

HEADERS = st.builds(
    PackageHeader,
    manifest=st.binary(max_size=300),
    seal=st.builds(
        SealHeader,
        chunk_size=st.just(1 << 16),
        content_bytes=st.integers(0, 1 << 40),
        openings_offset=st.just(0),
        openings_bytes=st.just(0),
        salt=st.binary(min_size=24, max_size=24),
        commitment=st.binary(min_size=32, max_size=32),
    ),
    wrapped_key=st.binary(max_size=100),
    holder_agreement=st.binary(min_size=33, max_size=33),
    anchor=st.none() | st.binary(max_size=300),
)


def _read(footer: bytes) -> PackageHeader:
    file = bytes(16) + footer  # the shortest sealed chunk
    tail = len(file) - container.TAIL_SIZE
    length = container.parse_footer_size(file[tail:])
    return container.parse_header(file[max(tail - length, 0) : tail])


@given(HEADERS)
def test_a_footer_is_read_as_it_was_written(header: PackageHeader) -> None:
    """Header and size of the file survive the round trip."""
    footer = container.encode_footer(header)
    assert _read(footer) == header
    container.check_file_size(header, sealed_bytes(header.seal) + len(footer))


@given(HEADERS, st.data())
def test_every_flipped_bit_is_found(header: PackageHeader, data: st.DataObject) -> None:
    """Damage anywhere in the footer is an error, not another header."""
    footer = bytearray(container.encode_footer(header))
    bit = data.draw(st.integers(0, len(footer) * 8 - 1))
    footer[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DecodeError):
        _read(bytes(footer))


@given(HEADERS, st.data())
def test_every_truncation_is_found(header: PackageHeader, data: st.DataObject) -> None:
    """A footer that lost its end or its beginning is an error."""
    footer = container.encode_footer(header)
    cut = data.draw(st.integers(0, len(footer) - 1))
    with pytest.raises(DecodeError):
        _read(footer[:cut])
    with pytest.raises(DecodeError):
        _read(footer[len(footer) - cut :])


def test_the_anchor_can_be_added_later() -> None:
    """Renewing the header leaves the length of the sealed content as it is."""
    seal = SealHeader(
        chunk_size=1 << 16,
        content_bytes=3,
        openings_offset=0,
        openings_bytes=0,
        salt=bytes(24),
        commitment=bytes(32),
    )
    plain = PackageHeader(manifest=b"m", seal=seal, wrapped_key=b"w", holder_agreement=bytes(33))
    anchored = PackageHeader(manifest=b"m", seal=seal, wrapped_key=b"w", holder_agreement=bytes(33), anchor=b"a")
    size = sealed_bytes(seal) + len(container.encode_footer(anchored))
    container.check_file_size(anchored, size)
    with pytest.raises(DecodeError, match="bytes"):
        container.check_file_size(plain, size)
