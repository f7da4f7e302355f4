"""The holder's side of one exchange (spec/08): what is said and checked, message by message.

Who we are is said only to the institution on the card; the key is released only for a signed receipt of the ciphertext
under a consent that is still in force.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import final

import trio

from ddtp.agent.anchoring import remote_ledger
from ddtp.agent.comparing import compare_heads
from ddtp.agent.context import Context
from ddtp.agent.opening import OpenPackage, TransferContent
from ddtp.chain.proof import OfferAnchors
from ddtp.chain.statement import Entry
from ddtp.consent.grant import Grant, check_in_force
from ddtp.errors import PeerStalled, PolicyRefused, ProtocolViolation
from ddtp.identity.binding import check_binding, make_binding
from ddtp.identity.document import CLOCK_SKEW_SECONDS, Card, LogRef
from ddtp.protocol import envelope, keywrap, merkle
from ddtp.protocol.chunks import run_chunks
from ddtp.protocol.envelope import SUITE, Signed
from ddtp.protocol.messages import Accept, ChunkRange, Finish, Hello, KeyOffer, KeyRelease, Offer, ReceiptMessage, Stage
from ddtp.store.leaf_log import LeafLog
from ddtp.store.records import ReceiptRow, TransferRow
from ddtp.transfer.ports import Phase, Progress, Run
from ddtp.verify.receipt import Receipt, check_receipt

UNBOUND = b"\x00"
"""Stands for the binding in an offer that is kept: a binding covers a nonce of one connection."""
RUNS_AT_ONCE = 4
"""Sealed in one call of a worker thread, 4 MiB: the switch between threads costs little beside it."""
OUTGOING = "outgoing"
"""Folder of the vault for what an unfinished transfer remembers."""
KEY_RELEASE_INFO = b"ddtp.transfer.v1"
"""HPKE info of a transfer's content key (spec/07 s.5)."""


def leaf_path(context: Context, transfer_id: bytes) -> Path:
    """Return where the leaves of an outgoing transfer are kept while it goes on.

    Raises:
        StorageFailed: The vault is on a drive that is not there.
    """
    return leaf_file(context.vault_folder(OUTGOING), transfer_id)


def leaf_file(outgoing: Path, transfer_id: bytes) -> Path:
    """Return the same in a folder of that name."""
    return outgoing / f"{transfer_id.hex()}.leaves"


@dataclass(frozen=True, slots=True)
class Material:
    """What one exchange is about, with whom, and the ledger that the request accepts."""

    row: TransferRow
    opened: OpenPackage
    content: TransferContent
    card: Signed[Card]
    log: LogRef


