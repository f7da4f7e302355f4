"""spec/14 s.2: the handshake of libp2p on one TCP socket; the only module that imports libp2p.

Of libp2p 0.8.1 only the Noise handshake and its kinds of keys are used. `new_host`, the session after the handshake,
Yamux and multistream-select are replaced (decisions 0006 and 0029). What is left to contain, each at the line that says
so and with its test in tests/transfer/test_libp2p.py, until a version that no longer does it is the tested one:
a read that gives up after 100 partial ones and keys that take seconds to parse (`_Link.read`), identities that are not
Ed25519 (`secure`), errors of other libraries that escape (`_translated`), and ERROR lines about what strangers do
(`check_library`). Nothing of libp2p is patched, and none of its errors leaves this module.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Final, final

import trio
from multiaddr import Multiaddr

from ddtp.errors import EnvironmentProblem, ProtocolViolation, UsageError
from ddtp.transfer import multistream
from ddtp.transfer.addresses import format_address
from ddtp.transfer.hollow import hollow
from ddtp.transfer.noise import NoiseSession
from ddtp.transfer.records import WINDOW_BYTES
from ddtp.transfer.yamux import RawYamux, Yamux


class _OtherKey:
    """Stands for kinds of keys that `secure` would refuse; their libraries take long to load, and RSA's to parse."""

    @classmethod
    def from_bytes(cls, _data: bytes) -> None:
        """Refuse to read any."""
        raise ValueError("expected an Ed25519 key, found one of another kind")


with hollow(
    ("libp2p", "libp2p.transport", "libp2p.transport.quic", "libp2p.security"),
    {
        "libp2p.transport.quic.stream": {"QUICStream": object},  # an alias of a type, in a module that others need
        "libp2p.tools.anyio_service.api": {"ServiceAPI": object},  # the base of types of which we use none
        "libp2p.crypto.rsa": {"RSAPublicKey": _OtherKey, "RSAPrivateKey": _OtherKey},
        "libp2p.crypto.secp256k1": {"Secp256k1PublicKey": _OtherKey, "Secp256k1PrivateKey": _OtherKey},
    },
):
    from libp2p.abc import IRawConnection, ISecureConn
    from libp2p.connection_types import ConnectionType
    from libp2p.crypto.ed25519 import create_new_key_pair as create_ed25519_key_pair
    from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
    from libp2p.peer.id import ID
    from libp2p.security.noise.io import NoiseTransportReadWriter
    from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
    from libp2p.security.noise.transport import Transport as NoiseTransport
    from libp2p.security.secure_session import SecureSession

BULK: Final = "/ddtp/bulk/1.0.0"
"""Instead of a muxer: what follows is a ticket, its answer, and then bulk frames."""

TESTED_VERSION: Final = "0.8.1"
"""The reasoning of this module is about this version; another one has to pass its tests first."""

YAMUX: Final = "/yamux/1.0.0"

MAX_HANDSHAKE_BYTES: Final = 1024
"""Of one message of the handshake: key, signature and extensions of an Ed25519 identity have less than 400. Upstream
parses the key before it knows the peer, and an RSA key of 64 KiB can hold its process for 13 s."""

ED25519_PREFIX: Final = bytes.fromhex("002408011220")
"""Of a peer id: identity multihash of 36 bytes, a protobuf with key type Ed25519 and 32 bytes of key."""


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

    def __init__(self, muxer: Yamux, *, peer_id: str, remote: tuple[str, int]) -> None:
        self.peer_id = peer_id
        self.remote_address = format_address(*remote)
        self.remote_host = remote[0]
        self.over = trio.Event()
        self._muxer = muxer

    async def run(self) -> None:
        """Move frames until the connection is over; nothing else works without it.

        Raises:
            ProtocolViolation: The peer broke the protocol, and the connection was closed for that.
        """
        try:
            await self._muxer.run()
        finally:
            self.over.set()

    async def open_stream(self, protocol: str, *, window_bytes: int = WINDOW_BYTES) -> RawYamux:
        """Open a stream that speaks `protocol`.

        Args:
            protocol: Of the stream.
            window_bytes: What the peer may have sent on it and we not have read.

        Raises:
            ProtocolViolation: The peer does not speak it.
            trio.BrokenResourceError: The connection is over.
        """
        raw, chosen = self._muxer.open_stream(window_bytes=window_bytes), False
        try:
            await multistream.select(protocol, raw)
            chosen = True
        finally:
            if not chosen:
                raw.drop()
        return raw

    async def accept_stream(self) -> RawYamux | None:
        """Wait for a stream that the peer opens, its protocol still unknown; None when the connection is over."""
        return await self._muxer.accept_stream()

    def close_now(self) -> None:
        """Close the socket; what was confirmed is already with the peer."""
        self._muxer.close_now()


