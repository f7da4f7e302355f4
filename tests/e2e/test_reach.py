"""A receiver that is not where its card says, as real processes."""

from pathlib import Path

import pytest
import trio

from ddtp.agent import open_agent
from ddtp.config import Config
from ddtp.errors import PeerUnreachable
from tests.daemons import Network
from tests.e2e.stories import issue, large_file, received
from tests.town import make_home

FILES = large_file(2 << 20)

pytestmark = pytest.mark.slow


async def test_a_receiver_with_an_old_card_is_found_on_the_local_network(network: Network, tmp_path: Path) -> None:
    """It was started again on another port; a home that names the network reaches it, one that does not cannot."""
    receiver = network.make_receiver("moving", network='lan = ["127.0.0.0/8"]')
    old = receiver.start().wait_ready()
    assert await trio.to_thread.run_sync(receiver.stop) == 0
    receiver.start()
    assert (await trio.to_thread.run_sync(receiver.wait_ready)).body.addresses != old.body.addresses
    home = tmp_path / "person"
    make_home(home)
    config = Config(home=home, vault=home / "vault")
    async with open_agent(config=config) as person:
        package = await issue(network, person, FILES)
        with pytest.raises(PeerUnreachable, match="Moving does not answer"):
            await person.prepare(package.path, card=old)
    async with open_agent(config=Config(home=home, vault=home / "vault", lan=("127.0.0.0/8",))) as person:
        sent = await person.send(await person.prepare(package.path, card=old))
    assert sent.verified
    assert received(receiver, sent.transfer_id) == FILES
