"""Use case: open a package file of one's own, and seal the chosen part of it again for a receiver (spec/03, spec/07).

Blocking; called in worker threads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from ddtp.agent.packing import KEY_WRAP_INFO, package_context
from ddtp.chain.proof import AnchorProof
from ddtp.crypto.kdf import hkdf_expand
from ddtp.errors import (
    AuthenticationFailed,
    ContentMismatch,
    NotAnchored,
    PolicyRefused,
    SignatureInvalid,
    StoreDamaged,
)
from ddtp.identity import did as dids
from ddtp.identity.keys import SELF, PrivateKey, Seed
from ddtp.protocol import envelope, keywrap
from ddtp.protocol.chunks import SALT_SIZE, ChunkCipher, SealContext, SealedRun, SealHeader, SealPurpose, chunk_count
from ddtp.protocol.codec import Buffer
from ddtp.protocol.envelope import Signed
from ddtp.protocol.layout import OPENINGS, Layout, read_layout
from ddtp.protocol.openings import Disclosure, Openings
from ddtp.protocol.package import Manifest, Package, restore_package
from ddtp.store.packages import PackageReader, naming_damage

_SALT_LABEL = b"ddtp.transfer-salt.v1\x00"

MAX_LISTED = 20
"""Names of a package that an error lists: about as many lines as a person reads."""


@dataclass(frozen=True, slots=True)
class OpenPackage:
    """A package file that has been opened with its holder's keys.

    Attributes:
        reader: Reads its content; close it.
        manifest: Signed manifest, whose issuer did sign it.
        package: The tree, which gives the signed root.
        holder: The holder's signing key of this copy.
        layout: Where its files lie in its content.
    """

    reader: PackageReader
    manifest: Signed[Manifest]
    package: Package
    holder: PrivateKey
    layout: Layout

    @property
    def anchor(self) -> AnchorProof:
        """The proof that the package is on a ledger.

        Raises:
            NotAnchored: It was written without one.
        """
        if self.reader.header.anchor is None:
            raise NotAnchored("expected a package that is on a ledger, found one that is not")
        return AnchorProof.parse(self.reader.header.anchor)


def open_package(path: Path, seed: Seed) -> OpenPackage:
    """Open a package file made out to one of our keys, and check that it is what its issuer signed.

    Raises:
        DecodeError, SignatureInvalid, ContentMismatch, AuthenticationFailed: It is damaged or forged.
        PolicyRefused: It is made out to somebody else.
        NotFound, StorageFailed, StoreDamaged: The file is not there, cannot be read, or becomes shorter meanwhile.
    """
    reader = PackageReader(path)
    try:
        with naming_damage(path):
            return _opened(reader, seed)
    except BaseException:
        reader.close()
        raise


def _opened(reader: PackageReader, seed: Seed) -> OpenPackage:
    manifest = read_manifest(reader)
    counterparty = SELF if manifest.body.issuer == manifest.body.holder else manifest.body.issuer
    holder, agreement = seed.holder_key(counterparty), seed.agreement_key(counterparty)
    _check_ours(reader, manifest, holder, agreement)
    content_key = keywrap.unwrap(
        reader.header.wrapped_key, private_key=agreement.raw, info=KEY_WRAP_INFO, aad=manifest.digest
    )
    context = package_context(manifest.body.package_id, manifest.body.issuer, manifest.body.holder)
    reader.unlock(content_key, context)
    openings = Openings.parse(reader.read(reader.seal.openings_offset, reader.seal.openings_bytes))
    package = restore_package(manifest.body.schema, openings)
    _check_root(package, manifest.body)
    layout = read_layout(reader.seal, openings)
    return OpenPackage(reader, manifest, package, holder, layout)


def _check_ours(reader: PackageReader, manifest: Signed[Manifest], holder: PrivateKey, agreement: PrivateKey) -> None:
    if holder.did != manifest.body.holder or agreement.public_key != reader.header.holder_agreement:
        raise PolicyRefused(f"expected a package made out to this identity, found one for {manifest.body.holder}")


def _check_root(package: Package, manifest: Manifest) -> None:
    if package.root != manifest.root:
        raise ContentMismatch("expected openings that lead to the signed root, found others")


def read_manifest(reader: PackageReader) -> Signed[Manifest]:
    """Return the manifest of a package file, signed by the issuer that it names.

    Raises:
        DecodeError, SignatureInvalid: It is not.
    """
    manifest = envelope.verify(Manifest, reader.header.manifest)
    if dids.public_key_of(manifest.body.issuer) != manifest.signer:
        raise SignatureInvalid("expected the manifest to be signed by its issuer, found another signer")
    return manifest


def choose(package: Package, items: Sequence[str]) -> tuple[Disclosure, Openings]:
    """Return what is shown of a package for the wanted items.

    Args:
        package: The package.
        items: Names of fields, files or folders; empty, or "*", means everything.

    Raises:
        PolicyRefused: The package has no such item.
        UsageError: A group would be split.
    """
    if not items or "*" in items:
        return package.disclose_all()
    names = {opening.index: opening.field.path for opening in package.openings.fields}
    names |= {opening.index: opening.head.path for opening in package.openings.files}
    chosen: set[int] = set()
    for item in items:
        # a request names a folder with "/" at its end, a person may leave it out
        folder = f"{item.removesuffix('/')}/"
        hits = {index for index, name in names.items() if name == item or name.startswith(folder)}
        if not hits:
            raise PolicyRefused(
                f"expected {item!r} in the package, found no such field or file", hint=f"it has: {_listed(names)}"
            )
        chosen |= hits
    return package.disclose(chosen)


def _listed(names: Mapping[int, str]) -> str:
    shown = [name for _index, name in sorted(names.items())]
    return ", ".join(shown[:MAX_LISTED]) + (f" and {len(shown) - MAX_LISTED} more" if shown[MAX_LISTED:] else "")


def transfer_context(transfer_id: bytes, *, sender: str, receiver: str, chunk_size: int) -> SealContext:
    """Return what the sealed content of a transfer is bound to."""
    return SealContext(
        purpose=SealPurpose.TRANSFER,
        identifier=transfer_id,
        sender=sender,
        receiver=receiver,
        chunk_size=chunk_size,
    )


def _transfer_salt(content_key: bytes, source: OpenPackage) -> bytes:
    """Return the salt of a transfer, which is another one for each file that a package lies in.

    The same package may have been sealed anew, with anything in its chunks; under the same key and salt they would
    reveal those that were sent before (spec/07 s.3). A resumed transfer therefore goes on only with the same salt.

    Args:
        content_key: Key of this transfer, which no other one has.
        source: The open package.
    """
    return hkdf_expand(content_key, _SALT_LABEL + source.reader.seal.encode(), SALT_SIZE)


@final
class TransferContent:
    """The chosen part of a package, sealed chunk by chunk for one transfer; the same chunks every time.

    Args:
        source: The open package.
        openings: What is shown of it.
        content_key: Key of this transfer.
        salt: Salt of this transfer, 24 bytes.
        context: Parties and id of this transfer.
    """

    def __init__(
        self, source: OpenPackage, openings: Openings, *, content_key: bytes, salt: bytes, context: SealContext
    ) -> None:
        self._source = source
        self._openings = openings.encode()
        positions = {opening.index: part for part, opening in enumerate(source.package.openings.files)}
        self._parts = [positions[opening.index] for opening in openings.files]
        sizes = tuple(opening.head.size_bytes for opening in openings.files)
        self._layout = Layout(context.chunk_size, len(self._openings), sizes)
        self._cipher = ChunkCipher(content_key, salt=salt, context=context)
        self._name = context.identifier.hex()[:8]
        self.header = SealHeader(
            chunk_size=context.chunk_size,
            content_bytes=self._layout.content_bytes,
            openings_offset=self._layout.openings_offset,
            openings_bytes=len(self._openings),
            salt=salt,
            commitment=self._cipher.commitment,
        )
        self.chunk_count = chunk_count(self._layout.content_bytes, context.chunk_size)

    def sealed(self, first: int, count: int) -> SealedRun:
        """Return neighbouring sealed chunks with their leaves; several threads may ask at once.

        Raises:
            StoreDamaged: A chunk of the package file is damaged, or it has changed since it was opened.
        """
        size = self._layout.chunk_size
        pieces = self._layout.pieces(first * size, (first + count) * size)
        parts = [self._read(part, offset, length) for part, offset, length in pieces]
        return self._cipher.seal_run(first, parts[0] if len(parts) == 1 else b"".join(parts), count=count)

    def _read(self, part: int, offset: int, length: int) -> Buffer:
        if part == OPENINGS:
            return self._openings[offset : offset + length]
        # a run never crosses from a file's whole chunks into its tail, so it is contiguous in the package too
        reader = self._source.reader
        try:
            return reader.read(self._source.layout.locate(self._parts[part], offset), length)
        except AuthenticationFailed as err:
            # another class than that of what arrived, whose words a peer may read: these name a path
            raise StoreDamaged(
                f"expected an undamaged package file at {reader.path}, found a chunk that does not open",
                hint=f"resume with an intact copy: ddtp resume {self._name} --package FILE",
            ) from err


def transfer_content(
    source: OpenPackage,
    disclosure: Disclosure,
    *,
    transfer_id: bytes,
    receiver: str,
    content_key: bytes,
) -> TransferContent:
    """Return the content of one transfer of the holder's; the same arguments give the same chunks.

    Args:
        source: The open package.
        disclosure: What is shown of it.
        transfer_id: 16 bytes.
        receiver: DID of the receiver.
        content_key: Key of this transfer.
    """
    _disclosure, openings = source.package.disclose(disclosure.indexes())
    context = transfer_context(
        transfer_id,
        sender=source.manifest.body.holder,
        receiver=receiver,
        chunk_size=source.layout.chunk_size,
    )
    salt = _transfer_salt(content_key, source)
    return TransferContent(source, openings, content_key=content_key, salt=salt, context=context)
