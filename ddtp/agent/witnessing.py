"""Use case: a neutral witness attests a fingerprint for a person, and sees nothing else (spec/09 s.8)."""

from ddtp.agent.anchoring import record, remote_ledger
from ddtp.agent.context import CALL_TIMEOUT_SECONDS, WITNESS_PROTOCOL, Context
from ddtp.agent.dialing import check_role, questions
from ddtp.chain import statement
from ddtp.chain.proof import AnchorProof
from ddtp.chain.statement import AnchorStatement, Entry, EntryKind
from ddtp.chain.witness import AttestRequest
from ddtp.errors import NotFound
from ddtp.identity import did as dids
from ddtp.identity.document import Card, Role
from ddtp.protocol import envelope
from ddtp.protocol.envelope import Signed, Signer
from ddtp.transfer import rpc

MAX_ATTESTATION_BYTES = 4096
"""A signed statement is about 300 bytes."""


async def witnessed_anchor(context: Context, witness: Signed[Card], *, subject: bytes, signer: Signer) -> AnchorProof:
    """Have a witness attest the blinded digest of a subject, and anchor it on the witness's ledger.

    Args:
        context: Surroundings of a person.
        witness: Card of the witness, which names a ledger.
        subject: What is blinded; it never leaves this machine.
        signer: The person's key, which authorises the witness.

    Raises:
        NotFound: The institution is no witness, or its card names no ledger.
        PeerUnreachable, PeerRefused: The witness or its ledger cannot be asked, or refuses.
        SignatureInvalid: Another one answered.
    """
    check_role(witness.body, Role.WITNESS)
    if not witness.body.logs:
        raise NotFound(f"expected a ledger on the card of {witness.body.name}, found none")
    salt = context.random_bytes(32)
    digest = statement.blind(salt, subject)
    request = AttestRequest(digest=digest, witness=dids.public_key_of(witness.body.did), at=context.clock())
    async with questions(context, witness.body.addresses, WITNESS_PROTOCOL, who=witness.body.name) as stream:
        answer = await rpc.call(
            stream,
            envelope.sign(request, signer).envelope,
            max_response_bytes=MAX_ATTESTATION_BYTES,
            timeout_seconds=CALL_TIMEOUT_SECONDS,
        )
    attested = envelope.verify(AnchorStatement, answer, signer=witness.signer)
    entry = Entry(kind=EntryKind.ANCHOR, digest=digest, hour=attested.body.hour, statements=(attested.envelope,))
    async with remote_ledger(context, witness.body.logs[0]) as ledger:
        return await record(ledger, entry, salt=salt)
