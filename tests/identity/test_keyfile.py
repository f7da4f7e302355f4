"""Key files: a damaged file, a wrong passphrase and a missing one are told apart."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddtp.crypto import sm3
from ddtp.errors import DecodeError, PassphraseWrong, UsageError
from ddtp.identity.keyfile import KeyFile, is_sealed, open_seed, seal_seed
from ddtp.identity.keys import Seed
from tests.vectors import Case, check, load

SEED = Seed(bytes(range(32)))
SEALED = seal_seed(SEED, "correct horse", random_bytes=os.urandom)
CLEAR = seal_seed(SEED, None, random_bytes=os.urandom)


@pytest.mark.parametrize("case", [case for case in load("05-identity") if case.operation == "key-file"], ids=str)
def test_vector(case: Case) -> None:
    """Each vector of a key file gives its seed, or is refused."""
    check(case, {"key-file": lambda case: open_seed(case.data("file"), case.input.get("passphrase")).raw.hex()})


def test_passphrase_opens() -> None:
    """The passphrase that sealed a file opens it."""
    assert open_seed(SEALED, "correct horse") == SEED
    assert is_sealed(SEALED)
    assert SEED.raw not in SEALED


def test_passphrase_form_does_not_matter() -> None:
    """An é typed as one letter or as two is the same passphrase."""
    assert open_seed(seal_seed(SEED, "caf\u00e9", random_bytes=os.urandom), "cafe\u0301") == SEED


def test_wrong_passphrase() -> None:
    """Another passphrase is told as that, not as damage."""
    with pytest.raises(PassphraseWrong, match="another"):
        open_seed(SEALED, "correct horsf")
    with pytest.raises(PassphraseWrong, match="none"):
        open_seed(SEALED, None)
    with pytest.raises(PassphraseWrong, match="another"):
        open_seed(SEALED, "")


def test_clear_file_needs_none() -> None:
    """A file in clear opens with and without a passphrase, and says what it is."""
    assert open_seed(CLEAR, None) == open_seed(CLEAR, "any") == SEED
    assert not is_sealed(CLEAR)


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_damage_is_not_a_wrong_passphrase(position: int, difference: int) -> None:
    """Any changed byte is told as damage, before the passphrase is even tried."""
    damaged = bytearray(SEALED)
    damaged[position] ^= difference
    with pytest.raises(DecodeError):
        open_seed(damaged, "correct horse")
    with pytest.raises(DecodeError):
        is_sealed(damaged)


@given(st.integers(0, len(SEALED) - 1))
def test_cut_file_is_damaged(length: int) -> None:
    """A file cut anywhere is told as damage."""
    with pytest.raises(DecodeError):
        open_seed(SEALED[:length], "correct horse")


@pytest.mark.parametrize("body", [b"DDTPKEY2" + CLEAR[8:-32], CLEAR[:-32] + bytes(512), b""])
def test_other_file_with_a_digest_is_no_key_file(body: bytes) -> None:
    """Another format, or a huge file, is refused for what it is."""
    with pytest.raises(DecodeError, match="something else"):
        open_seed(body + sm3.digest(body), None)


def test_two_files_of_one_seed_differ() -> None:
    """Salt and nonce are fresh, so files of one seed cannot be linked."""
    assert seal_seed(SEED, "correct horse", random_bytes=os.urandom) != SEALED


@pytest.mark.parametrize("passphrase", ["", "x" * 1025])
def test_unusable_passphrase_is_refused(passphrase: str) -> None:
    """An empty passphrase protects nothing and is not taken for one."""
    with pytest.raises(UsageError):
        seal_seed(SEED, passphrase, random_bytes=os.urandom)


def test_content_is_hidden_in_texts() -> None:
    """A parsed key file in clear does not show its seed."""
    content = KeyFile.parse(CLEAR[8:-32])
    assert repr(content) == "KeyFile(clear)"
    assert sm3.digest(CLEAR[:-32]) == CLEAR[-32:]
