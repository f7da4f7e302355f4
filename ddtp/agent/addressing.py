"""Use case: what a person hands to one institution, so that packages can be made out to them (spec/05 s.7)."""

from ddtp.identity.document import HolderAddress
from ddtp.identity.keys import Seed
from ddtp.protocol import envelope
from ddtp.protocol.envelope import Signed


def holder_address(seed: Seed, counterparty: str, *, now: int) -> Signed[HolderAddress]:
    """Return the address for one counterparty; no other can link it to this person.

    Args:
        seed: The person's seed.
        counterparty: DID of the institution, or `keys.SELF`.
        now: Seconds since the epoch.
    """
    signer = seed.holder_key(counterparty)
    agreement = seed.agreement_key(counterparty).public_key
    return envelope.sign(HolderAddress(did=signer.did, agreement=agreement, issued=now), signer)
