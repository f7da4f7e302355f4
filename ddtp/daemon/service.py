"""The institution's service: one process, any of the roles, stopped cleanly (architecture: daemon).

The tree: lock of the home > own log > agent (records, host) > one handler per stream. Stopping goes the other way: new
streams are refused, transfers in flight get `drain_seconds`, then everything is cancelled; what was acknowledged is
durable, and a holder's resume goes on where it ended.
"""

import json
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import final

import trio

from ddtp.agent.anchoring import log_of_card, read_card
from ddtp.agent.checking import load_policy
from ddtp.agent.claims import Claims
from ddtp.agent.collecting import MAX_QUESTION_BYTES, Counter, Shelf
from ddtp.agent.context import (
    COLLECT_PROTOCOL,
    LEDGER_PROTOCOL,
    REQUEST_PROTOCOL,
    TRANSFER_PROTOCOL,
    VERIFY_PROTOCOL,
    WITNESS_PROTOCOL,
    check_vault,
)
from ddtp.agent.dialing import check_role
from ddtp.agent.facade import SERVICE_STATE_FILE, Agent, make_card, open_agent, own_ledger, wall_clock
from ddtp.agent.judging import MAX_QUESTION_BYTES as MAX_VERIFY_BYTES
from ddtp.agent.judging import Judge, answer_question, local_judge, remote_judge
from ddtp.agent.notifying import notify
from ddtp.agent.receiving import receive
from ddtp.agent.reception import Reception
from ddtp.agent.requesting import MAX_TEMPLATE_NAME_BYTES, check_templates, make_request, template_names
from ddtp.agent.tidying import anchor_receipts, clean_up, delete_quarantine, give_up_idle
from ddtp.chain.admission import policy_entry
from ddtp.chain.ledger import Ledger
from ddtp.chain.ledger_service import MAX_REQUEST_BYTES, LedgerService
from ddtp.chain.statement import Entry, EntryKind
from ddtp.chain.witness import AttestRequest, attest
from ddtp.config import CARD_FILE, Config
from ddtp.crypto import _backend
from ddtp.daemon.readiness import check_addresses, check_roles, is_place, listens_anywhere
from ddtp.errors import ConfigInvalid, DdtpError, NotFound, Overloaded, PolicyRefused
from ddtp.identity.document import Card, LogRef, Role, encode_card_text
from ddtp.protocol.envelope import Signed
from ddtp.store.durable import write_file
from ddtp.store.keystore import load_identity, locked
from ddtp.store.records import TransferRow
from ddtp.transfer import rpc
from ddtp.transfer.addresses import multiaddr_group
from ddtp.transfer.lan import announce
from ddtp.transfer.pacing import Pace
from ddtp.transfer.reservation import Reservations, circuit_address
from ddtp.transfer.stream import FlowStream
from ddtp.verify.policy import TrustPolicy

CARD_VALID_SECONDS = 400 * 86400
"""A little over a year, so that a yearly change of cards never leaves a gap."""
TIDY_SECONDS = 3600.0
"""Transfers are given up after a week, and ledgers are down for minutes or hours."""
UNTOLD_TRANSFERS = 64
"""Transfers that have ended and wait for the command of [notify]; a slow command loses those beyond."""
QUESTION_SECONDS = 60.0
"""For the next question on a stream."""
RELAY_SECONDS = 10.0
"""For a place at a relay before the service says that it is ready; it goes on asking afterwards."""

_log = logging.getLogger(__name__)

Handler = Callable[[FlowStream], Awaitable[None]]


