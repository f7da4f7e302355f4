"""What must be right in the settings before a service starts, so that its operator finds it and not its customers."""

from collections.abc import Iterator
from ipaddress import ip_address

from ddtp.config import Config
from ddtp.errors import ConfigInvalid, UsageError
from ddtp.identity.document import Role
from ddtp.transfer.addresses import ListenAddress, PeerAddress

_SOME_PEER = "peer"
"""Stands for our network identity, which an announced address does not name."""


def check_roles(config: Config) -> None:
    """Check that the service has something to do, and each role its settings.

    Raises:
        ConfigInvalid: A role lacks a setting.
    """
    for problem in role_problems(config):
        raise problem


def role_problems(config: Config) -> Iterator[ConfigInvalid]:
    """Return all that the roles lack."""
    if not config.roles:
        yield ConfigInvalid("expected at least one role in [serve] roles, found none")
    if config.institution is None:
        yield ConfigInvalid("expected a table [institution] for a service, found none")
    if Role.LEDGER in config.roles and config.ledger_origin is None:
        yield ConfigInvalid("expected [ledger] origin for the role ledger, found none")
    if Role.VERIFIER in config.roles and config.verifier_policy is None:
        yield ConfigInvalid("expected [verifier] policy for the role verifier, found none")
    if Role.RECEIVER in config.roles:
        if config.ledger is None and config.ledger_origin is None:
            yield ConfigInvalid("expected a ledger for the receipts, found none", hint="set [ledger] card or origin")
        if config.receiver is None:
            yield ConfigInvalid("expected a table [receiver] for the role receiver, found none")


def check_addresses(config: Config) -> None:
    """Check where the service is to listen, and that others can use what its card will say.

    Raises:
        ConfigInvalid: An address is malformed, or the card would name one that is no place.
    """
    listened = [_listen_address(text) for text in config.listen]
    announced = [_announced_address(text) for text in config.announce]
    for text in config.relays:
        _check_relay(text)
    if config.relays and not announced:
        return  # the card names the relays, and of our own addresses those that are a place
    for address in announced or listened:
        if _is_unspecified(address.host):
            raise ConfigInvalid(
                f"expected an address for the card that others can reach, found {address.host}, which is no place",
                hint="set [network] announce",
            )


def listens_anywhere(config: Config) -> bool:
    """Tell whether the system chooses a port, another one at each start, so that cards given out before are wrong."""
    return not config.relays and any(ListenAddress(text).port == 0 for text in config.listen)


def is_place(multiaddr: str) -> bool:
    """Tell whether a numeric address that we listen on means anything on another machine."""
    number = ip_address(multiaddr.split("/")[2])
    return not (number.is_unspecified or number.is_loopback)


def _listen_address(text: str) -> ListenAddress:
    try:
        return ListenAddress(text)
    except ConfigInvalid as err:
        raise ConfigInvalid(f"in [network] listen: {err.message}") from err


def _check_relay(text: str) -> None:
    try:
        relay = PeerAddress(text)
    except UsageError as err:
        raise ConfigInvalid(f"in [network] relays: {err.message}") from err
    if relay.relay_id is not None:
        raise ConfigInvalid(f"in [network] relays: expected the address of a relay itself, found {text!r}")


def _announced_address(text: str) -> PeerAddress:
    try:
        return PeerAddress(f"{text}/p2p/{_SOME_PEER}")
    except UsageError as err:
        raise ConfigInvalid(
            f"in [network] announce: expected /ip4|ip6|dns/<host>/tcp/<port>, port from 1 to 65535; found {text!r}"
        ) from err


def _is_unspecified(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False  # a name
