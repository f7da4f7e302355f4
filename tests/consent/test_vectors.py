"""No vector of spec/06 is left out."""

from tests.vectors import load

OPERATIONS = {"grant", "request", "screen"}


def test_every_vector_is_run_somewhere() -> None:
    """Every operation of the vectors is one that a test beside this one runs, and has vectors."""
    assert {case.operation for case in load("06-consent")} == OPERATIONS
