"""`Agent`: all use cases of one home, on trio. Only here the real clock and the real randomness are chosen."""

import json
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from os import PathLike
from pathlib import Path
from typing import final

import trio

from ddtp.agent import anchoring, collecting, exporting, issuing, notifying, sending, witnessing
from ddtp.agent.addressing import holder_address
from ddtp.agent.context import DIAL_TIMEOUT_SECONDS, Context
from ddtp.agent.delivering import SentTransfer
from ddtp.agent.dialing import check_role
from ddtp.agent.exporting import ExportedTransfer
from ddtp.agent.inbox import ReceivedData, find_received
from ddtp.agent.issuing import Draft, IssuedPackage
from ddtp.agent.lines import open_lines
from ddtp.agent.opening import open_package
from ddtp.agent.sending import PreparedTransfer
from ddtp.chain.ledger import Ledger
from ddtp.chain.sqlite_ledger import open_sqlite_ledger
from ddtp.config import LEDGER_FILE, Config, load_config
from ddtp.consent.grant import HOW_PROGRAM
from ddtp.errors import ConfigInvalid, EvidenceError, NotFound, PolicyRefused
from ddtp.identity.document import Card, HolderAddress, LogRef, Role, parse_card
from ddtp.identity.keys import SELF, PrivateKey, Seed
from ddtp.identity.language import Language
from ddtp.protocol import envelope
from ddtp.protocol.envelope import Signed
from ddtp.protocol.leaves import Field
from ddtp.store.durable import make_directory, read_file
from ddtp.store.keystore import is_locked, load_identity
from ddtp.store.packages import PACKAGE_SUFFIX
from ddtp.store.records import Direction, PackageRow, Records, TransferRow, open_records
from ddtp.transfer.host import Host, open_host
from ddtp.transfer.lan import search
from ddtp.transfer.limits import HostLimits
from ddtp.transfer.pacing import Pace
from ddtp.transfer.ports import Progress
from ddtp.transfer.stream import FlowStream

SERVICE_STATE_FILE = "daemon.json"
"""Written by the service while it runs: process id, DID and addresses."""
STREAM_SHARE = 8
"""One address or identity gets an eighth of the places of a protocol once half are taken (spec/14 s.4)."""
MAX_STATE_BYTES = 64 << 10
PACKAGES = "packages"

SELF_VALID_SECONDS = 90 * 86400
"""Validity of packages that a person signs alone: a quarter, as proofs of address have."""


