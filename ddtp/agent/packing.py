"""Use case: turn files and fields into one sealed package file (spec/03, spec/07).

Every file is read once for its whole chunks and once for its tail, and must not change meanwhile. Memory does not grow
with file sizes. Blocking; called in worker threads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ddtp.agent.scanning import SourceFile, read_exactly, reading
from ddtp.crypto.sm3 import DIGEST_SIZE
from ddtp.crypto.sm4 import Leaves
from ddtp.errors import SourceChanged
from ddtp.identity.document import HolderAddress
from ddtp.protocol import canonical, keywrap
from ddtp.protocol.chunks import CONTENT_KEY_SIZE, RUN_CHUNKS, ChunkCipher, SealContext, SealHeader, SealPurpose
from ddtp.protocol.codec import Buffer
from ddtp.protocol.container import PackageHeader
from ddtp.protocol.envelope import Signed, Signer, sign
from ddtp.protocol.fingerprint import FileHasher
from ddtp.protocol.layout import Layout
from ddtp.protocol.leaves import CHUNK_SIZE_DEFAULT, Field, FileHead, chunk_leaf, file_key
from ddtp.protocol.package import Manifest, Package, build_package
from ddtp.store.packages import PackageWriter

KEY_WRAP_INFO = b"ddtp.package.v1"
"""HPKE info of a package's content key (spec/03 s.7)."""

RUN_BYTES = RUN_CHUNKS * CHUNK_SIZE_DEFAULT
"""Read, sealed and hashed at a time."""

Tick = Callable[[int], None]
"""Called with the number of bytes just done; may raise to stop the work."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to pack, for whom.

    Attributes:
        sources: The files.
        fields: Single values, each provable by itself.
        schema: Name of the kind of package.
        issuer: DID that will sign.
        holder: DID and agreement key of the person.
        issued: Seconds since the epoch.
        expires: Seconds since the epoch.
        path: The package file to write.
    """

    sources: Sequence[SourceFile]
    fields: Sequence[Field]
    schema: str
    issuer: str
    holder: HolderAddress
    issued: int
    expires: int
    path: Path


@dataclass(frozen=True, slots=True)
class SealedPackage:
    """Sealed content that has no footer yet.

    Attributes:
        writer: The unfinished file; either `finish` or `writer.abort` must follow.
        package: The tree and its openings.
        manifest: Signed by the issuer.
        header: The footer, still without anchor.
    """

    writer: PackageWriter
    package: Package
    manifest: Signed[Manifest]
    header: PackageHeader


def pack(order: Order, *, signer: Signer, random_bytes: Callable[[int], bytes], tick: Tick) -> SealedPackage:
    """Read, hash and seal the files, and sign the manifest.

    Raises:
        SourceChanged: A file changed meanwhile.
        DiskFull, StorageFailed: The disk refuses; nothing is left behind.
    """
    package_id, master_salt = random_bytes(16), random_bytes(32)
    content_key, salt = random_bytes(CONTENT_KEY_SIZE), random_bytes(24)
    context = package_context(package_id, order.issuer, order.holder.did)
    cipher = ChunkCipher(content_key, salt=salt, context=context)
    writer = PackageWriter(order.path)
    try:
        sealer = _Sealer(cipher, writer)
        keys = [file_key(master_salt, source.path) for source in order.sources]
        hashed = [_whole_chunks(source, key, sealer, tick) for source, key in zip(order.sources, keys, strict=True)]
        heads = [file.head for file in hashed]
        package = build_package(schema=order.schema, fields=order.fields, files=heads, master_salt=master_salt)
        openings = package.openings.encode()
        layout = Layout(CHUNK_SIZE_DEFAULT, len(openings), tuple(head.size_bytes for head in heads))
        sealer.add(openings)
        for source, key, file in zip(order.sources, keys, hashed, strict=True):
            sealer.add(_tail(source, file.last_leaf, key))
        sealer.finish()
        manifest = sign(_manifest(order, package_id, package), signer)
        header = PackageHeader(
            manifest=manifest.envelope,
            seal=SealHeader(
                chunk_size=CHUNK_SIZE_DEFAULT,
                content_bytes=layout.content_bytes,
                openings_offset=layout.openings_offset,
                openings_bytes=len(openings),
                salt=salt,
                commitment=cipher.commitment,
            ),
            wrapped_key=keywrap.wrap(
                content_key,
                recipient=order.holder.agreement,
                info=KEY_WRAP_INFO,
                aad=manifest.digest,
                random_bytes=random_bytes,
            ),
            holder_agreement=order.holder.agreement,
        )
    except BaseException:
        writer.abort()
        raise
    return SealedPackage(writer, package, manifest, header)


