"""py-libp2p's own circuit relay, as a process beside the tests: `relay`, or `pair RELAY`, two peers of its own.

The relay prints its address and runs until it is killed; the pair sends some bytes through a relay and back, and prints
what came of it.
"""

import hashlib
import logging
import os
import sys

import trio
from libp2p import create_new_ed25519_key_pair, create_yamux_muxer_option, new_host
from libp2p.abc import IHost, INetStream
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.relay.circuit_v2.config import RelayConfig, RelayRole
from libp2p.relay.circuit_v2.protocol import PROTOCOL_ID, CircuitV2Protocol
from libp2p.relay.circuit_v2.resources import RelayLimits
from libp2p.relay.circuit_v2.transport import CircuitV2Transport
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

LIMITS = RelayLimits(duration=3600, data=1 << 30, max_circuit_conns=10, max_reservations=5)
ECHO = TProtocol("/stock/echo/1")
DATA = os.urandom(200_000)
HERE = [Multiaddr("/ip4/127.0.0.1/tcp/0")]


def make_host() -> IHost:
    keys = create_new_ed25519_key_pair()
    noise = NoiseTransport(keys, create_x25519_key_pair().private_key)
    return new_host(key_pair=keys, sec_opt={NOISE: noise}, muxer_opt=create_yamux_muxer_option(), listen_addrs=HERE)


async def relay() -> None:
    host = make_host()
    async with host.run(listen_addrs=HERE):
        protocol = CircuitV2Protocol(host, limits=LIMITS, allow_hop=True)
        async with background_trio_service(protocol):
            say(host.get_addrs()[0])
            await trio.sleep_forever()


async def pair(address: str) -> None:
    place = info_from_p2p_addr(Multiaddr(address))
    listener, dialer = make_host(), make_host()
    roles = RelayConfig(roles=RelayRole.STOP | RelayRole.CLIENT, limits=LIMITS)

    async def echo(stream: INetStream) -> None:
        await stream.write(await read(stream))
        await stream.close()

    listener.set_stream_handler(ECHO, echo)
    async with listener.run(listen_addrs=HERE), dialer.run(listen_addrs=HERE), trio.open_nursery() as nursery:
        one, two = (CircuitV2Protocol(host, limits=LIMITS, allow_hop=False) for host in (listener, dialer))
        async with background_trio_service(one), background_trio_service(two):
            await listener.connect(place)
            stream = await listener.new_stream(place.peer_id, [PROTOCOL_ID])
            say("reserved", await CircuitV2Transport(listener, one, roles).reserve(stream, place.peer_id, nursery))
            await CircuitV2Transport(dialer, two, roles).dial(
                Multiaddr(f"{address}/p2p-circuit/p2p/{listener.get_id()}")
            )
            back = await dialer.new_stream(listener.get_id(), [ECHO])
            await back.write(DATA)
            say("echo", hashlib.sha256(await read(back)).digest() == hashlib.sha256(DATA).digest())
            os._exit(0)


async def read(stream: INetStream) -> bytes:
    data = b""
    while len(data) < len(DATA):
        data += await stream.read(65_536)
    return data


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    if sys.argv[1] == "relay":
        trio.run(relay)
    else:
        trio.run(pair, sys.argv[2])
