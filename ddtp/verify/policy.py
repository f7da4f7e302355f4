"""Whom a verifier trusts (spec/10-verification s.2).

A policy is a required argument of every verification; there is no default one. An empty policy trusts nobody. The text
form is TOML, written by the institution that verifies.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import TypeVar

from ddtp.crypto import sm2
from ddtp.errors import ConfigInvalid, DecodeError
from ddtp.identity import did as dids

CLOCK_SKEW_SECONDS = 120
"""Default tolerance between two clocks: NTP keeps them within a second, a machine without it drifts minutes a month."""

MAX_CLOCK_SKEW_SECONDS = 600
"""Largest tolerance a policy may set: beyond ten minutes a clock is wrong, not skewed."""

MAX_POLICY_CHARACTERS = 1 << 20
"""Longest policy text: about five thousand trusted parties."""

_PUBLIC_KEY_DIGITS = 2 * sm2.PUBLIC_KEY_SIZE

_Entry = TypeVar("_Entry")


class Attestation(Enum):
    """Whose signed statement on the ledger makes a package acceptable."""

    ISSUER = "issuer"
    WITNESS = "witness"
    EITHER = "either"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """An issuer that a policy trusts.

    Attributes:
        name: What people call it.
        schemas: Schemas it may issue; None means all.
    """

    name: str
    schemas: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """Whom a verifier trusts, and how fresh evidence must be.

    Attributes:
        issuers: Trusted issuers by DID.
        witnesses: Names of trusted witnesses by DID.
        logs: Public keys (33 bytes) of trusted logs by origin.
        attestation: Whose statement on the ledger is demanded.
        clock_skew_seconds: How far a time may lie in the future.
        max_checkpoint_age_seconds: How old a log's checkpoint may be; None accepts any age, as an archive does.
        verifiers: Names, by DID, of the verifiers whose verdicts are accepted.
    """

    issuers: Mapping[str, TrustedIssuer]
    witnesses: Mapping[str, str]
    logs: Mapping[str, bytes]
    attestation: Attestation
    clock_skew_seconds: int = CLOCK_SKEW_SECONDS
    max_checkpoint_age_seconds: int | None = None
    verifiers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def trusts_issuer(self, issuer: str, schema: str) -> bool:
        """Tell whether an issuer is trusted for a schema."""
        known = self.issuers.get(issuer)
        return known is not None and (known.schemas is None or schema in known.schemas)


def parse_policy(text: str) -> TrustPolicy:
    """Read a policy from TOML.

    Args:
        text: The tables of spec/10 s.2; unknown names are refused, because a misspelt limit would be no limit.

    Raises:
        ConfigInvalid: The text is not TOML, or a name, type or value is wrong.
    """
    if len(text) > MAX_POLICY_CHARACTERS:
        raise ConfigInvalid(f"expected a policy of at most {MAX_POLICY_CHARACTERS} characters, found {len(text)}")
    try:
        table: dict[str, object] = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as err:
        raise ConfigInvalid(f"expected a policy in TOML, found broken text: {err}") from err
    top = _Table(table, "the policy")
    policy = TrustPolicy(
        issuers=top.take_map("issuers", key=_did, entry=_issuer),
        witnesses=top.take_map("witnesses", key=_did, entry=_named),
        logs=top.take_map("logs", key=_origin, entry=_log),
        attestation=_attestation(top.take_text("attestation")),
        clock_skew_seconds=top.take_seconds(
            "clock_skew_seconds", most=MAX_CLOCK_SKEW_SECONDS, default=CLOCK_SKEW_SECONDS
        ),
        max_checkpoint_age_seconds=top.take_optional_seconds("max_checkpoint_age_seconds"),
        verifiers=top.take_map("verifiers", key=_did, entry=_named),
    )
    top.finish()
    return policy


class _Table:
    """A TOML table from which every name is taken once; what is left over is unknown."""

    def __init__(self, values: object, where: str) -> None:
        if not isinstance(values, dict):
            raise ConfigInvalid(f"expected a table at {where}")
        self._values: dict[str, object] = dict(values)
        self._where = where

    def take_text(self, name: str) -> str:
        value = self._values.pop(name, None)
        if not isinstance(value, str) or not 1 <= len(value) <= 200:
            raise ConfigInvalid(f"expected a text of 1 to 200 characters for {name!r} in {self._where}")
        return value

    def take_texts(self, name: str) -> frozenset[str] | None:
        value = self._values.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, list):
            raise ConfigInvalid(f"expected a list of texts for {name!r} in {self._where}")
        texts = frozenset(item for item in value if isinstance(item, str) and item)
        if not texts or len(texts) != len(value):
            raise ConfigInvalid(f"expected distinct texts, at least one, for {name!r} in {self._where}")
        return texts

    def take_optional_seconds(self, name: str, *, most: int = 1 << 40) -> int | None:
        if name not in self._values:
            return None
        value = self._values.pop(name)
        if type(value) is not int or not 0 <= value <= most:
            raise ConfigInvalid(f"expected 0 to {most} seconds for {name!r} in {self._where}")
        return value

    def take_seconds(self, name: str, *, most: int, default: int) -> int:
        value = self.take_optional_seconds(name, most=most)
        return default if value is None else value

    def take_map(
        self, name: str, *, key: Callable[[str], None], entry: Callable[["_Table"], _Entry]
    ) -> Mapping[str, _Entry]:
        tables = _Table(self._values.pop(name, {}), name)
        found: dict[str, _Entry] = {}
        for each, values in tables._values.items():
            key(each)
            table = _Table(values, f"{name}.{each}")
            found[each] = entry(table)
            table.finish()
        return MappingProxyType(found)

    def finish(self) -> None:
        if self._values:
            raise ConfigInvalid(f"expected no other names in {self._where}, found {min(self._values)!r}")


def _did(text: str) -> None:
    try:
        dids.public_key_of(text)
    except DecodeError as err:
        raise ConfigInvalid(f"expected a DID in the policy, found {text!r}: {err.message}") from err


def _origin(text: str) -> None:
    if not 1 <= len(text) <= 200:
        raise ConfigInvalid(f"expected a log origin of 1 to 200 characters, found {len(text)}")


def _issuer(table: _Table) -> TrustedIssuer:
    return TrustedIssuer(name=table.take_text("name"), schemas=table.take_texts("schemas"))


def _named(table: _Table) -> str:
    return table.take_text("name")


def _log(table: _Table) -> bytes:
    text = table.take_text("public_key")
    # bytes.fromhex skips spaces, so the length of the text is checked as well
    if len(text) != _PUBLIC_KEY_DIGITS or not set(text) <= set("0123456789abcdef"):
        raise ConfigInvalid(f"expected {_PUBLIC_KEY_DIGITS} lower case hexadecimal digits as public key of a log")
    key = bytes.fromhex(text)
    try:
        sm2.check_public_key(key)
    except DecodeError as err:
        raise ConfigInvalid(f"expected an SM2 public key of a log: {err.message}") from err
    return key


def _attestation(text: str) -> Attestation:
    try:
        return Attestation(text)
    except ValueError as err:
        names = ", ".join(each.value for each in Attestation)
        raise ConfigInvalid(f"expected one of {names} for 'attestation', found {text!r}") from err
