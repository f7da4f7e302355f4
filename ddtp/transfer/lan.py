"""spec/14 s.6: finding a peer on the networks that the settings name, and being found there.

What is found is a hint where to dial. Who answers there proves its identity as everywhere (spec/14 s.2); a hint counts
only if it points to the machine that sent it, so nobody can send us elsewhere.
"""

import logging
import os
import socket
import struct
import sys
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Final, Protocol

import ifaddr
import trio

from ddtp.errors import EnvironmentProblem, PeerUnreachable, UsageError
from ddtp.transfer.addresses import ListenAddress, PeerAddress, format_address
from ddtp.transfer.mdns import MAX_PACKET_BYTES, Query, encode_answer, encode_query, find_addresses, find_query
from ddtp.transfer.racing import STAGGER_SECONDS, Add, Source, Target

GROUP: Final = "224.0.0.251"
PORT: Final = 5353
SEARCH_SECONDS: Final = 5.0
"""Three questions: radio networks lose multicast packets."""
ASK_SECONDS: Final = (0.0, 1.0, 2.0)
"""After the first head start of the addresses themselves: most dials end before anybody is asked."""
MAX_PACKETS: Final = 256
"""Read per search and interface: a hall full of peers, each answering once or twice."""
MAX_FOUND: Final = 4
"""Numbers per search: a machine has a few, and what somebody makes up must leave turns to the addresses of the card.
Of each number the first address counts, so that one machine cannot take the places of the others."""
ANSWER_SECONDS: Final = 0.1
"""Between two answers on one interface; others hear an answer to the first who asks."""

_IP_MULTICAST_ALL: Final = 49
"""Of Linux, unknown to Python's socket module."""
_ANYWHERE: Final = "0.0.0.0"  # noqa: S104 - what is listened on is compared with it; nothing is bound to it

_log = logging.getLogger(__name__)


class _Started(Protocol):
    def started(self) -> None: ...


def numbers_in(networks: Collection[str]) -> tuple[str, ...]:
    """Return the IPv4 numbers of this machine that lie in some networks, such as `192.168.0.0/16`."""
    wanted = [IPv4Network(text) for text in networks]
    numbers = [str(each.ip) for adapter in ifaddr.get_adapters() for each in adapter.ips if each.is_IPv4]
    return tuple(number for number in dict.fromkeys(numbers) if any(ip_address(number) in net for net in wanted))