def package_context(package_id: bytes, issuer: str, holder: str) -> SealContext:
    """Return what the sealed content of a package file is bound to."""
    return SealContext(
        purpose=SealPurpose.PACKAGE,
        identifier=package_id,
        sender=issuer,
        receiver=holder,
        chunk_size=CHUNK_SIZE_DEFAULT,
    )


class _Sealer:
    """Cuts a stream of bytes into chunks and seals each into the file."""

    def __init__(self, cipher: ChunkCipher, writer: PackageWriter) -> None:
        self._cipher = cipher
        self._writer = writer
        self._index = 0
        self._rest = b""

    def chunks(self, data: Buffer, *, count: int, leaves: Leaves | None = None) -> None:
        """Seal neighbouring chunks, and compute their leaves along the way."""
        run = self._cipher.seal_run(self._index, data, count=count, plain=leaves, hashed=False)
        self._writer.append(run.sealed)
        self._index += count

    def add(self, data: bytes) -> None:
        """Seal as many whole chunks as there are now."""
        pending = memoryview(self._rest + data)
        whole = len(pending) - len(pending) % CHUNK_SIZE_DEFAULT
        for start in range(0, whole, RUN_BYTES):
            part = pending[start : min(start + RUN_BYTES, whole)]
            self.chunks(part, count=len(part) // CHUNK_SIZE_DEFAULT)
        self._rest = bytes(pending[whole:])

    def finish(self) -> None:
        """Seal the last chunk, which is always short (spec/07 s.2)."""
        self.chunks(self._rest, count=1)


@dataclass(frozen=True, slots=True)
class _Hashed:
    """The head of a file, and the leaf of its last chunk."""

    head: FileHead
    last_leaf: bytes


def _whole_chunks(source: SourceFile, key: bytes, sealer: _Sealer, tick: Tick) -> _Hashed:
    hasher = FileHasher(source.path, source.media_type, chunk_size=CHUNK_SIZE_DEFAULT, file_key=key)
    comparable = canonical.is_candidate(source.media_type, source.size_bytes)
    kept: list[bytes] = []
    last_leaf = b""
    with reading(source) as descriptor:
        for offset in range(0, source.size_bytes, RUN_BYTES):
            length = min(source.size_bytes - offset, RUN_BYTES)
            data = read_exactly(descriptor, length, source=source, offset=offset)
            whole = length - length % CHUNK_SIZE_DEFAULT
            if whole:
                last_leaf = _seal_and_hash(memoryview(data)[:whole], hasher, sealer)
            if whole < length:
                last_leaf = hasher.add(memoryview(data)[whole:])
            if comparable:
                kept.append(data)
            tick(length)
    fingerprint = canonical.canonical_digest(source.media_type, b"".join(kept)) if comparable else None
    return _Hashed(hasher.finish(canonical=fingerprint), last_leaf)


def _seal_and_hash(data: memoryview, hasher: FileHasher, sealer: _Sealer) -> bytes:
    """Seal whole chunks of a file and hash them in the same pass; return the leaf of the last one."""
    count = len(data) // CHUNK_SIZE_DEFAULT
    leaves = Leaves(hasher.heads(len(data)), bytearray(count * DIGEST_SIZE))
    sealer.chunks(data, count=count, leaves=leaves)
    hasher.append(leaves.digests, size_bytes=len(data))
    return bytes(leaves.digests[-DIGEST_SIZE:])


def _tail(source: SourceFile, leaf: bytes, key: bytes) -> bytes:
    """Read a file's last, partial chunk again, and check that it still is the one that was hashed."""
    index, length = divmod(source.size_bytes, CHUNK_SIZE_DEFAULT)
    if not length:
        return b""
    with reading(source) as descriptor:
        data = read_exactly(descriptor, length, source=source, offset=index * CHUNK_SIZE_DEFAULT)
    # reading() compares the time of change, whose grain a quick writer can slip through
    if chunk_leaf(key, index, data) != leaf:
        raise SourceChanged(f"{source.location} changed while it was read", hint="send it again when it is finished")
    return data


def _manifest(order: Order, package_id: bytes, package: Package) -> Manifest:
    return Manifest(
        package_id=package_id,
        issuer=order.issuer,
        holder=order.holder.did,
        schema=order.schema,
        root=package.root,
        issued=order.issued,
        expires=order.expires,
    )
