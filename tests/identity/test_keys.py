"""Keys: everything comes from one seed, and nothing secret leaks by accident."""

import copy
import os
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddtp.crypto import sm2
from ddtp.errors import DecodeError, InternalError
from ddtp.identity.did import did_of
from ddtp.identity.keys import SELF, PrivateKey, Seed
from ddtp.identity.language import Language
from ddtp.protocol.envelope import Signer
from tests.vectors import Case, check, load

SEED = Seed(bytes(31) + b"\x01")
KEY = SEED.institution_key("sign")
BANK = did_of(sm2.public_key(bytes(31) + b"\x05"))


@pytest.mark.parametrize(
    "case", [case for case in load("05-identity") if case.operation in {"key", "network-key"}], ids=str
)
def test_vector(case: Case) -> None:
    """Each vector of a derivation gives its key."""
    check(
        case,
        {
            "key": lambda case: Seed(case.data("seed")).derive(case.input["label"]).public_key.hex(),
            "network-key": lambda case: Seed(case.data("seed")).network_key(case.input["label"]).hex(),
        },
    )


def test_key_is_a_signer() -> None:
    """A private key signs what its public key verifies."""
    signer: Signer = KEY
    sm2.verify(signer.public_key, b"message", signer.sign(b"message"))
    assert KEY.did == did_of(KEY.public_key)


def test_two_sides_agree() -> None:
    """Both sides of an agreement find the same secret."""
    other = SEED.institution_key("agree")
    assert KEY.agree(other.public_key) == other.agree(KEY.public_key)


def test_keys_of_all_uses_differ() -> None:
    """No key is used for two things, or towards two counterparties."""
    keys = [
        SEED.institution_key("sign"),
        SEED.institution_key("agree"),
        SEED.log_key(),
        SEED.verifier_key(),
        SEED.holder_key(BANK),
        SEED.agreement_key(BANK),
        SEED.holder_key(SELF),
        SEED.agreement_key(SELF),
        SEED.holder_key(BANK + "x"),
    ]
    networks = {SEED.network_key(), SEED.network_key("other")}
    assert len({key.raw for key in keys} | networks) == len(keys) + len(networks)


def test_keys_come_back_with_the_seed() -> None:
    """Whoever restores the phrase has the same keys again."""
    restored = Seed.from_phrase(SEED.phrase(Language.ZH))
    assert restored == SEED
    assert restored.holder_key(BANK).raw == SEED.holder_key(BANK).raw
    assert restored.network_key() == SEED.network_key()


def test_seeds_are_random() -> None:
    """A new seed is what the generator gave."""
    assert Seed.generate(lambda size: bytes([7]) * size).raw == bytes([7]) * 32
    assert Seed.generate(os.urandom) != Seed.generate(os.urandom)


@given(st.binary(min_size=32, max_size=32))
@settings(deadline=None)
def test_secrets_stay_out_of_texts(raw: bytes) -> None:
    """Neither `repr` nor `str` nor formatting shows any part of a secret."""
    seed = Seed(raw)
    key = seed.derive("x")
    for shown in (repr(seed), str(seed), f"{seed!r:>99}"):
        assert shown.strip() == "Seed(hidden)"
    for shown in (repr(key), str(key), f"{[key]}"):
        assert key.raw.hex() not in shown
        assert repr(key.raw) not in shown
    assert repr(key) == f"PrivateKey(did:key:z…{key.did[-8:]})"


@pytest.mark.parametrize("secret", [SEED, KEY], ids=["seed", "key"])
def test_secrets_are_not_copied_out(secret: Seed | PrivateKey) -> None:
    """A secret neither goes to another process nor into a copy that nobody counts."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(InternalError):
            pickle.dumps(secret, protocol)
    with pytest.raises(InternalError):
        copy.deepcopy(secret)
    assert not hasattr(secret, "__dict__")


@pytest.mark.parametrize("raw", [b"", bytes(31), bytes(33)])
def test_seed_has_one_length(raw: bytes) -> None:
    """A seed is 32 bytes."""
    with pytest.raises(DecodeError):
        Seed(raw)


@pytest.mark.parametrize("raw", [b"", bytes(32), b"\xff" * 32])
def test_key_is_in_range(raw: bytes) -> None:
    """A private key is one that the suite allows."""
    with pytest.raises(DecodeError):
        PrivateKey(raw)


def test_seed_is_no_dictionary_key() -> None:
    """Seeds are compared in constant time, which looking them up would not be."""
    with pytest.raises(TypeError):
        hash(SEED)
    assert bytes(32) != SEED
