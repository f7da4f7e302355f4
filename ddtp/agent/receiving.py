"""Use case: an institution receives a package, verifies it, and signs receipts (spec/08, spec/10, spec/11).

One `Receiver` serves one exchange. It decides on evidence before any data arrives, keeps ciphertext durably before it
acknowledges, opens it only in quarantine, and releases plaintext only for a `VerifiedPackage`.
"""

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import final

import trio

from ddtp.agent.anchoring import configured_ledger
from ddtp.agent.claims import Claim
from ddtp.agent.comparing import compare_heads
from ddtp.agent.exchange import KEY_RELEASE_INFO, UNBOUND
from ddtp.agent.inbox import inbox_folder, withdraw
from ddtp.agent.opening import transfer_context
from ddtp.agent.reception import Reception
from ddtp.agent.unsealing import Unsealer
from ddtp.chain.proof import AnchorProof, LedgerProof, OfferAnchors
from ddtp.consent.grant import Grant
from ddtp.crypto import sm2
from ddtp.errors import (
    ConsentInvalid,
    ContentMismatch,
    DdtpError,
    DiskFull,
    EnvironmentProblem,
    EvidenceError,
    Overloaded,
    PolicyRefused,
    ProtocolViolation,
    SignatureInvalid,
    StorageFailed,
    StoreDamaged,
    VerificationFailed,
)
from ddtp.identity import did as dids
from ddtp.identity.binding import check_binding, make_binding
from ddtp.identity.keys import PrivateKey
from ddtp.protocol import envelope, keywrap
from ddtp.protocol.chunks import ChunkCipher
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
from ddtp.store.blobs import SealedBlob
from ddtp.store.records import FINAL_STATES, Direction, ReceiptRow, TransferRow, TransferState
from ddtp.transfer.ports import Arrival, Deadlines, PeerStream
from ddtp.transfer.receiver import receive_transfer
from ddtp.transfer.refusal import public_reason
from ddtp.verify.evidence import Evidence
from ddtp.verify.receipt import Receipt, cipher_receipt, rejected_receipt, verified_receipt
from ddtp.verify.steps import Step, checking
from ddtp.verify.verified import VerifiedEvidence, VerifiedPackage

KEY_OFFER_SECONDS = 24 * 3600
"""Life of a one-time key: an exchange that takes longer ends, and the next one brings another key."""
TOUCH_SECONDS = 3600
"""How often it is noted that chunks still come: often beside the week after which a transfer is given up."""
WITHDRAWING_SECONDS = 60.0
"""For asking whether an outcome was kept; what is not taken back by then is at the next start."""

_logger = logging.getLogger(__name__)


async def receive(reception: Reception, stream: PeerStream) -> None:
    """Serve one exchange on a stream; one whose transfer a newer exchange of its holder takes over ends silently.

    Raises:
        DdtpError: As `receive_transfer` does.
    """
    scope = trio.CancelScope()
    receiver = Receiver(reception, scope)
    try:
        with scope:
            await receive_transfer(stream, receiver, deadlines=Deadlines(), pace=reception.pace)
    except (DiskFull, StorageFailed) as err:
        # the holder is told the code only; the operator is the one who can do something about it
        _logger.warning("the disk refuses a transfer", extra={"code": err.code, "reason": err.message})
        raise
    finally:
        await receiver.aclose()


