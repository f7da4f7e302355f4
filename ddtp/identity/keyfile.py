"""Key files: the seed at rest, sealed by a passphrase (spec/05-identity s.4).

The file ends with a digest of itself, so that a damaged file and a wrong passphrase are told apart. Somebody who can
write the file can of course write the digest as well; to them both look like a wrong passphrase.
"""

import hashlib
import hmac
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from ddtp.crypto import sm3, sm4
from ddtp.errors import AuthenticationFailed, DecodeError, PassphraseWrong, UsageError
from ddtp.identity.keys import SEED_SIZE, Seed
from ddtp.protocol.codec import Buffer
from ddtp.protocol.record import Range, Record, Size

MAGIC: Final = b"DDTPKEY1"
MAX_FILE_BYTES: Final = 512
"""A key file takes about 250 bytes."""
MAX_PASSPHRASE_CHARACTERS: Final = 1024

_SALT_SIZE: Final = 16
_BLOCK_SIZE: Final = 8
"""scrypt's r: 8 is what all published cost estimates assume (RFC 7914 s.2)."""
_COST: Final = 15
"""Binary logarithm of scrypt's N: 32 MiB and about a tenth of a second, once per start."""
_MAX_COST: Final = 18
"""A key file may demand at most 256 MiB of memory from who opens it."""
_MAX_PARALLEL: Final = 4


@dataclass(frozen=True, slots=True)
class SealedSeed(Record):
    """A seed under a passphrase.

    Attributes:
        cost: Binary logarithm of scrypt's N.
        parallel: scrypt's p.
        salt: scrypt's salt.
        nonce: Nonce of SM4-GCM.
        sealed: Sealed seed.
    """

    KIND: ClassVar[str] = "sealed-seed"
    MAX_BYTES: ClassVar[int] = MAX_FILE_BYTES

    cost: Annotated[int, Range(_COST, _MAX_COST)]
    parallel: Annotated[int, Range(1, _MAX_PARALLEL)]
    salt: Annotated[bytes, Size(_SALT_SIZE)]
    nonce: Annotated[bytes, Size(sm4.NONCE_SIZE)]
    sealed: Annotated[bytes, Size(SEED_SIZE + sm4.TAG_SIZE)]


@dataclass(frozen=True, slots=True)
class KeyFile(Record):
    """The content of a key file: exactly one of the two.

    Attributes:
        protected: The seed under a passphrase.
        clear: The seed itself, protected by nothing but the rights on the file.
    """

    KIND: ClassVar[str] = "key-file"
    MAX_BYTES: ClassVar[int] = MAX_FILE_BYTES

    protected: SealedSeed | None = None
    clear: Annotated[bytes, Size(SEED_SIZE)] | None = None

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        if (self.protected is None) == (self.clear is None):
            raise DecodeError("expected either a sealed or a clear seed in a key file")

    def __repr__(self) -> str:
        return f"KeyFile({'clear' if self.protected is None else 'protected'})"


def seal_seed(seed: Seed, passphrase: str | None, *, random_bytes: Callable[[int], bytes]) -> bytes:
    """Return a key file.

    Args:
        seed: What it holds.
        passphrase: Seals it; None leaves the seed in clear.
        random_bytes: Returns that many bytes from a cryptographic generator.

    Raises:
        UsageError: The passphrase is empty or too long.
    """
    if passphrase is None:
        return _frame(KeyFile(clear=seed.raw))
    salt, nonce = random_bytes(_SALT_SIZE), random_bytes(sm4.NONCE_SIZE)
    key = _stretch(_check_passphrase(passphrase), salt, cost=_COST, parallel=1)
    sealed = sm4.SM4GCM(key).seal(nonce, seed.raw, aad=MAGIC)
    return _frame(KeyFile(protected=SealedSeed(cost=_COST, parallel=1, salt=salt, nonce=nonce, sealed=sealed)))


def open_seed(data: Buffer, passphrase: str | None) -> Seed:
    """Return the seed of a key file.

    Args:
        data: The file.
        passphrase: Opens it; not looked at if the seed is in clear.

    Raises:
        PassphraseWrong: It needs another passphrase, or any at all.
        DecodeError: It is damaged, or no key file.
    """
    content = _unframe(bytes(data))
    if content.clear is not None:
        return Seed(content.clear)
    assert content.protected is not None
    if passphrase is None:
        raise PassphraseWrong("expected a passphrase for the key file, found none")
    return _unseal(content.protected, passphrase)


def is_sealed(data: Buffer) -> bool:
    """Tell whether a key file needs a passphrase.

    Raises:
        DecodeError: It is damaged, or no key file.
    """
    return _unframe(bytes(data)).protected is not None


def _unseal(protected: SealedSeed, passphrase: str) -> Seed:
    try:
        key = _stretch(_check_passphrase(passphrase), protected.salt, cost=protected.cost, parallel=protected.parallel)
        return Seed(sm4.SM4GCM(key).open(protected.nonce, protected.sealed, aad=MAGIC))
    except (AuthenticationFailed, UsageError) as err:
        raise PassphraseWrong("expected the passphrase of the key file, found another") from err


def _check_passphrase(passphrase: str) -> str:
    if not 0 < len(passphrase) <= MAX_PASSPHRASE_CHARACTERS:
        raise UsageError(f"expected a passphrase of 1 to {MAX_PASSPHRASE_CHARACTERS} characters")
    return passphrase


def _stretch(passphrase: str, salt: bytes, *, cost: int, parallel: int) -> bytes:
    # NFC: keyboards send the same letter in different forms (RFC 8265 s.4.2.2)
    password = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
    # OpenSSL counts its own overhead against maxmem, hence the factor
    memory = 2 * 128 * _BLOCK_SIZE * (1 << cost)
    return hashlib.scrypt(
        password, salt=salt, n=1 << cost, r=_BLOCK_SIZE, p=parallel, maxmem=memory, dklen=sm4.KEY_SIZE
    )


def _frame(content: KeyFile) -> bytes:
    body = MAGIC + content.encode()
    return body + sm3.digest(body)


def _unframe(data: bytes) -> KeyFile:
    if not len(MAGIC) + sm3.DIGEST_SIZE < len(data) <= MAX_FILE_BYTES or not data.startswith(MAGIC):
        raise DecodeError("expected a DDTP key file, found something else", hint="restore it from the phrase")
    body, digest = data[: -sm3.DIGEST_SIZE], data[-sm3.DIGEST_SIZE :]
    if not hmac.compare_digest(sm3.digest(body), digest):
        raise DecodeError(
            "expected a key file with a fitting digest, found a damaged one", hint="restore it from the phrase"
        )
    return KeyFile.parse(body[len(MAGIC) :])
