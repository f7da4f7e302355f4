"""What the two drivers of an exchange need from the rest of the agent (spec/08-session).

The drivers move messages in the right order and watch the deadlines; everything that is decided, signed, stored or
looked up is behind these two ports, so that the network door knows neither consent nor verification nor the disk.
"""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import trio

from ddtp.protocol.codec import Buffer
from ddtp.protocol.messages import (
    Accept,
    Decline,
    Finish,
    Hello,
    KeyRelease,
    Offer,
    ReceiptMessage,
)


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring sealed chunks, at most `RUN_CHUNKS`.

    Attributes:
        first: Position of the first one.
        count: How many.
        sealed: The chunks, one after the other.
        leaves: Their leaves in the ciphertext tree (spec/07 s.4), 32 bytes each.
    """

    first: int
    count: int
    sealed: Buffer
    leaves: Buffer


class BulkLink(Protocol):
    """A connection of its own for chunks (spec/14 s.6), one way; `channel.SocketLink` is one."""

    async def send(self, *parts: Buffer) -> None:
        """Send all parts; raise `trio.BrokenResourceError` when the connection is over. Breaks it when cancelled."""
        ...

    async def receive_into(self, view: memoryview) -> None:
        """Fill all of `view`; raise `trio.BrokenResourceError` when the connection ends before."""
        ...

    def close(self) -> None:
        """Close it now; harmless when it is closed."""
        ...


class BulkDialer(Protocol):
    """What the holder opens bulk connections with."""

    async def connect(self, token: bytes) -> tuple[BulkLink, ...]:
        """Return connections to the peer of the stream, none if it offers none or they cannot be opened in time."""
        ...


class BulkDesk(Protocol):
    """What the receiver awaits bulk connections with.

    Attributes:
        hashing: Held by each frame of any session while it is hashed.
    """

    hashing: trio.CapacityLimiter

    def expect(self, token: bytes, remote_peer_id: str) -> AbstractAsyncContextManager["BulkArrival"]:
        """Let connections of one session in during the `with` block; closed at its end."""
        ...


class BulkArrival(Protocol):
    """The connections of one session."""

    async def wait(self) -> tuple[BulkLink, ...]:
        """Wait until all connections that the peer announced are there; may be cancelled and called again."""
        ...


class PeerStream(Protocol):
    """A byte stream to a peer whose network identity is proven; `FlowStream` is one.

    The methods keep the contracts of `trio.abc.Stream`. The driver that is given a stream closes it.

    Attributes:
        remote_peer_id: Who is there.
        bulk_dialer: Opens bulk connections to the same place; None if there is no direct way, or the peer dialled.
        bulk_desk: Awaits bulk connections of the peer; None if we dialled.
    """

    remote_peer_id: str
    bulk_dialer: BulkDialer | None
    bulk_desk: BulkDesk | None

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Return what has arrived, nothing at the end."""
        ...

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything."""
        ...

    async def aclose(self) -> None:
        """Close both directions; forcefully if cancelled."""
        ...


class ReceiverPort(Protocol):
    """The receiving institution's side of one session; calls come one at a time, in the order of the methods.

    Only `sync` may run beside `store`. A `DdtpError` ends the session and its code is told to the holder. Every method
    may be cancelled.
    """

    async def greet(self, hello: Hello, remote_peer_id: str) -> Hello:
        """Answer the holder's hello: the chosen suite, a fresh nonce, the binding over the holder's nonce."""
        ...

    async def admit(self, offer: Offer, remote_peer_id: str) -> Accept | Decline | ReceiptMessage:
        """Decide on an offer; a transfer that was concluded before is answered with its last receipt."""
        ...

    async def store(self, run: Run) -> None:
        """Keep the next sealed chunks; slowness here slows the sender. The buffers are the caller's again after it."""
        ...

    async def sync(self) -> int:
        """Make all chunks durable that are stored; return how many are, those of earlier sessions included."""
        ...

    async def complete(self, finish: Finish) -> ReceiptMessage:
        """Compare the ciphertext root and sign the "cipher" receipt, once every chunk is durable."""
        ...

    async def conclude(self, release: KeyRelease) -> ReceiptMessage:
        """Open and verify the content; return the "verified" or "rejected" receipt, already durable."""
        ...


class SenderPort(Protocol):
    """The holder's side of one session; calls come one at a time, in the order of the methods.

    A `DdtpError` ends the session and its code is told to the receiver. Every method may be cancelled.
    """

    def hello(self) -> Hello:
        """Return our hello with a fresh nonce."""
        ...

    async def offer(self, hello: Hello, remote_peer_id: str) -> Offer:
        """Check the receiver's hello and make the offer, with our binding over its nonce."""
        ...

    def runs(self, accept: Accept, *, most_chunks: int) -> AsyncGenerator[Run, None]:
        """Check the accept, then yield the chunks that the receiver lacks, in ascending order.

        Args:
            accept: The receiver's answer.
            most_chunks: In one run.
        """
        ...

    async def finish(self) -> Finish:
        """Return the finish, with the root over all chunks."""
        ...

    async def release_key(self, receipt: ReceiptMessage) -> KeyRelease:
        """Check the "cipher" receipt and wrap the content key, with everything durable that a dispute may need."""
        ...


class Phase(Enum):
    """What a transfer is doing, for whoever waits."""

    CONNECTING = "connecting"
    WAITING = "waiting"
    SENDING = "sending"
    RECEIPT = "receipt"
    KEY = "key"
    VERIFYING = "verifying"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a transfer is.

    Attributes:
        phase: What it is doing.
        bytes_done: Content bytes that survive a crash of the receiver.
        bytes_total: Content bytes in all; 0 while there is no offer yet.
    """

    phase: Phase
    bytes_done: int = 0
    bytes_total: int = 0


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a peer may be silent, in seconds; bytes that move extend a deadline (`pump.SLOWEST_BYTES_PER_SECOND`).

    Attributes:
        greeting_seconds: For a hello: nothing but a signature is made, over a mobile link that loses packets.
        decision_seconds: For the offer, and for the answer to it: both may ask a ledger in another country.
        chunk_seconds: Without any progress while chunks move: a disk that spins up, a phone between two cells.
        receipt_seconds: For the "cipher" receipt and for the key: a last sync of a full disk, an anchored receipt.
        verdict_seconds: For the last receipt, besides the time that opening takes: a verifier on another host may ask a
            ledger.
    """

    greeting_seconds: float = 15
    decision_seconds: float = 60
    chunk_seconds: float = 60
    receipt_seconds: float = 120
    verdict_seconds: float = 600
