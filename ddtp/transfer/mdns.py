"""spec/14 s.6: the messages of multicast DNS by which peers find each other on one network; no sockets here.

The service and its records are those of the libp2p specification for mDNS discovery. The records are coded by zeroconf,
which libp2p depends on; of what strangers send, only the few values below are taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from zeroconf import DNSIncoming, DNSOutgoing, DNSPointer, DNSQuestion, DNSText

SERVICE: Final = "_p2p._udp.local."
MAX_PACKET_BYTES: Final = 9000
"""Of multicast DNS (RFC 6762 s.17)."""
MAX_ADDRESSES: Final = 8
"""Said and taken at once: of one machine on one network, in one packet of Ethernet."""

_TYPE_PTR: Final = 12
_TYPE_TXT: Final = 16
_CLASS_IN: Final = 1
_UNICAST_BIT: Final = 0x8000
_FLAGS_QUERY: Final = 0
_FLAGS_ANSWER: Final = 0x8400
_LIFE_SECONDS: Final = 10
"""Of an answer: most that a simple resolver may be told (RFC 6762 s.6.7), and enough, because it is used at once."""
_KEY: Final = b"dnsaddr="


@final
@dataclass(frozen=True, slots=True)
class Query:
    """Somebody asks who is there."""

    number: int


def encode_query(number: int) -> bytes:
    """Ask who is there.

    Args:
        number: 16 bits that the answer repeats.
    """
    message = DNSOutgoing(_FLAGS_QUERY, multicast=False, id_=number)
    message.add_question(DNSQuestion(SERVICE, _TYPE_PTR, _CLASS_IN))
    return message.packets()[0]


def find_query(packet: bytes) -> Query | None:
    """Return the question for our service in a packet, if there is one."""
    message = DNSIncoming(packet)
    if not message.valid or not message.is_query():
        return None
    asked = any(each.type == _TYPE_PTR and each.name.lower() == SERVICE for each in message.questions)
    return Query(message.id) if asked else None


def encode_answer(query: Query | None, addresses: Sequence[str], *, instance: str) -> bytes:
    """Say where we are.

    Args:
        query: Repeated for a simple resolver that has asked; None for everybody.
        addresses: Multiaddrs with our identity, each at most 160 bytes; at most `MAX_ADDRESSES` are said.
        instance: A random name, less than 64 characters.
    """
    message = DNSOutgoing(_FLAGS_ANSWER, multicast=query is None, id_=0 if query is None else query.number)
    if query is not None:
        message.add_question(DNSQuestion(SERVICE, _TYPE_PTR, _CLASS_IN))
    name = f"{instance}.{SERVICE}"
    texts = [_KEY + address.encode("ascii") for address in addresses[:MAX_ADDRESSES]]
    packed = b"".join(bytes([len(text)]) + text for text in texts)
    message.add_answer_at_time(DNSPointer(SERVICE, _TYPE_PTR, _CLASS_IN, _LIFE_SECONDS, name), 0)
    message.add_additional_answer(DNSText(name, _TYPE_TXT, _CLASS_IN, _LIFE_SECONDS, packed))
    return message.packets()[0]


def find_addresses(packet: bytes, number: int) -> list[str]:
    """Return the multiaddrs in an answer to our query, as they were sent; nothing if it is something else."""
    message = DNSIncoming(packet)
    if not message.valid or message.is_query() or message.id != number:
        return []
    texts = [text for record in message.answers() if isinstance(record, DNSText) for text in _split(record.text)]
    found = [text.removeprefix(_KEY) for text in texts if text.startswith(_KEY)]
    return [text.decode("ascii") for text in found if text.isascii()][:MAX_ADDRESSES]


def _split(packed: bytes) -> list[bytes]:
    texts = []
    while packed:
        size = packed[0] + 1
        texts.append(packed[1:size])
        packed = packed[size:]
    return texts
