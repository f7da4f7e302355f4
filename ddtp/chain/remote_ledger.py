"""A ledger at another peer, which is not trusted (spec/09-ledger s.10 and s.11).

Every checkpoint it shows must be signed by its key and extend the last one that this home has accepted. A log that
rolled back or forked is refused, and the accepted checkpoint stays.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar, final

import trio

from ddtp.chain.checkpoint import Checkpoint, check_growth, check_succession, verify_checkpoint
from ddtp.chain.ledger import PAGE_ENTRIES
from ddtp.chain.ledger_messages import Growth, Head, Page, Positions, Question, Span
from ddtp.chain.proof import LedgerProof
from ddtp.errors import DecodeError, NotFound, PeerRefused, ProtocolViolation
from ddtp.protocol.envelope import Signed
from ddtp.protocol.record import Record

MAX_SIZE: Final = 1 << 63
"""Sizes have 63 bits, as all integers of records (spec/01)."""

Answer = TypeVar("Answer", bound=Record)


class HeadStore(Protocol):
    """Keeps the last accepted checkpoint of each log."""

    async def load(self, origin: str) -> bytes | None:
        """Return the envelope of the last checkpoint, or None."""

    async def save(self, origin: str, checkpoint: bytes) -> None:
        """Keep a checkpoint; durable when it returns."""


@final
class RemoteLedger:
    """A `Ledger` that asks a peer.

    Heads and the checkpoints of proofs are checked against the log's key and the last checkpoint; positions and entries
    are what the peer says. One question is asked at a time.

    Args:
        origin: Name of the log.
        public_key: Its key, 33 bytes.
        call: Sends a question of at most `ledger_messages.MAX_REQUEST_BYTES` to the peer and returns its answer, within
            a deadline of its own.
        heads: Where accepted checkpoints are kept; shared by all that talk to this log.
    """

    def __init__(
        self, origin: str, public_key: bytes, *, call: Callable[[bytes], Awaitable[bytes]], heads: HeadStore
    ) -> None:
        self.origin = origin
        self.public_key = public_key
        self._call = call
        self._heads = heads
        self._lock = trio.Lock()
        self._known: Signed[Checkpoint] | None = None

    async def append(self, entries: Sequence[bytes]) -> tuple[int, ...]:
        """Append encoded entries; all or none of each `PAGE_ENTRIES`.

        Raises:
            PeerRefused: The peer does not take an entry.
        """
        positions: tuple[int, ...] = ()
        async with self._lock:
            for start in range(0, len(entries), PAGE_ENTRIES):
                page = tuple(entries[start : start + PAGE_ENTRIES])
                answer = await self._ask(Question(append=page), Positions)
                if len(answer.positions) != len(page):
                    raise ProtocolViolation(f"expected {len(page)} positions, found {len(answer.positions)}")
                positions += answer.positions
        return positions

    async def lookup(self, digest: bytes) -> tuple[int, ...]:
        """Return the positions that the peer names for a blinded digest."""
        async with self._lock:
            return (await self._ask(Question(lookup=digest), Positions)).positions

    async def head(self) -> Signed[Checkpoint]:
        """Return the newest checkpoint, which extends the last one.

        Raises:
            SignatureInvalid: The log did not sign it.
            LedgerInconsistent: The log rolled back, forked, or is another one.
        """
        async with self._lock:
            before = await self._last()
            answer = await self._ask(Question(head=True), Head)
            return await self._accept(answer.checkpoint, before)

    async def prove(self, index: int) -> LedgerProof:
        """Prove one entry under the newest checkpoint, which extends the last one.

        Raises:
            NotFound: The log is not that long.
            SignatureInvalid: The log did not sign the checkpoint.
            LedgerInconsistent: The log rolled back, forked, or is another one.
        """
        _check_question(index, index + 1)
        async with self._lock:
            before = await self._last()
            proof = await self._ask(Question(prove=index), LedgerProof)
            if proof.index != index:
                raise ProtocolViolation(f"expected a proof of position {index}, found one of {proof.index}")
            await self._accept(proof.checkpoint, before)
            return proof

    async def prove_growth(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """Return the consistency path that the peer gives; who holds both roots checks it."""
        _check_question(old_size, new_size)
        async with self._lock:
            return await self._growth(old_size, new_size)

    async def entries(self, start: int, stop: int) -> tuple[bytes, ...]:
        """Return the entries that the peer gives; a mirror checks them by the root over all."""
        _check_question(start, stop)
        async with self._lock:
            page = await self._ask(Question(entries=Span(start=start, stop=stop)), Page)
            if len(page.entries) != stop - start:
                raise ProtocolViolation(f"expected {stop - start} entries, found {len(page.entries)}")
            return page.entries

    async def _last(self) -> Signed[Checkpoint] | None:
        stored = await self._heads.load(self.origin)
        if stored is None:
            return None
        if self._known is None or self._known.envelope != stored:
            self._known = self._verify(stored)
        return self._known

    async def _accept(self, checkpoint: bytes, before: Signed[Checkpoint] | None) -> Signed[Checkpoint]:
        """Check a checkpoint against the one that was known before the question, and keep it."""
        new = self._verify(checkpoint)
        if before is not None:
            check_succession(before.body, new.body)
        # Another task may have stored a newer one meanwhile; then ours must lead to that.
        stored = await self._last()
        if stored is None:
            await self._heads.save(self.origin, new.envelope)
            return new
        older, newer = sorted((stored, new), key=lambda each: (each.body.size, each.body.time))
        path = () if older.body.size == newer.body.size else await self._growth(older.body.size, newer.body.size)
        check_growth(older.body, newer.body, path)
        if newer is new:
            # Now this home never again accepts a log that does not extend it, not even after a crash.
            await self._heads.save(self.origin, new.envelope)
        return new

    def _verify(self, checkpoint: bytes) -> Signed[Checkpoint]:
        return verify_checkpoint(checkpoint, origin=self.origin, public_key=self.public_key)

    async def _growth(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        return (await self._ask(Question(growth=Span(start=old_size, stop=new_size)), Growth)).path

    async def _ask(self, question: Question, answer: type[Answer]) -> Answer:
        try:
            return answer.parse(await self._call(question.encode()))
        except PeerRefused as err:
            if err.reason_code == NotFound.code:
                raise NotFound(err.message) from err
            raise
        except DecodeError as err:
            raise ProtocolViolation(f"expected an answer of the ledger: {err.message}") from err


def _check_question(start: int, stop: int) -> None:
    """Check what no log can answer before anybody is asked."""
    if not 0 <= start <= stop < MAX_SIZE:
        raise NotFound(f"expected positions that rise from 0, found {start} and {stop}")
