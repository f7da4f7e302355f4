"""spec/14 s.2: Noise and Yamux on one TCP socket; the only module that imports libp2p.

Of libp2p 0.8.1 only the parts that carry bytes are used, never `new_host` and its `Swarm`: these accept plaintext
peers, stop for ever after 250 inbound connections, die of one handler's exception and share a listening port
silently; nor its multistream-select, which buffers whatever a stranger announces. What is left to contain is contained
below, at the line that says so; each containment has its test in tests/transfer/test_libp2p.py. Nothing of libp2p is
patched, and none of its errors leaves this module.
"""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import Final, final

import trio
from libp2p.abc import IMuxedStream, IRawConnection
from libp2p.connection_types import ConnectionType
from libp2p.crypto.ed25519 import create_new_key_pair as create_ed25519_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.exceptions import BaseLibp2pError
from libp2p.io.exceptions import ConnectionClosedError, IOException, MessageTooLarge
from libp2p.peer.id import ID
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamEOF, MuxedStreamError
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux, YamuxStream
from multiaddr import Multiaddr

from ddtp.errors import EnvironmentProblem, ProtocolViolation, UsageError
from ddtp.transfer import multistream
from ddtp.transfer.addresses import format_address
from ddtp.transfer.records import WINDOW_BYTES

TESTED_VERSION: Final = "0.8.1"
"""The reasoning of this module is about this version; another one has to pass its tests first."""

SOCKET_READ_BYTES: Final = 256 * 1024
"""Per system call: about four Noise messages."""

WINDOW_POLL_SECONDS: Final = 0.01
"""Between looks at Yamux's send window, which signals nothing."""

MAX_BUFFERED_BYTES: Final = 8 * WINDOW_BYTES
"""Unread in Yamux per connection: eight full windows; Yamux itself does not enforce its windows."""

MAX_FRAME_BYTES: Final = 1024 * 1024
"""Yamux frame: go, js and Python send at most 64 KiB; upstream would accept 16 MiB."""

ED25519_PREFIX: Final = bytes.fromhex("002408011220")
"""Of a peer id: identity multihash of 36 bytes, a protobuf with key type Ed25519 and 32 bytes of key."""

MAX_READ_BYTES: Final = 65_535
"""What libp2p may ask of the socket at once: one Noise message. Whatever it believes of a peer's lengths ends here."""


@final
class Identity:
    """The network identity of a host.

    Args:
        network_key: 32-byte Ed25519 seed.

    Attributes:
        peer_id: What others know it by.
        noise: The handshake under this identity.
    """

    def __init__(self, network_key: bytes) -> None:
        if len(network_key) != 32:
            raise UsageError(f"expected a network key of 32 bytes, found {len(network_key)}")
        key_pair = create_ed25519_key_pair(network_key)
        self.peer_id = str(ID.from_pubkey(key_pair.public_key))
        self.noise = NoiseTransport(key_pair, create_x25519_key_pair().private_key)


@final
class Connection:
    """A TCP connection whose peer has proven its identity; made by `secure`.

    Attributes:
        peer_id: The peer's proven identity.
        remote_address: Where it is, as a multiaddr.
        remote_host: The same without the port, as a number.
        over: Set when it is over.
    """

    def __init__(self, muxer: "_BoundedYamux", link: "_Link") -> None:
        self.peer_id = str(muxer.peer_id)
        self.remote_address = link.remote_address
        self.remote_host = link.remote_host
        self.over = trio.Event()
        self._muxer = muxer
        self._link = link

    async def run(self) -> None:
        """Move frames until the connection is over; nothing else works without it."""
        try:
            await self._muxer.start()
        finally:
            self.over.set()

    async def open_stream(self, protocol: str) -> "RawYamux":
        """Open a stream that speaks `protocol`.

        Raises:
            ProtocolViolation: The peer does not speak it.
            trio.BrokenResourceError: The connection is over.
        """
        with _translated():
            await self._muxer.event_started.wait()
            raw = RawYamux(await self._muxer.open_stream())
            await multistream.select(protocol, raw)
            return raw

    async def accept_stream(self) -> "RawYamux | None":
        """Wait for a stream that the peer opens, its protocol still unknown; None when the connection is over."""
        try:
            return RawYamux(await self._muxer.accept_stream())
        except MuxedConnUnavailable:
            return None

    def close_now(self) -> None:
        """Close the socket; what was confirmed is already with the peer."""
        self._link.close_now()


