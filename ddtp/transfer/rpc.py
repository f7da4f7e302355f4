"""spec/14 s.5: one request, one response, over a flow stream; several pairs may follow each other."""

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, final

import trio

from ddtp.errors import DdtpError, InternalError, PeerRefused, PeerStalled, PeerVanished, ProtocolViolation
from ddtp.protocol.plain_text import plain
from ddtp.transfer.pump import SLOWEST_BYTES_PER_SECOND
from ddtp.transfer.refusal import public_reason
from ddtp.transfer.stream import FlowStream

LENGTH_BYTES: Final = 4
STATUS_OK: Final = 0
STATUS_ERROR: Final = 1

MAX_ERROR_BYTES: Final = 1024
"""Error responses: a code and a sentence; the caller's own limit does not apply to them."""

IDLE_SECONDS: Final = 300.0
"""For all waits of one stream together: a client thinks before it dials, not while it holds a place."""

PACE_SECONDS: Final = 1.0
"""Given back for each answer, and the time that its bytes may take: who fetches a terabyte in pieces over a satellite
waits less than this for each."""

_CODE: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")

Handle = Callable[[bytes, str], Awaitable[bytes]]


async def call(stream: FlowStream, request: bytes, *, max_response_bytes: int, timeout_seconds: float) -> bytes:
    """Send `request` and return the response.

    Args:
        stream: Free for our use; another call may follow on it, also after `PeerRefused`.
        request: At most what the protocol allows.
        max_response_bytes: More than this is refused unread.
        timeout_seconds: For everything.

    Raises:
        PeerRefused: The peer answered with an error; `reason_code` is the peer's.
        PeerStalled: The time is over.
        PeerVanished: The stream broke or ended.
        ProtocolViolation: The response is malformed or too long.
    """
    with _peer_errors("a response", timeout_seconds):
        await stream.send_all(_frame(request))
        response = await _receive_frame(stream, 1 + max(max_response_bytes, MAX_ERROR_BYTES))
    if response is None:
        raise PeerVanished("expected a response, found the end of the stream")
    status, body = response[:1], response[1:]
    if status == bytes([STATUS_ERROR]):
        raise _parse_refusal(body)
    if status != bytes([STATUS_OK]) or len(body) > max_response_bytes:
        raise ProtocolViolation(f"expected a response of at most {max_response_bytes} bytes with status 0 or 1")
    return body


async def answer(stream: FlowStream, handle: Handle, *, max_request_bytes: int, timeout_seconds: float) -> None:
    """Answer requests one after the other until the peer ends the stream.

    Args:
        stream: From the host.
        handle: Gets the request and the peer's network identity, returns the response; it keeps its own deadlines. A
            `DdtpError` is sent to the peer as its code and its public reason. Any other exception is sent as
            `internal`, without its text, and raised again.
        max_request_bytes: More than this is refused unread, and ends the stream.
        timeout_seconds: For the next request to arrive, and for a response to be taken. All these waits together may
            take `IDLE_SECONDS`, and for each request that was answered `PACE_SECONDS` more and the time that the
            response takes at `SLOWEST_BYTES_PER_SECOND`.

    Raises:
        PeerStalled: The peer was silent or did not take the response.
        PeerVanished: The stream broke.
        ProtocolViolation: The request is malformed or too long.
    """
    patience = _Patience(timeout_seconds)
    while True:
        with patience.wait("a request"):
            try:
                request = await _receive_frame(stream, max_request_bytes)
            except ProtocolViolation as err:
                await _say_last(stream, _refusal(err.code, public_reason(err)))
                raise
        if request is None:
            return
        try:
            response = _frame(bytes([STATUS_OK]) + await handle(request, stream.remote_peer_id))
        except DdtpError as err:
            response = _refusal(err.code, public_reason(err))
        except Exception:
            with trio.move_on_after(timeout_seconds):
                await _say_last(stream, _refusal(InternalError.code, ""))
            raise
        patience.give_back(response)
        with patience.wait("the response to be taken"):
            await stream.send_all(response)


@final
class _Patience:
    """What all waits for one client may still take together.

    Args:
        timeout_seconds: For each of them.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._left_seconds = IDLE_SECONDS

    @contextmanager
    def wait(self, expected: str) -> Iterator[None]:
        since = trio.current_time()
        with _peer_errors(expected, min(self._timeout_seconds, self._left_seconds)):
            yield
        self._left_seconds = max(0.0, self._left_seconds - (trio.current_time() - since))

    def give_back(self, response: bytes) -> None:
        earned_seconds = PACE_SECONDS + len(response) / SLOWEST_BYTES_PER_SECOND
        self._left_seconds = min(IDLE_SECONDS, self._left_seconds + earned_seconds)


async def _say_last(stream: FlowStream, refusal: bytes) -> None:
    # Closing waits until the peer has it; the reset that follows the exception would overtake it. If it cannot be
    # delivered, the exception that the caller raises next is what matters.
    with suppress(trio.BrokenResourceError, ProtocolViolation):
        await stream.send_all(refusal)
        await stream.aclose()


def _frame(body: bytes) -> bytes:
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def _refusal(code: str, message: str) -> bytes:
    head = bytes([STATUS_ERROR, len(code)]) + code.encode()
    # Cutting may split a character; "ignore" drops the half.
    text = message.encode()[: MAX_ERROR_BYTES - len(head)].decode(errors="ignore")
    return _frame(head + text.encode())


def _parse_refusal(body: bytes) -> PeerRefused:
    try:
        size = 1 + body[0]
        code, message = body[1:size].decode(), body[size:].decode()
    except (IndexError, UnicodeDecodeError) as err:
        raise ProtocolViolation("expected an error response with a code and a text in UTF-8") from err
    if not _CODE.fullmatch(code):
        raise ProtocolViolation("expected an error code of lower case letters, digits and hyphens")
    # The text is the peer's and goes to people's screens: what is not printable is not shown.
    shown = plain(message, most=MAX_ERROR_BYTES)
    return PeerRefused(shown or f"the peer answered {code}", reason_code=code)


async def _receive_frame(stream: FlowStream, max_bytes: int) -> bytes | None:
    """Return the next frame's body, or None if the stream ended before it."""
    header = await _receive_exactly(stream, LENGTH_BYTES)
    if not header:
        return None
    size = int.from_bytes(header, "big")
    if len(header) < LENGTH_BYTES or size > max_bytes:
        raise ProtocolViolation(f"expected a frame of at most {max_bytes} bytes, found {size}")
    body = await _receive_exactly(stream, size)
    if len(body) < size:
        raise ProtocolViolation(f"expected {size} bytes, found the end of the stream after {len(body)}")
    return body


async def _receive_exactly(stream: FlowStream, size: int) -> bytes:
    received = bytearray()
    while len(received) < size and (data := await stream.receive_some(size - len(received))):
        received += data
    return bytes(received)


@contextmanager
def _peer_errors(expected: str, timeout_seconds: float) -> Iterator[None]:
    try:
        with trio.fail_after(timeout_seconds):
            yield
    except trio.TooSlowError as err:
        raise PeerStalled(f"expected {expected} within {timeout_seconds:g} s, found silence") from err
    except trio.BrokenResourceError as err:
        raise PeerVanished(f"expected {expected}, found a broken connection") from err
