"""SM2 keys, signatures and agreement, on every implementation."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from ddtp.crypto import sm2
from ddtp.crypto._curve import N
from ddtp.errors import DecodeError, InternalError, SignatureInvalid

PRIVATE_KEY = (0x1234567).to_bytes(32, "big")


def test_a_signature_verifies_and_two_differ(implementation: str) -> None:
    """Each signature has its own nonce."""
    public_key = sm2.public_key(PRIVATE_KEY)
    first, second = sm2.sign(PRIVATE_KEY, b"message"), sm2.sign(PRIVATE_KEY, bytearray(b"message"))
    sm2.verify(public_key, b"message", first)
    sm2.verify(public_key, memoryview(b"message"), second)
    assert len(first) == len(second) == sm2.SIGNATURE_SIZE
    assert first[:32] != second[:32]


@pytest.mark.parametrize("message", [b"", b"\0", bytes(1000)])
def test_any_message_can_be_signed(implementation: str, message: bytes) -> None:
    """An empty message and one of zero bytes are messages too."""
    sm2.verify(sm2.public_key(PRIVATE_KEY), message, sm2.sign(PRIVATE_KEY, message))


def test_a_changed_signature_is_refused(implementation: str) -> None:
    """A flipped bit anywhere in r or s makes the signature invalid."""
    public_key, signature = sm2.public_key(PRIVATE_KEY), sm2.sign(PRIVATE_KEY, b"message")
    for position in range(0, 64, 7):
        changed = bytearray(signature)
        changed[position] ^= 0x10
        with pytest.raises(SignatureInvalid):
            sm2.verify(public_key, b"message", bytes(changed))


def test_both_sides_agree(implementation: str) -> None:
    """[a]B and [b]A have the same x coordinate."""
    a, b = sm2.generate_private_key(os.urandom), sm2.generate_private_key(os.urandom)
    assert sm2.agree(a, sm2.public_key(b)) == sm2.agree(b, sm2.public_key(a))


@pytest.mark.parametrize("value", [0, N - 1, N, 2**256 - 1])
def test_a_private_key_out_of_range_signs_nothing(implementation: str, value: int) -> None:
    """Every use of a private key checks its range first."""
    private_key = value.to_bytes(32, "big")
    with pytest.raises(DecodeError):
        sm2.check_private_key(private_key)
    with pytest.raises(DecodeError):
        sm2.sign(private_key, b"message")


@pytest.mark.parametrize(
    "public_key",
    [b"\x02" + (2).to_bytes(32, "big"), b"\x04" + bytes(64), b"\x00", bytes(33), b""],
    ids=["off-curve", "uncompressed", "infinity", "infinity-padded", "empty"],
)
def test_a_bad_public_key_is_refused_by_every_operation(implementation: str, public_key: bytes) -> None:
    """A point that is not on the curve never meets a private key, and verifies nothing."""
    signature = sm2.sign(PRIVATE_KEY, b"message")
    for operation in (
        lambda: sm2.check_public_key(public_key),
        lambda: sm2.verify(public_key, b"message", signature),
        lambda: sm2.agree(PRIVATE_KEY, public_key),
    ):
        with pytest.raises(DecodeError):
            operation()


def test_worker_threads_share_the_implementation(implementation: str) -> None:
    """Threads that sign, verify and fail at once do not disturb each other."""

    def work(index: int) -> bytes:
        private_key = (index + 1).to_bytes(32, "big")
        public_key, message = sm2.public_key(private_key), b"message %d" % index
        signature = sm2.sign(private_key, message)
        sm2.verify(public_key, message, signature)
        with pytest.raises(SignatureInvalid):
            sm2.verify(public_key, b"other", signature)
        with pytest.raises(DecodeError):
            sm2.agree(private_key, b"\x02" + (2).to_bytes(32, "big"))
        return sm2.agree(private_key, public_key)

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(work, range(12)))) == 12


def test_generation_draws_again_when_out_of_range() -> None:
    """Values outside [1, n-2] are drawn again, so that no key is more likely than another."""
    draws = iter([bytes(32), (N - 1).to_bytes(32, "big"), b"\xff" * 32, (N - 2).to_bytes(32, "big")])
    assert sm2.generate_private_key(lambda _: next(draws)) == (N - 2).to_bytes(32, "big")


@pytest.mark.parametrize("broken", [bytes, lambda size: b"\x01" * (size - 1)])
def test_a_broken_generator_is_noticed(broken: object) -> None:
    """A generator that gives zeros or too few bytes ends in an error, not in a loop or a weak key."""
    with pytest.raises(InternalError):
        sm2.generate_private_key(broken)  # type: ignore[arg-type]


def test_many_signatures_are_told_apart(implementation: str) -> None:
    """Among good ones each bad one is found, wherever it stands and in whatever way it is bad."""
    keys = [bytes(31) + bytes([number]) for number in range(1, 6)]
    good = [
        (sm2.public_key(key), b"message %d" % number, sm2.sign(key, b"message %d" % number))
        for number, key in enumerate(keys)
    ]
    public_key, message, signature = good[0]
    bad = [
        (good[1][0], message, signature),
        (public_key, message + b"!", signature),
        (public_key, message, signature[:-1] + bytes([signature[-1] ^ 1])),
        (public_key, message, bytes(64)),
        (public_key, message, signature[:63]),
    ]
    checks = [each for pair in zip(good, bad, strict=True) for each in pair] + good
    assert sm2.verify_many(checks) == [True, False] * 5 + [True] * 5
    assert sm2.verify_many([]) == []
    with pytest.raises(DecodeError):
        sm2.verify_many([*good, (bytes(33), message, signature)])
