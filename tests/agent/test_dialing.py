"""Asking another party: its name stands first in what goes wrong, and the end of a stream of answers is no failure."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import trio

from ddtp.agent.anchoring import remote_ledger
from ddtp.agent.dialing import check_role, questions
from ddtp.errors import NotFound, PeerUnreachable
from ddtp.identity.document import Role
from ddtp.transfer.stream import FlowStream
from tests.town import ORIGIN, Town


async def test_a_ledger_that_is_away_is_named(town: Town) -> None:
    """Its origin first, then what was tried and what the system said."""
    person = await town.person()
    (log,) = town.ledger.card.body.logs
    await town.close("ledger")
    with pytest.raises(PeerUnreachable, match=rf"^the ledger {ORIGIN} does not answer: .*127\.0\.0\.1") as caught:
        async with remote_ledger(person.context, log):
            pytest.fail("nobody is there")
    assert isinstance(caught.value.__cause__, PeerUnreachable)


async def test_a_role_must_stand_on_the_card(town: Town) -> None:
    """Who does not issue is not asked for packages, and the error says what the institution does."""
    check_role(town.issuer.card.body, Role.ISSUER)
    person = await town.person()
    with pytest.raises(NotFound, match="role issuer, found Receiver with the roles: receiver"):
        await person.collect(town.receiver.card)
    with pytest.raises(NotFound, match="role witness, found Issuer with the roles: issuer"):
        await person.pack([], schema="s/1", witness=town.issuer.card)


async def test_a_peer_that_leaves_after_its_answers_has_answered(town: Town) -> None:
    """A ledger that is stopped in the moment when its reader has finished does not make the reader fail."""

    class Gone:
        """A stream whose peer does not confirm its end."""

        async def aclose(self) -> None:
            raise trio.BrokenResourceError

    async def dial(_addresses: Sequence[str], _protocol: str) -> FlowStream:
        return Gone()

    context = replace((await town.person()).context, dial=dial)
    async with questions(context, [], "/ddtp/ledger/1.0.0", who="somebody"):
        pass
