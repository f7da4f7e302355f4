"""Use case: a person sends (part of) a package to an institution, with consent (spec/06, spec/08).

In two steps, so that a person can read in between: `prepare` fetches and checks the institution's request and renders
the screen; `send` signs the grant for exactly that screen, anchors it, and runs the exchange. `resume` runs an exchange
again that was broken off: same transfer id, same sealed bytes, same grant.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import trio

from ddtp.agent.anchoring import anchor, remote_ledger
from ddtp.agent.context import CALL_TIMEOUT_SECONDS, REQUEST_PROTOCOL, TRANSFER_PROTOCOL, Context
from ddtp.agent.opening import OpenPackage, TransferContent, choose, open_package, transfer_context
from ddtp.chain.proof import OfferAnchors
from ddtp.chain.statement import EntryKind
from ddtp.consent import screen
from ddtp.consent.choice import Choice, make_choice
from ddtp.consent.grant import Grant, build_grant, check_in_force
from ddtp.consent.request import Request, parse_request
from ddtp.errors import DdtpError, NotFound, PolicyRefused, ProtocolViolation
from ddtp.identity.binding import check_binding, make_binding
from ddtp.identity.document import Card, LogRef, parse_card
from ddtp.identity.language import Language
from ddtp.protocol import envelope, keywrap, merkle
from ddtp.protocol.chunks import CONTENT_KEY_SIZE, SALT_SIZE, sealed_leaf
from ddtp.protocol.envelope import SUITE, Signed
from ddtp.protocol.messages import Accept, Finish, Hello, KeyOffer, KeyRelease, Offer, ReceiptMessage, Stage
from ddtp.protocol.openings import Disclosure, Openings
from ddtp.protocol.package import Manifest
from ddtp.store.records import Direction, ReceiptRow, TransferRow, TransferState
from ddtp.transfer import rpc
from ddtp.transfer.ports import Deadlines, Progress
from ddtp.transfer.sender import send_transfer
from ddtp.verify.receipt import Receipt, check_receipt

MAX_REQUEST_BYTES = 1 << 20
"""A signed request: a page of text per purpose is a few kilobytes."""
BATCH_CHUNKS = 16
"""Chunks sealed per call of a worker thread: 1 MiB, so that handing over costs nothing beside sealing."""
KEY_RELEASE_INFO = b"ddtp.transfer.v1"
"""HPKE info of a transfer's content key (spec/08 s.7)."""


@dataclass(frozen=True, slots=True)
class PreparedTransfer:
    """What a person decides on.

    Attributes:
        path: The package file.
        card: The receiver.
        request: The receiver's signed request.
        manifest: The package's signed manifest.
        disclosure: What will be shown.
        screen: The text to confirm; the grant is bound to exactly this.
        language: Of the text.
        choice: What exactly would be agreed to.
        item_names: Names of the fields and files that will be shown.
        content_bytes: Size of the files that will be sent.
    """

    path: Path
    card: Signed[Card]
    request: Signed[Request]
    manifest: Signed[Manifest]
    disclosure: Disclosure
    screen: str
    language: Language
    choice: Choice
    item_names: tuple[str, ...]
    content_bytes: int


@dataclass(frozen=True, slots=True)
class SentTransfer:
    """The outcome of a transfer.

    Attributes:
        transfer_id: 16 bytes.
        receiver: DID.
        receiver_name: Name on the card.
        receipt: The receiver's signed last word, checked.
        verified: True if it says "verified".
        failed_step: Number of the verification step that failed at the receiver, if not verified.
        reason: The receiver's reason, if not verified.
        content_bytes: Bytes of content that were sealed.
    """

    transfer_id: bytes
    receiver: str
    receiver_name: str
    receipt: Signed[Receipt]
    verified: bool
    failed_step: int | None
    reason: str | None
    content_bytes: int


