"""Signed records: COSE_Sign1 with SM2 (spec/04-envelope).

Bytes are signed, never objects: the signature of received bytes is checked first, then the same bytes are parsed. The
signer's public key is the key id, so an envelope is checked without a lookup; whether that key is the right one is the
caller's question. A hardware key signs between `signing_input` and `attach`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from ddtp.crypto import sm2, sm3
from ddtp.errors import DecodeError, SignatureInvalid
from ddtp.protocol import codec
from ddtp.protocol.record import Record

SUITE = "DDTP-SM-1"
"""The only suite of this version (spec/00); it stands in every protected header."""

ALGORITHM_SM2_SM3 = -65601
"""COSE algorithm id of SM2 with SM3, from the private-use range (spec/00 s.4): IANA has registered none."""

_TAG_SIGN1 = b"\xd2"
_HEADER_OVERHEAD_BYTES = 512
_LABEL_ALGORITHM, _LABEL_CONTENT_TYPE, _LABEL_KEY_ID = 1, 3, 4
_LABEL_SUITE = -65602

RecordType = TypeVar("RecordType", bound=Record)


class Signer(Protocol):
    """Whatever holds an SM2 private key: memory, a key file, a hardware module."""

    @property
    def public_key(self) -> bytes:
        """The compressed SM2 public key, 33 bytes."""

    def sign(self, message: bytes) -> bytes:
        """Return the SM2 signature of a message, 64 bytes r ‖ s, with the user id of spec/00."""


@dataclass(frozen=True, slots=True)
class Signed(Generic[RecordType]):
    """A record whose signature has been checked.

    Attributes:
        envelope: The exact signed bytes.
        signer: Public key that signed, 33 bytes.
        body: The record.
    """

    envelope: bytes
    signer: bytes
    body: RecordType

    @property
    def digest(self) -> bytes:
        """SM3 of the exact envelope: how other objects refer to this one."""
        return sm3.digest(self.envelope)


def signing_input(record: Record, signer: bytes) -> bytes:
    """Return the bytes that the signature of a record covers (RFC 9052 s.4.4).

    Args:
        record: What is signed.
        signer: The signer's public key, 33 bytes.
    """
    return _structure(_protected(type(record), signer), record.encode())


def attach(record: RecordType, signer: bytes, *, signature: bytes) -> Signed[RecordType]:
    """Join a record and its signature.

    Args:
        record: What was signed.
        signer: The signer's public key, 33 bytes.
        signature: 64 bytes r ‖ s over `signing_input(record, signer)`.

    Raises:
        SignatureInvalid: The signature does not verify.
    """
    sm2.verify(signer, signing_input(record, signer), signature)
    parts: list[codec.Value] = [_protected(type(record), signer), {}, record.encode(), signature]
    return Signed(_TAG_SIGN1 + codec.encode(parts), signer, record)


def sign(record: RecordType, signer: Signer) -> Signed[RecordType]:
    """Sign a record with a key at hand."""
    signature = signer.sign(signing_input(record, signer.public_key))
    return attach(record, signer.public_key, signature=signature)


def verify(record_type: type[RecordType], envelope: codec.Buffer, *, signer: bytes | None = None) -> Signed[RecordType]:
    """Check a signed record and parse it.

    Args:
        record_type: The expected kind; an envelope of another kind is refused.
        envelope: The received bytes.
        signer: The public key that must have signed; None accepts any key, which the caller then judges.

    Raises:
        DecodeError: The envelope or the record is malformed, or of another kind or suite.
        SignatureInvalid: The signature does not verify, or another key signed.
    """
    read = _read(record_type, envelope)
    if signer is not None and signer != read.key:
        raise SignatureInvalid(f"expected the {record_type.KIND} to be signed by another key")
    sm2.verify(read.key, read.structure, read.signature)
    return Signed(bytes(envelope), read.key, record_type.parse(read.payload))


def verify_many(record_type: type[RecordType], envelopes: Sequence[codec.Buffer]) -> tuple[Signed[RecordType], ...]:
    """Check many signed records at once, which is faster from eight on, and parse them; any key may have signed.

    Args:
        record_type: The expected kind of all of them.
        envelopes: The received bytes.

    Raises:
        DecodeError: An envelope or a record is malformed, or of another kind or suite.
        SignatureInvalid: A signature does not verify.
    """
    read = [_read(record_type, each) for each in envelopes]
    if not all(sm2.verify_many([(each.key, each.structure, each.signature) for each in read])):
        raise SignatureInvalid(f"expected signatures of these {len(read)} records by their keys, found another one")
    return tuple(
        Signed(bytes(encoded), each.key, record_type.parse(each.payload))
        for encoded, each in zip(envelopes, read, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Read:
    """An envelope taken apart: who claims to have signed what."""

    key: bytes
    payload: bytes
    signature: bytes
    structure: bytes


def _read(record_type: type[Record], envelope: codec.Buffer) -> _Read:
    protected, payload, signature = _parse(envelope, record_type.MAX_BYTES)
    key = _key_id(protected)
    if protected != _protected(record_type, key):
        raise DecodeError(f"expected the protected header of a {record_type.KIND} in suite {SUITE}, found another one")
    return _Read(key, payload, signature, _structure(protected, payload))


def _protected(record_type: type[Record], signer: bytes) -> bytes:
    return codec.encode(
        {
            _LABEL_ALGORITHM: ALGORITHM_SM2_SM3,
            _LABEL_CONTENT_TYPE: f"application/ddtp-{record_type.KIND}+cbor",
            _LABEL_KEY_ID: signer,
            _LABEL_SUITE: SUITE,
        }
    )


def _structure(protected: bytes, payload: bytes) -> bytes:
    return codec.encode(["Signature1", protected, b"", payload])


def _parse(envelope: codec.Buffer, max_payload_bytes: int) -> tuple[bytes, bytes, bytes]:
    data = bytes(envelope)
    if data[:1] != _TAG_SIGN1:
        raise DecodeError("expected the tag of COSE_Sign1")
    match codec.decode(data[1:], max_bytes=max_payload_bytes + _HEADER_OVERHEAD_BYTES):
        case [bytes() as protected, dict() as open_header, bytes() as payload, bytes() as signature] if (
            not open_header and len(signature) == sm2.SIGNATURE_SIZE
        ):
            return protected, payload, signature
        case _:
            raise DecodeError("expected [protected, {}, payload, signature of 64 bytes]")


def _key_id(protected: bytes) -> bytes:
    header = codec.decode(protected, max_bytes=_HEADER_OVERHEAD_BYTES, integer_keys=True)
    key = header.get(_LABEL_KEY_ID) if isinstance(header, dict) else None
    if not isinstance(key, bytes) or len(key) != sm2.PUBLIC_KEY_SIZE:
        raise DecodeError("expected a public key of 33 bytes as key id")
    return key
