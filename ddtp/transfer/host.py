"""spec/14 s.4: a peer on the network: listens, dials, and keeps one peer's failure away from all others."""

import errno
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from math import inf
from typing import Final, Protocol, final

import trio

from ddtp.errors import AlreadyRunning, DdtpError, EnvironmentProblem, Overloaded, PeerUnreachable, ProtocolViolation
from ddtp.protocol.bulk import READY, TICKET, parse_ticket
from ddtp.transfer import circuit
from ddtp.transfer.addresses import ListenAddress, PeerAddress, address_group, format_address
from ddtp.transfer.bridge import bridged
from ddtp.transfer.bulk_dialing import BulkDialing
from ddtp.transfer.channel import Desk, SocketLink
from ddtp.transfer.crowd import TurnedAway, again_if_turned_away
from ddtp.transfer.libp2p import Connection, Handover, Identity, check_library, remote_of, secure
from ddtp.transfer.limits import HostLimits, Places, SharedPlaces
from ddtp.transfer.racing import Source, Target, race
from ddtp.transfer.records import WINDOW_BYTES
from ddtp.transfer.sockets import watch
from ddtp.transfer.stream import FlowStream, open_flow_stream
from ddtp.transfer.yamux import RawYamux

RESET_SECONDS: Final = 1.0
"""For telling the peer that a stream is dead, while everything around is being cancelled."""

Handler = Callable[[FlowStream], Awaitable[None]]
RawHandler = Callable[[RawYamux, Connection], Awaitable[None]]

_log = logging.getLogger(__name__)

_EXPECTED: Final = (DdtpError, trio.BrokenResourceError, trio.TooSlowError)
"""What peers cause; anything else in a handler is a defect of ours and is logged with its traceback."""

_FAILURES: Final = {
    errno.ECONNREFUSED: "refused the connection",
    errno.ETIMEDOUT: "no answer",
    errno.EHOSTUNREACH: "no route",
    errno.ENETUNREACH: "no route",
    errno.ECONNRESET: "broke the connection",
    errno.EPIPE: "broke the connection",
}
"""What the system says of a connection, in words for people who read no error numbers."""


class _Started(Protocol):
    def started(self) -> None: ...


