"""Use case: a person collects the packages that an issuer holds ready for them (spec/15 s.4).

The issuer keeps finished package files in a folder. Whoever proves to be the holder that a package is made out to gets
it; the content is sealed to the holder's key anyway. Questions and answers are one record each way.
"""

import os
import shutil
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, ClassVar, final

import trio

from ddtp.agent.context import CALL_TIMEOUT_SECONDS, COLLECT_PROTOCOL, Context
from ddtp.agent.dialing import check_role, questions
from ddtp.agent.opening import read_manifest
from ddtp.errors import DdtpError, DiskFull, NotFound, ProtocolViolation
from ddtp.identity.binding import check_binding, make_binding
from ddtp.identity.document import Card, Role
from ddtp.protocol.chunks import MAX_CONTENT_BYTES
from ddtp.protocol.envelope import Signed
from ddtp.protocol.package import Manifest
from ddtp.protocol.record import Did, Digest, Identifier, Limit, Range, Record
from ddtp.store.durable import make_directory, replacing, storage_errors, write_all
from ddtp.store.packages import PACKAGE_SUFFIX, PackageReader
from ddtp.transfer import rpc

PIECE_BYTES = 1 << 20
"""Bytes of a package file per question."""
MAX_READY = 256
"""Packages in one list; who has more asks for the next list."""
MAX_PACKAGES = 10_000
"""Packages that are collected at a time: a person's papers of a life at one institution."""
MAX_QUESTION_BYTES = 8 << 10
MAX_ANSWER_BYTES = PIECE_BYTES + 1024
MAX_FILE_BYTES = MAX_CONTENT_BYTES + (MAX_CONTENT_BYTES >> 11)
"""The longest content, with a tag for each chunk, openings and header, which together are less than a part in 2,048."""


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
        after: Asks for the list behind this package, if one answer did not hold it all.
        offset: Where the piece starts.
    """

    KIND: ClassVar[str] = "collect-question"
    MAX_BYTES: ClassVar[int] = MAX_QUESTION_BYTES

    holder: Did
    binding: Annotated[bytes, Limit(4096, least=1)] | None = None
    package_id: Identifier | None = None
    offset: Annotated[int, Range(0, MAX_FILE_BYTES)] | None = None
    after: Identifier | None = None


async def collect(context: Context, card: Signed[Card], *, folder: Path) -> tuple[Path, ...]:
    """Fetch what is ready for us.

    Args:
        context: Surroundings of a person.
        card: The issuer.
        folder: Where the package files go; those that are there already are not fetched again.

    Returns:
        The files of all that is ready, whole and durable.

    Raises:
        NotFound: The institution is no issuer.
        PeerUnreachable, PeerRefused, PeerStalled, PeerVanished: The issuer cannot be asked.
        ProtocolViolation, DecodeError: The issuer does not give what it announced.
        DiskFull, StorageFailed: The disk refuses; what is incomplete is gone.
    """
    check_role(card.body, Role.ISSUER)
    holder = context.seed.holder_key(card.body.did)
    await trio.to_thread.run_sync(make_directory, folder)
    fetched = []
    async with questions(context, card.body.addresses, COLLECT_PROTOCOL, who=card.body.name) as stream:

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
        for package in await _list(ask, Question(holder=holder.did, binding=binding.envelope)):
            path = folder / f"{package.package_id.hex()}{PACKAGE_SUFFIX}"
            fetched.append(path)
            if path.exists():
                continue
            await trio.to_thread.run_sync(_check_free, folder, package.size_bytes)
            with replacing(path) as descriptor:
                for offset in range(0, package.size_bytes, PIECE_BYTES):
                    piece = await ask(Question(holder=holder.did, package_id=package.package_id, offset=offset))
                    if len(piece) != min(PIECE_BYTES, package.size_bytes - offset):
                        raise ProtocolViolation("expected a whole piece of the package file, found another length")
                    await trio.to_thread.run_sync(write_all, descriptor, piece)
    return tuple(fetched)


async def _list(ask: Callable[[Question], Awaitable[bytes]], question: Question) -> list[Ready]:
    """Ask for the lists until one is not full."""
    ready: list[Ready] = []
    while len(ready) < MAX_PACKAGES:
        part = ReadyList.parse(await ask(question)).packages
        if any(second.package_id <= first.package_id for first, second in pairwise((*ready[-1:], *part))):
            raise ProtocolViolation("expected packages in the order of their ids, found another order")
        ready += part
        if len(part) < MAX_READY:
            break
        question = replace(question, after=part[-1].package_id)
    return ready


@dataclass(frozen=True, slots=True)
class PackageFile:
    """One state of a package file; another file under its name, or other bytes in it, are another state."""

    path: Path
    inode: int
    size_bytes: int
    modified_ns: int

    def read(self, offset: int) -> bytes:
        """Return the piece of the file that starts at an offset.

        Raises:
            NotFound: The file is gone or is not what it was.
            StorageFailed: The disk refuses.
        """
        with storage_errors(self.path):
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if _state(self.path, os.fstat(descriptor)) != self:
                    raise NotFound("expected a package file that stays as it is, found another one in its place")
                return os.pread(descriptor, PIECE_BYTES, offset)
            finally:
                os.close(descriptor)


@final
class Shelf:
    """The folder where an issuer's finished package files lie; each file is parsed once, however many people ask.

    Methods block, and may be called in several threads.

    Args:
        folder: Package files come and go in it, whole.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._manifests: dict[PackageFile, Manifest | None] = {}

    def find(self, holder: str) -> dict[bytes, PackageFile]:
        """Return the packages that are made out to a holder by their ids, in ascending order.

        Raises:
            StorageFailed: The folder cannot be read.
        """
        with self._lock:
            known = self._manifests
            self._manifests = {
                file: known[file] if file in known else _find_manifest(file.path) for file in _files(self._folder)
            }
            mine = [(body.package_id, file) for file, body in self._manifests.items() if body and body.holder == holder]
        return dict(sorted(mine, key=lambda each: each[0]))


