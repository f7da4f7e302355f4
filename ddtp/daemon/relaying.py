"""A relay as a process of its own (spec/14 s.7): it has a network identity, and no business with any package."""

import logging
import signal
from collections.abc import Callable

import trio

from ddtp.agent.facade import wall_clock
from ddtp.config import Config, RelaySettings
from ddtp.errors import ConfigInvalid
from ddtp.store.keystore import load_identity
from ddtp.transfer.host import Host, open_host
from ddtp.transfer.relay import Relay, RelayLimits

NETWORK_LABEL = "relay"
"""Of the network key: another identity than that of a service in the same home, so that both can run."""

_log = logging.getLogger(__name__)


async def run_relay(config: Config, *, passphrase: str | None, ready: Callable[[Host], None]) -> None:
    """Run a relay until SIGTERM or SIGINT.

    Args:
        config: Settings; the home must have an identity.
        passphrase: Opens the key file, if it is sealed.
        ready: Told the host once it answers.

    Raises:
        ConfigInvalid: There is no table [relay], or an address in it is malformed.
        AlreadyRunning: An address is in use.
        IdentityMissing, PassphraseWrong: The key file is missing or stays closed.
    """
    if config.relay is None:
        raise ConfigInvalid("expected a table [relay] for a relay, found none", hint="set [relay] listen")
    limits = relay_limits(config.relay)
    seed = await trio.to_thread.run_sync(lambda: load_identity(config.home, passphrase=passphrase))
    key = seed.network_key(NETWORK_LABEL)
    async with open_host(network_key=key, listen=config.relay.listen, limits=limits.for_host()) as host:
        Relay(limits, clock=wall_clock).serve(host)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            ready(host)
            _log.info("relaying", extra={"peer_id": host.peer_id})
            async for number in signals:
                _log.info("stopping", extra={"signal": signal.Signals(number).name})
                break
    _log.info("stopped")


def relay_limits(settings: RelaySettings) -> RelayLimits:
    """Return the bounds that the settings name."""
    return RelayLimits(
        peers=settings.peers,
        reservations=settings.reservations,
        circuits=settings.circuits,
        circuit_seconds=settings.circuit_seconds,
        circuit_bytes=settings.circuit_bytes,
    )