@final
class RawYamux:
    """A Yamux stream as `stream.RawStream`."""

    def __init__(self, inner: IMuxedStream) -> None:
        assert isinstance(inner, YamuxStream)
        self.inner = inner

    async def negotiate(self, protocols: Collection[str]) -> str:
        """Let the peer choose one of `protocols` and return it.

        Raises:
            ProtocolViolation: The peer does not follow multistream-select.
            trio.BrokenResourceError: The stream is over.
        """
        return await multistream.offer(protocols, self)

    async def read(self, max_bytes: int) -> bytes:
        """See `stream.RawStream`."""
        try:
            return await self.inner.read(max_bytes)
        except MuxedStreamEOF:
            return b""
        except BaseLibp2pError as err:
            raise trio.BrokenResourceError from err

    async def write(self, data: bytes) -> None:
        """See `stream.RawStream`."""
        # Upstream resets the stream after 5 s without window, so the waiting happens here, without a limit:
        # deadlines belong to the exchange above, which knows what it waits for.
        while self.inner.send_window < len(data) and not self.inner.closed:  # noqa: ASYNC110 - see the constant
            await trio.sleep(WINDOW_POLL_SECONDS)
        try:
            await self.inner.write(data)
        except BaseLibp2pError as err:
            raise trio.BrokenResourceError from err

    async def close(self) -> None:
        """See `stream.RawStream`."""
        try:
            await self.inner.close()
        except BaseLibp2pError as err:
            raise trio.BrokenResourceError from err

    async def reset(self) -> None:
        """See `stream.RawStream`."""
        with suppress(BaseLibp2pError):
            await self.inner.reset()


def check_library() -> None:
    """Make sure that libp2p is the version that was tested, and keep it quiet.

    Raises:
        EnvironmentProblem: It is another version.
    """
    if (found := version("libp2p")) != TESTED_VERSION:
        raise EnvironmentProblem(f"expected libp2p {TESTED_VERSION}, found {found}")
    # It writes ERROR lines for every ordinary disconnect; what matters is raised here and logged by the host.
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)


async def secure(
    socket: trio.SocketStream,
    identity: Identity,
    *,
    expected_peer_id: str | None,
    remote: tuple[str, int] | None = None,
) -> Connection:
    """Agree on Noise and Yamux, and on nothing else; the caller sets the deadline and closes the socket on failure.

    Args:
        socket: Freshly opened or accepted.
        identity: Ours.
        expected_peer_id: Who must be there, if we opened the connection; None if we accepted it.
        remote: Number and port of the relay, if the socket leads through one.

    Raises:
        ProtocolViolation: The peer offers something else or proves another identity.
        UsageError: `expected_peer_id` is not a peer id.
        trio.BrokenResourceError: The connection is over.
    """
    link = _Link(socket, is_initiator=expected_peer_id is not None, remote=remote)
    with _translated():
        if expected_peer_id is None:
            await multistream.offer([NOISE], link)
            session = await identity.noise.secure_inbound(link)
            await multistream.offer([YAMUX], session)
        else:
            expected = _parse_peer_id(expected_peer_id)
            await multistream.select(NOISE, link)
            session = await identity.noise.secure_outbound(link, expected)  # refuses another identity
            await multistream.select(YAMUX, session)
    peer_id = session.get_remote_peer()
    if not _is_ed25519(peer_id):
        raise ProtocolViolation(f"expected a peer with an Ed25519 key, found {peer_id}")
    return Connection(_BoundedYamux(session, peer_id, is_initiator=link.is_initiator), link)


