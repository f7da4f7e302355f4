"""Use case: an institution issues a package to a person, signed and anchored (spec/03, spec/09)."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from ddtp.agent.anchoring import anchor
from ddtp.agent.context import Context
from ddtp.agent.packing import Order, SealedPackage, pack
from ddtp.agent.scanning import scan
from ddtp.chain.ledger import Ledger
from ddtp.chain.proof import AnchorProof
from ddtp.chain.statement import AnchorRole, EntryKind, package_subject
from ddtp.errors import UsageError
from ddtp.identity.document import HolderAddress
from ddtp.identity.keys import PrivateKey
from ddtp.protocol.leaves import Field


@dataclass(frozen=True, slots=True)
class Draft:
    """What to issue.

    Attributes:
        paths: Files and folders.
        fields: Single values.
        schema: Name of the kind of package, for example "bank-statement/1".
        holder: DID and agreement key of the person.
        valid_seconds: How long the manifest is valid.
        output: The package file to write.
    """

    paths: Sequence[Path]
    fields: Sequence[Field]
    schema: str
    holder: HolderAddress
    valid_seconds: int
    output: Path


@dataclass(frozen=True, slots=True)
class IssuedPackage:
    """A finished package file.

    Attributes:
        package_id: 16 bytes.
        path: The file.
        issuer: DID that signed.
        holder: DID it is made out to.
        schema: Kind of package.
        root: Root of its tree, 32 bytes.
        files: Number of files.
        content_bytes: Size of the content.
    """

    package_id: bytes
    path: Path
    issuer: str
    holder: str
    schema: str
    root: bytes
    files: int
    content_bytes: int


async def issue(
    context: Context,
    draft: Draft,
    *,
    ledger: Ledger,
    tick: Callable[[int], None],
) -> IssuedPackage:
    """Pack, sign, anchor and write a package.

    Args:
        context: Surroundings of an institution.
        draft: What to issue.
        ledger: Where the fingerprint goes.
        tick: Told the number of bytes just packed.

    Raises:
        ConfigInvalid: This home belongs to a person.
        SourceChanged: A file changed meanwhile.
        DiskFull, StorageFailed: The disk refuses; nothing is left behind.
        PeerUnreachable, PeerRefused: The ledger did not take the entry; nothing is left behind.
    """
    return await seal_and_anchor(
        context,
        draft,
        signer=context.institution_key,
        anchoring=lambda subject: anchor(
            context,
            ledger,
            kind=EntryKind.ANCHOR,
            subject=subject,
            attestors=((AnchorRole.ISSUER, context.institution_key),),
        ),
        tick=tick,
    )


async def seal_and_anchor(
    context: Context,
    draft: Draft,
    *,
    signer: PrivateKey,
    anchoring: Callable[[bytes], Awaitable[AnchorProof]],
    tick: Callable[[int], None],
) -> IssuedPackage:
    """Pack and sign with one key, anchor in some way, and give the file its name."""
    sources = await trio.to_thread.run_sync(scan, draft.paths)
    if not sources and not draft.fields:
        raise UsageError("expected at least one file or field to put into the package")
    now = context.clock()
    order = Order(
        sources=sources,
        fields=draft.fields,
        schema=draft.schema,
        issuer=signer.did,
        holder=draft.holder,
        issued=now,
        expires=now + draft.valid_seconds,
        path=draft.output,
    )
    sealed = await trio.to_thread.run_sync(
        lambda: pack(order, signer=signer, random_bytes=context.random_bytes, tick=cancellable(tick))
    )
    try:
        proof = await anchoring(package_subject(sealed.package.root, sealed.manifest.digest))
        await trio.to_thread.run_sync(sealed.writer.finish, replace(sealed.header, anchor=proof.encode()))
    finally:
        sealed.writer.abort()
    return _issued(sealed, order)


def cancellable(tick: Callable[[int], None]) -> Callable[[int], None]:
    """Make a worker thread's progress call also the place where it can be cancelled."""

    def call(count: int) -> None:
        trio.from_thread.check_cancelled()
        tick(count)

    return call


def _issued(sealed: SealedPackage, order: Order) -> IssuedPackage:
    manifest = sealed.manifest.body
    return IssuedPackage(
        package_id=manifest.package_id,
        path=order.path,
        issuer=manifest.issuer,
        holder=manifest.holder,
        schema=manifest.schema,
        root=manifest.root,
        files=len(order.sources),
        content_bytes=sealed.header.seal.content_bytes,
    )
