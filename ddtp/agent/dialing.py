"""Asking another party questions: who it is stands first in what goes wrong, and who does not do it is not called."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

from ddtp.agent.context import Context
from ddtp.agent.lines import hang_up
from ddtp.errors import NotFound, PeerUnreachable
from ddtp.identity.document import Card, Role
from ddtp.transfer.stream import FlowStream


def check_role(card: Card, role: Role) -> None:
    """Check that an institution does what is about to be asked of it.

    Raises:
        NotFound: Its card does not say so.
    """
    if role not in card.roles:
        roles = ", ".join(each.value for each in card.roles) or "none"
        raise NotFound(
            f"expected an institution with the role {role.value}, found {card.name} with the roles: {roles}",
            hint="take the card of an institution that has it",
        )


@contextmanager
def naming(who: str) -> Iterator[None]:
    """Say who did not answer, before where and why.

    Raises:
        PeerUnreachable: As the block raised it, with the name in front.
    """
    try:
        yield
    except PeerUnreachable as err:
        raise PeerUnreachable(f"{who} does not answer: {err.message}", hint=err.hint) from err


@asynccontextmanager
async def questions(
    context: Context, addresses: Sequence[str], protocol: str, *, who: str
) -> AsyncIterator[FlowStream]:
    """Open a stream for questions and answers.

    Args:
        context: Surroundings.
        addresses: Where the party answers.
        protocol: What is spoken.
        who: The party, as people call it.

    Raises:
        PeerUnreachable: No address answered; names the party.
    """
    lines = context.lines
    opening = _dialled(context, addresses, protocol) if lines is None else lines.line(addresses, protocol)
    async with AsyncExitStack() as stack:
        with naming(who):
            stream = await stack.enter_async_context(opening)
        yield stream


@asynccontextmanager
async def _dialled(context: Context, addresses: Sequence[str], protocol: str) -> AsyncIterator[FlowStream]:
    stream = await context.dial(addresses, protocol)
    try:
        yield stream
    finally:
        await hang_up(stream)