@final
class Receiver:
    """The receiving side of one exchange (a `ReceiverPort`); close it with `aclose`.

    Args:
        reception: What all exchanges share.
        scope: What the exchange runs in; cancelled when a newer one takes its transfer over.
    """

    def __init__(self, reception: Reception, scope: trio.CancelScope) -> None:
        self._shared = reception
        self._scope = scope
        self._context = reception.context
        self._key: PrivateKey = reception.context.institution_key
        self._nonce = b""
        self._claim: Claim | None = None
        self._one_time_key = b""
        self._offer: Offer | None = None
        self._blob: SealedBlob | None = None
        self._cipher: Signed[Receipt] | None = None
        self._touched = 0

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
            _log_decline(offer, err)
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
        self._claim = await self._shared.claims.take(offer.transfer_id, holder, self._scope)
        known = await self._context.records.find_transfer(offer.transfer_id)
        if known is not None:
            _check_same(known, offer, holder)
            if known.state in FINAL_STATES:
                return await self._last_receipt(known)
        evidence = evidence_of(offer)
        await compare_heads(
            self._context,
            [LedgerProof.parse(anchor.proof).checkpoint for anchor in _anchors(offer)],
            ledger=configured_ledger(self._context),
        )
        verified = await self._shared.judge(evidence, now=now)
        if verified.grant.body.subject != holder:
            raise SignatureInvalid("expected the holder of the package at the other end, found somebody else")
        if not await self._context.records.consume_grant(verified.grant.digest, offer.transfer_id):
            raise ConsentInvalid("expected a consent that is unused, found one that another transfer has used")
        async with self._shared.reserved(offer, holder, known=known is not None) as blob:
            if known is None:
                await self._context.records.add_transfer(_new_row(offer, verified, now=now))
                self._touched = now
            else:
                await self._touch(offer)
        self._blob = blob
        # spec/08 s.3: a one-time key is for one session, so nothing but this exchange ever holds it
        one_time_key = PrivateKey(sm2.generate_private_key(self._context.random_bytes))
        self._one_time_key, self._offer = one_time_key.raw, offer
        have = blob.durable_chunks  # all that is stored, as the blob was just opened
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

    async def store(self, arrivals: Sequence[Arrival]) -> None:
        """Write chunks; a crash of this process does not lose them any more."""
        assert self._offer is not None, "chunks follow an offer"
        limiter = self._shared.storing_for(self._offer)
        await trio.to_thread.run_sync(self._store, arrivals, limiter=limiter)

    def _store(self, arrivals: Sequence[Arrival]) -> None:
        assert self._blob is not None, "chunks follow an accept"
        for arrival in arrivals:
            self._blob.write(arrival.first, arrival.sealed, arrival.examine())

    async def sync(self) -> int:
        """Make everything durable that was written."""
        assert self._blob is not None, "chunks follow an accept"
        assert self._offer is not None, "chunks follow an offer"
        durable_chunks = await trio.to_thread.run_sync(self._blob.sync)
        if self._context.clock() - self._touched >= TOUCH_SECONDS:
            await self._touch(self._offer)
        return durable_chunks

    async def complete(self, finish: Finish) -> ReceiptMessage:
        """Sign for the ciphertext: from now on we cannot deny having it."""
        assert self._blob is not None, "a finish follows chunks"
        assert self._offer is not None, "chunks follow an offer"
        count, root = await trio.to_thread.run_sync(self._blob.finish)
        stored = (await self._context.records.receipts(finish.transfer_id)).get(Stage.CIPHER.value)
        if (finish.chunk_count, finish.ciphertext_root) != (count, root):
            if stored is None:
                # nobody can tell which chunk differs, so the next attempt has to bring all of them
                await trio.to_thread.run_sync(self._blob.restart)
            raise ContentMismatch("expected the root over the chunks that arrived, found another one")
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
            # what we signed for is lost already; these are not worth keeping
            await trio.to_thread.run_sync(self._blob.restart)
            raise ContentMismatch("expected the chunks that were signed for before, found others")
        return ReceiptMessage(stage=Stage.CIPHER, receipt=stored.envelope)

    async def conclude(self, release: KeyRelease) -> ReceiptMessage:
        """Open in quarantine, verify everything, release or reject, and sign the outcome."""
        assert self._offer is not None, "a key follows an offer"
        assert self._cipher is not None, "a key follows a cipher receipt"
        try:
            async with self._shared.turn_to_open(self._offer):
                # consent is checked again before the key is used: it may have ended meanwhile (spec/06 s.6)
                verified = await self._shared.judge(evidence_of(self._offer), now=self._context.clock())
                package = await self._open(verified, release)
            receipt = verified_receipt(package, cipher=self._cipher, at=self._context.clock())
            failed_step = reason = None
        except VerificationFailed as failure:
            receipt = rejected_receipt(failure, cipher=self._cipher, at=self._context.clock())
            failed_step, reason = failure.step, failure.message[:500]  # not the failure, which holds what was opened
        signed = envelope.sign(receipt, self._key)
        stage = Stage(receipt.stage.value)
        transfer_id = self._offer.transfer_id
        if failed_step is not None:
            # an earlier process may have released the files and ended before it could say so
            await trio.to_thread.run_sync(withdraw, self._shared.settings, transfer_id)
        kept = ReceiptRow(stage.value, signed.envelope, anchor=None)
        # Whoever takes the transfer over is given this outcome, and does not tell it: it is told here or never. For no
        # longer than the database takes, which has a limit of its own.
        with trio.CancelScope(shield=True):
            now = self._context.clock()
            await self._context.records.conclude(
                transfer_id, TransferState(stage.value), receipt=kept, now=now, failed_step=failed_step, reason=reason
            )
            row = await self._context.records.find_transfer(transfer_id)
            assert row is not None, "the row was written above"
            self._shared.notify(row)
        # The outcome is durable and stays: a repeated offer gets this receipt. What follows is done again at the next
        # start if we crash, or in an hour if the disk refuses: the chunks are deleted, the receipt goes on the ledger.
        await self._drop_chunks()
        return ReceiptMessage(stage=stage, receipt=signed.envelope)

    async def _drop_chunks(self) -> None:
        blob, self._blob = self._blob, None
        assert blob is not None, "a cipher receipt follows chunks"
        try:
            with contextlib.suppress(EnvironmentProblem):
                await trio.to_thread.run_sync(blob.unlink)
        finally:
            # the system takes 0.3 s to free 1 GiB, for which nobody has to wait
            trio.lowlevel.start_thread_soon(blob.close, lambda _outcome: None)

    async def aclose(self) -> None:
        """Release files; what arrived stays for the next attempt, and nothing readable stays without a receipt."""
        try:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + WITHDRAWING_SECONDS):
                if self._cipher is not None:
                    await _withdraw_unsigned(self._shared, self._cipher.body.transfer_id)
            # for as long as the disk takes: until the files are closed nobody else may open them
            with trio.CancelScope(shield=True):
                if self._blob is not None and self._offer is not None:
                    await self._keep(self._blob, self._offer)
        finally:
            if self._claim is not None:
                self._shared.claims.release(self._claim)

    async def _keep(self, blob: SealedBlob, offer: Offer) -> None:
        """Close what is to go on later."""
        self._shared.synced[offer.transfer_id] = await trio.to_thread.run_sync(_close, blob)
        with contextlib.suppress(EnvironmentProblem):  # it is given up earlier then, after a week all the same
            await self._touch(offer)

    async def _touch(self, offer: Offer) -> None:
        self._touched = self._context.clock()
        await self._context.records.touch(offer.transfer_id, now=self._touched)

    async def _last_receipt(self, known: TransferRow) -> ReceiptMessage:
        if known.state is TransferState.DECLINED:
            raise PolicyRefused("expected a transfer that is still open, found one that was given up")
        stage = Stage(known.state.value)
        receipts = await self._context.records.receipts(known.transfer_id)
        return ReceiptMessage(stage=stage, receipt=receipts[stage.value].envelope)

    async def _open(self, verified: VerifiedEvidence, release: KeyRelease) -> VerifiedPackage:
        assert self._offer is not None, "checked by the caller"
        assert self._cipher is not None, "checked by the caller"
        assert self._blob is not None, "a cipher receipt follows chunks"
        context = transfer_context(
            self._offer.transfer_id,
            sender=verified.grant.body.subject,
            receiver=self._key.did,
            chunk_size=self._offer.seal.chunk_size,
        )
        with checking(Step.OPENINGS):
            content_key = keywrap.unwrap(
                release.wrapped_key,
                private_key=self._one_time_key,
                info=KEY_RELEASE_INFO,
                aad=verified.grant.digest + self._cipher.digest,
            )
            cipher = ChunkCipher.open_with(content_key, self._offer.seal, context=context)
        inbox = inbox_folder(self._shared.settings, self._offer.transfer_id)
        unsealer = Unsealer(self._blob, self._offer.seal, cipher, quarantine=inbox.with_name(f".{inbox.name}.part"))
        try:
            return await trio.to_thread.run_sync(unsealer.release, verified, inbox)
        except StoreDamaged:
            # our disk lost what we had acknowledged, and would refuse every attempt; the holder sends it again
            await trio.to_thread.run_sync(self._blob.restart)
            raise


