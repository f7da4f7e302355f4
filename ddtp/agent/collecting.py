"""Use case: a person collects the packages that an issuer holds ready for them (spec/15 s.4).

The issuer keeps finished package files in a folder. Whoever proves to be the holder that a package is made out to gets
it; the content is sealed to the holder's key anyway. Questions and answers are one record each way.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import trio

from ddtp.agent.context import CALL_TIMEOUT_SECONDS, COLLECT_PROTOCOL, Context
from ddtp.agent.opening import read_manifest
from ddtp.errors import DdtpError, NotFound, ProtocolViolation
from ddtp.identity.binding import check_binding, make_binding
from ddtp.identity.document import Card
from ddtp.protocol.envelope import Signed
from ddtp.protocol.record import Did, Digest, Identifier, Limit, Range, Record
from ddtp.store.durable import make_directory, replacing, storage_errors, write_all
from ddtp.store.packages import PACKAGE_SUFFIX, PackageReader
from ddtp.transfer import rpc

PIECE_BYTES = 1 << 20
"""Bytes of a package file per question."""
MAX_READY = 256
"""Packages that one person finds ready at a time."""
MAX_QUESTION_BYTES = 8 << 10
MAX_ANSWER_BYTES = PIECE_BYTES + 1024
MAX_FILE_BYTES = 1 << 53


@dataclass(frozen=True, slots=True)
class Challenge(Record):
    """The issuer's nonce, which the holder's binding must cover."""

    KIND: ClassVar[str] = "collect-challenge"

    nonce: Digest


@dataclass(frozen=True, slots=True)
class Ready(Record):
    """A package that is ready: its id and the length of its file."""

    KIND: ClassVar[str] = "collect-ready"

    package_id: Identifier
    size_bytes: Annotated[int, Range(1, MAX_FILE_BYTES)]


@dataclass(frozen=True, slots=True)
class ReadyList(Record):
    """All packages that are ready for the holder."""

    KIND: ClassVar[str] = "collect-list"

    packages: Annotated[tuple[Ready, ...], Limit(MAX_READY)]


@dataclass(frozen=True, slots=True)
class Question(Record):
    """What the holder asks: for a challenge, for the list (with a binding), or for a piece of a file.

    Attributes:
        holder: DID that the packages are made out to.
        binding: Peer binding over the challenge; None asks for a challenge.
        package_id: Which file; None asks for the list.
        offset: Where the piece starts.
    """

    KIND: ClassVar[str] = "collect-question"
    MAX_BYTES: ClassVar[int] = MAX_QUESTION_BYTES

    holder: Did
    binding: Annotated[bytes, Limit(4096, least=1)] | None = None
    package_id: Identifier | None = None
    offset: Annotated[int, Range(0, MAX_FILE_BYTES)] | None = None


async def collect(context: Context, card: Signed[Card], *, folder: Path) -> tuple[Path, ...]:
    """Fetch what is ready for us.

    Args:
        context: Surroundings of a person.
        card: The issuer.
        folder: Where the package files go; those that are there already are not fetched again.

    Returns:
        The files of all that is ready, whole and durable.

    Raises:
        PeerUnreachable, PeerRefused, PeerStalled, PeerVanished: The issuer cannot be asked.
        DiskFull, StorageFailed: The disk refuses; what is incomplete is gone.
    """
    holder = context.seed.holder_key(card.body.did)
    await trio.to_thread.run_sync(make_directory, folder)
    fetched = []
    async with await context.dial(card.body.addresses, COLLECT_PROTOCOL) as stream:

        async def ask(question: Question) -> bytes:
            return await rpc.call(
                stream,
                question.encode(),
                max_response_bytes=MAX_ANSWER_BYTES,
                timeout_seconds=CALL_TIMEOUT_SECONDS,
            )

        challenge = Challenge.parse(await ask(Question(holder=holder.did)))
        binding = make_binding(
            holder,
            context.peer_id,
            remote_peer_id=stream.remote_peer_id,
            nonce=challenge.nonce,
            now=context.clock(),
        )
        ready = ReadyList.parse(await ask(Question(holder=holder.did, binding=binding.envelope)))
        for package in ready.packages:
            path = folder / f"{package.package_id.hex()}{PACKAGE_SUFFIX}"
            fetched.append(path)
            if path.exists():
                continue
            with replacing(path) as descriptor:
                for offset in range(0, package.size_bytes, PIECE_BYTES):
                    piece = await ask(Question(holder=holder.did, package_id=package.package_id, offset=offset))
                    if len(piece) != min(PIECE_BYTES, package.size_bytes - offset):
                        raise ProtocolViolation("expected a whole piece of the package file, found another length")
                    await trio.to_thread.run_sync(write_all, descriptor, piece)
    return tuple(fetched)


class Counter:
    """The issuer's side of one stream: knows the holder after the binding.

    Args:
        context: Surroundings of the issuer.
        folder: Where finished package files lie.
    """

    def __init__(self, context: Context, folder: Path) -> None:
        self._context = context
        self._folder = folder
        self._nonce = context.random_bytes(32)
        self._holder: str | None = None
        self._files: dict[bytes, Path] = {}

    async def answer(self, request: bytes, remote_peer_id: str) -> bytes:
        """Answer one question.

        Raises:
            ProtocolViolation: A piece is asked for before the holder is proven.
            NotFound: There is no such package for this holder.
            SignatureInvalid, EvidenceError: The binding is not the holder's.
        """
        question = Question.parse(request)
        if question.binding is not None:
            self._holder = check_binding(
                question.binding,
                question.holder,
                peer_id=self._context.peer_id,
                remote_peer_id=remote_peer_id,
                nonce=self._nonce,
                now=self._context.clock(),
            )
            self._files = await trio.to_thread.run_sync(self._scan, self._holder)
            sizes = [Ready(package_id, path.stat().st_size) for package_id, path in self._files.items()]
            return ReadyList(packages=tuple(sizes[:MAX_READY])).encode()
        if question.package_id is None:
            return Challenge(nonce=self._nonce).encode()
        if self._holder is None or question.offset is None:
            raise ProtocolViolation("expected a proof of who asks before a question for a file")
        path = self._files.get(question.package_id)
        if path is None:
            raise NotFound("expected a package that is made out to this holder, found none")
        return await trio.to_thread.run_sync(_read_piece, path, question.offset)

    def _scan(self, holder: str) -> dict[bytes, Path]:
        found = {}
        for path in sorted(self._folder.glob(f"*{PACKAGE_SUFFIX}")):
            try:
                reader = PackageReader(path)
            except DdtpError:
                continue
            try:
                manifest = read_manifest(reader).body
                if manifest.holder == holder:
                    found[manifest.package_id] = path
            except DdtpError:
                continue
            finally:
                reader.close()
        return found


def _read_piece(path: Path, offset: int) -> bytes:
    with storage_errors(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(descriptor, PIECE_BYTES, offset)
        finally:
            os.close(descriptor)
