"""The parameters of the curve and the compressed form of its points."""

import pytest

from ddtp.crypto._curve import GX, GY, A, B, N, P, compress_point, decode_point
from ddtp.errors import DecodeError


def test_the_generator_is_on_the_curve_of_prime_size() -> None:
    """The constants belong together: G satisfies the equation and n lies in the Hasse interval."""
    assert (GY * GY - (GX**3 + A * GX + B)) % P == 0
    assert abs(P + 1 - N) ** 2 <= 4 * P
    assert pow(2, P - 1, P) == pow(2, N - 1, N) == 1


@pytest.mark.parametrize("y", [GY, P - GY])
def test_compression_round_trip(y: int) -> None:
    """The prefix tells the two points of one x apart."""
    encoded = compress_point(GX.to_bytes(32, "big"), y.to_bytes(32, "big"))
    assert decode_point(encoded) == (GX, y)


@pytest.mark.parametrize("x", [2, P, P + 1, 2**256 - 1])
def test_an_x_without_a_point_is_refused(x: int) -> None:
    """Off the curve and not below p are both refused."""
    with pytest.raises(DecodeError):
        decode_point(b"\x02" + x.to_bytes(32, "big"))
