"""The relay as a process of its own, and what relays do to the card of a service."""

from dataclasses import replace
from pathlib import Path

import pytest

from ddtp.config import Config, RelaySettings, load_config
from ddtp.daemon.readiness import check_addresses, listens_anywhere
from ddtp.daemon.relaying import relay_limits, run_relay
from ddtp.errors import ConfigInvalid, IdentityMissing
from ddtp.transfer.host import Host, peer_id_of
from ddtp.transfer.relay import RelayLimits
from tests.town import Town, open_town

PEER = peer_id_of(bytes(32))
RELAY = f"/ip4/192.0.2.1/tcp/4001/p2p/{PEER}"


async def start(config: Config) -> None:
    """Start a relay that must not come up."""

    def ready(_host: Host) -> None:
        pytest.fail("the relay came up")

    await run_relay(config, passphrase=None, ready=ready)


async def test_a_relay_needs_settings_and_an_identity(tmp_path: Path) -> None:
    """Both are said as what they are."""
    config = Config(home=tmp_path, vault=tmp_path / "vault")
    with pytest.raises(ConfigInvalid, match=r"table \[relay\]"):
        await start(config)
    with pytest.raises(IdentityMissing):
        await start(replace(config, relay=RelaySettings(listen=("/ip4/127.0.0.1/tcp/0",))))


def test_the_bounds_of_the_settings_are_those_of_the_relay(tmp_path: Path) -> None:
    """And what the settings leave out is as the specification says."""
    (tmp_path / "config.toml").write_text('[relay]\nlisten = ["/ip4/127.0.0.1/tcp/1"]\ncircuits = 5\n')
    settings = load_config(home=tmp_path, environment={}).relay
    assert settings is not None
    assert relay_limits(settings) == RelayLimits(circuits=5)


@pytest.mark.parametrize(
    "relay", ["/ip4/192.0.2.1/tcp/4001", f"{RELAY}/p2p-circuit/p2p/{peer_id_of(bytes(31) + b'x')}", "nonsense"]
)
def test_a_relay_in_the_settings_is_a_whole_address(tmp_path: Path, relay: str) -> None:
    """With its identity, and not itself behind another one."""
    with pytest.raises(ConfigInvalid, match=r"\[network\] relays"):
        check_addresses(Config(home=tmp_path, vault=tmp_path, relays=(relay,)))


def test_relays_are_a_place_even_where_nothing_else_is(tmp_path: Path) -> None:
    """Who is reached through relays may listen anywhere, and on any port."""
    config = Config(home=tmp_path, vault=tmp_path, listen=("/ip4/0.0.0.0/tcp/0",))
    with pytest.raises(ConfigInvalid):
        check_addresses(config)
    check_addresses(replace(config, relays=(RELAY,)))
    assert listens_anywhere(config)
    assert not listens_anywhere(replace(config, relays=(RELAY,)))


@pytest.fixture
async def town(tmp_path: Path):  # type: ignore[no-untyped-def]
    async with open_town(tmp_path) as town:
        yield town


async def test_a_card_leads_through_the_relays(town: Town) -> None:
    """After the addresses of its own, of which those that lead nobody anywhere are left out."""
    await town.close("receiver")
    hidden = await town.open_receiver(relays=(RELAY,))
    circuit = f"{RELAY}/p2p-circuit/p2p/{hidden.agent.host.peer_id}"
    assert hidden.card.body.addresses == (circuit,)
    await town.close("receiver")
    both = await town.open_receiver(relays=(RELAY,), announce=("/ip4/192.0.2.7/tcp/4001",))
    assert both.card.body.addresses == (f"/ip4/192.0.2.7/tcp/4001/p2p/{both.agent.host.peer_id}", circuit)
