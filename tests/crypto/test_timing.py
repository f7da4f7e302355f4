"""Whether time tells anything about secrets: two classes of inputs compared as dudect does (Reparaz et al., 2017).

Statistics on a shared machine: a difference counts only if it shows in each of several rounds, and a comparison that
leaks microseconds on purpose shows that one of that size would be found. What is smaller, memcheck finds
(native/README.md).
"""

import os
import random
import statistics
import time
from collections.abc import Callable, Sequence

import pytest

from ddtp.crypto import _backend, sm2
from ddtp.crypto.sm4 import SM4GCM
from ddtp.errors import AuthenticationFailed

SAMPLES = 6000
KEPT = 0.8
"""Of the samples, the fastest: interrupts are not what is looked for."""
THRESHOLD = 10.0
"""dudect calls 4.5 suspicious and 10 certain; a shared machine reaches the first by itself."""
ROUNDS = 5

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def native(fresh_backend: pytest.MonkeyPatch) -> None:
    """Only our own code promises this."""
    pytest.importorskip("ddtp.crypto._native", reason="the extension is not built here")
    fresh_backend.setenv("DDTP_CRYPTO", "native")
    assert _backend.describe().name == "native"


def welch(first: Sequence[float], second: Sequence[float]) -> float:
    """How many standard errors the means of two samples are apart."""
    kept = [sorted(sample)[: int(len(sample) * KEPT)] for sample in (first, second)]
    means = [statistics.fmean(sample) for sample in kept]
    errors = sum(statistics.variance(sample, mean) / len(sample) for sample, mean in zip(kept, means, strict=True))
    return abs(means[0] - means[1]) / errors**0.5


def differs(operation: Callable[[int], object]) -> bool:
    """Tell whether the time of an operation depends on the class of its input, 0 or 1, in every round."""
    for _ in range(ROUNDS):
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(SAMPLES):
            kind = random.getrandbits(1)
            start = time.perf_counter_ns()
            operation(kind)
            times[kind].append(time.perf_counter_ns() - start)
        if welch(*times) < THRESHOLD:
            return False
    return True


def test_a_comparison_that_stops_early_is_found() -> None:
    """The method sees what it looks for."""
    secret = os.urandom(64)
    guesses = (bytes([secret[0] ^ 1]) + secret[1:], secret[:-1] + bytes([secret[-1] ^ 1]))

    def leaky(kind: int) -> bool:
        return all(left == right for left, right in zip(secret, guesses[kind], strict=True))

    assert differs(leaky)


def test_signing_takes_the_same_time_for_all_keys() -> None:
    """A small key with few bits, and a random one."""
    signers = (sm2.Signer(bytes(31) + b"\1"), sm2.Signer(sm2.generate_private_key(os.urandom)))
    assert not differs(lambda kind: signers[kind].sign(b"message"))


def test_expanding_a_key_takes_the_same_time_for_all_keys() -> None:
    """A key of zeros, and a random one."""
    keys = (bytes(16), os.urandom(16))
    assert not differs(lambda kind: SM4GCM(keys[kind]))


def test_a_tag_is_compared_in_the_same_time_wherever_it_differs() -> None:
    """Wrong in its first byte, or in its last."""
    cipher = SM4GCM(os.urandom(16))
    sealed = cipher.seal(bytes(12), b"plaintext")
    wrong = (sealed[:-16] + bytes([sealed[-16] ^ 1]) + sealed[-15:], sealed[:-1] + bytes([sealed[-1] ^ 1]))

    def open_wrong(kind: int) -> None:
        try:
            cipher.open(bytes(12), wrong[kind])
        except AuthenticationFailed:
            return
        pytest.fail("a wrong tag was accepted")

    assert not differs(open_wrong)
