"""Evidence: everything a verifier needs, and nothing of the payload (spec/10-verification s.1).

The parts are kept as received bytes; nothing here is trusted before `verifier` has checked it. A bundle is evidence in
a file (suffix `.ddtp-proof`), with the openings when its owner wants to show values too.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from ddtp.chain.proof import AnchorProof
from ddtp.crypto import sm3
from ddtp.errors import DecodeError
from ddtp.protocol.codec import Buffer
from ddtp.protocol.record import Limit, Range, Record

BUNDLE_MAGIC = b"DDTP-PROOF 1\n"
"""First line of a bundle: tells people and tools what the file is, and the version of its format."""

BUNDLE_SUFFIX = ".ddtp-proof"
"""How the name of a bundle's file ends."""

BUNDLE_VERSION = 1

MAX_RECEIPTS = 2
"""A transfer has a receipt for the ciphertext and one for the content (spec/11)."""

_MEBIBYTE = 1 << 20
_Part = Annotated[bytes, Limit(_MEBIBYTE, least=1)]
"""A signed object: bounded as its record is, by 1 MiB; the envelope itself is within the bound of the bundle."""
_Anchor = Annotated[bytes, Limit(AnchorProof.MAX_BYTES, least=1)]


@dataclass(frozen=True, slots=True)
class Evidence(Record):
    """What proves a transfer, without the data.

    Attributes:
        manifest: Envelope of the issuer's manifest (spec/03).
        disclosure: Encoded disclosure (spec/03): which leaves are shown, no values.
        request: Envelope of the receiver's request (spec/06).
        grant: Envelope of the holder's grant (spec/06).
        package_anchor: Encoded anchor proof of the package (spec/09).
        grant_anchor: Encoded anchor proof of the grant (spec/09).
        receipts: Envelopes of the receiver's receipts (spec/11), the first first; empty before the transfer.
    """

    MAX_BYTES: ClassVar[int] = 8 * _MEBIBYTE

    manifest: _Part
    disclosure: Annotated[bytes, Limit(4 * _MEBIBYTE, least=1)]
    request: _Part
    grant: _Part
    package_anchor: _Anchor
    grant_anchor: _Anchor
    receipts: Annotated[tuple[Annotated[bytes, Limit(64 << 10, least=1)], ...], Limit(MAX_RECEIPTS)] = ()

    @property
    def digest(self) -> bytes:
        """SM3 of the encoded evidence: what a verdict names."""
        return sm3.digest(self.encode())


@dataclass(frozen=True, slots=True)
class Bundle(Record):
    """Evidence as a file.

    Attributes:
        version: 1.
        evidence: Encoded `Evidence`.
        openings: Encoded `Openings` (spec/03), which hold the disclosed values: confidential. None in a bundle that
            proves the transfer without showing what was transferred.
    """

    MAX_BYTES: ClassVar[int] = 80 * _MEBIBYTE

    version: Annotated[int, Range(BUNDLE_VERSION, BUNDLE_VERSION)]
    evidence: Annotated[bytes, Limit(Evidence.MAX_BYTES, least=1)]
    openings: Annotated[bytes, Limit(64 * _MEBIBYTE, least=1)] | None = None


def encode_bundle(bundle: Bundle) -> bytes:
    """Return the content of a bundle file: the magic line, then the record."""
    return BUNDLE_MAGIC + bundle.encode()


def parse_bundle(data: Buffer) -> Bundle:
    """Read the content of a bundle file.

    Raises:
        DecodeError: The file is not a bundle of this version, is damaged or is too large.
    """
    view = memoryview(data)
    if view[: len(BUNDLE_MAGIC)] != BUNDLE_MAGIC:
        raise DecodeError("expected a DDTP proof bundle, found a file without its first line")
    return Bundle.parse(view[len(BUNDLE_MAGIC) :])
