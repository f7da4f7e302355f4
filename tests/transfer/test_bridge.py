"""Bytes between two streams: all of them, in both directions, with the ends and the breaks."""

import os

import trio

from ddtp.transfer.bridge import bridged, splice
from tests.transfer.conftest import MemoryRaw, make_raw_pair


async def read_all(raw: MemoryRaw) -> bytes:
    data = b""
    while piece := await raw.read(4096):
        data += piece
    return data


async def test_a_raw_stream_looks_like_a_socket() -> None:
    """In both directions, with the end of each."""
    one, two = os.urandom(300_000), os.urandom(100_000)
    near_raw, far_raw = make_raw_pair()
    async with bridged(near_raw) as socket, trio.open_nursery() as nursery:

        async def say() -> None:
            await socket.send_all(one)
            await socket.send_eof()

        async def answer() -> None:
            assert await read_all(far_raw) == one
            await far_raw.write(two)
            await far_raw.close()

        nursery.start_soon(say)
        nursery.start_soon(answer)
        with trio.fail_after(5):
            assert b"".join([bytes(piece) async for piece in socket]) == two


async def test_a_broken_stream_is_a_closed_socket() -> None:
    """Whoever reads does not wait for ever."""
    near_raw, far_raw = make_raw_pair()
    async with bridged(near_raw) as socket:
        await far_raw.reset()
        await near_raw.reset()
        with trio.fail_after(5):
            assert await socket.receive_some() == b""


async def spliced(most_bytes: int, data: bytes) -> bytes:
    """What comes out behind a splice of two streams."""
    left, left_end = make_raw_pair()
    right_end, right = make_raw_pair()
    got = bytearray()
    async with trio.open_nursery() as nursery:

        async def say() -> None:
            await left.write(data)
            await left.close()

        async def hear() -> None:
            got.extend(await read_all(right))
            await right.write(b"thanks")
            await right.close()

        async def join() -> None:
            await splice(left_end, right_end, most_bytes=most_bytes)
            await left_end.reset()
            await right_end.reset()

        for task in (say, hear, join):
            nursery.start_soon(task)
        with trio.fail_after(5):
            answer = await read_all(left)
    return bytes(got) + answer


async def test_a_splice_passes_everything_and_both_ends() -> None:
    """The end of one direction leaves the other open."""
    assert await spliced(0, b"x" * 200_000) == b"x" * 200_000 + b"thanks"
    assert await spliced(200_000, b"x" * 200_000) == b"x" * 200_000 + b"thanks"


async def test_a_splice_ends_at_its_bound() -> None:
    """What is above it does not pass, and the splice is over although nobody has ended anything."""
    left, left_end = make_raw_pair()
    right_end, right = make_raw_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.write, b"x" * 200_000)
        with trio.fail_after(5):
            await splice(left_end, right_end, most_bytes=100_000)
        await right_end.close()
        assert len(await read_all(right)) <= 100_000
