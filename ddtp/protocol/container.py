"""The package file `.ddtp`: sealed chunks with a footer (spec/03-package s.7).

file = sealed chunks ‖ header ‖ SM3(header) ‖ u32 length ‖ magic. A footer lets the file be written in one pass, and the
header be renewed without touching the chunks. The digest finds damage; it is no protection against forgery, which the
signature of the manifest, the anchor and the key commitment give.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from ddtp.crypto import sm3
from ddtp.errors import DecodeError
from ddtp.protocol import chunks
from ddtp.protocol.chunks import SealHeader
from ddtp.protocol.codec import Buffer
from ddtp.protocol.record import Limit, PublicKey, Record

MAGIC = b"DDTPPKG1"
TAIL_SIZE = 4 + len(MAGIC)
"""Bytes at the end of the file that tell where its header is."""


@dataclass(frozen=True, slots=True)
class PackageHeader(Record):
    """What a package file says about its sealed content.

    Attributes:
        manifest: Envelope of the manifest.
        seal: Sizes and key commitment of the sealed content.
        wrapped_key: Content key for the holder (spec/07 s.5), info "ddtp.package.v1", aad = digest of the manifest.
        holder_agreement: The key to which the content key is wrapped.
        anchor: Encoded anchor proof (spec/09); absent until the package is anchored.
    """

    MAX_BYTES: ClassVar[int] = 256 << 10

    manifest: bytes
    seal: SealHeader
    wrapped_key: Annotated[bytes, Limit(256)]
    holder_agreement: PublicKey
    anchor: bytes | None = None


def encode_footer(header: PackageHeader) -> bytes:
    """Return all that follows the sealed chunks in a package file."""
    encoded = header.encode()
    block = encoded + sm3.digest(encoded)
    return block + len(block).to_bytes(4, "big") + MAGIC


def parse_footer_size(tail: Buffer) -> int:
    """Return the number of bytes that belong to the header, right before the tail.

    Args:
        tail: The last `TAIL_SIZE` bytes of the file.

    Raises:
        DecodeError: This is not the end of a package file.
    """
    data = bytes(tail)
    if len(data) != TAIL_SIZE or data[4:] != MAGIC:
        raise DecodeError("expected the end of a package file, found other bytes")
    length = int.from_bytes(data[:4], "big")
    if not sm3.DIGEST_SIZE < length <= PackageHeader.MAX_BYTES + sm3.DIGEST_SIZE:
        raise DecodeError(f"expected a header of at most {PackageHeader.MAX_BYTES} bytes, found {length}")
    return length


def parse_header(data: Buffer) -> PackageHeader:
    """Parse the bytes that `parse_footer_size` counted.

    Raises:
        DecodeError: The header is damaged or malformed.
    """
    encoded, digest = bytes(data[: -sm3.DIGEST_SIZE]), bytes(data[-sm3.DIGEST_SIZE :])
    if sm3.digest(encoded) != digest:
        raise DecodeError("expected an undamaged header, found one that does not match its digest")
    return PackageHeader.parse(encoded)


def check_file_size(header: PackageHeader, size_bytes: int) -> None:
    """Check that a package file holds exactly its sealed chunks and its footer.

    Args:
        header: From the end of the file.
        size_bytes: Length of the file.

    Raises:
        DecodeError: The file is shorter or longer.
    """
    expected = chunks.sealed_bytes(header.seal) + len(encode_footer(header))
    if size_bytes != expected:
        raise DecodeError(f"expected a package file of {expected} bytes, found {size_bytes}")
