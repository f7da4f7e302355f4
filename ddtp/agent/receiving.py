"""Use case: an institution receives a package, verifies it, and signs receipts (spec/08, spec/10, spec/11).

One `Receiver` serves one exchange. It decides on evidence before any data arrives, keeps ciphertext durably before it
acknowledges, opens it only in quarantine, and releases plaintext only for a `VerifiedPackage`.
"""

import logging
import shutil
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import trio

from ddtp.agent.anchoring import anchor, configured_ledger
from ddtp.agent.context import Context
from ddtp.agent.exchange import KEY_RELEASE_INFO, UNBOUND
from ddtp.agent.judging import Judge
from ddtp.agent.opening import transfer_context
from ddtp.agent.unsealing import Unsealer
from ddtp.chain.proof import OfferAnchors
from ddtp.chain.statement import EntryKind
from ddtp.config import ReceiverSettings
from ddtp.consent.grant import Grant
from ddtp.crypto import sm2
from ddtp.errors import (
    ConsentInvalid,
    ContentMismatch,
    DdtpError,
    EnvironmentProblem,
    EvidenceError,
    InputError,
    Overloaded,
    PeerError,
    PolicyRefused,
    ProtocolViolation,
    SignatureInvalid,
    StoreDamaged,
    VerificationFailed,
)
from ddtp.identity import did as dids
from ddtp.identity.binding import check_binding, make_binding
from ddtp.identity.keys import PrivateKey
from ddtp.protocol import envelope, keywrap
from ddtp.protocol.chunks import ChunkCipher, sealed_bytes
from ddtp.protocol.envelope import SUITE, Signed
from ddtp.protocol.messages import (
    MAX_HEADS,
    Accept,
    ChunkRange,
    Decline,
    Finish,
    Hello,
    KeyOffer,
    KeyRelease,
    Offer,
    ReceiptMessage,
    Stage,
)
from ddtp.store.blobs import SealedBlob, blob_names, delete_blob, stored_bytes
from ddtp.store.records import FINAL_STATES, Direction, ReceiptRow, TransferRow, TransferState
from ddtp.verify.evidence import Evidence
from ddtp.verify.receipt import Receipt, cipher_receipt, rejected_receipt, verified_receipt
from ddtp.verify.steps import Step, checking
from ddtp.verify.verified import VerifiedEvidence, VerifiedPackage

KEY_OFFER_SECONDS = 24 * 3600
"""Life of a one-time key: a transfer that takes longer resumes with the same key offered anew."""

