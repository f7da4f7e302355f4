"""`ddtp bench`: figures with the names of what gave them."""

import pytest

from tests.cli.conftest import Run


@pytest.mark.slow
def test_every_primitive_is_measured_and_named(ddtp: Run) -> None:
    """A person sees what runs and how fast it is; no home is needed."""
    done = ddtp("bench", "crypto", "--json", DDTP_CRYPTO="library")
    assert done.code == 0
    assert done.json["backend"] == "library"
    assert [each["name"] for each in done.json["figures"]] == [
        "SM4-GCM",
        "SM3 leaves",
        "SM2 sign",
        "SM2 verify",
        "SM2 agree",
    ]
    assert all(each["value"] > 0 and each["by"] for each in done.json["figures"])


def test_what_cannot_be_measured_is_refused(ddtp: Run) -> None:
    """The areas are named."""
    done = ddtp("bench", "disk")
    assert done.code == 2
    assert "crypto" in done.err
