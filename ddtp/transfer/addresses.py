"""spec/14 s.1: the few multiaddrs that DDTP speaks: TCP, by name or number, with the peer's network identity."""

from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final, final

from ddtp.errors import ConfigInvalid, UsageError

_HOST_KINDS: Final = {"ip4": 4, "ip6": 6, "dns": 0, "dns4": 4, "dns6": 6}

IPV6_SITE_BITS: Final = 64
"""The least that one customer is given; within it an address costs nothing, so it counts as one (RFC 6177)."""

MAX_TEXT: Final = 512
"""A DNS name has at most 253 characters and a peer id about 60; longer texts are not addresses."""


@final
@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Where a peer listens and who must answer there.

    Attributes:
        multiaddr: For example `/ip4/192.0.2.7/tcp/4001/p2p/12D3KooW…`.
        host: Name or number to connect to: the peer's, or its relay's.
        port: TCP port.
        peer_id: Network identity that must prove itself there.
        relay_id: Network identity of the relay that leads there, or None.
    """

    multiaddr: str
    host: str = field(init=False)
    port: int = field(init=False)
    peer_id: str = field(init=False)
    relay_id: str | None = field(init=False)

    def __post_init__(self) -> None:
        parts = self.multiaddr[: MAX_TEXT + 1].split("/")
        direct = len(parts) == 7
        relayed = len(parts) == 10 and parts[7:9] == ["p2p-circuit", "p2p"]
        ids = parts[6::3]
        if len(self.multiaddr) > MAX_TEXT or not (direct or relayed) or parts[5] != "p2p" or not all(ids):
            form = "/ip4|ip6|dns/<host>/tcp/<port>/p2p/<peer id>, maybe followed by /p2p-circuit/p2p/<peer id>"
            raise UsageError(f"expected {form}, found {self.multiaddr[:MAX_TEXT]!r}")
        host, port = _host_and_port(parts)
        if host is None or not port:
            raise UsageError(f"expected a host and a TCP port from 1 to 65535, found {self.multiaddr!r}")
        if relayed and ids[0] == ids[1]:
            raise UsageError(f"expected a relay that is not the peer itself, found {self.multiaddr!r}")
        object.__setattr__(self, "host", host)
        object.__setattr__(self, "port", port)
        object.__setattr__(self, "peer_id", ids[-1])
        object.__setattr__(self, "relay_id", ids[0] if relayed else None)

    @property
    def ip_version(self) -> int:
        """4 or 6 if only that will do, else 0."""
        return _HOST_KINDS[self.multiaddr.split("/")[1]]

    @property
    def is_name(self) -> bool:
        """Whether the host has to be looked up."""
        return self.multiaddr.startswith("/dns")


@final
@dataclass(frozen=True, slots=True)
class ListenAddress:
    """An address of this machine to listen on; port 0 lets the system choose."""

    multiaddr: str
    host: str = field(init=False)
    port: int = field(init=False)

    def __post_init__(self) -> None:
        parts = self.multiaddr.split("/")
        host, port = _host_and_port(parts) if len(parts) == 5 and parts[1] in {"ip4", "ip6"} else (None, None)
        if host is None or port is None:
            raise ConfigInvalid(f"expected /ip4|ip6/<address>/tcp/<port>, found {self.multiaddr!r}")
        object.__setattr__(self, "host", host)
        object.__setattr__(self, "port", port)


def format_address(host: str, port: int) -> str:
    """Write a numeric address as a multiaddr, without the identity."""
    kind = "ip6" if ":" in host else "ip4"
    return f"/{kind}/{host}/tcp/{port}"


def address_group(host: str) -> str:
    """Return what a numeric address is counted by: itself in IPv4, its network of 64 bits in IPv6."""
    address = ip_address(host.partition("%")[0])
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address, IPV6_SITE_BITS), strict=False))


def multiaddr_group(multiaddr: str) -> str:
    """Return what the numeric address in a multiaddr of `format_address` is counted by."""
    return address_group(multiaddr.split("/")[2])


def _host_and_port(parts: list[str]) -> tuple[str | None, int | None]:
    _, kind, host, transport, port_text = parts[:5]
    if kind not in _HOST_KINDS or transport != "tcp" or not host or not host.isascii():
        return None, None
    if not (port_text.isascii() and port_text.isdigit() and len(port_text) <= 5 and int(port_text) <= 65_535):
        return None, None
    version = _HOST_KINDS[kind]
    if kind in {"ip4", "ip6"}:
        try:
            if ip_address(host).version != version:
                return None, None
        except ValueError:
            return None, None
    return host, int(port_text)
