"""The package file: sealed chunks and a footer (spec/03-package s.7).

The footer stands at the end, so that a file is written in one pass: what it says is only known when all is sealed.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

from ddtp.errors import DecodeError
from ddtp.protocol.chunks import SealHeader, sealed_bytes
from ddtp.protocol.codec import Buffer
from ddtp.protocol.record import PublicKey, Record

MAGIC: Final = b"DDTPPKG1"
TAIL_SIZE: Final = 4 + len(MAGIC)
"""Bytes of the very end: length of the header, magic."""
MAX_HEADER_BYTES: Final = 64 << 10
"""A manifest, a wrapped key and an anchor proof are under 8 KiB."""


@dataclass(frozen=True, slots=True)
class PackageHeader(Record):
    """What a package file says about itself.

    Attributes:
        manifest: Signed manifest.
        seal: Sizes and salts of the sealed content.
        wrapped_key: Content key, wrapped to the holder.
        holder_agreement: The holder's agreement key it is wrapped to.
        anchor: Encoded proof that the package is on a ledger (spec/09), or None.
    """

    KIND: ClassVar[str] = "package"
    MAX_BYTES: ClassVar[int] = MAX_HEADER_BYTES

    manifest: bytes
    seal: SealHeader
    wrapped_key: bytes
    holder_agreement: PublicKey
    anchor: bytes | None = None


def encode_footer(header: PackageHeader) -> bytes:
    """Return the bytes that follow the sealed chunks."""
    encoded = header.encode()
    return encoded + len(encoded).to_bytes(4, "big") + MAGIC


def parse_footer_size(tail: Buffer) -> int:
    """Return the length of the header from the last `TAIL_SIZE` bytes of a file.

    Raises:
        DecodeError: The file is no package file, or was cut off.
    """
    if len(tail) != TAIL_SIZE or bytes(tail[4:]) != MAGIC:
        raise DecodeError("expected a package file, found another file or one that was cut off")
    length = int.from_bytes(tail[:4], "big")
    if not 0 < length <= MAX_HEADER_BYTES:
        raise DecodeError(f"expected a header of at most {MAX_HEADER_BYTES} bytes, found {length}")
    return length


def parse_header(data: Buffer) -> PackageHeader:
    """Parse the header of a package file.

    Raises:
        DecodeError: It is malformed.
    """
    return PackageHeader.parse(data)


def check_file_size(header: PackageHeader, size_bytes: int) -> None:
    """Check that a package file is whole.

    Raises:
        DecodeError: It has another length than its header says.
    """
    expected = sealed_bytes(header.seal) + len(encode_footer(header))
    if size_bytes != expected:
        raise DecodeError(f"expected a package file of {expected} bytes, found {size_bytes}")
