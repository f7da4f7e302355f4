"""What the two drivers of an exchange need from the rest of the agent (spec/08-session).

The drivers move messages in the right order and watch the deadlines; everything that is decided, signed, stored or
looked up is behind these two ports, so that the network door knows neither consent nor verification nor the disk.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

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


class PeerStream(Protocol):
    """A byte stream to a peer whose network identity is proven; `FlowStream` is one.

    The methods keep the contracts of `trio.abc.Stream`. The driver that is given a stream closes it.
    """

    remote_peer_id: str

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

    A `DdtpError` ends the session and its code is told to the holder. Every method may be cancelled.
    """

    async def greet(self, hello: Hello, remote_peer_id: str) -> Hello:
        """Answer the holder's hello: the chosen suite, a fresh nonce, the binding over the holder's nonce."""
        ...

    async def admit(self, offer: Offer, remote_peer_id: str) -> Accept | Decline | ReceiptMessage:
        """Decide on an offer; a transfer that was concluded before is answered with its last receipt."""
        ...

    async def store(self, index: int, sealed: bytes) -> int | None:
        """Keep one sealed chunk; slowness here slows the sender.

        Returns:
            How many chunks survive a crash now, earlier sessions included, if that number has grown, else None.
        """
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

    def chunks(self, accept: Accept) -> AsyncGenerator[tuple[int, Buffer | None], None]:
        """Check the accept, then yield every chunk in ascending order: its index, and its sealed bytes.

        A chunk that the receiver holds comes with None: it is hashed again but not sent.
        """
        ...

    async def finish(self) -> Finish:
        """Return the finish, with the root over all chunks that were yielded."""
        ...

    async def release_key(self, receipt: ReceiptMessage) -> KeyRelease:
        """Check the "cipher" receipt and wrap the content key, with everything durable that a dispute may need."""
        ...


class Phase(Enum):
    """What a transfer is doing, for whoever waits."""

    CONNECTING = "connecting"
    RECONNECTING = "reconnecting"
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
        verdict_seconds: For the last receipt: some gigabytes are opened, hashed and checked, maybe by another host.
    """

    greeting_seconds: float = 15
    decision_seconds: float = 60
    chunk_seconds: float = 60
    receipt_seconds: float = 120
    verdict_seconds: float = 600
