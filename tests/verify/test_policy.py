"""Trust policies: everything unknown or misspelt is refused."""

import pytest

from ddtp.crypto import sm2
from ddtp.errors import ConfigInvalid
from ddtp.identity import did as dids
from ddtp.verify.policy import Attestation, TrustedIssuer, parse_policy

KEY = sm2.public_key(bytes(31) + b"\x05")
DID = dids.did_of(KEY)
OTHER = dids.did_of(sm2.public_key(bytes(31) + b"\x06"))
FULL = f"""
attestation = "both"
clock_skew_seconds = 60
max_checkpoint_age_seconds = 3600

[issuers."{DID}"]
name = "城市银行"
schemas = ["bank-statement.v1"]

[witnesses."{OTHER}"]
name = "Notary"

[logs."ledger.example/2026"]
public_key = "{KEY.hex()}"

[verifiers."{OTHER}"]
name = "Our verifier"
"""


def test_full_policy() -> None:
    """All settings are read."""
    policy = parse_policy(FULL)
    assert policy.issuers == {DID: TrustedIssuer("城市银行", frozenset({"bank-statement.v1"}))}
    assert policy.witnesses == {OTHER: "Notary"}
    assert policy.verifiers == {OTHER: "Our verifier"}
    assert policy.logs == {"ledger.example/2026": KEY}
    assert policy.attestation is Attestation.BOTH
    assert (policy.clock_skew_seconds, policy.max_checkpoint_age_seconds) == (60, 3600)


def test_smallest_policy_trusts_nobody() -> None:
    """Absent tables are empty, and limits have their stated defaults."""
    policy = parse_policy('attestation = "issuer"')
    assert not policy.issuers
    assert not policy.witnesses
    assert not policy.logs
    assert not policy.verifiers
    assert (policy.clock_skew_seconds, policy.max_checkpoint_age_seconds) == (120, None)
    assert not policy.trusts_issuer(DID, "bank-statement.v1")


def test_issuer_is_trusted_for_its_schemas_only() -> None:
    """A list of schemas limits an issuer; without a list it may issue all."""
    policy = parse_policy(FULL)
    assert policy.trusts_issuer(DID, "bank-statement.v1")
    assert not policy.trusts_issuer(DID, "student-card.v1")
    assert not policy.trusts_issuer(OTHER, "bank-statement.v1")
    unlimited = parse_policy(FULL.replace('schemas = ["bank-statement.v1"]', ""))
    assert unlimited.trusts_issuer(DID, "student-card.v1")


@pytest.mark.parametrize(
    ("found", "replacement"),
    [
        ("attestation = ", "attestations = "),
        ('attestation = "both"', ""),
        ('"both"', '"any"'),
        ('"both"', "1"),
        ("clock_skew_seconds = 60", "clock_skew_seconds = 601"),
        ("clock_skew_seconds = 60", "clock_skew_seconds = -1"),
        ("clock_skew_seconds = 60", "clock_skew_seconds = true"),
        ("max_checkpoint_age_seconds = 3600", "max_checkpoint_age_second = 3600"),
        ("max_checkpoint_age_seconds = 3600", 'max_checkpoint_age_seconds = "3600"'),
        ('schemas = ["bank-statement.v1"]', "schemas = []"),
        ('schemas = ["bank-statement.v1"]', 'schemas = "bank-statement.v1"'),
        ('schemas = ["bank-statement.v1"]', 'schemas = ["a", 1]'),
        ('schemas = ["bank-statement.v1"]', 'schemas = ["a", "a"]'),
        ('schemas = ["bank-statement.v1"]', 'schema = ["a"]'),
        ('name = "城市银行"', ""),
        ('name = "城市银行"', 'name = ""'),
        (f'issuers."{DID}"', f'issuers."{DID}x"'),
        (f'issuers."{DID}"', 'issuers."bank"'),
        (f'witnesses."{OTHER}"', 'witnesses."notary"'),
        (f'[witnesses."{OTHER}"]\nname = "Notary"', "[[witnesses]]\nname = 'Notary'"),
        (f'public_key = "{KEY.hex()}"', f'public_key = "{KEY.hex().upper()}"'),
        (f'public_key = "{KEY.hex()}"', f'public_key = "{KEY.hex()[:-2]}"'),
        (f'public_key = "{KEY.hex()}"', f'public_key = "{KEY.hex(" ")}"'),
        (f'public_key = "{KEY.hex()}"', f'public_key = "04{KEY.hex()[2:]}"'),
        (f'public_key = "{KEY.hex()}"', f'public_key = "{KEY.hex()}"\nurl = "x"'),
        ('logs."ledger.example/2026"', 'logs.""'),
        ("[logs.", "[log."),
        ("[logs.", "[logs"),
    ],
)
def test_wrong_policy_is_refused(found: str, replacement: str) -> None:
    """A misspelt name, another type or a value out of bounds makes the whole policy invalid."""
    assert found in FULL
    with pytest.raises(ConfigInvalid):
        parse_policy(FULL.replace(found, replacement, 1))


def test_huge_policy_is_refused() -> None:
    """A policy text has a bound."""
    with pytest.raises(ConfigInvalid, match="at most"):
        parse_policy("#" * (1 << 20) + "\n" + FULL)


def test_deeply_nested_policy_is_refused() -> None:
    """Nesting beyond the parser's depth is a wrong policy, not a crash."""
    with pytest.raises(ConfigInvalid):
        parse_policy("attestation = " + "[" * 100_000)
