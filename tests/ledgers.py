"""Keys, a clock that is set by hand, and entries, for tests of ledgers."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from ddtp.chain.checkpoint import Checkpoint
from ddtp.chain.ledger_service import LedgerService
from ddtp.chain.proof import AnchorProof, open_entry, verify_anchored
from ddtp.chain.statement import AnchorRole, Entry, EntryKind, make_statement
from ddtp.crypto import sm2, sm3
from ddtp.errors import DdtpError, PeerRefused
from ddtp.protocol.envelope import Signed

NOW = 1_790_000_000
HOUR = NOW - NOW % 3600


@dataclass(frozen=True)
class Key:
    """An SM2 key in memory."""

    private_key: bytes
    public_key: bytes

    def sign(self, message: bytes) -> bytes:
        return sm2.sign(self.private_key, message)


@dataclass
class Clock:
    """A clock that only moves when a test says so."""

    now: int = NOW

    def __call__(self) -> int:
        return self.now


def make_key(name: str) -> Key:
    private_key = sm3.digest(name.encode())
    return Key(private_key, sm2.public_key(private_key))


def make_entry(number: int, *, kind: EntryKind = EntryKind.GRANT, hour: int = HOUR) -> bytes:
    """An entry without statements whose digest depends on its number."""
    return Entry(kind=kind, digest=sm3.digest(number.to_bytes(8, "big")), hour=hour).encode()


def make_anchor(digest: bytes, *attestors: tuple[AnchorRole, Key], hour: int = HOUR) -> Entry:
    statements = (make_statement(digest, hour=hour, role=role, signer=key).envelope for role, key in attestors)
    return Entry(kind=EntryKind.ANCHOR, digest=digest, hour=hour, statements=tuple(statements))


class Heads:
    """Accepted checkpoints in memory (`HeadStore`)."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}

    async def load(self, origin: str) -> bytes | None:
        return self.stored.get(origin)

    async def save(self, origin: str, checkpoint: bytes) -> None:
        self.stored[origin] = checkpoint


def network(service: LedgerService, peer_id: str = "peer") -> Callable[[bytes], Awaitable[bytes]]:
    """Call a service as over the network: errors come back as refusals with their code (spec/14 s.5)."""

    async def call(request: bytes) -> bytes:
        try:
            return await service.handle(request, peer_id)
        except DdtpError as err:
            raise PeerRefused(err.message, reason_code=err.code) from err

    return call


def verify_anchor(
    anchor: AnchorProof, subject: bytes, *, kind: EntryKind, logs: Mapping[str, bytes]
) -> tuple[Entry, Signed[Checkpoint]]:
    """What a verifier does in two steps: the entry is about the subject, and stands on one of the logs."""
    return open_entry(anchor, subject, kind=kind), verify_anchored(anchor, logs=logs)