async def prepare(
    context: Context,
    path: Path,
    *,
    card: Signed[Card],
    template: str | None = None,
    items: Sequence[str] = (),
    purposes: Sequence[int] | None = None,
    language: Language,
) -> PreparedTransfer:
    """Fetch the receiver's request and render what the person has to confirm.

    Args:
        context: Surroundings.
        path: The package file.
        card: The receiver, checked.
        template: Which of the receiver's requests; its first if None.
        items: What to show, at most what is asked; empty shows what is asked.
        purposes: Indexes of the purposes to grant; None grants the required ones.
        language: "en" or "zh".

    Raises:
        PeerUnreachable, PeerRefused: The receiver cannot be asked.
        SignatureInvalid: Somebody else signed the request.
        PolicyRefused: The package is not of the kind that is asked for, or lacks what is asked.
    """
    request = await fetch_request(context, card, template=template)
    opened = await trio.to_thread.run_sync(open_package, path, context.seed)
    try:
        ask = request.body.ask_for(opened.manifest.body.schema)
        if ask is None:
            kinds = ", ".join(sorted({ask.schema for ask in request.body.asks}))
            raise PolicyRefused(f"expected a package of kind {kinds}, found {opened.manifest.body.schema}")
        disclosure, openings = choose(opened.package, items or ask.items)
    finally:
        opened.reader.close()
    choice = make_choice(request.body, [(opened.manifest.body, disclosure)], purposes=purposes)
    return PreparedTransfer(
        path=path,
        card=card,
        request=request,
        manifest=opened.manifest,
        disclosure=disclosure,
        screen=screen.render(request, choice, language),
        language=language,
        choice=choice,
        item_names=_names(openings),
        content_bytes=sum(opening.head.size_bytes for opening in openings.files),
    )


async def fetch_request(context: Context, card: Signed[Card], *, template: str | None) -> Signed[Request]:
    """Ask an institution what it wants and why.

    Raises:
        SignatureInvalid: Somebody else signed the request.
        ConsentInvalid: It is expired already.
        NotFound: The card names no request.
    """
    name = template or next(iter(card.body.requests), None)
    if name is None:
        raise NotFound(f"expected a request on the card of {card.body.name}, found none")
    async with await context.dial(card.body.addresses, REQUEST_PROTOCOL) as stream:
        answer = await rpc.call(
            stream, name.encode(), max_response_bytes=MAX_REQUEST_BYTES, timeout_seconds=CALL_TIMEOUT_SECONDS
        )
    return parse_request(answer, now=context.clock(), card=card.body)


async def send(context: Context, prepared: PreparedTransfer, *, progress: Callable[[Progress], None]) -> SentTransfer:
    """Grant, anchor and send what a person has confirmed.

    Raises:
        PeerUnreachable, PeerRefused, PeerAborted, PeerStalled, PeerVanished: The exchange did not come to an end; the
            transfer is kept and can be resumed.
        ConsentInvalid: The request expired meanwhile.
    """
    async with _opened(context, prepared.path) as opened:
        grant = _grant(context, prepared, opened)
        async with remote_ledger(context, _log(prepared.card.body)) as ledger:
            proof = await anchor(context, ledger, kind=EntryKind.GRANT, subject=grant.digest)
        transfer_id, content_key = context.random_bytes(16), context.random_bytes(CONTENT_KEY_SIZE)
        _disclosure, openings = opened.package.disclose(prepared.disclosure.indexes())
        content = _content(
            opened,
            openings,
            transfer_id=transfer_id,
            receiver=prepared.card.body.did,
            content_key=content_key,
            salt=context.random_bytes(SALT_SIZE),
        )
        offer = Offer(
            transfer_id=transfer_id,
            # the binding covers a nonce of the connection; every attempt puts its own here
            binding=b"\x00",
            manifest=opened.manifest.envelope,
            request=prepared.request.envelope,
            grant=grant.envelope,
            disclosure=prepared.disclosure.encode(),
            anchors=OfferAnchors(package=opened.anchor, grant=proof).encode(),
            seal=content.header,
        )
        now = context.clock()
        row = TransferRow(
            transfer_id=transfer_id,
            direction=Direction.OUT,
            state=TransferState.OFFERED,
            peer=prepared.card.body.did,
            peer_name=prepared.card.body.name,
            package_id=opened.manifest.body.package_id,
            schema=opened.manifest.body.schema,
            offer=offer.encode(),
            secret=content_key,
            created=now,
            updated=now,
        )
        await context.records.add_transfer(row)
        return await _run(context, _Material(row, opened, content, prepared.card), progress=progress)


