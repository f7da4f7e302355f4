"""Use case: a person sends (part of) a package to an institution, with consent (spec/06, spec/08).

In two steps, so that a person can read in between: `prepare` fetches and checks the institution's request and renders
the screen; `send` signs the grant for exactly that screen, anchors it, and runs the exchange. `resume` runs an exchange
again that was broken off: same transfer id, same sealed bytes, same grant.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from ddtp.agent.anchoring import anchor, remote_ledger
from ddtp.agent.context import CALL_TIMEOUT_SECONDS, REQUEST_PROTOCOL, Context
from ddtp.agent.delivering import SentTransfer, deliver, outcome_of
from ddtp.agent.dialing import questions
from ddtp.agent.exchange import UNBOUND, Material
from ddtp.agent.opening import OpenPackage, choose, open_package, transfer_content
from ddtp.chain.proof import OfferAnchors
from ddtp.chain.statement import EntryKind
from ddtp.consent import screen
from ddtp.consent.choice import Choice, check_covered, make_choice, required_purposes
from ddtp.consent.grant import Grant, build_grant
from ddtp.consent.request import Ask, Request, check_request, parse_request
from ddtp.errors import (
    ConsentInvalid,
    NotFound,
    PolicyRefused,
    UsageError,
)
from ddtp.identity.document import Card, LogRef, parse_card
from ddtp.identity.language import Language
from ddtp.protocol import envelope
from ddtp.protocol.chunks import CONTENT_KEY_SIZE
from ddtp.protocol.envelope import Signed
from ddtp.protocol.messages import Offer
from ddtp.protocol.openings import Disclosure, Openings
from ddtp.protocol.package import Manifest
from ddtp.store.records import Direction, PackageRow, TransferRow, TransferState
from ddtp.transfer import rpc
from ddtp.transfer.pacing import Pace
from ddtp.transfer.ports import Phase, Progress
from ddtp.verify.receipt import Receipt

MAX_REQUEST_BYTES = 1 << 20
"""A signed request: a page of text per purpose is a few kilobytes."""

_CONCLUDED = frozenset({TransferState.VERIFIED, TransferState.REJECTED})
"""States that the receiver has signed."""


@dataclass(frozen=True, slots=True)
class PreparedTransfer:
    """What a person decides on.

    Attributes:
        transfer_id: 16 bytes; one confirmation is good for this transfer only.
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
        issuer_name: Name on the remembered card of who issued the package; None if it is unknown here, or the person.
    """

    transfer_id: bytes
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
    issuer_name: str | None


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
        PeerUnreachable, PeerRefused, PeerStalled, PeerVanished, ProtocolViolation: The receiver cannot be asked.
        DecodeError, SignatureInvalid: The request is malformed, or somebody else signed it.
        ConsentInvalid: The request is expired, from the future, or by another institution than that of the card; or
            nothing of this package can be agreed to within it.
        EvidenceError: The package is damaged or forged.
        NotFound: The card names no such request, or no ledger; or there is no such package file.
        PolicyRefused: The package is made out to somebody else, is not of the kind that is asked for, lacks what is
            wanted, or more is wanted of it than is asked for; or the request accepts no ledger of the card.
        UsageError: There is no such purpose, or a required one is left out; or a part is wanted of what the issuer has
            grouped.
        EnvironmentProblem: This machine's disk refuses.
    """
    if isinstance(items, str):
        raise UsageError(f"expected a list of names of items, found the text {items!r}")
    request = await fetch_request(context, card, template=template)
    find_log(card.body, request.body)
    async with _opened(context, path) as opened:
        manifest = opened.manifest.body
        ask = request.body.ask_for(manifest.schema)
        if ask is None:
            kinds = ", ".join(sorted({ask.schema for ask in request.body.asks}))
            raise PolicyRefused(f"expected a package of kind {kinds}, found {manifest.schema}")
        disclosure, openings = choose(opened.package, items or ask.items)
        _check_asked(ask, openings)
    _check_purposes(request.body, purposes)
    choice = make_choice(request.body, [(manifest, disclosure)], purposes=purposes)
    return PreparedTransfer(
        transfer_id=context.random_bytes(16),
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
        issuer_name=await _issuer_name(context, manifest),
    )


async def fetch_request(context: Context, card: Signed[Card], *, template: str | None) -> Signed[Request]:
    """Ask an institution what it wants and why.

    Raises:
        PeerUnreachable: No address of the card answered.
        PeerRefused: It does not hand the request out.
        PeerStalled, PeerVanished, ProtocolViolation: Its answer did not come, or is none.
        DecodeError, SignatureInvalid: The request is malformed, or somebody else signed it.
        ConsentInvalid: It is expired, from the future, or by another institution than that of the card.
        NotFound: The card names no such request, or none at all.
    """
    offered = card.body.requests
    if not offered:
        roles = ", ".join(role.value for role in card.body.roles) or "none"
        raise NotFound(
            f"expected an institution that asks for data, found {card.body.name} with the roles: {roles}",
            hint="take the card of the institution that asked you for the data",
        )
    name = template or offered[0]
    if name not in offered:
        raise NotFound(f"expected a request of {card.body.name}: {', '.join(offered)}; found {name!r}")
    async with questions(context, card.body.addresses, REQUEST_PROTOCOL, who=card.body.name) as stream:
        answer = await rpc.call(
            stream, name.encode(), max_response_bytes=MAX_REQUEST_BYTES, timeout_seconds=CALL_TIMEOUT_SECONDS
        )
    return parse_request(answer, now=context.clock(), card=card.body)