def _files(folder: Path) -> Iterator[PackageFile]:
    with storage_errors(folder):
        for path in sorted(folder.glob(f"*{PACKAGE_SUFFIX}")):
            with suppress(FileNotFoundError):  # it has just been taken away
                yield _state(path, path.stat())


def _state(path: Path, status: os.stat_result) -> PackageFile:
    return PackageFile(path, status.st_ino, status.st_size, status.st_mtime_ns)


def _find_manifest(path: Path) -> Manifest | None:
    """Return what a package file says of itself; None for what is no package, which is nothing to hand out."""
    with suppress(DdtpError), closing(PackageReader(path)) as reader:
        return read_manifest(reader).body
    return None


@final
class Counter:
    """The issuer's side of one stream: knows the holder after the binding.

    Args:
        context: Surroundings of the issuer.
        shelf: The package files.
    """

    def __init__(self, context: Context, shelf: Shelf) -> None:
        self._context = context
        self._shelf = shelf
        self._nonce = context.random_bytes(32)
        self._holder: str | None = None
        self._files: dict[bytes, PackageFile] = {}

    async def answer(self, request: bytes, remote_peer_id: str) -> bytes:
        """Answer one question.

        Raises:
            ProtocolViolation: A piece is asked for before the holder is proven.
            NotFound: There is no such package for this holder, or its file has changed.
            StorageFailed: The folder cannot be read.
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
            self._files = await trio.to_thread.run_sync(self._shelf.find, self._holder)
            after = question.after or b""
            ready = [Ready(each, file.size_bytes) for each, file in self._files.items() if each > after]
            return ReadyList(packages=tuple(ready[:MAX_READY])).encode()
        if question.package_id is None:
            return Challenge(nonce=self._nonce).encode()
        if self._holder is None or question.offset is None:
            raise ProtocolViolation("expected a proof of who asks before a question for a file")
        file = self._files.get(question.package_id)
        if file is None:
            raise NotFound("expected a package that is made out to this holder, found none")
        return await trio.to_thread.run_sync(file.read, question.offset)


def _check_free(folder: Path, size_bytes: int) -> None:
    with storage_errors(folder):
        free = shutil.disk_usage(folder).free
    if size_bytes > free:
        raise DiskFull(f"expected {size_bytes} free bytes for a package that is ready, found {free}")
