"""A ledger that answers questions from the network (spec/09-ledger s.10)."""

from collections.abc import Collection
from typing import final

import trio

from ddtp.chain import ledger_messages
from ddtp.chain.admission import check_remote
from ddtp.chain.allowance import Allowance
from ddtp.chain.ledger import Ledger
from ddtp.chain.ledger_messages import Growth, Head, Page, Positions, Question
from ddtp.errors import PolicyRefused
from ddtp.protocol.record import Record

MAX_REQUEST_BYTES = ledger_messages.MAX_REQUEST_BYTES


@final
class LedgerService:
    """Answers for one ledger.

    Args:
        ledger: The ledger.
        writers: Network identities that append without a bound on their number, within the admission policy.
        closed: Nobody else appends; otherwise everybody does, within an allowance.
    """

    def __init__(self, ledger: Ledger, *, writers: Collection[str] = (), closed: bool = False) -> None:
        self._ledger = ledger
        self._writers = writers
        self._closed = closed
        self._allowance = Allowance()

    async def handle(self, request: bytes, peer_id: str, *, address: str = "") -> bytes:
        """Answer one question.

        Args:
            request: An encoded `Question`, at most `MAX_REQUEST_BYTES`.
            peer_id: Network identity of who asks; it is not stored.
            address: What its address is counted by; all who come without one share an allowance. It is not stored.

        Returns:
            The encoded answer.

        Raises:
            DecodeError, SignatureInvalid, PolicyRefused, NotFound: The question is malformed or refused.
            Overloaded: The peer, or its address, has appended too much; it may later.
            EnvironmentProblem: This machine cannot answer now.
        """
        answer = await self._answer(Question.parse(request), peer_id, address)
        return answer.encode()

    async def _answer(self, question: Question, peer_id: str, address: str) -> Record:
        match question:
            case Question(append=tuple() as entries):
                return await self._append(entries, peer_id, address)
            case Question(lookup=bytes() as digest):
                return Positions(positions=await self._ledger.lookup(digest))
            case Question(prove=int() as index):
                return await self._ledger.prove(index)
            case Question(growth=ledger_messages.Span(start, stop)):
                return Growth(path=await self._ledger.prove_growth(start, stop))
            case Question(entries=ledger_messages.Span(start, stop)):
                return Page(entries=await self._ledger.entries(start, stop))
            case _:
                head = await self._ledger.head()
                return Head(checkpoint=head.envelope)

    async def _append(self, entries: tuple[bytes, ...], peer_id: str, address: str) -> Positions:
        known = peer_id in self._writers
        if self._closed and not known:
            raise PolicyRefused("expected a writer of this log, found another peer")
        check_remote(entries)
        if not known:
            # before the log looks at them: what it refuses has cost it time as well
            self._allowance.spend(len(entries), peer_id=peer_id, address=address, now=trio.current_time())
        return Positions(positions=await self._ledger.append(entries))
