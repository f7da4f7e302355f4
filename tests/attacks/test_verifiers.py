"""Verifiers that are away, unknown, or lie."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ddtp.agent.context import VERIFY_PROTOCOL
from ddtp.agent.facade import Agent
from ddtp.agent.judging import MAX_QUESTION_BYTES, VerifyQuestion
from ddtp.agent.sending import PreparedTransfer
from ddtp.config import CARD_FILE
from ddtp.crypto import sm3
from ddtp.errors import PeerRefused
from ddtp.identity.document import Role
from ddtp.identity.keys import PrivateKey
from ddtp.protocol import envelope
from ddtp.store.records import TransferState
from ddtp.transfer import rpc
from ddtp.transfer.stream import FlowStream
from ddtp.verify import Verdict
from tests.town import FILES, House, Town, read_files


@dataclass
class Court:
    """A receiver that has a verifier elsewhere, and a person with something for it."""

    town: Town
    verifier: House
    receiver: House
    person: Agent
    prepared: PreparedTransfer

    async def refuse(self) -> str:
        """Send; return the code of the refusal, after which nothing has changed at the receiver."""
        with pytest.raises(PeerRefused) as caught:
            await self.person.send(self.prepared)
        assert self.receiver.remains() == []
        return caught.value.reason_code


async def open_verifier(town: Town, **changes: object) -> House:
    policy = town.folder / "verifier-policy.toml"
    policy.write_text(town.policy())
    return await town.open("verifier", town.config("verifier", Role.VERIFIER, verifier_policy=policy, **changes))


async def open_court(town: Town, *, trusted: bool = True) -> Court:
    verifier = await open_verifier(town)
    trust = [verifier.agent.context.seed.verifier_key().did] if trusted else []
    receiver = await town.open_receiver(
        "judged", verifier=verifier.config.home / CARD_FILE, policy=town.policy(verifiers=trust)
    )
    person = await town.person()
    package = await town.issue(person)
    return Court(town, verifier, receiver, person, await person.prepare(package.path, card=receiver.card))


@pytest.fixture
async def court(town: Town) -> Court:
    """A court whose verifier is trusted."""
    return await open_court(town)


def lie(court: Court, *, signer: PrivateKey | None = None, **changes: object) -> None:
    """Make the verifier say yes to everything, with some parts of its verdict changed."""
    agent = court.verifier.agent
    key = signer or agent.context.seed.verifier_key()

    async def say_yes(question: bytes, _peer: str) -> bytes:
        asked = VerifyQuestion.parse(question)
        verdict = Verdict(sm3.digest(asked.evidence), asked.receiver, agent.context.clock(), passed=True)
        return envelope.sign(replace(verdict, **changes), key).envelope

    async def handler(stream: FlowStream) -> None:
        await rpc.answer(stream, say_yes, max_request_bytes=MAX_QUESTION_BYTES, timeout_seconds=10)

    agent.host.serve(VERIFY_PROTOCOL, handler)


async def test_the_person_reads_who_judges(court: Court) -> None:
    """Evidence goes to a party that stands on the screen."""
    assert court.prepared.request.body.verifier == court.verifier.did
    assert f"> {court.verifier.did}" in court.prepared.screen


async def test_a_verifier_elsewhere_decides(court: Court) -> None:
    """What a trusted verifier accepts is released."""
    sent = await court.person.send(court.prepared)
    assert sent.verified
    assert read_files(court.receiver.inbox / sent.transfer_id.hex() / "files") == FILES


async def test_a_verifier_that_is_away_means_not_now(court: Court) -> None:
    """The holder hears that the verifier cannot be reached, keeps the transfer, and resumes it when it is back."""
    await court.town.close("verifier")
    assert await court.refuse() == "unreachable"
    (row,) = await court.person.transfers()
    assert row.state is TransferState.FAILED
    # it comes back at another port; the receiver reads its card when it starts
    await open_verifier(court.town)
    config = court.receiver.config
    await court.town.close("judged")
    receiver = await court.town.open("judged", config)
    await court.person.remember_card(receiver.card.envelope)
    sent = await court.person.resume(row.transfer_id)
    assert sent.verified
    assert read_files(receiver.inbox / row.transfer_id.hex() / "files") == FILES


async def test_a_verdict_of_a_verifier_that_the_policy_does_not_name_is_refused(town: Town) -> None:
    """A card says where a verifier answers, not that it is believed."""
    court = await open_court(town, trusted=False)
    assert await court.refuse() == "policy-refused"


async def test_a_verdict_signed_by_somebody_else_is_refused(court: Court) -> None:
    """Whoever answers in the verifier's place lacks its key."""
    lie(court, signer=court.person.context.seed.verifier_key())
    assert await court.refuse() == "policy-refused"


@pytest.mark.parametrize("part", ["evidence", "receiver", "at"])
async def test_a_verdict_on_something_else_is_refused(court: Court, part: str) -> None:
    """A verdict counts for one piece of evidence, one receiver, and a short time."""
    other = {"evidence": bytes(32), "receiver": court.verifier.did, "at": court.town.clock.now - 100_000}
    lie(court, **{part: other[part]})
    assert await court.refuse() == "evidence-invalid"


async def test_a_verdict_that_is_no_verdict_is_refused(court: Court) -> None:
    """Other signed objects, or noise, do not pass."""

    async def noise(_question: bytes, _peer: str) -> bytes:
        return court.verifier.card.envelope

    async def handler(stream: FlowStream) -> None:
        await rpc.answer(stream, noise, max_request_bytes=MAX_QUESTION_BYTES, timeout_seconds=10)

    court.verifier.agent.host.serve(VERIFY_PROTOCOL, handler)
    assert await court.refuse() in {"malformed", "bad-signature"}


async def test_a_verifier_does_not_see_payload(court: Court, tmp_path: Path) -> None:
    """What the verifier is asked contains neither file names nor values nor bytes of the package."""
    questions: list[bytes] = []
    agent = court.verifier.agent
    lie(court)
    true_handler = agent.host._handlers[VERIFY_PROTOCOL]

    class Tapped:
        def __init__(self, stream: FlowStream) -> None:
            self._stream = stream
            self.remote_peer_id = stream.remote_peer_id

        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            questions.append(await self._stream.receive_some(max_bytes))
            return questions[-1]

        async def send_all(self, data: bytes) -> None:
            await self._stream.send_all(data)

        async def aclose(self) -> None:
            await self._stream.aclose()

    async def tapped(stream: FlowStream) -> None:
        await true_handler(Tapped(stream))

    agent.host.serve(VERIFY_PROTOCOL, tapped)
    sent = await court.person.send(court.prepared)
    assert sent.verified
    seen = b"".join(questions)
    assert len(seen) > 1000
    for secret in ("小明".encode(), b"transactions.json", b"deed.pdf", b"%PDF-", b'{"balance": 1}'):
        assert secret not in seen