INCOMING = "incoming"
QUARANTINE_PATTERN = ".*.part"
"""Quarantine lies in the inbox, because only a rename on one disk releases all files at once."""
IDLE_SECONDS = 7 * 86400
"""An unfinished transfer that nobody resumes for a week is given up, and its room is free again."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reception:
    """What all exchanges of one receiving institution share.

    Attributes:
        context: Surroundings.
        settings: Settings of the role.
        judge: Verifies evidence.
        notify: Told of every finished transfer.
        active: Ids of transfers that are being received now.
        reserving: Held while room is counted and reserved, so that parallel offers cannot pass the bound together.
    """

    context: Context
    settings: ReceiverSettings
    judge: Judge
    notify: Callable[[TransferRow], None]
    active: set[bytes]
    reserving: trio.Lock = field(default_factory=trio.Lock)


@final
class Receiver:
    """The receiving side of one exchange (a `ReceiverPort`); close it with `aclose`."""

    def __init__(self, reception: Reception) -> None:
        self._shared = reception
        self._context = reception.context
        self._key: PrivateKey = reception.context.institution_key
        self._nonce = b""
        self._claimed: bytes | None = None
        self._offer: Offer | None = None
        self._blob: SealedBlob | None = None
        self._cipher: Signed[Receipt] | None = None

    async def greet(self, hello: Hello, remote_peer_id: str) -> Hello:
        """Prove who we are over the holder's nonce."""
        if SUITE not in hello.suites:
            raise ProtocolViolation(f"expected the suite {SUITE} among {', '.join(hello.suites)}")
        self._nonce = self._context.random_bytes(32)
        binding = make_binding(
            self._key,
            self._context.peer_id,
            remote_peer_id=remote_peer_id,
            nonce=hello.nonce,
            now=self._context.clock(),
        )
        heads = tuple(await self._context.records.heads())[:MAX_HEADS]
        return Hello(suites=(SUITE,), nonce=self._nonce, binding=binding.envelope, heads=heads)

    async def admit(self, offer: Offer, remote_peer_id: str) -> Accept | Decline | ReceiptMessage:
        """Judge the evidence before any data arrives; know transfers again that were offered before."""
        try:
            return await self._admit(offer, remote_peer_id)
        except (EvidenceError, PolicyRefused, Overloaded, EnvironmentProblem) as err:
            return Decline(transfer_id=offer.transfer_id, code=err.code, reason=public_reason(err))

    async def _admit(self, offer: Offer, remote_peer_id: str) -> Accept | ReceiptMessage:
        now = self._context.clock()
        holder = check_binding(
            offer.binding,
            peer_id=self._context.peer_id,
            remote_peer_id=remote_peer_id,
            nonce=self._nonce,
            now=now,
        )
        # from here on this exchange alone decides about the transfer, across every await below
        self._claim(offer.transfer_id)
        known = await self._context.records.find_transfer(offer.transfer_id)
        if known is not None:
            self._check_same(known, offer, holder)
            if known.state in FINAL_STATES:
                return await self._last_receipt(known)
        evidence = evidence_of(offer)
        verified = await self._shared.judge(evidence, now=now)
        if verified.grant.body.subject != holder:
            raise SignatureInvalid("expected the holder of the package at the other end, found somebody else")
        if not await self._context.records.consume_grant(verified.grant.digest, offer.transfer_id):
            raise ConsentInvalid("expected a consent that is unused, found one that another transfer has used")
        self._check_room(offer)
        async with self._shared.reserving:
            self._blob = await trio.to_thread.run_sync(self._open_blob, offer)
        if known is None:
            await self._begin(offer, verified)
        # spec/08 s.3: a one-time key is for one session
        one_time_key = PrivateKey(sm2.generate_private_key(self._context.random_bytes))
        await self._context.records.set_secret(offer.transfer_id, one_time_key.raw)
        self._offer = offer
        have = self._blob.durable_chunks
        key_offer = KeyOffer(
            transfer_id=offer.transfer_id,
            one_time_key=one_time_key.public_key,
            expires=now + KEY_OFFER_SECONDS,
        )
        return Accept(
            transfer_id=offer.transfer_id,
            have=(ChunkRange(0, have),) if have else (),
            key_offer=envelope.sign(key_offer, self._key).envelope,
        )

    async def store(self, index: int, sealed: bytes) -> int | None:
        """Write one chunk; it is acknowledged when it is durable."""
        assert self._blob is not None, "chunks follow an accept"
        return await trio.to_thread.run_sync(self._blob.write, index, sealed)

    async def complete(self, finish: Finish) -> ReceiptMessage:
        """Sign for the ciphertext: from now on we cannot deny having it."""
        assert self._blob is not None, "a finish follows chunks"
        assert self._offer is not None, "chunks follow an offer"
        count, root = await trio.to_thread.run_sync(self._blob.finish)
        if (finish.chunk_count, finish.ciphertext_root) != (count, root):
            raise ContentMismatch("expected the root over the chunks that arrived, found another one")
        stored = (await self._context.records.receipts(finish.transfer_id)).get(Stage.CIPHER.value)
        if stored is None:
            receipt = envelope.sign(
                cipher_receipt(
                    transfer_id=finish.transfer_id,
                    grant=envelope.verify(Grant, self._offer.grant).digest,
                    ciphertext_root=root,
                    at=self._context.clock(),
                ),
                self._key,
            )
            stored = ReceiptRow(Stage.CIPHER.value, receipt.envelope, anchor=None)
            await self._context.records.save_receipt(finish.transfer_id, stored)
            await self._context.records.set_state(finish.transfer_id, TransferState.RECEIVED, now=self._context.clock())
        self._cipher = envelope.verify(Receipt, stored.envelope)
        if self._cipher.body.ciphertext_root != root:
            raise ContentMismatch("expected the chunks that were signed for before, found others")
        return ReceiptMessage(stage=Stage.CIPHER, receipt=stored.envelope)

    async def conclude(self, release: KeyRelease) -> ReceiptMessage:
        """Open in quarantine, verify everything, release or reject, and sign the outcome."""
        assert self._offer is not None, "a key follows an offer"
        assert self._cipher is not None, "a key follows a cipher receipt"
        now = self._context.clock()
        try:
            # consent is checked again before the key is used: it may have ended meanwhile (spec/06 s.6)
            verified = await self._shared.judge(evidence_of(self._offer), now=now)
            package = await self._open(verified, release)
            receipt = verified_receipt(package, cipher=self._cipher, at=self._context.clock())
            failed = None
        except VerificationFailed as failure:
            receipt = rejected_receipt(failure, cipher=self._cipher, at=self._context.clock())
            failed = failure
        signed = envelope.sign(receipt, self._key)
        stage = Stage(receipt.stage.value)
        transfer_id = self._offer.transfer_id
        if failed is not None:
            # an earlier process may have released the files and ended before it could say so
            await trio.to_thread.run_sync(lambda: shutil.rmtree(self._inbox(transfer_id), ignore_errors=True))
        await self._context.records.conclude(
            transfer_id,
            TransferState(stage.value),
            receipt=ReceiptRow(stage.value, signed.envelope, anchor=None),
            now=self._context.clock(),
            failed_step=failed.step if failed else None,
            reason=failed.message[:500] if failed else None,
        )
        # The outcome is durable and stays: a repeated offer gets this receipt. What follows is done again at the next
        # start if we crash: the receipt is put on the ledger, the chunks are deleted.
        await anchor_receipts(self._context)
        await trio.to_thread.run_sync(self._discard_blob)
        row = await self._context.records.find_transfer(transfer_id)
        assert row is not None, "the row was written above"
        self._shared.notify(row)
        return ReceiptMessage(stage=stage, receipt=signed.envelope)

    async def aclose(self) -> None:
        """Release files; what is durable stays for the next attempt."""
        if self._claimed is not None:
            self._shared.active.discard(self._claimed)
        if self._blob is not None:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._blob.close)

    async def _begin(self, offer: Offer, verified: VerifiedEvidence) -> None:
        now = self._context.clock()
        row = TransferRow(
            transfer_id=offer.transfer_id,
            direction=Direction.IN,
            state=TransferState.OFFERED,
            peer=verified.grant.body.subject,
            peer_name=dids.short(verified.grant.body.subject),
            package_id=verified.manifest.body.package_id,
            schema=verified.manifest.body.schema,
            offer=_kept(offer),
            secret=None,
            created=now,
            updated=now,
        )
        await self._context.records.add_transfer(row)

    def _check_same(self, known: TransferRow, offer: Offer, holder: str) -> None:
        """A transfer id means one content for ever: the same offer but for the binding."""
        if known.direction is not Direction.IN or known.peer != holder:
            raise PolicyRefused("expected a transfer id of one's own, found one that is taken")
        if _kept(offer) != known.offer:
            raise PolicyRefused("expected the same offer under a known transfer id, found another one")

    async def _last_receipt(self, known: TransferRow) -> ReceiptMessage:
        if known.state is TransferState.DECLINED:
            raise PolicyRefused("expected a transfer that is still open, found one that was given up")
        stage = Stage(known.state.value)
        receipts = await self._context.records.receipts(known.transfer_id)
        return ReceiptMessage(stage=stage, receipt=receipts[stage.value].envelope)

    def _check_room(self, offer: Offer) -> None:
        most = self._shared.settings.max_package_bytes
        if offer.seal.content_bytes > most:
            raise PolicyRefused(f"expected at most {most} bytes of content, found {offer.seal.content_bytes}")

    def _claim(self, transfer_id: bytes) -> None:
        if transfer_id in self._shared.active:
            raise Overloaded("expected one exchange per transfer at a time, found another one running")
        self._shared.active.add(transfer_id)
        self._claimed = transfer_id

    def _open_blob(self, offer: Offer) -> SealedBlob:
        directory = self._context.config.vault / INCOMING
        name = offer.transfer_id.hex()
        others = sum(stored_bytes(directory, other) for other in blob_names(directory) - {name})
        if others + sealed_bytes(offer.seal) > self._shared.settings.max_incoming_bytes:
            raise Overloaded("expected room for unfinished transfers, found none")
        try:
            return SealedBlob(directory, name, header=offer.seal)
        except StoreDamaged:
            # our disk lost what we had acknowledged; the holder still has it and sends everything again
            _logger.warning("stored chunks are damaged and asked for again", extra={"transfer": name})
            delete_blob(directory, name)
            return SealedBlob(directory, name, header=offer.seal)

    def _discard_blob(self) -> None:
        if self._blob is not None:
            self._blob.discard()
            self._blob = None

    async def _open(self, verified: VerifiedEvidence, release: KeyRelease) -> VerifiedPackage:
        assert self._offer is not None, "checked by the caller"
        assert self._cipher is not None, "checked by the caller"
        assert self._blob is not None, "a cipher receipt follows chunks"
        row = await self._context.records.find_transfer(self._offer.transfer_id)
        assert row is not None, "a running transfer has its row"
        assert row.secret is not None, "a running transfer has its one-time key"
        context = transfer_context(
            row.transfer_id,
            sender=verified.grant.body.subject,
            receiver=self._key.did,
            chunk_size=self._offer.seal.chunk_size,
        )
        with checking(Step.OPENINGS):
            content_key = keywrap.unwrap(
                release.wrapped_key,
                private_key=row.secret,
                info=KEY_RELEASE_INFO,
                aad=verified.grant.digest + self._cipher.digest,
            )
            cipher = ChunkCipher.open_with(content_key, self._offer.seal, context=context)
        inbox = self._inbox(row.transfer_id)
        unsealer = Unsealer(self._blob, self._offer.seal, cipher, quarantine=inbox.with_name(f".{inbox.name}.part"))
        return await trio.to_thread.run_sync(unsealer.release, verified, inbox)

    def _inbox(self, transfer_id: bytes) -> Path:
        return self._shared.settings.inbox / transfer_id.hex()


