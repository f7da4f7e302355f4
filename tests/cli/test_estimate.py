"""Rate and remaining time: smoothed, sane when the rate changes, silent when nothing is known."""

import pytest

from ddtp.cli._estimate import MOST_SECONDS, STILL_SECONDS, Estimate

MIB = 1 << 20
TOTAL = 1000 * MIB


def run(estimate: Estimate, *, start: float, seconds: float, done: int, rate: float, step: float = 0.1) -> int:
    """Let something grow at a rate; return how far it is then."""
    for number in range(1, round(seconds / step) + 1):
        estimate.update(done + round(rate * step * number), now=start + step * number)
    return done + round(rate * seconds)


def test_a_steady_rate_is_known_at_once() -> None:
    """From the first second on the rate is the true one, and so is what remains; what was there does not count."""
    estimate = Estimate()
    estimate.update(100 * MIB, now=50.0)
    assert estimate.seconds_left(TOTAL, now=50.5) is None
    done = run(estimate, start=50, seconds=1.5, done=100 * MIB, rate=10 * MIB)
    assert estimate.rate == pytest.approx(10 * MIB, rel=0.01)
    assert estimate.seconds_left(TOTAL, now=51.5) == pytest.approx((TOTAL - done) / (10 * MIB), rel=0.01)


def test_a_change_shows_within_seconds_and_a_burst_does_not() -> None:
    """A tenth of the rate from now on is told after ten seconds; one fast moment changes little."""
    estimate = Estimate()
    estimate.update(0, now=0)
    done = run(estimate, start=0, seconds=20, done=0, rate=10 * MIB)
    estimate.update(done + 10 * MIB, now=20.1)
    assert estimate.rate < 14 * MIB
    run(estimate, start=20.1, seconds=12, done=done + 10 * MIB, rate=MIB)
    assert MIB <= estimate.rate < 2 * MIB


def test_acknowledgements_that_come_in_heaps_give_a_smooth_rate() -> None:
    """Eight mebibytes every second are about eight a second, at any moment."""
    estimate, rates = Estimate(), []
    for tenth in range(400):
        estimate.update(8 * MIB * (tenth // 10), now=tenth / 10)
        rates.append(estimate.rate)
    assert all(6 * MIB < rate < 10 * MIB for rate in rates[100:])


def test_nothing_moves() -> None:
    """The remaining time goes as soon as it cannot be true; the rate falls towards nothing."""
    estimate = Estimate()
    estimate.update(0, now=0)
    done = run(estimate, start=0, seconds=10, done=0, rate=10 * MIB)
    end = 10 + STILL_SECONDS + 0.2
    run(estimate, start=10, seconds=end - 10, done=done, rate=0)
    assert estimate.seconds_left(TOTAL, now=end) is None
    run(estimate, start=end, seconds=60, done=done, rate=0)
    assert estimate.rate < MIB / 1000


def test_no_absurd_remaining_time() -> None:
    """Years are not shown, nor a negative time when there is more than was announced."""
    estimate = Estimate()
    estimate.update(0, now=0)
    run(estimate, start=0, seconds=3, done=0, rate=100)
    assert estimate.seconds_left(100 * MOST_SECONDS * 2, now=3) is None
    assert estimate.seconds_left(10, now=3) == 0


def test_another_thing_starts_anew() -> None:
    """Fewer bytes than before are another measure, not a negative rate; a clock that stands still changes nothing."""
    estimate = Estimate()
    estimate.update(0, now=0)
    run(estimate, start=0, seconds=3, done=0, rate=MIB)
    estimate.update(5, now=3.1)
    assert estimate.rate == 0
    estimate.update(50, now=3.1)
    assert estimate.rate == 0