async def resume(context: Context, transfer_id: bytes, *, progress: Callable[[Progress], None]) -> SentTransfer:
    """Run a transfer again that did not come to an end.

    Raises:
        NotFound: There is no such outgoing transfer, or its package or card is gone.
    """
    row = await context.records.find_transfer(transfer_id)
    if row is None or row.direction is not Direction.OUT or row.secret is None:
        raise NotFound("expected an outgoing transfer that can go on, found none")
    packages = {package.package_id: package.path for package in await context.records.packages()}
    cards = [parse_card(card, now=context.clock()) for card in await context.records.cards()]
    card = next((card for card in cards if card.body.did == row.peer), None)
    if card is None or row.package_id not in packages:
        raise NotFound("expected the package and the card of the transfer, found them no more")
    offer = Offer.parse(row.offer)
    async with _opened(context, packages[row.package_id]) as opened:
        _disclosure, openings = opened.package.disclose(Disclosure.parse(offer.disclosure).indexes())
        content = _content(
            opened,
            openings,
            transfer_id=transfer_id,
            receiver=row.peer,
            content_key=row.secret,
            salt=offer.seal.salt,
        )
        return await _run(context, _Material(row, opened, content, card), progress=progress)


@dataclass(frozen=True, slots=True)
class _Material:
    """What one exchange is about."""

    row: TransferRow
    opened: OpenPackage
    content: TransferContent
    card: Signed[Card]


async def _run(context: Context, material: _Material, *, progress: Callable[[Progress], None]) -> SentTransfer:
    row, card = material.row, material.card
    kept = (await context.records.receipts(row.transfer_id)).get(Stage.CIPHER.value)
    port = _Sender(context, material, heads=tuple(await context.records.heads()), cipher=kept)
    try:
        stream = await context.dial(card.body.addresses, TRANSFER_PROTOCOL)
        answer = await send_transfer(stream, port, progress=progress, deadlines=Deadlines())
        receipt = port.check(answer)
    except DdtpError as err:
        with trio.CancelScope(shield=True):
            await context.records.set_state(
                row.transfer_id, TransferState.FAILED, now=context.clock(), reason=err.message[:500]
            )
        raise
    verified = answer.stage is Stage.VERIFIED
    await context.records.save_receipt(row.transfer_id, ReceiptRow(answer.stage.value, receipt.envelope, anchor=None))
    await context.records.set_state(
        row.transfer_id,
        TransferState.VERIFIED if verified else TransferState.REJECTED,
        now=context.clock(),
        failed_step=receipt.body.step,
        reason=receipt.body.reason,
        forget_secret=True,
    )
    return SentTransfer(
        transfer_id=row.transfer_id,
        receiver=row.peer,
        receiver_name=row.peer_name,
        receipt=receipt,
        verified=verified,
        failed_step=receipt.body.step,
        reason=receipt.body.reason,
        content_bytes=material.content.header.content_bytes,
    )