async def clean_up(context: Context) -> None:
    """Delete what has no future: quarantine of an earlier process, chunks of transfers that ended or were given up.

    To be called when no exchange runs, or with exchanges running only through `give_up_idle`.
    """
    settings = context.config.receiver
    if settings is not None:
        for folder in await trio.to_thread.run_sync(lambda: list(settings.inbox.glob(QUARANTINE_PATTERN))):
            await trio.to_thread.run_sync(lambda folder=folder: shutil.rmtree(folder, ignore_errors=True))
    await give_up_idle(context, active=frozenset())
    await anchor_receipts(context)


async def give_up_idle(context: Context, *, active: AbstractSet[bytes]) -> None:
    """Free the room of transfers that ended, or that nobody has resumed for a week or within their consent.

    Args:
        context: Surroundings.
        active: Transfers that are being received now; they stay.
    """
    now = context.clock()
    directory = context.config.vault / INCOMING
    for name in await trio.to_thread.run_sync(blob_names, directory):
        try:
            transfer_id = bytes.fromhex(name)
        except ValueError:
            continue  # not ours
        if transfer_id in active:
            continue
        row = await context.records.find_transfer(transfer_id)
        if row is not None and row.state not in FINAL_STATES:
            expires = envelope.verify(Grant, Offer.parse(row.offer).grant).body.when.expires
            if now < min(row.updated + IDLE_SECONDS, expires):
                continue
            reason = "nobody went on with it in time"
            await context.records.set_state(
                transfer_id, TransferState.DECLINED, now=now, reason=reason, forget_secret=True
            )
        await trio.to_thread.run_sync(delete_blob, directory, name)


