"""Use case: compare what another party has seen of a log with what we have seen of it (spec/09 s.11).

A log that shows two histories is found out as soon as two of its readers talk to each other.
"""

import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from ddtp.agent.context import Context
from ddtp.chain.checkpoint import Checkpoint, check_growth
from ddtp.chain.ledger import Ledger
from ddtp.errors import EnvironmentProblem, LedgerInconsistent, NotFound, PeerError
from ddtp.protocol import envelope
from ddtp.protocol.envelope import Signed

_logger = logging.getLogger(__name__)


async def compare_heads(
    context: Context, heads: Sequence[bytes], *, ledger: AbstractAsyncContextManager[Ledger]
) -> None:
    """Check that checkpoints of another party, and the last ones that we accepted, are states of the same logs.

    Args:
        context: Surroundings.
        heads: Envelopes of the other party's checkpoints. Those of logs or keys that we do not follow say nothing to
            us: anybody can make them.
        ledger: Opens the log that can be asked for proofs of growth; opened only if it is needed.

    Raises:
        DecodeError, SignatureInvalid: A checkpoint is malformed or was not signed by the key that it names.
        LedgerInconsistent: A log has signed two histories, or denies a size that it has signed.
    """
    grown = []
    for head in heads:
        theirs = envelope.verify(Checkpoint, head)
        stored = await context.records.load(theirs.body.origin)
        ours = envelope.verify(Checkpoint, stored) if stored else theirs
        if ours.signer != theirs.signer:
            continue
        older, newer = sorted((ours, theirs), key=lambda each: each.body.size)
        if older.body.size == newer.body.size:
            check_growth(older.body, newer.body, ())
        elif older.body.size:
            grown.append((older, newer))
    if grown:
        await _check_grown(grown, ledger)


async def _check_grown(
    pairs: Sequence[tuple[Signed[Checkpoint], Signed[Checkpoint]]], ledger: AbstractAsyncContextManager[Ledger]
) -> None:
    try:
        async with ledger as log:
            for older, newer in pairs:
                if (older.body.origin, older.signer) == (log.origin, log.public_key):
                    await _check_growth(log, older.body, newer.body)
    except (PeerError, EnvironmentProblem) as err:
        # silence proves nothing; whoever relies on the log asks it again, and demands growth from its own last head
        _logger.warning("a log could not be asked whether it only grew", extra={"code": err.code})


async def _check_growth(log: Ledger, older: Checkpoint, newer: Checkpoint) -> None:
    try:
        path = await log.prove_growth(older.size, newer.size)
    except NotFound as err:
        raise LedgerInconsistent(
            f"expected the log {log.origin!r} to have the {newer.size} entries that it signed, found that it denies it"
        ) from err
    check_growth(older, newer, path)
