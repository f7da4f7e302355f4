"""The attacks of the demo: real ones, over the network, by who has the person's keys and a program without scruples."""

import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final

import trio

from ddtp.agent.facade import Agent, wall_clock
from ddtp.agent.judging import remote_judge
from ddtp.agent.opening import OpenPackage, open_package, transfer_content
from ddtp.agent.packing import KEY_WRAP_INFO, package_context
from ddtp.agent.receiving import evidence_of
from ddtp.agent.sending import fetch_request
from ddtp.cli.demo_town import REQUEST, SHORT_REQUEST
from ddtp.consent.grant import Grant
from ddtp.crypto.sm4 import TAG_SIZE
from ddtp.errors import InternalError, PeerRefused, PeerUnreachable, VerificationFailed
from ddtp.identity.document import Card
from ddtp.identity.keys import Seed
from ddtp.protocol import envelope, keywrap
from ddtp.protocol.chunks import ChunkCipher, SealHeader, sealed_offset, sealed_size
from ddtp.protocol.envelope import Signed
from ddtp.protocol.messages import Offer
from ddtp.protocol.openings import Disclosure
from ddtp.store.durable import storage_errors
from ddtp.store.records import TransferRow, TransferState
from ddtp.verify.policy import TrustPolicy
from ddtp.verify.steps import Step

FILE: Final = "transactions.csv"
GENUINE: Final = b"14406.34"
FORGED: Final = b"94406.34"
"""The closing balance; one byte is another."""

_DEAD_PORT: Final = 1
"""Reserved for a service that nobody runs any more: a dial ends at once."""


@dataclass(frozen=True, slots=True)
class Caught:
    """How an attack ended.

    Attributes:
        step: The verification step that refused it.
        reason: What the refusing institution said.
    """

    step: Step
    reason: str


@final
class Attacker:
    """Somebody with the person's own keys.

    Args:
        agent: The person's identity on another machine.
        verifier: Card of the verifier whom the banks ask; it names the step behind a refusal.
        policy: Policy of the banks.
    """

    def __init__(self, agent: Agent, *, verifier: Signed[Card], policy: TrustPolicy) -> None:
        self._agent = agent
        self._verifier = verifier
        self._policy = policy

    async def send_altered(self, package: Path, forged: Path, *, card: Signed[Card]) -> Caught:
        """Change one byte of a file in a package, and send that with a fresh consent.

        Raises:
            InternalError: The receiver accepted it.
        """
        await trio.to_thread.run_sync(lambda: forge(package, forged, seed=self._agent.context.seed))
        sent = await self._agent.send(await self._agent.prepare(forged, card=card, template=REQUEST))
        if sent.verified or sent.failed_step is None:
            raise InternalError("expected the receiver to reject an altered file, found that it accepted it")
        return Caught(Step(sent.failed_step), sent.reason or "")

    async def replay(self, genuine: TransferRow, *, card: Signed[Card], own_request: bool) -> Caught:
        """Offer what was granted to one institution to another one, the same grant included.

        Args:
            genuine: The transfer to the institution that the consent is for.
            card: The other institution.
            own_request: Put the other institution's request in the place of the one that was answered.

        Raises:
            InternalError: The other institution accepted it.
        """
        context = self._agent.context
        transfer_id = context.random_bytes(16)
        paths = {package.package_id: package.path for package in await self._agent.packages()}
        offer = replace(Offer.parse(genuine.offer), transfer_id=transfer_id)
        if own_request:
            request = await fetch_request(context, card, template=REQUEST)
            offer = replace(offer, request=request.envelope)
        secret = context.random_bytes(32)
        seal = await trio.to_thread.run_sync(lambda: self._sealed_anew(paths[genuine.package_id], offer, card, secret))
        offer = replace(offer, seal=seal)
        row = replace(
            genuine,
            transfer_id=transfer_id,
            state=TransferState.OFFERED,
            peer=card.body.did,
            peer_name=card.body.name,
            offer=offer.encode(),
            secret=secret,
        )
        await self._agent.remember_card(card.envelope)
        await self._agent.records.add_transfer(row)
        return await self._resume(row, card)

    def _sealed_anew(self, package: Path, offer: Offer, card: Signed[Card], secret: bytes) -> SealHeader:
        opened = open_package(package, self._agent.context.seed)
        opened.reader.close()
        content = transfer_content(
            opened,
            Disclosure.parse(offer.disclosure),
            transfer_id=offer.transfer_id,
            receiver=card.body.did,
            content_key=secret,
        )
        return content.header

    async def consent_without_sending(self, package: Path, *, card: Signed[Card]) -> TransferRow:
        """Give a consent that soon ends, while the institution cannot be reached; return the transfer that waits."""
        prepared = await self._agent.prepare(package, card=card, template=SHORT_REQUEST)
        peer_id = card.body.addresses[0].rpartition("/")[2]
        nowhere = replace(card.body, addresses=(f"/ip4/127.0.0.1/tcp/{_DEAD_PORT}/p2p/{peer_id}",))
        with suppress(PeerUnreachable):
            await self._agent.send(replace(prepared, card=replace(card, body=nowhere)))
        return (await self._agent.transfers())[0]

    async def send_late(self, row: TransferRow, *, card: Signed[Card]) -> Caught:
        """Use a consent after its end.

        Raises:
            InternalError: The receiver accepted it.
        """
        ends = envelope.verify(Grant, Offer.parse(row.offer).grant).body.when.expires
        await trio.sleep(max(0, ends + 1 - time.time()))
        return await self._resume(row, card)

    async def _resume(self, row: TransferRow, card: Signed[Card]) -> Caught:
        try:
            await self._agent.resume(row.transfer_id)
        except PeerRefused as refusal:
            if refusal.reason_code != VerificationFailed.code:
                raise
            return Caught(await self._failed_step(row, card), refusal.message)
        raise InternalError(f"expected {card.body.name} to decline, found that it accepted")

    async def _failed_step(self, row: TransferRow, card: Signed[Card]) -> Step:
        """Ask the verifier, as the institution has done: a decline gives the reason only."""
        judge = remote_judge(self._agent.context, self._verifier, policy=self._policy, receiver=card.body.did)
        try:
            await judge(evidence_of(Offer.parse(row.offer)), now=wall_clock())
        except VerificationFailed as failure:
            return Step(failure.step)
        raise InternalError("expected the verifier to refuse the evidence, found that it accepts it")


