"""Noise messages on real sockets, against the library that libp2p uses and against whoever sends something else."""

import os
import struct

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from noise.connection import NoiseConnection

from ddtp.errors import ProtocolViolation
from ddtp.transfer.noise import FIRST_BUFFER_BYTES, MANY_MESSAGES, MAX_BUFFER_BYTES, MAX_PLAIN_BYTES, NoiseSession
from tests.transfer.sockets import socket_pair
from tests.transfer.turns import counted_turns

KEYS = bytes(32), bytes(31) + b"\1"


def sessions(left, right):
    """Both ends of a session under fixed keys."""
    return (
        NoiseSession(left, sending_key=KEYS[0], receiving_key=KEYS[1]),
        NoiseSession(right, sending_key=KEYS[1], receiving_key=KEYS[0]),
    )


async def receive_bytes(session, size_bytes):
    received = b""
    while len(received) < size_bytes:
        received += b"".join(await session.receive())
    return received


def shaken():
    """Two ends of the reference library after their handshake."""
    left, right = (NoiseConnection.from_name(b"Noise_NN_25519_ChaChaPoly_SHA256") for _ in range(2))
    left.set_as_initiator()
    right.set_as_responder()
    left.start_handshake()
    right.start_handshake()
    right.read_message(left.write_message())
    left.read_message(right.write_message())
    return left, right


async def test_the_reference_library_understands_it_and_is_understood():
    """Several messages each way, full ones too, are those of the library under the handshake of libp2p."""
    reference, ours = shaken()
    state = ours.noise_protocol
    async with socket_pair() as (left, right):
        session = NoiseSession(
            right, sending_key=state.cipher_state_encrypt.k, receiving_key=state.cipher_state_decrypt.k
        )
        plain = [b"a", bytes(MAX_PLAIN_BYTES), os.urandom(70), b""]
        messages = [reference.encrypt(each) for each in plain]
        with trio.fail_after(5):
            await left.send_all(b"".join(struct.pack(">H", len(each)) + each for each in messages))
            assert await receive_bytes(session, len(b"".join(plain))) == b"".join(plain)
            answer = os.urandom(MAX_PLAIN_BYTES + 5)
            await session.write(b"head", answer)
            received = b""
            while len(received) < 4 + len(answer):
                (length,) = struct.unpack(">H", await receive_exactly(left, 2))
                received += reference.decrypt(await receive_exactly(left, length))
            assert received == b"head" + answer


async def receive_exactly(socket, size_bytes):
    received = b""
    while len(received) < size_bytes:
        received += await socket.receive_some(size_bytes - len(received))
    return received


@pytest.mark.slow
@settings(max_examples=30)
@given(st.lists(st.lists(st.sampled_from([0, 1, 12, MAX_PLAIN_BYTES - 12, MAX_PLAIN_BYTES, 200_000]), max_size=3)))
def test_round_trip(writes):
    """Whatever is written, in whatever parts, arrives in order and complete."""

    async def main():
        sent = [[os.urandom(size) for size in parts] for parts in writes]
        total = b"".join(part for parts in sent for part in parts)
        async with socket_pair() as (left, right), trio.open_nursery() as nursery:
            sender, receiver = sessions(left, right)

            async def send():
                for parts in sent:
                    await sender.write(*parts)

            nursery.start_soon(send)
            with trio.fail_after(10):
                assert await receive_bytes(receiver, len(total)) == total

    trio.run(main)


async def test_small_parts_share_a_message():
    """A header and its payload that fit one message are one message, as other implementations send them."""
    async with socket_pair() as (left, right):
        sender, _ = sessions(left, right)
        await sender.write(b"header", bytes(1000))
        assert len(await right.receive_some(10_000)) == 2 + 1006 + 16


async def test_the_buffer_grows_with_what_comes_and_has_an_end():
    """A quiet connection keeps one message's worth of memory, a busy one at most eight."""
    async with socket_pair() as (left, right), trio.open_nursery() as nursery:
        sender, receiver = sessions(left, right)
        await sender.write(b"quiet")
        await receiver.receive()
        assert len(receiver._received) == FIRST_BUFFER_BYTES

        async def send():
            for _ in range(4):
                await sender.write(bytes(1 << 20))

        nursery.start_soon(send)
        with trio.fail_after(10):
            await receive_bytes(receiver, 4 << 20)
        assert FIRST_BUFFER_BYTES < len(receiver._received) <= MAX_BUFFER_BYTES


@pytest.mark.parametrize("message", [b"", b"x"])
async def test_a_flood_of_tiny_messages_lets_others_have_their_turn(message):
    """They are decrypted some at a time, in order; those without a byte do not hold the event loop either."""
    async with socket_pair() as (left, right):
        sender, receiver = sessions(left, right)
        receiver._received = memoryview(bytearray(MAX_BUFFER_BYTES))  # as after much traffic
        sender._sealed = memoryview(bytearray(100))
        for _ in range(20 * MANY_MESSAGES):  # not by `write`, which sends nothing if it has nothing to send
            await left.send_all(sender._sealed[: sender._seal_message(memoryview(message), 0)])
        await sender.write(b"last")
        await left.send_eof()
        calls, received = 0, b""
        async with counted_turns() as turns:
            while not received.endswith(b"last"):
                received += b"".join(await receiver.receive())
                calls += 1
        assert received == 20 * MANY_MESSAGES * message + b"last"
        assert max(turns.count, calls) >= 10


