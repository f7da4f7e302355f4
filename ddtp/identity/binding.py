"""Bindings: this network peer speaks for this identity, now, to you (spec/05-identity s.8).

The network proves who holds a peer id; a binding adds who that is. It covers both peer ids and the nonce of whoever
receives it, so that it is worthless on another connection.
"""

from dataclasses import dataclass
from typing import ClassVar

from ddtp.errors import EvidenceError, SignatureInvalid
from ddtp.identity.did import did_of, public_key_of
from ddtp.identity.document import CLOCK_SKEW_SECONDS
from ddtp.protocol import envelope
from ddtp.protocol.codec import Buffer
from ddtp.protocol.envelope import Signed, Signer
from ddtp.protocol.record import Did, Digest, Name, Record, Seconds


@dataclass(frozen=True, slots=True)
class PeerBinding(Record):
    """A live statement of who speaks.

    Attributes:
        did: Who signs.
        peer_id: The signer's peer id on this connection.
        remote_peer_id: The other side's.
        nonce: The other side's nonce, from its hello.
        issued: When it was signed.
    """

    KIND: ClassVar[str] = "peer-binding"
    MAX_BYTES: ClassVar[int] = 2048

    did: Did
    peer_id: Name
    remote_peer_id: Name
    nonce: Digest
    issued: Seconds


def make_binding(signer: Signer, peer_id: str, *, remote_peer_id: str, nonce: bytes, now: int) -> Signed[PeerBinding]:
    """Sign a binding of our own.

    Args:
        signer: Key of the identity that speaks.
        peer_id: Our peer id.
        remote_peer_id: The other side's, as the network proved it.
        nonce: The other side's nonce, 32 bytes.
        now: The present time, in seconds.
    """
    return envelope.sign(PeerBinding(did_of(signer.public_key), peer_id, remote_peer_id, nonce, now), signer)


def check_binding(
    binding: Buffer,
    did: str | None = None,
    *,
    peer_id: str,
    remote_peer_id: str,
    nonce: bytes,
    now: int,
    skew_seconds: int = CLOCK_SKEW_SECONDS,
) -> str:
    """Check the other side's binding; return the identifier that speaks.

    Args:
        binding: Its envelope.
        did: Who must speak; None accepts anybody, whom the caller then judges.
        peer_id: Our own peer id.
        remote_peer_id: The other side's, as the network proved it.
        nonce: The nonce that we sent, 32 bytes.
        now: The present time, in seconds.
        skew_seconds: By how much the two clocks may differ.

    Raises:
        DecodeError: It is malformed.
        SignatureInvalid: It is not signed by the key that it names, or by another identity than `did`.
        EvidenceError: It belongs to another connection, or the clocks differ too much.
    """
    signed = envelope.verify(PeerBinding, binding)
    body = signed.body
    if signed.signer != public_key_of(body.did):
        raise SignatureInvalid("expected the binding to be signed by the key that it names, found another signer")
    if did is not None and body.did != did:
        raise SignatureInvalid("expected the binding of another identity")
    # seen from the other side, we are the remote peer
    if (body.peer_id, body.remote_peer_id, body.nonce) != (remote_peer_id, peer_id, nonce):
        raise EvidenceError("expected a binding for this connection, found one for another")
    if abs(body.issued - now) > skew_seconds:
        raise EvidenceError(
            f"expected clocks that differ by at most {skew_seconds} seconds, found {abs(body.issued - now)}",
            hint="set the clock of this machine",
        )
    return body.did