@final
class Agent:
    """One home, open. Made by `open_agent`; every method may be called from several tasks.

    Attributes:
        context: What use cases are given; for those who build on them.
        host: The network identity.
    """

    def __init__(self, context: Context, host: Host) -> None:
        self.context = context
        self.host = host

    @property
    def records(self) -> Records:
        """What this home remembers."""
        return self.context.records

    def ledger(self) -> AbstractAsyncContextManager[Ledger]:
        """Open the ledger that this home anchors on: a remote one by its card, else its own.

        The own log belongs to the service of this home while that runs; then the service is asked.
        """
        context = self.context
        if context.config.ledger is not None or context.own_ledger is not None:
            return anchoring.configured_ledger(context)
        origin, addresses = context.config.ledger_origin, service_addresses(context.config.home)
        if origin is not None and addresses:
            log = LogRef(origin=origin, public_key=context.seed.log_key().public_key, addresses=addresses)
            return anchoring.remote_ledger(context, log)
        return own_ledger(context.config, context.seed, clock=context.clock)

    async def issue(self, draft: Draft, *, tick: Callable[[int], None] = lambda _count: None) -> IssuedPackage:
        """Issue a package to a person; see `issuing.issue`."""
        async with self.ledger() as ledger:
            return await issuing.issue(self.context, draft, ledger=ledger, tick=tick)

    async def pack(
        self,
        paths: Sequence[Path],
        *,
        fields: Sequence[Field] = (),
        schema: str,
        witness: Signed[Card],
        tick: Callable[[int], None] = lambda _count: None,
    ) -> IssuedPackage:
        """Pack one's own files into the vault, attested by a witness that sees the fingerprint only.

        Raises:
            NotFound: The institution is no witness.
            PeerUnreachable, PeerRefused: The witness or its ledger cannot be asked; nothing is left behind.
        """
        check_role(witness.body, Role.WITNESS)  # before anything is read and sealed
        own = self.context.seed.holder_key(SELF)
        name = f"own-{self.context.random_bytes(8).hex()}{PACKAGE_SUFFIX}"
        draft = Draft(
            paths=paths,
            fields=fields,
            schema=schema,
            holder=self._address(SELF).body,
            valid_seconds=SELF_VALID_SECONDS,
            output=self.context.vault_folder(PACKAGES) / name,
        )
        package = await issuing.seal_and_anchor(
            self.context,
            draft,
            signer=own,
            anchoring=lambda subject: witnessing.witnessed_anchor(self.context, witness, subject=subject, signer=own),
            tick=tick,
        )
        await self.keep(package.path)
        return package

    async def keep(self, path: Path) -> PackageRow:
        """Remember a package file made out to us, after checking it whole.

        Raises:
            PolicyRefused: It is made out to somebody else.
            EvidenceError: It is damaged or forged.
        """
        opened = await trio.to_thread.run_sync(open_package, path, self.context.seed)
        opened.reader.close()
        manifest, place = opened.manifest, Path(await trio.Path(path).absolute())
        row = PackageRow(manifest.body.package_id, place, manifest.envelope, added=self.context.clock())
        await self.records.save_package(row)
        return row

    async def collect(self, card: Signed[Card]) -> tuple[PackageRow, ...]:
        """Fetch the packages that an issuer holds ready for us into the vault; see `collecting.collect`."""
        paths = await collecting.collect(self.context, card, folder=self.context.vault_folder(PACKAGES))
        known = {row.path for row in await self.packages()}
        rows, failure = [], None
        for path in paths:
            if Path(await trio.Path(path).absolute()) in known:
                continue
            try:
                rows.append(await self.keep(path))
            except (EvidenceError, PolicyRefused) as err:
                # one bad package must not hide the others; it is fetched again next time
                await trio.to_thread.run_sync(lambda path=path: path.unlink(missing_ok=True))
                failure = err
        if failure is not None and not rows:
            raise failure
        return tuple(rows)

    async def prepare(
        self,
        path: Path,
        *,
        card: Signed[Card],
        template: str | None = None,
        items: Sequence[str] = (),
        purposes: Sequence[int] | None = None,
        language: Language | None = None,
    ) -> PreparedTransfer:
        """Fetch a receiver's request and render what a person has to confirm; see `sending.prepare`."""
        return await sending.prepare(
            self.context,
            path,
            card=card,
            template=template,
            items=items,
            purposes=purposes,
            language=language or self.context.config.language,
        )

    async def send(
        self,
        prepared: PreparedTransfer,
        *,
        how: str = HOW_PROGRAM,
        progress: Callable[[Progress], None] = lambda _progress: None,
        pace: Pace | None = None,
        patience_seconds: float = 0,
    ) -> SentTransfer:
        """Send what a person has confirmed, by an act that `how` describes; see `sending.send`.

        Without a `pace` the limit of the settings holds.
        """
        pace = pace or self._pace()
        async with notifying.telling(self.context, prepared.transfer_id):
            return await sending.send(
                self.context, prepared, how=how, progress=progress, pace=pace, patience_seconds=patience_seconds
            )

    async def resume(
        self,
        transfer_id: bytes,
        *,
        progress: Callable[[Progress], None] = lambda _progress: None,
        pace: Pace | None = None,
        patience_seconds: float = 0,
        package: Path | None = None,
    ) -> SentTransfer:
        """Run a transfer again that was broken off or paused; see `sending.resume`.

        Without a `pace` the limit of the settings holds.
        """
        pace = pace or self._pace()
        async with notifying.telling(self.context, transfer_id):
            return await sending.resume(
                self.context,
                transfer_id,
                progress=progress,
                pace=pace,
                patience_seconds=patience_seconds,
                package=package,
            )

    async def transfers(self, *, direction: Direction | None = None) -> list[TransferRow]:
        """Return the transfers of this home, newest first."""
        return await self.records.transfers(direction=direction)

    async def packages(self) -> list[PackageRow]:
        """Return the packages of the vault, newest first."""
        return await self.records.packages()

    async def export(self, transfer: TransferRow, folder: Path) -> ExportedTransfer:
        """Write files and proof bundle of a transfer; see `exporting.export`."""
        return await exporting.export(self.context, transfer, folder)

    async def received(self, transfer: TransferRow) -> ReceivedData:
        """Return the verified data of an incoming transfer.

        Raises:
            NotFound: The transfer did not bring any, or it is not there any more.
        """
        found = await trio.to_thread.run_sync(find_received, self.context.config.receiver, transfer)
        if found is None:
            raise NotFound("expected an incoming transfer that was verified, and its data in the inbox")
        return found

    def address(self, issuer: Signed[Card]) -> Signed[HolderAddress]:
        """Return what to hand to one issuer; no other issuer can link it to this person."""
        return self._address(issuer.body.did)

    async def remember_card(self, card: bytes | str) -> Signed[Card]:
        """Check a card and remember it.

        Raises:
            DecodeError, SignatureInvalid, EvidenceError: It is malformed, forged or expired.
            PolicyRefused: A newer one is remembered.
        """
        now = self.context.clock()
        signed = parse_card(card, now=now)
        await self.records.save_card(signed.body.did, signed.envelope, now=now)
        return signed

    def card(
        self, *, addresses: Sequence[str], logs: Sequence[LogRef], requests: Sequence[str], valid_seconds: int
    ) -> Signed[Card]:
        """Sign a card of this institution.

        Raises:
            ConfigInvalid: This home belongs to a person.
        """
        return make_card(self.context, addresses=addresses, logs=logs, requests=requests, valid_seconds=valid_seconds)

    def _pace(self) -> Pace:
        return Pace(limit_bytes_per_second=self.context.config.send_limit)

    def _address(self, counterparty: str) -> Signed[HolderAddress]:
        return holder_address(self.context.seed, counterparty, now=self.context.clock())