@final
class Host:
    """A peer on the network; made by `open_host`.

    Attributes:
        peer_id: Our network identity.
        addresses: Full multiaddrs that we listen on, with the ports that were really bound.
        desk: Where bulk connections of peers are brought to the sessions that expect them.
    """

    def __init__(
        self, identity: Identity, nursery: trio.Nursery, *, limits: HostLimits, bound: Sequence[tuple[str, int]]
    ) -> None:
        self.peer_id = identity.peer_id
        self.addresses = tuple(f"{format_address(host, port)}/p2p/{self.peer_id}" for host, port in bound)
        self._nursery = nursery
        self._limits = limits
        self._identity = identity
        self._handlers: dict[str, Handler] = {}
        self._raw_handlers: dict[str, RawHandler] = {}
        self._windows: dict[str, int] = {}
        self._visitors = Places(limits.connections, limits.connections_per_address)
        self._peers = Places(limits.connections, limits.connections_per_peer)
        self._bulk = SharedPlaces(limits.bulk_connections, limits.stream_share)
        self._served: dict[str, SharedPlaces] = {}
        self.desk = Desk()

    def serve(self, protocol: str, handler: Handler) -> None:
        """Answer `protocol` from now on.

        Args:
            protocol: For example `/ddtp/transfer/1.0.0`.
            handler: Gets each new stream, which is closed when it returns and reset when it raises, which ends
                nothing else. One that sends something before it raises calls `aclose` first, or the reset overtakes it.
        """
        self._handlers[protocol], self._windows[protocol] = handler, WINDOW_BYTES
        self._served[protocol] = SharedPlaces(self._limits.streams_per_protocol, self._limits.stream_share)

    def serve_raw(self, protocol: str, handler: RawHandler, *, window_bytes: int = WINDOW_BYTES) -> None:
        """Answer a protocol that is not ours, without the flow control of spec/14 s.3.

        Args:
            protocol: For example a relay's.
            handler: Gets each new stream and the connection that it belongs to; the stream is reset when it returns.
            window_bytes: Of each stream.
        """
        self._raw_handlers[protocol], self._windows[protocol] = handler, window_bytes
        self._served[protocol] = SharedPlaces(self._limits.streams_per_protocol, self._limits.stream_share)

    async def dial(
        self, addresses: Sequence[str], protocol: str, *, timeout_seconds: float, sources: Sequence[Source] = ()
    ) -> FlowStream:
        """Open a stream, on a connection of its own, to the first address that answers with the right identity.

        Args:
            addresses: Multiaddrs with `/p2p/<peer id>`, best first; at most `racing.MAX_ADDRESSES` are tried.
            protocol: What to speak.
            timeout_seconds: For all addresses together.
            sources: Of more addresses, asked at the same time.

        Raises:
            PeerUnreachable: No address answered, proved its identity and speaks `protocol`; names what was tried.
        """
        opened: list[FlowStream] = []
        chosen: FlowStream | None = None

        async def attempt(target: Target) -> None:
            call = partial(self._call, target, protocol, opened)
            await again_if_turned_away(lambda: self._nursery.start(call))

        try:
            reasons = await race(addresses, attempt, timeout_seconds=timeout_seconds, sources=sources)
            if not opened:
                raise PeerUnreachable(f"expected an answer for {protocol}, found: {'; '.join(reasons) or 'no address'}")
            chosen = opened[0]
            return chosen
        finally:
            for stream in opened:
                if stream is not chosen:
                    stream.abort()

    def bulk_dialer(self, address: PeerAddress) -> BulkDialing:
        """Return what opens bulk connections to one place."""
        return BulkDialing(self._identity, address)

    async def _call(
        self,
        target: Target,
        protocol: str,
        opened: list[FlowStream],
        *,
        task_status: _Started = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Own one outbound connection from its first packet to the end of its stream."""
        connected = handed_over = False
        try:
            async with self._way(target) as (socket, remote), trio.open_nursery() as nursery:
                connected = True
                connection = await self._secured(socket, target.address.peer_id, remote=remote)
                nursery.start_soon(self._attend, connection)
                with trio.fail_after(self._limits.handshake_seconds):
                    raw = await connection.open_stream(protocol)
                stream = _flow(raw, nursery, connection)
                if remote is None:  # a relay does not carry sockets
                    place = f"{connection.remote_address}/p2p/{target.address.peer_id}"
                    stream.bulk_dialer = self.bulk_dialer(PeerAddress(place))
                opened.append(stream)
                handed_over = True
                task_status.started()
                await stream.wait_finished()
                nursery.cancel_scope.cancel()
        except Exception as err:
            # The boundary of one connection: nothing that a peer causes may end the host.
            if not handed_over:
                raise _unopened(err, connected=connected) from err
            _log.info("connection to %s ended: %s", target, _reason(err))

    @asynccontextmanager
    async def attached(self, relay: PeerAddress) -> AsyncIterator[Connection]:
        """Hold a connection to a relay, on which it may open streams, during the block.

        Raises:
            PeerUnreachable: It does not answer, or the connection broke under the block.
        """
        try:
            with trio.fail_after(self._limits.handshake_seconds):
                opened = await trio.open_tcp_stream(relay.host, relay.port)
            async with opened as socket, trio.open_nursery() as nursery:
                watch(socket)
                connection = await self._secured(socket, relay.peer_id)
                nursery.start_soon(self._attend, connection)
                yield connection
                nursery.cancel_scope.cancel()
        except Exception as err:
            raise PeerUnreachable(f"{relay.multiaddr}: {_reason(err)}") from err

    @asynccontextmanager
    async def _way(self, target: Target) -> AsyncIterator[tuple[trio.SocketStream, tuple[str, int] | None]]:
        """Open a way for bytes to a target, and name its relay if it leads through one."""
        async with await trio.open_tcp_stream(target.host, target.address.port) as socket:
            watch(socket)
            relay_id = target.address.relay_id
            if relay_id is None:
                yield socket, None
                return
            async with trio.open_nursery() as nursery:
                connection = await self._secured(socket, relay_id)
                nursery.start_soon(self._attend, connection)
                with trio.fail_after(self._limits.handshake_seconds):
                    raw = await connection.open_stream(circuit.HOP)
                    await circuit.connect(raw, target.address.peer_id)
                async with bridged(raw) as near:
                    yield near, (target.host, target.address.port)
                nursery.cancel_scope.cancel()

    async def _secured(
        self, socket: trio.SocketStream, peer_id: str, *, remote: tuple[str, int] | None = None
    ) -> Connection:
        with trio.fail_after(self._limits.handshake_seconds):
            connection = await secure(socket, self._identity, expected_peer_id=peer_id, remote=remote)
        assert isinstance(connection, Connection), "we asked for Yamux"
        return connection

    async def welcome(self, socket: trio.SocketStream, *, relay: tuple[str, int] | None = None) -> None:
        """Own one inbound connection; `open_host` calls it.

        Args:
            socket: Accepted, or the near end of a relayed stream.
            relay: Number and port of the relay in that case: all that come through it count as one address.
        """
        remote_host, _ = relay or remote_of(socket)
        try:
            async with socket:
                if relay is None:
                    watch(socket)
                group = address_group(remote_host)
                with self._visitors.take(group):
                    with trio.fail_after(self._limits.handshake_seconds):
                        connection = await secure(socket, self._identity, expected_peer_id=None, remote=relay)
                    if isinstance(connection, Connection):
                        with self._peers.take(connection.peer_id):
                            await self._attend(connection, idle_seconds=self._limits.idle_seconds)
                        return
                # it has places of its own, so that chunks never keep a session from being opened
                with self._bulk.take(connection.peer_id, group):
                    await _hand_over(connection, self.desk, seconds=self._limits.handshake_seconds)
        except Exception as err:  # noqa: BLE001 - boundary of one connection: no peer's input may end the host
            _log.info("connection from %s ended: %s", remote_host, _reason(err))

    async def _attend(self, connection: Connection, *, idle_seconds: float = inf) -> None:
        """Serve the streams that the peer opens, until the connection is over or idle for too long."""
        streams = 0

        async def serve_one(raw: RawYamux) -> None:
            nonlocal streams
            await self._serve_stream(raw, connection)
            streams -= 1
            if not streams:
                nursery.cancel_scope.deadline = trio.current_time() + idle_seconds

        async def move() -> None:
            try:
                await connection.run()
            except ProtocolViolation as err:
                # Not raised: handlers go on with what their streams have received completely.
                _log.info("connection with %s ended: %s", connection.peer_id, err.message)

        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = trio.current_time() + idle_seconds
            nursery.start_soon(move)
            while (raw := await connection.accept_stream()) is not None:
                if streams >= self._limits.streams_per_connection:
                    await raw.reset()
                    continue
                streams += 1
                nursery.cancel_scope.deadline = inf
                nursery.start_soon(serve_one, raw)
            # Handlers go on: what a stream has received completely is valid without the connection.

    async def _handle(self, handler: Handler, raw: RawYamux, connection: Connection) -> None:
        async with trio.open_nursery() as nursery:
            stream = _flow(raw, nursery, connection)
            stream.bulk_desk = self.desk
            try:
                await handler(stream)
                await stream.aclose()
            finally:
                stream.abort()

    async def _serve_stream(self, raw: RawYamux, connection: Connection) -> None:
        protocol = None
        try:
            with ExitStack() as places:

                def admit(chosen: str) -> None:
                    # before it is confirmed, so that whoever dials knows that it was turned away
                    group = address_group(connection.remote_host)
                    places.enter_context(self._served[chosen].take(connection.peer_id, group))

                with trio.fail_after(self._limits.handshake_seconds):
                    window_of = self._windows.__getitem__
                    protocol = await raw.negotiate(self._served, admit=admit, window_bytes=window_of)
                if protocol in self._raw_handlers:
                    await self._raw_handlers[protocol](raw, connection)
                else:
                    await self._handle(self._handlers[protocol], raw, connection)
        except Exception as err:  # noqa: BLE001 - boundary of one stream: a handler's failure ends that stream only
            _log_end(protocol, connection.peer_id, err)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + RESET_SECONDS):
                await raw.reset()


@asynccontextmanager
async def open_host(
    *, network_key: bytes, listen: Sequence[str] = (), limits: HostLimits | None = None
) -> AsyncIterator[Host]:
    """Run a host; when the context ends, all its connections, sockets and tasks have ended.

    Args:
        network_key: 32-byte Ed25519 seed of the network identity.
        listen: Multiaddrs such as `/ip4/0.0.0.0/tcp/4001`; empty for a host that only dials.
        limits: Bounds on inbound work; the defaults suit one institution.

    Raises:
        AlreadyRunning: Another process listens on one of the addresses.
        ConfigInvalid: An address to listen on is malformed.
        EnvironmentProblem: An address cannot be bound, or libp2p has a version that was not tested.
    """
    check_library()
    failure: Exception | None = None
    async with AsyncExitStack() as stack:
        listeners = [listener for text in listen for listener in await _bind(ListenAddress(text), stack)]
        async with trio.open_nursery() as nursery:
            host = Host(
                Identity(network_key),
                nursery,
                limits=limits or HostLimits(),
                bound=[listener.socket.getsockname()[:2] for listener in listeners],
            )
            if listeners:
                nursery.start_soon(partial(trio.serve_listeners, host.welcome, listeners, handler_nursery=nursery))
            try:
                yield host
            except Exception as err:  # noqa: BLE001 - raised again below, outside the nursery, which would wrap it
                failure = err
            finally:
                nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def peer_id_of(network_key: bytes) -> str:
    """Return the network identity of a 32-byte Ed25519 seed."""
    return Identity(network_key).peer_id


def _log_end(protocol: str | None, peer_id: str, err: Exception) -> None:
    defect = not all(isinstance(leaf, _EXPECTED) for leaf in _leaves(err))
    # what costs a peer a few bytes must not cost a line of the log
    level = logging.ERROR if defect else logging.INFO if protocol else logging.DEBUG
    _log.log(level, "%s of %s: %s", protocol or "stream", peer_id, _reason(err), exc_info=defect)


async def _hand_over(connection: Handover, desk: Desk, *, seconds: float) -> None:
    """Give a bulk connection to the session that expects it, until that session is over."""
    with trio.fail_after(seconds):
        ticket = parse_ticket(await connection.read(TICKET.size))
        expected = desk.find(ticket.token)
        expected.check(ticket, connection.peer_id)
        await connection.write(READY)
        expected.add(ticket, SocketLink(connection.take_socket()), connection.peer_id)
    await expected.released.wait()


def _flow(raw: RawYamux, nursery: trio.Nursery, connection: Connection) -> FlowStream:
    return open_flow_stream(raw, nursery, remote_peer_id=connection.peer_id, remote_address=connection.remote_address)


async def _bind(address: ListenAddress, stack: AsyncExitStack) -> Sequence[trio.SocketListener]:
    # trio does not share ports (SO_REUSEPORT) as libp2p does, so a second process is refused here.
    try:
        listeners = await trio.open_tcp_listeners(address.port, host=address.host)
    except OSError as err:
        if err.errno == errno.EADDRINUSE:
            raise AlreadyRunning(f"expected {address.multiaddr} to be free, found another process there") from err
        raise EnvironmentProblem(f"expected to listen on {address.multiaddr}, found: {err.strerror}") from err
    for listener in listeners:
        stack.push_async_callback(listener.aclose)
    return listeners


def _unopened(err: Exception, *, connected: bool) -> TurnedAway | PeerUnreachable:
    """Return why there is no stream: a host without a place ends the connection, a relay says so."""
    signs = (Overloaded, trio.BrokenResourceError) if connected else Overloaded
    turned_away = any(isinstance(leaf, signs) for leaf in _leaves(err))
    return TurnedAway(_reason(err)) if turned_away else PeerUnreachable(_reason(err))


def _leaves(err: BaseException) -> Iterator[BaseException]:
    if isinstance(err, BaseExceptionGroup):
        for inner in err.exceptions:
            yield from _leaves(inner)
    else:
        yield err


def _reason(err: Exception) -> str:
    leaf = next(_leaves(err))
    if isinstance(leaf, trio.TooSlowError):
        return "no answer in time"
    if isinstance(leaf, OSError) and leaf.__cause__ is not None:
        leaf = next(_leaves(leaf.__cause__))  # trio repeats the address and keeps the reason behind it
    if isinstance(leaf, OSError) and leaf.errno in _FAILURES:
        return _FAILURES[leaf.errno]
    return leaf.message if isinstance(leaf, DdtpError) else f"{type(leaf).__name__}: {leaf}"
