"""The multiaddrs of spec/14 s.1."""

import pytest

from ddtp.errors import ConfigInvalid, UsageError
from ddtp.transfer.addresses import ListenAddress, PeerAddress, address_group, format_address, multiaddr_group

RELAY = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X"
PEER = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"


@pytest.mark.parametrize("host", ["ip4/192.0.2.7", "ip6/2001:db8::1", "dns/bank.example", "dns4/a.b", "dns6/a.b"])
def test_a_peer_address_names_host_port_and_identity(host):
    """Numbers and names are taken apart as written."""
    address = PeerAddress(f"/{host}/tcp/4001/p2p/{PEER}")
    assert (address.host, address.port, address.peer_id) == (host.partition("/")[2], 4001, PEER)
    assert address.relay_id is None
    assert address.is_name == host.startswith("dns")
    assert address.ip_version == {"ip4": 4, "ip6": 6, "dns": 0, "dns4": 4, "dns6": 6}[host.partition("/")[0]]


@pytest.mark.parametrize("host", ["ip4/192.0.2.7", "dns/relay.example"])
def test_a_relayed_address_names_the_relay_too(host):
    """Where to connect, who is there, and who is to be reached through it."""
    address = PeerAddress(f"/{host}/tcp/4001/p2p/{RELAY}/p2p-circuit/p2p/{PEER}")
    assert (address.host, address.port, address.relay_id) == (host.partition("/")[2], 4001, RELAY)
    assert address.peer_id == PEER


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"/ip4/192.0.2.7/tcp/4001/{PEER}",
        "/ip4/192.0.2.7/tcp/4001/p2p/",
        "/ip4/192.0.2.7/tcp/4001",
        f"/ip4/192.0.2.7/udp/4001/p2p/{PEER}",
        f"/ip4/192.0.2.7/tcp/0/p2p/{PEER}",
        f"/ip4/192.0.2.7/tcp/65536/p2p/{PEER}",
        f"/ip4/192.0.2.7/tcp/٤٠/p2p/{PEER}",
        f"/ip4/192.0.2.7/tcp/4_1/p2p/{PEER}",
        f"/ip4/192.0.2.256/tcp/4001/p2p/{PEER}",
        f"/ip6/192.0.2.7/tcp/4001/p2p/{PEER}",
        f"/ip4/192.0.2.7/tcp/4001/ws/p2p/{PEER}",
        f"/dns/{'a' * 600}/tcp/4001/p2p/{PEER}",
        f"/dns/银行/tcp/4001/p2p/{PEER}",
        f"/ip4/192.0.2.7/tcp/4001/p2p/{RELAY}/p2p-circuit",
        f"/ip4/192.0.2.7/tcp/4001/p2p/{RELAY}/p2p-circuit/p2p/",
        f"/ip4/192.0.2.7/tcp/4001/p2p//p2p-circuit/p2p/{PEER}",
        f"/ip4/192.0.2.7/tcp/4001/p2p-circuit/p2p/{PEER}",
        f"/ip4/192.0.2.7/tcp/4001/p2p/{PEER}/p2p-circuit/p2p/{PEER}",
        f"/ip4/192.0.2.7/tcp/4001/p2p/{RELAY}/p2p-circuit/p2p/{PEER}/p2p-circuit/p2p/{PEER}",
        f"/p2p/{RELAY}/p2p-circuit/p2p/{PEER}",
    ],
)
def test_other_texts_are_no_peer_addresses(text):
    """Everything that spec/14 does not name is refused."""
    with pytest.raises(UsageError):
        PeerAddress(text)


def test_a_listening_address_is_a_number():
    """Port 0 is allowed, names are not."""
    assert ListenAddress("/ip6/::/tcp/0").port == 0
    with pytest.raises(ConfigInvalid):
        ListenAddress("/dns/bank.example/tcp/4001")


def test_addresses_are_written_by_their_kind():
    """IPv4 and IPv6 are told apart."""
    assert format_address("192.0.2.7", 1) == "/ip4/192.0.2.7/tcp/1"
    assert format_address("::1", 2) == "/ip6/::1/tcp/2"


def test_addresses_of_one_customer_count_as_one():
    """In IPv6 a customer has a network of 64 bits at least; in IPv4 an address is what there is."""
    assert address_group("2001:db8:1:2:3:4:5:6") == address_group("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert address_group("2001:db8:1:3::1") != address_group("2001:db8:1:2::1")
    assert address_group("fe80::1%eth0") == "fe80::/64"
    assert address_group("192.0.2.7") == address_group("::ffff:192.0.2.7") == "192.0.2.7"
    assert multiaddr_group(format_address("2001:db8::1", 7)) == "2001:db8::/64"
    assert address_group("192.0.2.8") != address_group("192.0.2.7")
