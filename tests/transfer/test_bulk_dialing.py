"""Opening bulk connections: whoever takes a connection and says nothing costs a session some seconds, and no more."""

import os

import trio
from trio.testing import MockClock

from ddtp.transfer.addresses import PeerAddress
from ddtp.transfer.host import open_host, peer_id_of
from tests.transfer.test_host import silent_port

OPENING_SECONDS = 10


async def test_a_peer_that_does_not_answer_is_not_waited_for(hasty_clock: MockClock) -> None:
    """There are no connections then, and the content goes on the stream of the session."""
    async with silent_port() as port, open_host(network_key=os.urandom(32)) as client:
        dialer = client.bulk_dialer(PeerAddress(f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer_id_of(bytes(32))}"))
        with trio.fail_after(10 * OPENING_SECONDS):
            assert await dialer.connect(bytes(32)) == ()
    assert trio.current_time() <= OPENING_SECONDS + 1