def forge(package: Path, forged: Path, *, seed: Seed) -> None:
    """Copy a package file with one byte of `FILE` changed, sealed again so that every chunk still opens.

    Args:
        package: The genuine package file.
        forged: The file to write.
        seed: The holder's keys, which open the package.

    Raises:
        StorageFailed: The disk refuses.
    """
    opened = open_package(package, seed)
    try:
        reader, size = opened.reader, opened.layout.chunk_size
        index, start = divmod(_position(opened), size)
        chunk = bytearray(reader.read(index * size, sealed_size(index, reader.seal) - TAG_SIZE))
        chunk[start : start + len(FORGED)] = FORGED
        sealed = _cipher(opened, seed).seal(index, bytes(chunk))
    finally:
        opened.reader.close()
    with storage_errors(forged):
        shutil.copyfile(package, forged)
        with forged.open("r+b") as file:
            file.seek(sealed_offset(index, size))
            file.write(sealed)


def _position(opened: OpenPackage) -> int:
    """Return where the balance stands in the content; the file is shorter than a chunk, so it lies in one piece."""
    heads = [opening.head for opening in opened.package.openings.files]
    part = next(part for part, head in enumerate(heads) if head.path == FILE)
    first = opened.layout.locate(part, 0)
    return first + bytes(opened.reader.read(first, heads[part].size_bytes)).rindex(GENUINE)


def _cipher(opened: OpenPackage, seed: Seed) -> ChunkCipher:
    manifest, header = opened.manifest, opened.reader.header
    key = seed.agreement_key(manifest.body.issuer).raw
    content_key = keywrap.unwrap(header.wrapped_key, private_key=key, info=KEY_WRAP_INFO, aad=manifest.digest)
    context = package_context(manifest.body.package_id, manifest.body.issuer, manifest.body.holder)
    return ChunkCipher.open_with(content_key, header.seal, context=context)
