"""`ddtp serve` and `ddtp relay`: run an institution's service, or a relay, in the foreground."""

from typing import TYPE_CHECKING

import typer

from ddtp.cli import homes
from ddtp.cli._console import console_of
from ddtp.cli.examples import examples

if TYPE_CHECKING:
    from ddtp.identity.document import Card
    from ddtp.protocol.envelope import Signed
    from ddtp.transfer.host import Host


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples("ddtp serve", "ddtp serve --config /etc/ddtp/config.toml --passphrase-file /run/ddtp/pass")
    )(serve)
    app.command(epilog=examples("ddtp relay", "ddtp relay --config /etc/ddtp/relay.toml"))(relay)


def serve(context: typer.Context) -> None:
    """Run the service of an institution.

    It plays the roles that the settings name, until SIGTERM or Ctrl-C; transfers in flight get time to end. When it
    answers, one JSON line on stdout says where: {"card": FILE, "addresses": [...], "did": ...}. Logs go to stderr,
    as JSON unless that is a terminal.
    """
    console = console_of(context)
    config = homes.settings(console)
    secret = homes.passphrase(console, config)

    import json

    import trio

    from ddtp.daemon.logs import set_up_logs
    from ddtp.daemon.service import serve as run_service

    def ready(card: "Signed[Card]") -> None:
        data = {
            "card": str(homes.daemon_card(config)),
            "addresses": list(card.body.addresses),
            "did": card.body.did,
        }
        console.result(json.dumps(data, ensure_ascii=False), data)

    set_up_logs()

    async def main() -> None:
        await run_service(config, passphrase=secret, ready=ready)

    trio.run(main)


def relay(context: typer.Context) -> None:
    """Run a relay to receivers behind NAT.

    It carries what two peers have sealed for each other, within the bounds of [relay] in the settings, until SIGTERM
    or Ctrl-C. When it answers, one JSON line on stdout says where: {"addresses": [...], "peer_id": ...}. Receivers
    name such an address in [network] relays. Logs go to stderr, as JSON unless that is a terminal.
    """
    console = console_of(context)
    config = homes.settings(console)
    secret = homes.passphrase(console, config)

    import json

    import trio

    from ddtp.daemon.logs import set_up_logs
    from ddtp.daemon.relaying import run_relay

    def ready(host: "Host") -> None:
        data = {"addresses": list(host.addresses), "peer_id": host.peer_id}
        console.result(json.dumps(data), data)

    set_up_logs()

    async def main() -> None:
        await run_relay(config, passphrase=secret, ready=ready)

    trio.run(main)