async def _withdraw_unsigned(shared: Reception, transfer_id: bytes) -> None:
    """Take files back whose receipt could not be kept, because the disk refused or a newer exchange took over."""
    with contextlib.suppress(EnvironmentProblem):  # what cannot be asked or deleted now is found at the next start
        row = await shared.context.records.find_transfer(transfer_id)
        if row is not None and row.state is not TransferState.VERIFIED:
            await trio.to_thread.run_sync(withdraw, shared.settings, transfer_id)


def _new_row(offer: Offer, verified: VerifiedEvidence, *, now: int) -> TransferRow:
    return TransferRow(
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


def _close(blob: SealedBlob) -> int:
    """Sync and close; return how many chunks are durable, which need not be looked at when the transfer goes on."""
    try:
        return blob.sync()
    except EnvironmentProblem:  # a disk that refuses: what the next one finds there, it looks at again
        return 0
    finally:
        blob.close()


def _log_decline(offer: Offer, error: DdtpError) -> None:
    """Tell the operator of an offer that was declined; what this machine lacks needs somebody to look after it."""
    level = logging.WARNING if isinstance(error, EnvironmentProblem) else logging.INFO
    told = {"transfer": offer.transfer_id.hex(), "code": error.code, "reason": error.message, "hint": error.hint}
    _logger.log(level, "an offer was declined", extra={key: value for key, value in told.items() if value})


def _check_same(known: TransferRow, offer: Offer, holder: str) -> None:
    """A transfer id means one content for ever: the same offer but for the binding."""
    if known.direction is not Direction.IN or known.peer != holder:
        raise PolicyRefused("expected a transfer id of one's own, found one that is taken")
    if _kept(offer) != known.offer:
        raise PolicyRefused("expected the same offer under a known transfer id, found another one")


def _kept(offer: Offer) -> bytes:
    return replace(offer, binding=UNBOUND).encode()


def evidence_of(offer: Offer, receipts: tuple[bytes, ...] = ()) -> Evidence:
    """Return what an offer proves, without payload.

    Raises:
        DecodeError: The anchors are malformed.
    """
    package, grant = _anchors(offer)
    return Evidence(
        manifest=offer.manifest,
        disclosure=offer.disclosure,
        request=offer.request,
        grant=offer.grant,
        package_anchor=package.encode(),
        grant_anchor=grant.encode(),
        receipts=receipts,
    )


def _anchors(offer: Offer) -> tuple[AnchorProof, AnchorProof]:
    anchors = OfferAnchors.parse(offer.anchors)
    return anchors.package, anchors.grant
