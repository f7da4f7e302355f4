"""A holder's side that says what a test puts into its mouth; it never gets beyond its offer."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace

from ddtp.agent.context import TRANSFER_PROTOCOL
from ddtp.agent.facade import Agent
from ddtp.errors import InternalError
from ddtp.identity.binding import make_binding
from ddtp.identity.document import Card
from ddtp.identity.keys import PrivateKey
from ddtp.protocol.envelope import SUITE, Signed
from ddtp.protocol.messages import Accept, Finish, Hello, KeyRelease, Offer, ReceiptMessage
from ddtp.transfer.ports import Deadlines, Progress, Run
from ddtp.transfer.sender import send_transfer


def ignore(_progress: Progress) -> None:
    """Nobody waits."""


@dataclass
class Imposter:
    """Offers something as somebody.

    Attributes:
        agent: Whose network identity is used.
        holder: Who it claims to be, with the key for it.
        said: The offer; its binding is made anew, unless one is given.
        binding: What to replay instead.
        spoken: The binding that was sent last.
    """

    agent: Agent
    holder: PrivateKey
    said: Offer
    binding: bytes | None = None
    spoken: bytes = b""

    def hello(self) -> Hello:
        return Hello(suites=(SUITE,), nonce=self.agent.context.random_bytes(32))

    async def offer(self, hello: Hello, remote_peer_id: str) -> Offer:
        fresh = make_binding(
            self.holder,
            self.agent.context.peer_id,
            remote_peer_id=remote_peer_id,
            nonce=hello.nonce,
            now=self.agent.context.clock(),
        )
        self.spoken = self.binding or fresh.envelope
        return replace(self.said, binding=self.spoken)

    async def runs(self, accept: Accept, *, most_chunks: int) -> AsyncGenerator[Run, None]:
        raise InternalError(f"expected no accept, found one of {accept.transfer_id.hex()} for {most_chunks} at a time")
        yield Run(0, 0, b"", b"")

    async def finish(self) -> Finish:
        raise InternalError("expected no accept")

    async def release_key(self, receipt: ReceiptMessage) -> KeyRelease:
        raise InternalError(f"expected no receipt, found one of {receipt.stage}")

    async def run(self, card: Signed[Card]) -> ReceiptMessage:
        """Make the offer to an institution."""
        stream = await self.agent.context.dial(card.body.addresses, TRANSFER_PROTOCOL)
        return await send_transfer(stream, self, progress=ignore, deadlines=Deadlines())
