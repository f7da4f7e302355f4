"""What a peer may read of an error (spec/12 s.3): words about its own data, never those about this machine."""

from typing import Final

from ddtp.errors import DdtpError, EvidenceError, Overloaded, PeerError, PolicyRefused
from ddtp.protocol.plain_text import plain

MAX_REASON_CHARACTERS: Final = 500
"""Longest reason that is said to a peer: a sentence for people, not a report."""
NO_REASON: Final = "the peer gave no reason"
"""Stands for the words of a peer that has said a code only."""


def public_reason(error: DdtpError) -> str:
    """Return the words of an error that its peer may read, which are none if the error may name a path or a setting."""
    if not isinstance(error, EvidenceError | PeerError | PolicyRefused | Overloaded):
        return ""
    return plain(error.message, most=MAX_REASON_CHARACTERS)
