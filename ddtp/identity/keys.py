"""Keys: one seed per identity, and every key derived from it (spec/05-identity s.2).

A person has one key pair per counterparty, so that two institutions cannot tell that they serve the same person by
comparing keys. Whoever restores the seed restores all of them. Private material never appears in `repr`, `str` or a
pickle; only `raw` gives it away, by name.
"""

import hmac
from collections.abc import Callable
from typing import Final, Literal, NoReturn, final

from ddtp.crypto import kdf, sm2
from ddtp.errors import DecodeError, InternalError
from ddtp.identity import phrase
from ddtp.identity.did import did_of, short
from ddtp.identity.language import Language

SEED_SIZE: Final = 32
"""256 bits: as strong as the curve with a margin, and 24 words of a phrase."""
SELF: Final = "self"
"""The counterparty of packages that a person makes for themselves."""

_SALT: Final = b"ddtp.seed.v1"
_KEY_INFO: Final = b"ddtp.key.v1"
_NETWORK_INFO: Final = b"ddtp.network.v1"
_NETWORK_KEY_SIZE: Final = 32
# A draw is refused with probability 2^-32; eight refusals in a row do not happen.
_MAX_DRAWS: Final = 8


@final
class PrivateKey:
    """An SM2 key pair in memory; an `envelope.Signer`.

    A key is used either to sign or to agree, never both (spec/00 s.3); which one is decided where it is derived.

    Args:
        raw: The private key, 32 bytes.

    Raises:
        DecodeError: The key is malformed.
    """

    __slots__ = ("_public", "_raw", "_signer")

    def __init__(self, raw: bytes) -> None:
        self._public = sm2.public_key(raw)
        self._raw = raw
        self._signer: sm2.Signer | None = None

    @property
    def public_key(self) -> bytes:
        """The public key, 33 bytes."""
        return self._public

    @property
    def did(self) -> str:
        """The identifier of the public key."""
        return did_of(self._public)

    @property
    def raw(self) -> bytes:
        """The private key itself, 32 bytes: a secret."""
        return self._raw

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, 64 bytes."""
        if self._signer is None:  # keys that only agree never need one
            self._signer = sm2.Signer(self._raw)
        return self._signer.sign(message)

    def agree(self, public_key: bytes) -> bytes:
        """Return the secret shared with a public key, 32 bytes; derive keys from it.

        Raises:
            DecodeError: The public key is malformed.
        """
        return sm2.agree(self._raw, public_key)

    def __repr__(self) -> str:
        return f"PrivateKey({short(self.did)})"

    def __reduce__(self) -> NoReturn:
        raise InternalError("expected a private key to stay in this process, found an attempt to copy it out")


@final
class Seed:
    """The secret that all keys of an identity come from.

    Args:
        raw: 32 random bytes.

    Raises:
        DecodeError: Another length.
    """

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        if len(raw) != SEED_SIZE:
            raise DecodeError(f"expected a seed of {SEED_SIZE} bytes, found {len(raw)}")
        self._raw = bytes(raw)

    @classmethod
    def generate(cls, random_bytes: Callable[[int], bytes]) -> "Seed":
        """Return a new seed.

        Args:
            random_bytes: Returns that many bytes from a cryptographic generator.
        """
        return cls(random_bytes(SEED_SIZE))

    @classmethod
    def from_phrase(cls, words: str) -> "Seed":
        """Return the seed that somebody wrote down as 24 words, in English or Chinese.

        Raises:
            UsageError: A word is wrong, missing or misplaced; the message names the word.
        """
        return cls(phrase.parse_phrase(words))

    @property
    def raw(self) -> bytes:
        """The seed itself, 32 bytes: a secret."""
        return self._raw

    def phrase(self, language: Language = Language.EN) -> str:
        """Return the 24 words of this seed, separated by spaces: a secret."""
        return phrase.encode_phrase(self._raw, language)

    def derive(self, label: str) -> PrivateKey:
        """Return the key of a label; the same for ever.

        Args:
            label: What the key is for (spec/05 s.2).
        """
        for draw in range(_MAX_DRAWS):
            candidate = self._expand(_KEY_INFO, label, bytes([draw]), size=sm2.PRIVATE_KEY_SIZE)
            try:
                return PrivateKey(candidate)
            except DecodeError:
                continue  # spec/05 s.2: a draw outside [1, n-2] is skipped
        raise InternalError("expected a usable key within eight draws, found none")

    def holder_key(self, counterparty: str) -> PrivateKey:
        """Return a person's signing key towards one counterparty.

        Args:
            counterparty: DID of the institution, or `SELF`.
        """
        return self.derive(f"holder/sign/{counterparty}")

    def agreement_key(self, counterparty: str) -> PrivateKey:
        """Return a person's key for what a counterparty encrypts to them.

        Args:
            counterparty: DID of the institution, or `SELF`.
        """
        return self.derive(f"holder/agree/{counterparty}")

    def institution_key(self, use: Literal["sign", "agree"]) -> PrivateKey:
        """Return an institution's key; the signing key is its identity."""
        return self.derive(f"institution/{use}")

    def log_key(self) -> PrivateKey:
        """Return the key that signs the checkpoints of a ledger."""
        return self.derive("ledger/log")

    def verifier_key(self) -> PrivateKey:
        """Return the key that signs verdicts."""
        return self.derive("verifier")

    def network_key(self, label: str = "node") -> bytes:
        """Return an Ed25519 seed, 32 bytes, of a network identity: a secret.

        Args:
            label: Which of the network identities; a person takes a fresh label per connection.
        """
        return self._expand(_NETWORK_INFO, label, b"", size=_NETWORK_KEY_SIZE)

    def __eq__(self, other: object) -> bool:
        return hmac.compare_digest(self._raw, other._raw) if isinstance(other, Seed) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # a seed is compared, never looked up

    def __repr__(self) -> str:
        return "Seed(hidden)"

    def __reduce__(self) -> NoReturn:
        raise InternalError("expected a seed to stay in this process, found an attempt to copy it out")

    def _expand(self, info: bytes, label: str, suffix: bytes, *, size: int) -> bytes:
        key = kdf.hkdf_extract(_SALT, self._raw)
        return kdf.hkdf_expand(key, info + b"\0" + label.encode() + b"\0" + suffix, size)
