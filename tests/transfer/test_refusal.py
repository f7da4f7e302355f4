"""What a peer reads of an error: words about itself, never about this machine."""

import pytest

from ddtp.errors import (
    ConfigInvalid,
    ConsentInvalid,
    DdtpError,
    InternalError,
    NotFound,
    Overloaded,
    PolicyRefused,
    ProtocolViolation,
    StorageFailed,
    StoreDamaged,
)
from ddtp.transfer.refusal import MAX_REASON_CHARACTERS, public_reason


@pytest.mark.parametrize("kind", [ConsentInvalid, ProtocolViolation, PolicyRefused, Overloaded])
def test_what_is_about_the_peer_is_told(kind: type[DdtpError]) -> None:
    """The peer can do something about it."""
    assert public_reason(kind("expected a grant, found none")) == "expected a grant, found none"


@pytest.mark.parametrize("kind", [StorageFailed, StoreDamaged, NotFound, ConfigInvalid, InternalError])
def test_what_is_about_this_machine_is_not(kind: type[DdtpError]) -> None:
    """Such a message may name a path or a setting."""
    assert public_reason(kind("no room in /srv/bank/vault")) == ""


def test_words_are_made_plain_and_short() -> None:
    """They may quote what somebody else sent."""
    assert public_reason(ConsentInvalid("found '\x1b[2J\u202ee\u0301'")) == "found '?[2J?\u00e9'"
    assert len(public_reason(ConsentInvalid("x" * 9000))) == MAX_REASON_CHARACTERS
