"""Work by several threads: results in order, failures at once, and nothing left running."""

import threading

import pytest

from ddtp.agent.workers import AHEAD, in_order


def nothing() -> None:
    """Between two results there is nothing to do."""


def test_results_come_in_order() -> None:
    """Whichever thread is done first."""
    first_may_end = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert first_may_end.wait(5)
        if number == 1:
            first_may_end.set()
        return number * number

    assert list(in_order(work, range(3 * AHEAD), between=nothing)) == [number**2 for number in range(3 * AHEAD)]


def test_no_more_is_begun_than_allowed() -> None:
    """Whoever takes no results is not worked ahead for without a bound."""
    begun: list[int] = []
    results = in_order(begun.append, range(10 * AHEAD), between=nothing)
    next(results)
    assert len(begun) <= AHEAD + 1
    results.close()


def test_a_failure_ends_the_work() -> None:
    """It comes through, and what has not begun never begins."""
    begun: list[int] = []
    before = threading.active_count()  # trio keeps those of earlier tests for a while

    def work(number: int) -> None:
        begun.append(number)
        if number == 3:
            raise ValueError(number)

    with pytest.raises(ValueError, match="3"):
        list(in_order(work, range(100 * AHEAD), between=nothing))
    assert len(begun) <= 2 * AHEAD
    assert threading.active_count() <= before


def test_whoever_waits_may_stop() -> None:
    """What is raised between two results ends the work as a failure does."""
    with pytest.raises(KeyboardInterrupt):
        list(in_order(abs, range(10 * AHEAD), between=lambda: (_ for _ in ()).throw(KeyboardInterrupt)))
