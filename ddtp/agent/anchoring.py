"""Use case: put a blinded fingerprint on a ledger and bring back the proof (spec/09)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ddtp.agent.context import CALL_TIMEOUT_SECONDS, LEDGER_PROTOCOL, Context
from ddtp.agent.dialing import questions
from ddtp.chain import statement
from ddtp.chain.ledger import Ledger
from ddtp.chain.ledger_messages import MAX_ANSWER_BYTES
from ddtp.chain.proof import AnchorProof, verify_inclusion
from ddtp.chain.remote_ledger import RemoteLedger
from ddtp.chain.statement import AnchorRole, Entry, EntryKind
from ddtp.errors import ConfigInvalid
from ddtp.identity.document import Card, LogRef, parse_card
from ddtp.protocol.envelope import Signed, Signer
from ddtp.store.durable import read_file
from ddtp.transfer import rpc

MAX_CARD_BYTES = 64 << 10
"""A card file is a few kilobytes; this leaves room for registration evidence."""


@asynccontextmanager
async def remote_ledger(context: Context, log: LogRef) -> AsyncIterator[Ledger]:
    """Open a ledger at another peer; its last head is kept, and growth from it is demanded.

    Raises:
        PeerUnreachable: No address answered; names the ledger.
    """
    async with questions(context, log.addresses, LEDGER_PROTOCOL, who=f"the ledger {log.origin}") as stream:

        async def call(request: bytes) -> bytes:
            return await rpc.call(
                stream,
                request,
                max_response_bytes=MAX_ANSWER_BYTES,
                timeout_seconds=CALL_TIMEOUT_SECONDS,
            )

        yield RemoteLedger(log.origin, log.public_key, call=call, heads=context.records)


@asynccontextmanager
async def configured_ledger(context: Context) -> AsyncIterator[Ledger]:
    """Open the ledger that this home anchors on: the one of the settings, else its own.

    Raises:
        ConfigInvalid: There is none.
    """
    if context.config.ledger is not None:
        async with remote_ledger(context, log_of_card(context.config.ledger, now=context.clock())) as ledger:
            yield ledger
    elif context.own_ledger is not None:
        yield context.own_ledger
    else:
        raise ConfigInvalid("expected a ledger in the settings, found none", hint="set [ledger] card or origin")


def read_card(path: Path, *, now: int) -> Signed[Card]:
    """Read and check a card file.

    Raises:
        DecodeError, SignatureInvalid, EvidenceError: The card is damaged, forged or expired.
        NotFound, StorageFailed: The file cannot be read.
    """
    return parse_card(read_file(path, max_bytes=MAX_CARD_BYTES), now=now)


def log_of_card(path: Path, *, now: int) -> LogRef:
    """Return the first log of a ledger operator's card.

    Raises:
        ConfigInvalid: The card names no log.
        DecodeError, SignatureInvalid: The card is damaged or forged.
    """
    card = read_card(path, now=now)
    if not card.body.logs:
        raise ConfigInvalid(f"expected a log on the card {path.name}, found none")
    return card.body.logs[0]


async def anchor(
    context: Context,
    ledger: Ledger,
    *,
    kind: EntryKind,
    subject: bytes,
    attestors: tuple[tuple[AnchorRole, Signer], ...] = (),
) -> AnchorProof:
    """Anchor a subject under a fresh salt and prove it.

    Args:
        context: Surroundings.
        ledger: Where.
        kind: Kind of the entry.
        subject: What is blinded: the package subject, or the digest of a signed object.
        attestors: Who signs the statement, and in which role; at least one for packages.

    Returns:
        Salt, entry, and the proof that a signed checkpoint covers the entry.
    """
    salt = context.random_bytes(32)
    digest, hour = statement.blind(salt, subject), statement.coarse(context.clock())
    signed = tuple(
        statement.make_statement(digest, hour=hour, role=role, signer=signer).envelope for role, signer in attestors
    )
    return await record(ledger, Entry(kind=kind, digest=digest, hour=hour, statements=signed), salt=salt)


async def record(ledger: Ledger, entry: Entry, *, salt: bytes) -> AnchorProof:
    """Append an entry and prove it at the newest head.

    Raises:
        ProofInvalid, SignatureInvalid, LedgerInconsistent: The ledger's proof does not cover the entry.
    """
    encoded = entry.encode()
    (index,) = await ledger.append([encoded])
    proof = await ledger.prove(index)
    verify_inclusion(encoded, proof, log_key=ledger.public_key, origin=ledger.origin)
    return AnchorProof(salt=salt, entry=encoded, proof=proof.encode())
