"""Flow streams over memory: trio's own contract suite, and what spec/14 adds to it."""

import trio
import trio.testing

from ddtp.transfer.records import WINDOW_BYTES


async def test_follows_the_contract_of_a_half_closeable_stream(make_flow_pair):
    """Trio's suite for streams finds nothing, also when the sender is out of credit."""

    async def make():
        return make_flow_pair()

    async def make_clogged():
        left, right = make_flow_pair()
        await left.send_all(bytes(WINDOW_BYTES))
        await right.send_all(bytes(WINDOW_BYTES))
        return left, right

    with trio.fail_after(60):
        await trio.testing.check_two_way_stream(make, make_clogged)
        await trio.testing.check_half_closeable_stream(make, make_clogged)