@final
class _Link(IRawConnection):
    """A TCP socket as libp2p wants it.

    `read` returns all `n` bytes: upstream gives up after 100 partial reads, which slow links cause. A cancelled
    `write` closes the socket: the peer would wait for ever for the rest of a torn Noise message.
    """

    def __init__(self, socket: trio.SocketStream, *, is_initiator: bool, remote: tuple[str, int] | None = None) -> None:
        self.is_initiator = is_initiator
        self._socket = socket
        self._unread = bytearray()
        self._remote = remote or remote_of(socket)
        self.remote_host = self._remote[0]
        self.remote_address = format_address(*self._remote)

    async def read(self, n: int | None = None) -> bytes:
        wanted = 1 if n is None else n
        if wanted > MAX_READ_BYTES:
            raise MessageTooLarge(f"expected to read at most {MAX_READ_BYTES} bytes at once, found {wanted}")
        try:
            while len(self._unread) < wanted:
                data = await self._socket.receive_some(SOCKET_READ_BYTES)
                if not data:
                    raise ConnectionClosedError("the peer closed the connection")
                self._unread += data
        except (trio.BrokenResourceError, trio.ClosedResourceError) as err:
            raise ConnectionClosedError("the connection broke") from err
        with memoryview(self._unread) as view:
            taken = bytes(view[:n])
        del self._unread[: len(taken)]
        return taken

    async def write(self, data: bytes) -> None:
        whole = False
        try:
            await self._socket.send_all(data)
            whole = True
        except (trio.BrokenResourceError, trio.ClosedResourceError) as err:
            raise ConnectionClosedError("the connection broke") from err
        finally:
            if not whole:
                self.close_now()

    async def close(self) -> None:
        self.close_now()

    def close_now(self) -> None:
        self._socket.socket.close()

    def get_remote_address(self) -> tuple[str, int] | None:
        return self._remote

    def get_transport_addresses(self) -> list[Multiaddr]:
        return [Multiaddr(self.remote_address)]

    def get_connection_type(self) -> ConnectionType:
        return ConnectionType.DIRECT


@final
class _BoundedYamux(Yamux):
    """Yamux that ends the connection of a peer that ignores the receive windows."""

    async def _read_data_body(self, length: int) -> bytes:
        unread = sum(len(buffer) for buffer in self.stream_buffers.values())
        if length > MAX_FRAME_BYTES or unread + length > MAX_BUFFERED_BYTES:
            raise trio.TooSlowError  # what upstream takes as the order to end the connection
        return await super()._read_data_body(length)


def remote_of(socket: trio.SocketStream) -> tuple[str, int]:
    """Return the numeric address and port of the peer, or `0.0.0.0` and 0 if it has left already."""
    try:
        host, port = socket.socket.getpeername()[:2]
    except OSError:
        return "0.0.0.0", 0  # noqa: S104 - stands for "nowhere"; nothing is bound to it
    return str(host), int(port)


def _parse_peer_id(text: str) -> ID:
    try:
        peer_id = ID.from_base58(text)
    except ValueError as err:
        raise UsageError(f"expected a peer id in base58, found {text!r}") from err
    if not _is_ed25519(peer_id) or str(peer_id) != text:
        raise UsageError(f"expected the peer id of an Ed25519 key, found {text!r}")
    return peer_id


def _is_ed25519(peer_id: ID) -> bool:
    raw = peer_id.to_bytes()
    return len(raw) == len(ED25519_PREFIX) + 32 and raw.startswith(ED25519_PREFIX)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (IOException, MuxedStreamError) as err:
        raise trio.BrokenResourceError("the connection broke during the handshake") from err
    except BaseLibp2pError as err:
        # Upstream messages quote what the peer sent: they are bounded and escaped.
        found = f"{type(err).__name__}: {str(err)[:200]!a}"
        raise ProtocolViolation(f"expected a handshake as in spec/14, found {found}") from err