async def send(
    context: Context,
    prepared: PreparedTransfer,
    *,
    how: str,
    progress: Callable[[Progress], None],
    pace: Pace,
    patience_seconds: float = 0,
) -> SentTransfer:
    """Grant, anchor and send what a person has confirmed; if it was sent before, go on with that transfer.

    Args:
        context: Surroundings.
        prepared: What was confirmed.
        how: By what act, in words that the grant will hold.
        progress: Told of every step; must not block.
        pace: How fast, and whether it rests; a pause also comes from, and is told to, other processes of this home.
        patience_seconds: How long to try again what the network broke off, without anything new; see `persisting`.

    Raises:
        PeerUnreachable, PeerRefused, PeerAborted, PeerStalled, PeerVanished, ProtocolViolation: The ledger did not take
            the consent, and nothing was sent; or the exchange did not come to an end, and the transfer is kept and can
            be resumed, unless it was declined.
        ConsentInvalid: The request expired meanwhile.
        PolicyRefused: The package is not what was confirmed, or the same is being begun elsewhere; or a newer card of
            the receiver is remembered.
        EvidenceError: The package was damaged meanwhile, or what the receiver or the ledger has signed does not verify.
        LedgerInconsistent: The ledger has shown two histories; nothing was sent.
        NotFound: There is no package file any more; or it was sent before and declined, or its card is gone.
        AlreadyRunning: Another process sends it now, or holds it paused.
        EnvironmentProblem: This machine's disk or network refuses.
    """
    if await context.records.find_transfer(prepared.transfer_id) is not None:
        return await resume(
            context, prepared.transfer_id, progress=progress, pace=pace, patience_seconds=patience_seconds
        )
    progress(Progress(Phase.CONSENT))
    async with _opened(context, prepared.path) as opened:
        material = await _begin(context, prepared, opened, how=how)
        return await deliver(
            context,
            material,
            progress=progress,
            pace=pace,
            patience_seconds=patience_seconds,
            reached_before=False,
        )