async def anchor_receipts(context: Context) -> None:
    """Put every last receipt on the ledger that is not there yet; a ledger that does not answer is asked later."""
    pending = await context.records.unanchored_receipts()
    if not pending:
        return
    try:
        async with configured_ledger(context) as ledger:
            for transfer_id, receipt in pending:
                digest = envelope.verify(Receipt, receipt.envelope).digest
                proof = await anchor(context, ledger, kind=EntryKind.RECEIPT, subject=digest)
                await context.records.save_receipt(transfer_id, replace(receipt, anchor=proof.encode()))
    except (EnvironmentProblem, PeerError, EvidenceError, InputError) as err:
        _logger.warning("receipts wait for the ledger", extra={"code": err.code, "waiting": len(pending)})


def _kept(offer: Offer) -> bytes:
    return replace(offer, binding=UNBOUND).encode()


def public_reason(error: DdtpError) -> str:
    """Return what a peer may read of an error: its message if it is about the peer's own data, else nothing."""
    return error.message[:500] if isinstance(error, EvidenceError | PeerError | PolicyRefused | Overloaded) else ""


def evidence_of(offer: Offer, receipts: tuple[bytes, ...] = ()) -> Evidence:
    """Return what an offer proves, without payload.

    Raises:
        DecodeError: The anchors are malformed.
    """
    anchors = OfferAnchors.parse(offer.anchors)
    return Evidence(
        manifest=offer.manifest,
        disclosure=offer.disclosure,
        request=offer.request,
        grant=offer.grant,
        package_anchor=anchors.package.encode(),
        grant_anchor=anchors.grant.encode(),
        receipts=receipts,
    )