@final
class Service:
    """The handlers of one daemon.

    Args:
        agent: The open home.
        ledger: The own log, if there is one.
    """

    def __init__(self, agent: Agent, ledger: Ledger | None) -> None:
        self._agent = agent
        self._context = agent.context
        self._config = agent.context.config
        self._ledger = ledger
        self._stopping = trio.Event()
        self._streams = 0
        self._idle = trio.Event()
        self._claims = Claims()
        self._concluded = trio.Event()
        self._anchoring = trio.Lock()
        self._ended, self._untold = trio.open_memory_channel[TransferRow](UNTOLD_TRANSFERS)

    def register(self) -> None:
        """Answer the protocols of the configured roles.

        Raises:
            ConfigInvalid: A role lacks a setting, or a policy or template is wrong.
        """
        check_roles(self._config)
        handlers = {
            Role.LEDGER: self._register_ledger,
            Role.RECEIVER: self._register_receiver,
            Role.VERIFIER: self._register_verifier,
            Role.WITNESS: self._register_witness,
            Role.ISSUER: self._register_issuer,
        }
        for role in sorted(self._config.roles, key=lambda role: role.value):
            handlers[role]()

    async def drain(self) -> bool:
        """Refuse new streams and wait for those in flight; return False if some did not end in time."""
        self._stopping.set()
        with trio.move_on_after(self._config.drain_seconds):
            if self._streams:
                await self._idle.wait()
            await self._anchor()
        return self._streams == 0

    def _serve(self, protocol: str, handler: Handler) -> None:
        async def counted(stream: FlowStream) -> None:
            if self._stopping.is_set():
                raise Overloaded("expected a service that goes on, found one that is stopping")
            self._streams += 1
            try:
                await handler(stream)
            finally:
                self._streams -= 1
                if self._stopping.is_set() and not self._streams:
                    self._idle.set()

        self._agent.host.serve(protocol, counted)

    def _serve_questions(self, protocol: str, handle: rpc.Handle, *, max_bytes: int) -> None:
        async def handler(stream: FlowStream) -> None:
            await rpc.answer(stream, handle, max_request_bytes=max_bytes, timeout_seconds=QUESTION_SECONDS)

        self._serve(protocol, handler)

    async def log_policy(self) -> None:
        """Put the admission policy on the own log unless it is there, so that readers know who may append what."""
        if self._ledger is None:
            return
        entry = policy_entry(self._config.admission, now=self._context.clock())
        for position in await self._ledger.lookup(entry.digest):
            (found,) = await self._ledger.entries(position, position + 1)
            if Entry.parse(found).kind is EntryKind.POLICY:
                return
        await self._ledger.append([entry.encode()])

    def _register_ledger(self) -> None:
        assert self._ledger is not None, "checked at the start"
        # our own commands talk to our service under the same identity
        writers = self._config.ledger_writers | {self._context.peer_id}
        service = LedgerService(self._ledger, writers=writers, closed=self._config.ledger_closed)

        async def handler(stream: FlowStream) -> None:
            handle = partial(service.handle, address=multiaddr_group(stream.remote_address))
            await rpc.answer(stream, handle, max_request_bytes=MAX_REQUEST_BYTES, timeout_seconds=QUESTION_SECONDS)

        self._serve(LEDGER_PROTOCOL, handler)

    def _register_verifier(self) -> None:
        path = self._config.verifier_policy
        assert path is not None, "checked at the start"
        policy = load_policy(path)
        signer = self._context.seed.verifier_key()

        async def handle(question: bytes, _peer: str) -> bytes:
            now = self._context.clock()
            return await trio.to_thread.run_sync(
                lambda: answer_question(question, policy=policy, signer=signer, now=now)
            )

        self._serve_questions(VERIFY_PROTOCOL, handle, max_bytes=MAX_VERIFY_BYTES)

    def _register_witness(self) -> None:
        async def handle(request: bytes, _peer: str) -> bytes:
            statement = attest(request, signer=self._context.institution_key, now=self._context.clock())
            return statement.envelope

        self._serve_questions(WITNESS_PROTOCOL, handle, max_bytes=AttestRequest.MAX_BYTES + 512)

    def _register_issuer(self) -> None:
        folder = self._config.packages
        if folder is None:
            return

        shelf = Shelf(folder)

        async def handler(stream: FlowStream) -> None:
            counter = Counter(self._context, shelf)
            await rpc.answer(
                stream, counter.answer, max_request_bytes=MAX_QUESTION_BYTES, timeout_seconds=QUESTION_SECONDS
            )

        self._serve(COLLECT_PROTOCOL, handler)

    async def tidy(self) -> None:
        """Anchor receipts as soon as transfers are concluded; every hour free the room of those without a future."""
        due = trio.current_time() + TIDY_SECONDS
        while True:
            with trio.move_on_at(due):
                await self._concluded.wait()
            self._concluded = trio.Event()
            try:
                if trio.current_time() >= due:
                    due = trio.current_time() + TIDY_SECONDS
                    await delete_quarantine(self._context, claims=self._claims)
                    await give_up_idle(self._context, claims=self._claims)
                await self._anchor()
            except DdtpError as err:
                # a disk that refuses now must not end the service; the next hour may be better
                _log.warning("tidying failed", extra={"code": err.code})

    async def _anchor(self) -> None:
        if Role.RECEIVER in self._config.roles:
            async with self._anchoring:  # two at a time would put a receipt on the ledger twice
                await anchor_receipts(self._context)

    def _register_receiver(self) -> None:
        settings = self._config.receiver
        assert settings is not None, "checked at the start"
        signer = self._context.institution_key
        card = read_card(settings.verifier, now=self._context.clock()) if settings.verifier else None
        if card is not None:
            check_role(card.body, Role.VERIFIER)
        verifier = card.body.did if card else None
        institution = self._config.institution
        assert institution is not None, "it has a key"
        check_templates(settings.requests, institution, signer=signer, verifier=verifier, now=self._context.clock())
        judge = self._judge(load_policy(settings.policy), card)
        pace = Pace(limit_bytes_per_second=settings.limit)
        reception = Reception(self._context, settings, judge, self._notify, self._claims, pace=pace)

        async def answer_request(name: bytes, _peer: str) -> bytes:
            try:
                template = name.decode()
            except UnicodeDecodeError as err:
                raise NotFound("expected the name of a request in UTF-8") from err
            try:
                request = await trio.to_thread.run_sync(
                    lambda: make_request(self._context, settings.requests, template, signer=signer, verifier=verifier)
                )
            except ConfigInvalid as err:
                # changed after the start; who asks can do nothing about it, and must not read our paths
                _log.error("a request template is broken", extra={"template": template, "reason": err.message})
                raise PolicyRefused(
                    "expected a request to answer with, found a broken one at this institution"
                ) from err
            return request.envelope

        async def take(stream: FlowStream) -> None:
            await receive(reception, stream)

        self._serve_questions(REQUEST_PROTOCOL, answer_request, max_bytes=MAX_TEMPLATE_NAME_BYTES)
        self._serve(TRANSFER_PROTOCOL, take)

    def _judge(self, policy: TrustPolicy, verifier: Signed[Card] | None) -> Judge:
        receiver = self._context.institution_key.did
        if verifier is None:
            return local_judge(policy, receiver)
        return remote_judge(self._context, verifier, policy=policy, receiver=receiver)

    def _notify(self, row: TransferRow) -> None:
        _log.info(
            "transfer finished",
            extra={"transfer": row.transfer_id.hex(), "state": row.state.value, "failed_step": row.failed_step},
        )
        self._concluded.set()
        try:
            self._ended.send_nowait(row)
        except trio.WouldBlock:
            _log.warning("the command of [notify] is too slow", extra={"transfer": row.transfer_id.hex()})

    async def notify(self) -> None:
        """Run the command of the settings for every transfer that has ended, one after the other."""
        async for row in self._untold:
            await notify(self._config.notify, row)

    def _addresses(self) -> list[str]:
        """Return where others reach us: relays come last, and beside them no address that leads nobody to us."""
        config, host = self._config, self._agent.host
        own = [f"{address}/p2p/{host.peer_id}" for address in config.announce] or list(host.addresses)
        if config.relays and not config.announce:
            own = [address for address in own if is_place(address)]
        return own + [circuit_address(relay, host.peer_id) for relay in config.relays]

    def card(self) -> Signed[Card]:
        """Sign the card of this service."""
        addresses = self._addresses()
        logs: list[LogRef] = []
        if self._ledger is not None:
            logs.append(LogRef(self._ledger.origin, self._ledger.public_key, tuple(addresses)))
        if self._config.ledger is not None:
            logs.append(log_of_card(self._config.ledger, now=self._context.clock()))
        settings = self._config.receiver
        requests = template_names(settings.requests) if settings and Role.RECEIVER in self._config.roles else ()
        return make_card(
            self._context, addresses=addresses, logs=logs, requests=requests, valid_seconds=CARD_VALID_SECONDS
        )


