"""Envelopes of spec/04: bytes are checked before they are parsed, and nothing stands outside the signature."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddtp.crypto import sm2, sm3
from ddtp.errors import DecodeError, EvidenceError, SignatureInvalid
from ddtp.protocol import codec, envelope
from ddtp.protocol.record import Record
from tests.protocol.specimen import Colour, Part, Specimen
from tests.vectors import Case, check, load


@dataclass(frozen=True)
class KeyInMemory:
    """A signer as key files make it."""

    private_key: bytes = field(repr=False)

    @property
    def public_key(self) -> bytes:
        return sm2.public_key(self.private_key)

    def sign(self, message: bytes) -> bytes:
        return sm2.sign(self.private_key, message)


@dataclass(frozen=True, slots=True)
class OtherKind(Record):
    """A record with the fields of `Part` and another meaning."""

    KIND: ClassVar[str] = "other"

    size: int


@dataclass(frozen=True, slots=True)
class SignedPart(Record):
    """A small record that is signed."""

    KIND: ClassVar[str] = "part"
    MAX_BYTES: ClassVar[int] = 64

    size: int


ALICE = KeyInMemory(bytes(31) + b"\x07")
BOB = KeyInMemory(bytes(31) + b"\x08")
SPECIMEN = Specimen("n", bytes(32), b"\x01", 1, flag=True, colour=Colour.BLUE, parts=(Part(1),), pairs=())
GOOD = envelope.sign(SPECIMEN, ALICE).envelope


def _parts(data: bytes = GOOD) -> list[Any]:
    """Take an envelope apart."""
    tagged = cbor2.loads(data)
    assert tagged.tag == 18
    return list(tagged.value)


def _join(parts: Any, *, tag: int = 18) -> bytes:
    """Put an envelope together without any of our checks."""
    return cbor2.dumps(cbor2.CBORTag(tag, parts), canonical=True)


def _sign_raw(protected: bytes, payload: bytes, signer: KeyInMemory = ALICE, *, aad: bytes = b"") -> bytes:
    """Sign any protected header and payload, as a hostile signer can."""
    message = cbor2.dumps(["Signature1", protected, aad, payload])
    return _join([protected, {}, payload, signer.sign(message)])


def _header(**changes: Any) -> dict[int, Any]:
    labels = {"alg": 1, "content_type": 3, "kid": 4, "suite": -65602}
    values = {
        "alg": -65601,
        "content_type": "application/ddtp-specimen+cbor",
        "kid": ALICE.public_key,
        "suite": "DDTP-SM-1",
        **changes,
    }
    return {labels[name]: value for name, value in values.items() if value is not None}


def test_round_trip() -> None:
    """A verified envelope gives the record, the signer and the digest of the exact bytes."""
    signed = envelope.verify(Specimen, GOOD)
    assert (signed.body, signed.signer, signed.envelope) == (SPECIMEN, ALICE.public_key, GOOD)
    assert signed.digest == sm3.digest(GOOD)
    assert envelope.verify(Specimen, memoryview(GOOD), signer=ALICE.public_key) == signed


def test_layout() -> None:
    """An envelope is COSE_Sign1 with the four protected headers of spec/04 and nothing else."""
    protected, unprotected, payload, signature = _parts()
    assert cbor2.loads(protected) == _header()
    assert (unprotected, payload) == ({}, SPECIMEN.encode())
    sm2.verify(ALICE.public_key, cbor2.dumps(["Signature1", protected, b"", payload]), signature)


def test_raw_signing_of_this_file_is_accepted() -> None:
    """The forgeries below differ from this accepted envelope in their one defect only."""
    raw = _sign_raw(cbor2.dumps(_header(), canonical=True), SPECIMEN.encode())
    assert envelope.verify(Specimen, raw).body == SPECIMEN


def test_hardware_path() -> None:
    """A key that never leaves its module signs between `signing_input` and `attach`."""
    message = envelope.signing_input(SPECIMEN, ALICE.public_key)
    signed = envelope.attach(SPECIMEN, ALICE.public_key, signature=ALICE.sign(message))
    assert envelope.verify(Specimen, signed.envelope, signer=ALICE.public_key) == signed


def test_attach_refuses_what_nobody_would_accept() -> None:
    """A signature by another key, over another record or of another length is not attached."""
    message = envelope.signing_input(SPECIMEN, ALICE.public_key)
    other = envelope.signing_input(dataclasses.replace(SPECIMEN, count=2), ALICE.public_key)
    for signature in (BOB.sign(message), ALICE.sign(other), ALICE.sign(message)[:-1], bytes(64)):
        with pytest.raises(SignatureInvalid):
            envelope.attach(SPECIMEN, ALICE.public_key, signature=signature)


def test_other_signer() -> None:
    """An envelope by another key than the required one is refused, although its signature is valid."""
    with pytest.raises(SignatureInvalid):
        envelope.verify(Specimen, GOOD, signer=BOB.public_key)


def test_other_kind() -> None:
    """A record of one kind is not accepted as one of another kind with the same fields."""
    signed = envelope.sign(SignedPart(5), ALICE)
    assert envelope.verify(SignedPart, signed.envelope).body.size == 5
    with pytest.raises(DecodeError):
        envelope.verify(OtherKind, signed.envelope)


def test_key_id_exchanged() -> None:
    """The key id is signed: putting another key there does not move a signature to it."""
    _, _, payload, signature = _parts()
    protected = cbor2.dumps(_header(kid=BOB.public_key), canonical=True)
    with pytest.raises(SignatureInvalid):
        envelope.verify(Specimen, _join([protected, {}, payload, signature]))


@pytest.mark.parametrize(
    "changes",
    [
        {"alg": -7}, {"alg": None}, {"content_type": "application/ddtp-grant+cbor"}, {"content_type": None},
        {"content_type": 60}, {"suite": "DDTP-SM-2"}, {"suite": None}, {"kid": None}, {"kid": bytes(32)},
        {"kid": bytes(33)}, {"kid": "a" * 33}, {"kid": b"\x04" + bytes(64)},
    ],
)  # fmt: skip
def test_well_signed_with_another_header(changes: dict[str, Any]) -> None:
    """A valid signature over any other protected header does not help."""
    protected = cbor2.dumps(_header(**changes), canonical=True)
    with pytest.raises(DecodeError):
        envelope.verify(Specimen, _sign_raw(protected, SPECIMEN.encode()))


@pytest.mark.parametrize("label", [2, 5, 15, 33, -65603, "x"])
def test_well_signed_with_one_header_more(label: int | str) -> None:
    """No further protected header is tolerated, critical ones neither."""
    header: dict[Any, Any] = {**_header(), label: 1}
    protected = cbor2.dumps(header, canonical=True)
    with pytest.raises(DecodeError):
        envelope.verify(Specimen, _sign_raw(protected, SPECIMEN.encode()))


@pytest.mark.parametrize("unprotected", [{4: b"x"}, {1: -7}, {"x": 1}, [], b"", {7: [b"", {}, bytes(64)]}])
def test_unprotected_header(unprotected: Any) -> None:
    """Whatever stands outside the signature is refused."""
    protected, _, payload, signature = _parts()
    with pytest.raises(DecodeError):
        envelope.verify(Specimen, _join([protected, unprotected, payload, signature]))


@pytest.mark.parametrize("tag", [16, 17, 61, 98])
def test_other_tag(tag: int) -> None:
    """Only COSE_Sign1 is accepted, and only with its tag."""
    with pytest.raises(DecodeError):
        envelope.verify(Specimen, _join(_parts(), tag=tag))
    with pytest.raises(DecodeError):
        envelope.verify(Specimen, cbor2.dumps(_parts()))


def test_signed_under_additional_data() -> None:
    """A signature that covers external data is another statement."""
    protected, _, payload, _ = _parts()
    with pytest.raises(SignatureInvalid):
        envelope.verify(Specimen, _sign_raw(protected, payload, aad=b"x"))


def test_signature_comes_first() -> None:
    """A payload that nobody signed is not parsed: the error is that of the signature."""
    protected, _, _, signature = _parts()
    with pytest.raises(SignatureInvalid):
        envelope.verify(Specimen, _join([protected, {}, b"\xff not cbor", signature]))


def test_well_signed_rubbish() -> None:
    """A signed payload that is not the record is malformed."""
    protected = _parts()[0]
    for payload in (b"", b"\xff", cbor2.dumps({"name": "n"}), SPECIMEN.encode() + b"\x00"):
        with pytest.raises(DecodeError):
            envelope.verify(Specimen, _sign_raw(protected, payload))


def test_longer_than_its_kind() -> None:
    """An envelope that is longer than its kind allows is refused before its signature is looked at."""
    header = _header(content_type="application/ddtp-part+cbor")
    payload = b"\x00" * (SignedPart.MAX_BYTES + 600)
    with pytest.raises(DecodeError, match="at most"):
        envelope.verify(SignedPart, _sign_raw(cbor2.dumps(header, canonical=True), payload))


@given(st.integers(0, len(GOOD) - 1))
def test_truncated(length: int) -> None:
    """No proper prefix of an envelope is an envelope."""
    with pytest.raises(DecodeError):
        envelope.verify(Specimen, GOOD[:length])


@settings(max_examples=200)
@given(st.integers(0, len(GOOD) * 8 - 1))
def test_flipped_bit(bit: int) -> None:
    """No envelope with one bit flipped verifies."""
    altered = bytearray(GOOD)
    altered[bit // 8] ^= 1 << bit % 8
    with pytest.raises(EvidenceError) as caught:
        envelope.verify(Specimen, altered)
    assert caught.value.code in {"malformed", "bad-signature"}


@given(st.binary(max_size=300))
def test_arbitrary_bytes(data: bytes) -> None:
    """Arbitrary bytes, with or without the tag, are refused as malformed."""
    for raw in (data, b"\xd2" + data):
        with pytest.raises(DecodeError):
            envelope.verify(Specimen, raw)


def test_digest_covers_the_signature() -> None:
    """Two signatures of one record are two objects, so a reference names exactly one envelope."""
    again = envelope.sign(SPECIMEN, ALICE)
    assert again.body == envelope.verify(Specimen, GOOD).body
    assert again.digest != sm3.digest(GOOD)


def test_size_with_headers() -> None:
    """The allowance for headers holds the largest record of a kind."""

    @dataclass(frozen=True, slots=True)
    class Long(Record):
        KIND: ClassVar[str] = "a-kind-with-a-rather-long-name-of-fifty-characters"
        MAX_BYTES: ClassVar[int] = 1004

        data: bytes

    largest = Long(bytes(1004 - len(codec.encode({"data": bytes(900)})) + 900))
    assert len(largest.encode()) == Long.MAX_BYTES
    assert envelope.verify(Long, envelope.sign(largest, ALICE).envelope).body == largest


def _verify(case: Case) -> str:
    signer = case.data("signer") if "signer" in case.input else None
    signed = envelope.verify(Specimen, case.data("envelope"), signer=signer)
    return signed.digest.hex()


@pytest.mark.parametrize("case", load("04-envelope"), ids=str)
def test_vector(case: Case) -> None:
    """The envelope of a vector verifies and has its digest, or is refused with its code."""
    check(case, {"verify": _verify})


def test_many_envelopes_are_checked_at_once() -> None:
    """The result is that of one by one; one bad envelope among good ones refuses them all."""
    good = [envelope.sign(SignedPart(number), signer).envelope for number in range(6) for signer in (ALICE, BOB)]
    signed = envelope.verify_many(SignedPart, good)
    assert signed == tuple(envelope.verify(SignedPart, each) for each in good)
    assert envelope.verify_many(SignedPart, []) == ()
    flipped = good[7][:-1] + bytes([good[7][-1] ^ 1])
    with pytest.raises(SignatureInvalid):
        envelope.verify_many(SignedPart, [*good[:7], flipped, *good[8:]])
    with pytest.raises(DecodeError):
        envelope.verify_many(SignedPart, [*good, b"noise"])
