"""Holders who send other content than their issuer signed: the receiver rejects it by a signed receipt."""

from dataclasses import replace

import pytest

from ddtp.agent.context import TRANSFER_PROTOCOL
from ddtp.agent.exchange import HolderSide, Material
from ddtp.agent.facade import Agent
from ddtp.agent.opening import TransferContent, open_package, transfer_context
from ddtp.errors import PeerVanished
from ddtp.identity.document import Card
from ddtp.protocol import envelope
from ddtp.protocol.chunks import ChunkCipher
from ddtp.protocol.envelope import Signed
from ddtp.protocol.messages import Offer, ReceiptMessage, Stage
from ddtp.protocol.openings import Disclosure
from ddtp.store.records import TransferRow, TransferState
from ddtp.transfer.ports import Deadlines
from ddtp.transfer.sender import send_transfer
from ddtp.verify import Receipt, Step
from tests.attacks.imposter import ignore
from tests.attacks.quiet import Leaving, Way, leaving_holder
from tests.town import Town


class Forgery:
    """The content of a transfer with some chunks replaced."""

    def __init__(self, content: TransferContent, chunks: dict[int, bytes]) -> None:
        self.header = content.header
        self.chunk_count = content.chunk_count
        self._content = content
        self._chunks = chunks

    def sealed(self, index: int) -> bytes:
        return self._chunks.get(index) or self._content.sealed(index)


def flip(data: bytes, position: int) -> bytes:
    return data[:position] + bytes((data[position] ^ 1,)) + data[position + 1 :]


def forge(content: TransferContent, cipher: ChunkCipher, how: str) -> Forgery:
    """Replace something in one of the forbidden ways."""
    first = content.sealed(0)
    opened = content.header.openings_offset
    index, place = divmod(opened + 5, content.header.chunk_size)
    with_openings = content.sealed(index)
    chunks = {
        "content": {0: cipher.seal(0, flip(cipher.open(0, first), 0))},
        "ciphertext": {0: flip(first, 0)},
        "tag": {0: flip(first, len(first) - 1)},
        "order": {0: content.sealed(1), 1: first},
        "openings": {index: cipher.seal(index, flip(cipher.open(index, with_openings), place))},
    }
    return Forgery(content, chunks[how])


async def broken_off(town: Town, person: Agent) -> TransferRow:
    """A transfer that was offered, and of which nothing was sent."""
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    with pytest.raises(PeerVanished):
        await leaving_holder(person, sends=2, leaving=Leaving(Way.GONE)).send(prepared)
    (row,) = await person.transfers()
    return row


async def deliver(person: Agent, row: TransferRow, card: Signed[Card], how: str) -> ReceiptMessage:
    """Go on with a transfer, with forged content."""
    (package,) = await person.packages()
    offer = Offer.parse(row.offer)
    opened = open_package(package.path, person.context.seed)
    size = offer.seal.chunk_size
    context = transfer_context(row.transfer_id, sender=opened.holder.did, receiver=row.peer, chunk_size=size)
    _, openings = opened.package.disclose(Disclosure.parse(offer.disclosure).indexes())
    assert row.secret is not None
    content = TransferContent(opened, openings, content_key=row.secret, salt=offer.seal.salt, context=context)
    cipher = ChunkCipher(row.secret, salt=offer.seal.salt, context=context)
    if how == "key":
        row = replace(row, secret=flip(row.secret, 0))
    else:
        content = forge(content, cipher, how)
    port = HolderSide(person.context, Material(row, opened, content, card, card.body.logs[0]), cipher=None)
    try:
        stream = await person.context.dial(card.body.addresses, TRANSFER_PROTOCOL)
        return await send_transfer(stream, port, progress=ignore, deadlines=Deadlines())
    finally:
        opened.reader.close()


@pytest.mark.parametrize(
    ("how", "step"),
    [
        ("content", Step.CONTENT),
        ("ciphertext", Step.CONTENT),
        ("tag", Step.CONTENT),
        ("order", Step.CONTENT),
        ("openings", Step.OPENINGS),
        ("key", Step.OPENINGS),
    ],
)
async def test_forged_content_is_rejected_and_never_released(town: Town, how: str, step: Step) -> None:
    """The receipt names the step that failed; the inbox stays empty, and an honest repetition does not help."""
    person = await town.person()
    row = await broken_off(town, person)
    answer = await deliver(person, row, town.receiver.card, how)
    assert answer.stage is Stage.REJECTED
    receipt = envelope.verify(Receipt, answer.receipt, signer=town.receiver.card.signer)
    assert receipt.body.step == step
    assert town.receiver.remains() == []
    (there,) = await town.receiver.agent.transfers()
    assert (there.state, there.failed_step, there.secret) == (TransferState.REJECTED, step, None)


async def test_a_rejection_is_final(town: Town) -> None:
    """The holder who comes back with the true content gets the signed rejection again, and keeps it."""
    person = await town.person()
    row = await broken_off(town, person)
    answer = await deliver(person, row, town.receiver.card, "content")
    sent = await person.resume(row.transfer_id)
    assert not sent.verified
    assert sent.failed_step == Step.CONTENT
    assert sent.receipt.envelope == answer.receipt
    (kept,) = await person.transfers()
    assert (kept.state, kept.secret) == (TransferState.REJECTED, None)