async def serve(config: Config, *, passphrase: str | None, ready: Callable[[Signed[Card]], None]) -> None:
    """Run the service until SIGTERM or SIGINT.

    Args:
        config: Settings; the home must have an identity.
        passphrase: Opens the key file, if it is sealed.
        ready: Told the service's card once it answers.

    Raises:
        ConfigInvalid: A setting is missing or wrong.
        AlreadyRunning: The home or an address is in use.
        StorageFailed: The vault is on a drive that is not there.
        StoreDamaged: A database is corrupt.
    """
    check_roles(config)
    check_addresses(config)
    check_vault(config)
    if listens_anywhere(config):
        _log.warning("the port changes at each start; set [network] listen")
    _backend.forbid_last_resort()
    with locked(config.home):
        async with AsyncExitStack() as stack:
            ledger = None
            seed = await trio.to_thread.run_sync(lambda: load_identity(config.home, passphrase=passphrase))
            if config.ledger_origin is not None:
                ledger = await stack.enter_async_context(own_ledger(config, seed, clock=wall_clock))
            agent = await stack.enter_async_context(
                open_agent(config=config, seed=seed, listen=config.listen, ledger=ledger)
            )
            service = Service(agent, ledger)
            await clean_up(agent.context)
            service.register()
            await service.log_policy()
            card = service.card()
            await trio.to_thread.run_sync(_publish, config.home, card)
            nursery = await stack.enter_async_context(trio.open_nursery())
            stack.callback(nursery.cancel_scope.cancel)
            if Role.RECEIVER in config.roles:
                nursery.start_soon(service.tidy)
                nursery.start_soon(service.notify)
            await nursery.start(partial(announce, agent.host.addresses, config.lan))
            await _hold_places(agent, nursery)
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                _log.info("serving", extra={"roles": sorted(role.value for role in config.roles)})
                ready(card)
                async for number in signals:
                    _log.info("stopping", extra={"signal": signal.Signals(number).name})
                    break
                if not await service.drain():
                    _log.warning("transfers in flight were cut off; they can be resumed")
        (config.home / SERVICE_STATE_FILE).unlink(missing_ok=True)
    _log.info("stopped")


async def _hold_places(agent: Agent, nursery: trio.Nursery) -> None:
    reservations = Reservations(agent.host, agent.context.config.relays, clock=agent.context.clock)
    nursery.start_soon(reservations.run)
    with trio.move_on_after(RELAY_SECONDS) as scope:
        await reservations.wait_any()
    if scope.cancelled_caught:
        _log.warning("no relay has a place for us yet")


def _publish(home: Path, card: Signed[Card]) -> None:
    write_file(home / CARD_FILE, encode_card_text(card).encode())
    state = {"pid": os.getpid(), "addresses": list(card.body.addresses), "did": card.body.did}
    write_file(home / SERVICE_STATE_FILE, json.dumps(state).encode())