async def announce(
    addresses: Sequence[str],
    networks: Collection[str],
    *,
    task_status: _Started = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer whoever asks on some networks until cancelled; nothing is sent unasked.

    Args:
        addresses: Full multiaddrs that we listen on. Each is said on its own network only.
        networks: IPv4 networks.
        task_status: Told when questions are heard.

    Raises:
        EnvironmentProblem: The system does not let us listen for questions.
    """
    with ExitStack() as stack:
        listeners = [
            (stack.enter_context(await _listening_socket(number)), number, own)
            for number in numbers_in(networks)
            if (own := _own_addresses(addresses, number))
        ]
        async with trio.open_nursery() as nursery:
            for listener, number, own in listeners:
                nursery.start_soon(_answer, listener, number, own, [IPv4Network(network) for network in networks])
            task_status.started()


def search(peer_ids: Collection[str], networks: Collection[str]) -> Source:
    """Return a source that looks for peers on some networks for a few seconds.

    Args:
        peer_ids: Whom we want to reach.
        networks: IPv4 networks.
    """

    async def run(add: Add) -> None:
        await trio.sleep(STAGGER_SECONDS)
        numbers = await trio.to_thread.run_sync(numbers_in, networks)
        found: set[str] = set()
        with trio.move_on_after(SEARCH_SECONDS):
            async with trio.open_nursery() as nursery:
                for number in numbers:
                    nursery.start_soon(_ask, number, partial(_take, add, peer_ids, found))
        if not found:
            raise PeerUnreachable(
                f"nobody answered for it on the local network at {', '.join(numbers) or 'no address'}"
            )

    return run


def _own_addresses(addresses: Sequence[str], number: str) -> list[str]:
    own = []
    for text in addresses:
        place, _, peer_id = text.partition("/p2p/")
        address = ListenAddress(place)
        if address.host in {number, _ANYWHERE}:
            own.append(f"{format_address(number, address.port)}/p2p/{peer_id}")
    return own


async def _answer(
    listener: trio.socket.SocketType, number: str, addresses: Sequence[str], networks: Sequence[IPv4Network]
) -> None:
    instance = os.urandom(16).hex()
    while True:
        try:
            packet, source = await listener.recvfrom(MAX_PACKET_BYTES)
            query = find_query(packet)
            # an answer is larger than a question, so it must not go to whomever a question names as its source
            if query is None or not any(IPv4Address(source[0]) in network for network in networks):
                continue
            if source[1] != PORT:
                await _say(encode_answer(query, addresses, instance=instance), number, to=source)
            else:
                await _say(encode_answer(None, addresses, instance=instance), number, to=(GROUP, PORT))
        except (OSError, EnvironmentProblem) as err:
            # an interface that is down now may be up again later
            _log.debug("an answer at %s failed: %s", number, err)
        await trio.sleep(ANSWER_SECONDS)


async def _say(answer: bytes, number: str, *, to: tuple[str, int]) -> None:
    # the port is taken for a moment only: while we have it at this number, the system's own service hears less
    with await _speaking_socket(number, PORT) as speaker:
        await speaker.sendto(answer, to)


async def _ask(number: str, take: "partial[None]") -> None:
    query = Query(struct.unpack(">H", os.urandom(2))[0])

    async def repeat() -> None:
        begin = trio.current_time()
        for seconds in ASK_SECONDS:
            await trio.sleep_until(begin + seconds)
            await asker.sendto(encode_query(query.number), (GROUP, PORT))

    try:
        with await _speaking_socket(number, 0) as asker:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(repeat)
                for _ in range(MAX_PACKETS):
                    packet, source = await asker.recvfrom(MAX_PACKET_BYTES)
                    take(source[0], find_addresses(packet, query.number))
    except* (OSError, EnvironmentProblem) as err:
        _log.debug("a search at %s failed: %s", number, err)


def _take(add: Add, peer_ids: Collection[str], found: set[str], source: str, texts: Sequence[str]) -> None:
    for text in texts:
        try:
            address = PeerAddress(text)
        except UsageError:
            continue
        fits = address.host == source and address.relay_id is None and address.peer_id in peer_ids
        if fits and source not in found and len(found) < MAX_FOUND:
            found.add(source)
            add(Target(address, address.host))


async def _listening_socket(number: str) -> trio.socket.SocketType:
    listener = await _open_socket(GROUP if sys.platform != "win32" else number, PORT)
    try:
        membership = socket.inet_aton(GROUP) + socket.inet_aton(number)
        listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        if sys.platform == "linux":
            # else it would hear what other programs have joined, on networks that the settings do not name
            listener.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    except OSError as err:
        listener.close()
        raise EnvironmentProblem(f"expected to listen for questions at {number}, found: {err.strerror}") from err
    return listener


async def _speaking_socket(number: str, port: int) -> trio.socket.SocketType:
    speaker = await _open_socket(number, port)
    try:
        speaker.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(number))
    except OSError as err:
        speaker.close()
        raise EnvironmentProblem(f"expected to speak to a group at {number}, found: {err.strerror}") from err
    return speaker


async def _open_socket(number: str, port: int) -> trio.socket.SocketType:
    opened = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        if port:
            # the system's own service for multicast DNS has the port too
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if sys.platform != "win32":
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        await opened.bind((number, port))
    except OSError as err:
        opened.close()
        raise EnvironmentProblem(f"expected to use port {port} at {number}, found: {err.strerror}") from err
    return opened