async def test_reading_takes_no_byte_that_it_does_not_return():
    """After the last message of a negotiation the socket can serve another protocol, from the next byte on."""
    async with socket_pair() as (left, right):
        sender, receiver = sessions(left, right)
        await sender.write(b"take")
        await sender.write(b"over")
        await left.send_all(b"raw")
        assert await receiver.read(2) == b"ta"
        assert await receiver.read(100) == b"ke"
        assert await receiver.read(4) == b"over"
        socket = receiver.give_up()
        assert await socket.receive_some(100) == b"raw"


async def test_a_socket_is_not_given_up_with_bytes_that_nobody_has_seen():
    """What else stood in the last message belongs to this layer, so the peer did not follow the protocol."""
    async with socket_pair() as (left, right):
        sender, receiver = sessions(left, right)
        await sender.write(b"take more")
        assert await receiver.read(4) == b"take"
        with pytest.raises(ProtocolViolation):
            receiver.give_up()


async def test_what_a_negotiation_left_is_received_first():
    """A peer that does not wait for the answer loses nothing."""
    async with socket_pair() as (left, right):
        sender, receiver = sessions(left, right)
        await sender.write(b"take more")
        assert await receiver.read(4) == b"take"
        assert b"".join(await receiver.receive()) == b" more"


@pytest.mark.parametrize("reading", ["read", "receive"])
@pytest.mark.parametrize("sent", [b"\0\x11" + bytes(17), b"\0\0", b"\0\x03abc", b"\xff\xff" + bytes(65_535)], ids=len)
async def test_what_does_not_decrypt_is_a_violation(sent, reading):
    """A forged, an empty and a short message are refused."""
    async with socket_pair() as (left, right), trio.open_nursery() as nursery:
        _, receiver = sessions(left, right)
        nursery.start_soon(left.send_all, sent)
        with trio.fail_after(5), pytest.raises(ProtocolViolation):
            await (receiver.read(1) if reading == "read" else receiver.receive())


@pytest.mark.parametrize("reading", ["read", "receive"])
async def test_a_torn_message_ends_with_the_connection(reading):
    """A peer that leaves in the middle of a message is gone, and what it left there is nothing."""
    for sent in (b"", b"\0", b"\0\x20", b"\0\x20" + bytes(31)):
        async with socket_pair() as (left, right):
            _, receiver = sessions(left, right)
            await left.send_all(sent) if sent else None
            await left.aclose()
            with trio.fail_after(5), pytest.raises(trio.BrokenResourceError):
                await (receiver.read(1) if reading == "read" else receiver.receive())


async def test_a_replayed_message_is_a_violation():
    """Each message has its number."""
    async with socket_pair() as (left, right), socket_pair() as (copy_in, copy_out):
        sender, _ = sessions(left, right)
        await sender.write(b"once")
        message = await right.receive_some(100)
        await copy_in.send_all(message + message)
        _, receiver = sessions(copy_in, copy_out)
        with pytest.raises(ProtocolViolation):
            await receive_bytes(receiver, 100)


async def test_what_a_cancelled_write_leaves_is_sent_first():
    """A torn message would leave the peer waiting for ever; whoever writes next sends the rest of it before."""
    async with socket_pair() as (left, right):
        sender, receiver = sessions(left, right)
        written = 0
        with trio.move_on_after(0.05) as scope:
            while True:
                written += 1
                await sender.write(bytes(1_000_000))
        assert scope.cancelled_caught
        assert sender.is_behind

        async def go_on():
            await sender.flush()
            assert not sender.is_behind
            await sender.write(b"then")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(go_on)
            with trio.fail_after(20):
                arrived = await receive_bytes(receiver, 1_000_000 * written + 4)
        assert arrived == bytes(1_000_000 * written) + b"then"


async def test_a_write_is_taken_even_if_it_is_cancelled_at_once():
    """Whoever writes need not ask how much of it was sent: the peer gets all of it."""
    async with socket_pair() as (left, right):
        sender, receiver = sessions(left, right)
        with trio.CancelScope() as scope:
            scope.cancel()
            await sender.write(b"first ")
        assert scope.cancelled_caught
        await sender.flush()
        await sender.write(b"then")
        assert await receive_bytes(receiver, 10) == b"first then"


async def test_what_the_peer_sent_before_it_left_is_read():
    """A write that finds the peer gone does not take away what it has sent."""
    async with socket_pair() as (left, right):
        sender, receiver = sessions(left, right)
        await sender.write(b"last words")
        await left.aclose()
        with trio.fail_after(5), pytest.raises(trio.BrokenResourceError):
            await receiver.write(*[bytes(100_000)] * 100)
        assert await receiver.read(100) == b"last words"