async def _begin(context: Context, prepared: PreparedTransfer, opened: OpenPackage, *, how: str) -> Material:
    """Sign and anchor the grant, and remember all that an exchange needs."""
    grant = _grant(context, prepared, opened, how=how)
    log = find_log(prepared.card.body, prepared.request.body)
    async with remote_ledger(context, log) as ledger:
        proof = await anchor(context, ledger, kind=EntryKind.GRANT, subject=grant.digest)
    transfer_id, content_key = prepared.transfer_id, context.random_bytes(CONTENT_KEY_SIZE)
    content = transfer_content(
        opened,
        prepared.disclosure,
        transfer_id=transfer_id,
        receiver=prepared.card.body.did,
        content_key=content_key,
    )
    offer = Offer(
        transfer_id=transfer_id,
        binding=UNBOUND,
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
    # what a resume needs, wherever the package lies and whoever gave us the card
    place = Path(await trio.Path(prepared.path).absolute())
    package = PackageRow(row.package_id, place, opened.manifest.envelope, added=now)
    await context.records.save_package(package)
    await context.records.save_card(row.peer, prepared.card.envelope, now=now)
    if not await context.records.add_transfer(row):
        raise PolicyRefused("expected one sending at a time of what was confirmed once, found another one")
    return Material(row, opened, content, prepared.card, log)


async def resume(
    context: Context,
    transfer_id: bytes,
    *,
    progress: Callable[[Progress], None],
    pace: Pace,
    patience_seconds: float = 0,
    package: Path | None = None,
) -> SentTransfer:
    """Run a transfer again that did not come to an end; one that did gives its outcome again, and nobody is asked.

    Args:
        context: Surroundings.
        transfer_id: The transfer.
        progress: Told of every step; must not block.
        pace: As in `send`.
        patience_seconds: As in `send`.
        package: Where its package file lies now, if it was moved; remembered.

    Raises:
        AlreadyRunning: Another process sends it now, or holds it paused.
        NotFound: There is no such outgoing transfer, it was declined, or its package or card is gone.
        PolicyRefused: The package under its name is another one.
        DdtpError: As `send`.
    """
    row = await context.records.find_transfer(transfer_id)
    if row is not None and row.direction is Direction.OUT and row.state in _CONCLUDED:
        receipts = await context.records.receipts(transfer_id)
        last = envelope.verify(Receipt, receipts[row.state.value].envelope)
        return outcome_of(row, last, content_bytes=Offer.parse(row.offer).seal.content_bytes)
    if row is None or row.direction is not Direction.OUT or row.secret is None:
        raise NotFound("expected an outgoing transfer that can go on, found none")
    card = await context.records.find_card(row.peer)
    if card is None:
        raise NotFound("expected the card of the receiver, found it no more")
    place, offer = await _place(context, row, package), Offer.parse(row.offer)
    async with _opened(context, place) as opened:
        if opened.manifest.envelope != offer.manifest:
            raise PolicyRefused(f"expected the package that was offered at {place}, found another one")
        content = transfer_content(
            opened,
            Disclosure.parse(offer.disclosure),
            transfer_id=transfer_id,
            receiver=row.peer,
            content_key=row.secret,
        )
        if content.header.salt != offer.seal.salt:
            raise PolicyRefused(
                f"expected the file from which the transfer began at {place}, found its package sealed anew",
                hint="send it as a new transfer, or resume this one with the first file: --package FILE",
            )
        if content.header != offer.seal:
            # other content under the same key and salt would reveal both (spec/07 s.3)
            raise PolicyRefused("expected the content that was offered, found another one")
        if package is not None:
            moved = PackageRow(row.package_id, place, opened.manifest.envelope, added=context.clock())
            await context.records.save_package(moved)
        receiver = parse_card(card, now=context.clock())
        log = find_log(receiver.body, envelope.verify(Request, offer.request).body)
        material = Material(row, opened, content, receiver, log)
        return await deliver(
            context,
            material,
            progress=progress,
            pace=pace,
            patience_seconds=patience_seconds,
            reached_before=True,
        )


async def _place(context: Context, row: TransferRow, moved: Path | None) -> Path:
    """Return where the package file of a transfer lies."""
    if moved is None:
        known = await context.records.find_package(row.package_id)
        if known is None:
            raise NotFound("expected the package of the transfer, found it no more")
        moved = known.path
    place = Path(await trio.Path(moved).absolute())
    if not await trio.Path(place).exists():
        raise NotFound(
            f"expected the package of the transfer at {place}, found no file",
            hint=f"if it was moved, say where it is: ddtp resume {row.transfer_id.hex()[:8]} --package FILE",
        )
    return place


def _grant(context: Context, prepared: PreparedTransfer, opened: OpenPackage, *, how: str) -> Signed[Grant]:
    if opened.manifest.envelope != prepared.manifest.envelope:
        raise PolicyRefused("expected the package that was confirmed, found another one under its name")
    now = context.clock()
    # a person may read for long; a late answer is refused before it is signed, put on the ledger, or sent
    check_request(prepared.request, now=now, card=prepared.card.body)
    grant = build_grant(
        prepared.request,
        prepared.choice,
        grant_id=context.random_bytes(16),
        subject=opened.holder.did,
        language=prepared.language,
        now=now,
        how=how,
    )
    return envelope.sign(grant, opened.holder)


@asynccontextmanager
async def _opened(context: Context, path: Path) -> AsyncIterator[OpenPackage]:
    opened = await trio.to_thread.run_sync(open_package, path, context.seed)
    try:
        yield opened
    finally:
        opened.reader.close()


def _check_asked(ask: Ask, openings: Openings) -> None:
    """Check before anything is signed that no more is shown than was asked for; the receiver would reject it."""
    try:
        check_covered(ask, openings)
    except ConsentInvalid as err:
        raise PolicyRefused(
            f"expected only items that are asked for: {', '.join(ask.items)}; found others as well"
        ) from err


def _check_purposes(request: Request, purposes: Sequence[int] | None) -> None:
    """Check what a person chose by number, counted from 1 as on the screen."""
    if purposes is None:
        return
    count = len(request.purposes)
    unknown = [index for index in purposes if not 0 <= index < count]
    if unknown or not purposes:
        found = f"purpose {unknown[0] + 1}" if unknown else "none"
        raise UsageError(f"expected purposes from 1 to {count}, found {found}", hint="the request lists them")
    missing = sorted(set(required_purposes(request)) - set(purposes))
    if missing:
        text = request.purposes[missing[0]].text
        raise UsageError(f"expected purpose {missing[0] + 1} among the chosen ones, because it is required: {text}")


async def _issuer_name(context: Context, manifest: Manifest) -> str | None:
    if manifest.issuer == manifest.holder:
        return None
    card = await context.records.find_card(manifest.issuer)
    return envelope.verify(Card, card).body.name if card else None


def find_log(card: Card, request: Request) -> LogRef:
    """Return the ledger of a receiver's card that the consent goes on.

    Raises:
        NotFound: The card names no ledger.
        PolicyRefused: The request accepts none of the card's ledgers; the receiver would decline the consent.
    """
    if not card.logs:
        raise NotFound(f"expected a ledger on the card of {card.name}, found none")
    for log in card.logs:
        if not request.logs or log.origin in request.logs:
            return log
    raise PolicyRefused(
        f"expected one of the ledgers {', '.join(request.logs)} on the card of {card.name}, found none of them",
        hint="ask the institution for its present card",
    )


def _names(openings: Openings) -> tuple[str, ...]:
    fields = tuple(opening.field.path for opening in openings.fields)
    return fields + tuple(opening.head.path for opening in openings.files)