def make_card(
    context: Context, *, addresses: Sequence[str], logs: Sequence[LogRef], requests: Sequence[str], valid_seconds: int
) -> Signed[Card]:
    """Sign a card of an institution; see `Agent.card`."""
    signer: PrivateKey = context.institution_key
    institution = context.config.institution
    if institution is None:
        raise ConfigInvalid("expected an institution in the settings, found none")
    now = context.clock()
    card = Card(
        did=signer.did,
        agreement=context.seed.institution_key("agree").public_key,
        name=institution.name,
        country=institution.country,
        contact=institution.contact,
        roles=tuple(sorted(context.config.roles, key=lambda role: role.value)),
        addresses=tuple(addresses),
        logs=tuple(logs),
        requests=tuple(requests),
        issued=now,
        expires=now + valid_seconds,
    )
    return envelope.sign(card, signer)


def own_ledger(config: Config, seed: Seed, *, clock: Callable[[], int]) -> AbstractAsyncContextManager[Ledger]:
    """Open this home's own log.

    Raises:
        ConfigInvalid: The settings name no log.
        AlreadyRunning: Another process, probably the daemon, has it open.
    """
    if config.ledger_origin is None:
        raise ConfigInvalid("expected a ledger in the settings, found none", hint="set [ledger] card or origin")
    return open_sqlite_ledger(
        make_directory(config.home) / LEDGER_FILE,
        origin=config.ledger_origin,
        signer=seed.log_key(),
        clock=clock,
        policy=config.admission,
    )


def service_addresses(home: Path) -> tuple[str, ...]:
    """Return where the service of a home answers; nothing if it does not run."""
    if not is_locked(home):
        return ()
    try:
        state = json.loads(read_file(home / SERVICE_STATE_FILE, max_bytes=MAX_STATE_BYTES))
    except NotFound:
        return ()  # it is just starting, or ending
    return tuple(state["addresses"])


def wall_clock() -> int:
    """Return the time in whole seconds since the epoch."""
    return int(time.time())


@asynccontextmanager
async def open_agent(
    home: str | PathLike[str] | None = None,
    *,
    config: Config | None = None,
    passphrase: str | None = None,
    seed: Seed | None = None,
    clock: Callable[[], int] = wall_clock,
    random_bytes: Callable[[int], bytes] = os.urandom,
    listen: Sequence[str] = (),
    ledger: Ledger | None = None,
) -> AsyncIterator[Agent]:
    """Open a home.

    Args:
        home: Its directory; None takes that of `config`, or the platform's place.
        config: Settings; None reads those of the home.
        passphrase: Opens the key file, if it is sealed.
        seed: The identity, if the caller has opened the key file already.
        clock: Time in whole seconds since the epoch.
        random_bytes: Randomness fit for keys.
        listen: Multiaddrs to listen on; none for an agent that only asks others.
        ledger: This process's own log, if it has one.

    Raises:
        IdentityMissing, PassphraseWrong: The key file is missing or stays closed.
        DecodeError: The key file is damaged.
        StoreDamaged: The records are corrupt.
        ConfigInvalid: A setting or an address to listen on is wrong, or other users may read the key file.
        AlreadyRunning: Another process listens on one of the addresses, or holds the records for too long.
        EnvironmentProblem: The disk refuses, an address cannot be bound, or libp2p has a version that was not tested.
    """
    settings = config or load_config(home=None if home is None else Path(home))
    if seed is None:
        seed = await trio.to_thread.run_sync(lambda: load_identity(settings.home, passphrase=passphrase))
    # an institution keeps its network identity; a person shows a new one every time, so that nobody can follow it
    label = "node" if settings.institution else random_bytes(16).hex()
    bounds = settings.limits
    limits = HostLimits(
        connections=bounds.connections,
        connections_per_address=bounds.connections_per_address,
        streams_per_protocol=bounds.streams_per_protocol,
        stream_share=max(1, bounds.streams_per_protocol // STREAM_SHARE),
    )
    async with (
        open_records(settings.home) as records,
        open_host(network_key=seed.network_key(label), listen=listen, limits=limits) as host,
        AsyncExitStack() as stack,
    ):

        async def dial(addresses: Sequence[str], protocol: str) -> FlowStream:
            wanted = {address.rpartition("/")[2] for address in addresses}
            sources = [search(wanted, settings.lan)] if settings.lan and wanted else []
            return await host.dial(addresses, protocol, timeout_seconds=DIAL_TIMEOUT_SECONDS, sources=sources)

        # a person asks everybody once, and nobody keeps a place for them meanwhile
        lines = await stack.enter_async_context(open_lines(dial)) if settings.institution else None
        context = Context(
            config=settings,
            seed=seed,
            records=records,
            clock=clock,
            random_bytes=random_bytes,
            peer_id=host.peer_id,
            dial=dial,
            own_ledger=ledger,
            lines=lines,
        )
        yield Agent(context, host)