@final
class Handover:
    """A connection whose peer has proven its identity and that is to carry bulk frames (spec/14 s.8); made by `secure`.

    Attributes:
        peer_id: The peer's proven identity.
    """

    def __init__(self, session: NoiseSession, *, peer_id: str) -> None:
        self.peer_id = peer_id
        self._session = session

    async def read(self, size: int) -> bytes:
        """Return one encrypted message of exactly `size` bytes.

        Raises:
            ProtocolViolation: It is shorter, or no message of this connection.
            trio.BrokenResourceError: The connection is over.
        """
        message = await self._session.read(size)
        if len(message) != size:
            raise ProtocolViolation(f"expected a message of {size} bytes, found {len(message)}")
        return bytes(message)

    async def write(self, message: bytes) -> None:
        """Send one encrypted message. Raises `trio.BrokenResourceError` when the connection is over."""
        await self._session.write(message)

    def take_socket(self) -> trio.SocketStream:
        """Return the socket, for bytes that are not encrypted again.

        Raises:
            ProtocolViolation: The last message held more than was read of it.
        """
        return self._session.give_up()

    def close_now(self) -> None:
        """Close the socket."""
        self._session.close_now()


def check_library() -> None:
    """Make sure that libp2p is the version that was tested, and keep it quiet.

    Raises:
        EnvironmentProblem: It is another version.
    """
    if (found := version("libp2p")) != TESTED_VERSION:
        raise EnvironmentProblem(f"expected libp2p {TESTED_VERSION}, found {found}")
    # It writes ERROR lines about what strangers send; what matters is raised here and logged by the host.
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)


async def secure(
    socket: trio.SocketStream,
    identity: Identity,
    *,
    expected_peer_id: str | None,
    inner: str = YAMUX,
    remote: tuple[str, int] | None = None,
) -> Connection | Handover:
    """Agree on Noise, and on Yamux or bulk frames; the caller sets the deadline and closes the socket on failure.

    Args:
        socket: Freshly opened or accepted.
        identity: Ours.
        expected_peer_id: Who must be there, if we opened the connection; None if we accepted it.
        inner: What we want inside Noise, if we opened the connection: `YAMUX` or `BULK`.
        remote: Number and port of the relay, if the socket leads through one.

    Returns:
        A connection for Yamux, a handover for bulk frames; the peer chooses if it opened the connection.

    Raises:
        ProtocolViolation: The peer offers something else or proves another identity.
        UsageError: `expected_peer_id` is not a peer id.
        trio.BrokenResourceError: The connection is over.
    """
    link = _Link(socket)
    if expected_peer_id is None:
        await multistream.offer([NOISE], link)
        with _translated():
            shaken = await identity.noise.secure_inbound(link)
        session = _go_on(socket, shaken)
        inner = await multistream.offer([YAMUX, BULK], session)
    else:
        expected = _parse_peer_id(expected_peer_id)
        await multistream.select(NOISE, link)
        with _translated():
            shaken = await identity.noise.secure_outbound(link, expected)  # refuses another identity
        session = _go_on(socket, shaken)
        await multistream.select(inner, session)
    peer_id = shaken.get_remote_peer()
    if not _is_ed25519(peer_id):
        raise ProtocolViolation(f"expected a peer with an Ed25519 key, found {peer_id}")
    if inner == BULK:
        return Handover(session, peer_id=str(peer_id))
    muxer = Yamux(session, is_initiator=expected_peer_id is not None)
    return Connection(muxer, peer_id=str(peer_id), remote=remote or remote_of(socket))


def _go_on(socket: trio.SocketStream, shaken: ISecureConn) -> NoiseSession:
    """Continue with our own session under the keys on which the handshake agreed."""
    assert isinstance(shaken, SecureSession)
    assert isinstance(shaken.conn, NoiseTransportReadWriter)
    state = shaken.conn.noise_state.noise_protocol
    return NoiseSession(socket, sending_key=state.cipher_state_encrypt.k, receiving_key=state.cipher_state_decrypt.k)


@final
class _Link(IRawConnection):
    """A TCP socket as libp2p wants it for the handshake; it never reads ahead.

    `read` returns all `n` bytes: upstream gives up after 100 partial reads, which slow links cause. It refuses to read
    more than a message of ours may have: upstream asks for as much as the peer has announced.
    """

    def __init__(self, socket: trio.SocketStream, *, most_bytes: int = MAX_HANDSHAKE_BYTES) -> None:
        self._socket = socket
        self._most_bytes = most_bytes

    async def read(self, n: int | None = None) -> bytes:
        wanted = 1 if n is None else n
        if wanted > self._most_bytes:
            raise ProtocolViolation(f"expected a handshake message of at most {self._most_bytes} bytes, found {wanted}")
        taken = b""
        while len(taken) < wanted:
            data = await self._socket.receive_some(wanted - len(taken))
            if not data:
                raise trio.BrokenResourceError("the peer closed the connection")
            taken += data
        return taken

    async def write(self, data: bytes) -> None:
        await self._socket.send_all(data)

    async def close(self) -> None:
        await self._socket.aclose()

    def get_remote_address(self) -> tuple[str, int] | None:
        return remote_of(self._socket)

    def get_transport_addresses(self) -> list[Multiaddr]:
        return [Multiaddr(format_address(*remote_of(self._socket)))]

    def get_connection_type(self) -> ConnectionType:
        return ConnectionType.DIRECT


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
    except (trio.BrokenResourceError, ProtocolViolation):
        raise
    except Exception as err:
        # Nobody lists what libp2p and the libraries below it raise for bad bytes, and nothing of ours runs in here.
        # Upstream messages quote what the peer sent: they are bounded and escaped.
        found = f"{type(err).__name__}: {str(err)[:200]!a}"
        raise ProtocolViolation(f"expected a handshake as in spec/14, found {found}") from err