@final
class _Sender:
    """The holder's side of one exchange (a `SenderPort`)."""

    def __init__(
        self, context: Context, material: _Material, *, heads: tuple[bytes, ...], cipher: ReceiptRow | None
    ) -> None:
        self._context = context
        self._row = material.row
        self._opened = material.opened
        self._content = material.content
        self._card = material.card
        self._heads = heads
        self._nonce = context.random_bytes(32)
        self._offer = Offer.parse(material.row.offer)
        self._tree = merkle.RootBuilder()
        self._one_time_key = b""
        # an earlier attempt may have brought it: the receiver then answers with its last word at once
        self._cipher_receipt = envelope.verify(Receipt, cipher.envelope) if cipher else None

    def hello(self) -> Hello:
        """Open the exchange; who we are is only said to the right receiver, in the offer."""
        return Hello(suites=(SUITE,), nonce=self._nonce, heads=self._heads)

    async def offer(self, hello: Hello, remote_peer_id: str) -> Offer:
        """Make sure that the receiver is the one on the card, then say who we are and what we bring."""
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
        binding = make_binding(
            self._opened.holder,
            self._context.peer_id,
            remote_peer_id=remote_peer_id,
            nonce=hello.nonce,
            now=now,
        )
        return replace(self._offer, binding=binding.envelope)

    async def chunks(self, accept: Accept) -> AsyncGenerator[tuple[int, bytes | None], None]:
        """Seal all chunks in order; those that the receiver holds are hashed only."""
        key_offer = envelope.verify(KeyOffer, accept.key_offer, signer=self._card.signer)
        if key_offer.body.transfer_id != self._row.transfer_id or key_offer.body.expires <= self._context.clock():
            raise ProtocolViolation("expected a fresh one-time key for this transfer, found another one")
        self._one_time_key = key_offer.body.one_time_key
        held = [range(part.start, part.stop) for part in accept.have]
        for start in range(0, self._content.chunk_count, BATCH_CHUNKS):
            indexes = range(start, min(start + BATCH_CHUNKS, self._content.chunk_count))
            for index, sealed in await trio.to_thread.run_sync(self._seal, indexes):
                yield index, None if any(index in part for part in held) else sealed

    def _seal(self, indexes: Sequence[int]) -> list[tuple[int, bytes]]:
        sealed = [(index, self._content.sealed(index)) for index in indexes]
        for index, chunk in sealed:
            self._tree.add(sealed_leaf(index, chunk))
        return sealed

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
        self._cipher_receipt = signed
        await self._context.records.save_receipt(
            self._row.transfer_id, ReceiptRow(receipt.stage.value, signed.envelope, anchor=None)
        )
        grant = envelope.verify(Grant, self._offer.grant)
        check_in_force(grant.body, now=self._context.clock())
        assert self._row.secret is not None, "a transfer that runs has its key"
        # From here on the receiver can read; a crash before the next receipt leaves the state "keyed".
        await self._context.records.set_state(self._row.transfer_id, TransferState.KEYED, now=self._context.clock())
        wrapped = keywrap.wrap(
            self._row.secret,
            recipient=self._one_time_key,
            info=KEY_RELEASE_INFO,
            aad=grant.digest + signed.digest,
            random_bytes=self._context.random_bytes,
        )
        return KeyRelease(transfer_id=self._row.transfer_id, wrapped_key=wrapped)

    def check(self, answer: ReceiptMessage) -> Signed[Receipt]:
        """Check the last receipt of the exchange."""
        return self._check(answer, previous=self._cipher_receipt)

    def _check(self, message: ReceiptMessage, *, previous: Signed[Receipt] | None) -> Signed[Receipt]:
        grant = envelope.verify(Grant, self._offer.grant)
        receipt = check_receipt(
            message.receipt,
            receiver=self._card.body.did,
            grant=grant.digest,
            package_root=self._opened.manifest.body.root,
            transfer_id=self._row.transfer_id,
            previous=previous,
        )
        if receipt.body.stage.value != message.stage.value:
            raise ProtocolViolation("expected a receipt of the stage that the message names")
        return receipt


def _grant(context: Context, prepared: PreparedTransfer, opened: OpenPackage) -> Signed[Grant]:
    if opened.manifest.envelope != prepared.manifest.envelope:
        raise PolicyRefused("expected the package that was confirmed, found another one under its name")
    grant = build_grant(
        prepared.request,
        prepared.choice,
        grant_id=context.random_bytes(16),
        subject=opened.holder.did,
        language=prepared.language,
        now=context.clock(),
    )
    return envelope.sign(grant, opened.holder)


@asynccontextmanager
async def _opened(context: Context, path: Path) -> AsyncIterator[OpenPackage]:
    opened = await trio.to_thread.run_sync(open_package, path, context.seed)
    try:
        yield opened
    finally:
        opened.reader.close()


def _content(
    opened: OpenPackage, openings: Openings, *, transfer_id: bytes, receiver: str, content_key: bytes, salt: bytes
) -> TransferContent:
    context = transfer_context(
        transfer_id,
        sender=opened.manifest.body.holder,
        receiver=receiver,
        chunk_size=opened.layout.chunk_size,
    )
    return TransferContent(opened, openings, content_key=content_key, salt=salt, context=context)


def _log(card: Card) -> LogRef:
    if not card.logs:
        raise NotFound(f"expected a ledger on the card of {card.name}, found none")
    return card.logs[0]


def _names(openings: Openings) -> tuple[str, ...]:
    fields = tuple(opening.field.path for opening in openings.fields)
    return fields + tuple(opening.head.path for opening in openings.files)