@final
class HolderSide:
    """The holder's side of one exchange (a `SenderPort`).

    Args:
        context: Surroundings.
        material: What is sent to whom.
        cipher: The receipt of an earlier attempt, if it brought one.
        progress: Told while chunks are sealed again that the receiver holds.
    """

    def __init__(
        self,
        context: Context,
        material: Material,
        *,
        cipher: ReceiptRow | None,
        progress: Callable[[Progress], None] = lambda _progress: None,
    ) -> None:
        self._context = context
        self._progress = progress
        self._row = material.row
        self._opened = material.opened
        self._content = material.content
        self._card = material.card
        self._log = material.log
        self._nonce = context.random_bytes(32)
        self._offer = Offer.parse(material.row.offer)
        self._grant = envelope.verify(Grant, self._offer.grant)
        self._anchored_hour = Entry.parse(OfferAnchors.parse(self._offer.anchors).grant.entry).hour
        self._tree = merkle.RootBuilder()
        self._leaf_path = leaf_path(context, material.row.transfer_id)
        self._one_time_key = b""
        self._key_expires = 0
        # an earlier attempt may have brought it: the receiver then answers with its last word at once
        self.cipher_receipt = envelope.verify(Receipt, cipher.envelope) if cipher else None

    def hello(self) -> Hello:
        """Open the exchange; who we are, and what we know, is only said to the right receiver, in the offer."""
        return Hello(suites=(SUITE,), nonce=self._nonce)

    async def offer(self, hello: Hello, remote_peer_id: str) -> Offer:
        """Make sure that the receiver is the one on the card and sees the same logs, then say who we are.

        Raises:
            ProtocolViolation, EvidenceError: The receiver does not prove who it is.
            LedgerInconsistent: A log has shown the receiver another history than us.
        """
        if hello.suites != (SUITE,):
            raise ProtocolViolation(f"expected the suite {SUITE}, found {hello.suites}")
        if hello.binding is None:
            raise ProtocolViolation("expected the receiver to prove who it is, found no binding")
        now = self._context.clock()
        check_binding(
            hello.binding,
            self._card.body.did,
            peer_id=self._context.peer_id,
            remote_peer_id=remote_peer_id,
            nonce=self._nonce,
            now=now,
        )
        await compare_heads(self._context, hello.heads, ledger=remote_ledger(self._context, self._log))
        binding = make_binding(
            self._opened.holder,
            self._context.peer_id,
            remote_peer_id=remote_peer_id,
            nonce=hello.nonce,
            now=now,
        )
        return replace(self._offer, binding=binding.envelope)

    async def runs(self, accept: Accept, *, most_chunks: int) -> AsyncGenerator[Run, None]:
        """Seal what the receiver lacks, in order; what it holds counts for the root only."""
        key_offer = envelope.verify(KeyOffer, accept.key_offer, signer=self._card.signer)
        if key_offer.body.transfer_id != self._row.transfer_id or key_offer.body.expires <= self._context.clock():
            raise ProtocolViolation("expected a fresh one-time key for this transfer, found another one")
        self._one_time_key, self._key_expires = key_offer.body.one_time_key, key_offer.body.expires
        log = await trio.to_thread.run_sync(LeafLog, self._leaf_path)
        parts = self._parts(accept.have, most_chunks)
        try:
            while runs := await trio.to_thread.run_sync(
                self._seal_some, log, list(islice(parts, RUNS_AT_ONCE)), limiter=self._context.sealing
            ):
                for run in runs:
                    self._tree.extend(run.leaves)
                    if run.sealed:
                        yield run
                    else:
                        self._tell_sealed(run.first + run.count)
        finally:
            log.close()

    def _seal_some(self, log: LeafLog, parts: Sequence[tuple[int, int, bool]]) -> list[Run]:
        """Seal some runs; of those that the receiver holds only the leaves are returned."""
        return [
            Run(first, count, b"", self._leaves(log, first, count)) if held else self._seal(log, first, count)
            for first, count, held in parts
        ]

    def _parts(self, have: Sequence[ChunkRange], most_chunks: int) -> Iterator[tuple[int, int, bool]]:
        """Yield all chunks in runs: first, count, and whether the receiver holds them."""
        start = 0
        for part in (*have, None):
            stop = part.start if part else self._content.chunk_count
            yield from ((first, count, False) for first, count in _runs(start, stop, most_chunks))
            if part:
                most_held = run_chunks(self._content.header.chunk_size)
                yield from ((first, count, True) for first, count in _runs(part.start, part.stop, most_held))
                start = part.stop

    def _tell_sealed(self, chunks: int) -> None:
        header = self._content.header
        done_bytes = min(chunks * header.chunk_size, header.content_bytes)
        self._progress(Progress(Phase.SEALING, done_bytes, header.content_bytes))

    def _seal(self, log: LeafLog, first: int, count: int) -> Run:
        run = self._content.sealed(first, count)
        known = log.find(first, min(count, log.count - first)) or b""
        if run.leaves[: len(known)] != known:
            # sent under the same key and nonce, both would be revealed (spec/07 s.3)
            raise PolicyRefused(
                "expected the chunks that were sealed before, found others under the same name",
                hint="the package file has changed: send it as a new transfer",
            )
        log.keep(first, run.leaves)
        return Run(first, count, run.sealed, run.leaves)

    def _leaves(self, log: LeafLog, first: int, count: int) -> bytes:
        """Return the leaves of chunks that the receiver holds; sealed anew only if nobody has kept them."""
        known = log.find(first, count)
        return known if known is not None else bytes(self._seal(log, first, count).leaves)

    async def finish(self) -> Finish:
        """Close the content with the root over its sealed chunks."""
        return Finish(
            transfer_id=self._row.transfer_id,
            chunk_count=self._content.chunk_count,
            ciphertext_root=self._tree.root(),
        )

    async def release_key(self, receipt: ReceiptMessage) -> KeyRelease:
        """Check that the receiver has signed for the ciphertext, keep that, and only then hand over the key."""
        signed = self._check(receipt, previous=None)
        if receipt.stage is not Stage.CIPHER or signed.body.ciphertext_root != self._tree.root():
            raise ProtocolViolation("expected a receipt for the ciphertext that was sent, found another one")
        if self.cipher_receipt is not None and self.cipher_receipt.envelope != signed.envelope:
            raise ProtocolViolation("expected the receipt that was given before, found a second one")
        self.cipher_receipt = signed
        await self._context.records.save_receipt(
            self._row.transfer_id, ReceiptRow(receipt.stage.value, signed.envelope, anchor=None)
        )
        check_in_force(self._grant.body, now=self._context.clock())
        if self._key_expires <= self._context.clock():
            # the next exchange brings another one, and the receiver has all chunks (spec/08 s.5)
            raise PeerStalled("expected the content to arrive while the one-time key is valid, found it expired")
        assert self._row.secret is not None, "a transfer that runs has its key"
        wrapped = keywrap.wrap(
            self._row.secret,
            recipient=self._one_time_key,
            info=KEY_RELEASE_INFO,
            aad=self._grant.digest + signed.digest,
            random_bytes=self._context.random_bytes,
        )
        release = KeyRelease(transfer_id=self._row.transfer_id, wrapped_key=wrapped)
        await self._context.records.release(self._row.transfer_id, release.encode(), now=self._context.clock())
        # From here on the receiver can read. Whatever happens, the transfer stays "keyed" until a last receipt comes.
        return release

    def check(self, answer: ReceiptMessage) -> Signed[Receipt]:
        """Check the last receipt of the exchange."""
        return self._check(answer, previous=self.cipher_receipt)

    def _check(self, message: ReceiptMessage, *, previous: Signed[Receipt] | None) -> Signed[Receipt]:
        receipt = check_receipt(
            message.receipt,
            receiver=self._card.body.did,
            grant=self._grant.digest,
            package_root=self._opened.manifest.body.root,
            earliest=self._anchored_hour - CLOCK_SKEW_SECONDS,
            latest=self._context.clock() + CLOCK_SKEW_SECONDS,
            transfer_id=self._row.transfer_id,
            previous=previous,
        )
        if receipt.body.stage.value != message.stage.value:
            raise ProtocolViolation("expected a receipt of the stage that the message names")
        return receipt


def _runs(start: int, stop: int, most_chunks: int) -> Iterator[tuple[int, int]]:
    """Yield runs that end on multiples of the most they may have, where the source is read whole."""
    while start < stop:
        count = min(most_chunks - start % most_chunks, stop - start)
        yield start, count
        start += count
