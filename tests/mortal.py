"""A person whose process may be killed at any moment: `python -m tests.mortal HOME CARD PACKAGE DIARY PAUSE`.

Sends a package, or goes on with the sending that an earlier process has left. The diary says what was begun, and
survives every death of its writer. Before each frame it pauses for so many seconds.
"""

import os
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final

import trio

from ddtp.agent.context import TRANSFER_PROTOCOL, Dial
from ddtp.agent.facade import open_agent
from ddtp.errors import DdtpError
from ddtp.protocol.bulk import FRAME_HEADER
from ddtp.protocol.codec import Buffer
from ddtp.store.records import Direction, TransferState
from ddtp.transfer.ports import BulkDialer, BulkLink
from ddtp.transfer.stream import FlowStream

BROKEN_OFF: Final = 75
"""Exit code: start it again."""

_LINE: Final = struct.Struct(">QB")
"""First chunk and count of a run that was about to be sent; a count of 0 stands for a new exchange."""


@dataclass(frozen=True, slots=True)
class Note:
    """One line of a diary: `count` chunks from `first` were about to be sent; none when an exchange began."""

    first: int
    count: int


@final
class Diary:
    """What a sender has begun; appended to by one process at a time, read by any."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def notes(self) -> Iterator[Note]:
        """Yield what was noted so far."""
        for line in _LINE.iter_unpack(self._path.read_bytes()) if self._path.exists() else ():
            yield Note(*line)

    def size(self) -> int:
        """Return the number of notes so far."""
        return self._path.stat().st_size // _LINE.size if self._path.exists() else 0

    def open(self, *, pause_seconds: float) -> "_Writer":
        """Open it for a sender that pauses after each note."""
        return _Writer(pause_seconds, os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600))


@final
class _Writer:
    def __init__(self, pause_seconds: float, descriptor: int) -> None:
        self.pause_seconds = pause_seconds
        self._descriptor = descriptor

    def note(self, note: Note) -> None:
        os.write(self._descriptor, _LINE.pack(note.first, note.count))

    def watched(self, dial: Dial) -> Dial:
        """Return a dial that notes what transfers move on bulk connections."""

        async def watched_dial(addresses: Sequence[str], protocol: str) -> FlowStream:
            stream = await dial(addresses, protocol)
            if protocol == TRANSFER_PROTOCOL and stream.bulk_dialer is not None:
                self.note(Note(0, 0))
                stream.bulk_dialer = _WatchedDialer(stream.bulk_dialer, self)
            return stream

        return watched_dial


@final
class _WatchedDialer:
    def __init__(self, dialer: BulkDialer, diary: _Writer) -> None:
        self._dialer = dialer
        self._diary = diary

    async def connect(self, token: bytes) -> tuple[BulkLink, ...]:
        return tuple(_WatchedLink(link, self._diary) for link in await self._dialer.connect(token))


PARTS_OF_A_FRAME = 3
"""Header, sealed chunks, tag."""


@final
class _WatchedLink:
    def __init__(self, link: BulkLink, diary: _Writer) -> None:
        self._link = link
        self._diary = diary

    async def send(self, *parts: Buffer, moved: Callable[[int], None]) -> None:
        for start in range(0, len(parts), PARTS_OF_A_FRAME):
            frame = parts[start : start + PARTS_OF_A_FRAME]
            self._diary.note(Note(*FRAME_HEADER.unpack(frame[0])))
            await trio.sleep(self._diary.pause_seconds)
            await self._link.send(*frame, moved=moved)

    async def receive_into(self, view: memoryview, *, least: int, moved: Callable[[int], None]) -> int:
        return await self._link.receive_into(view, least=least, moved=moved)

    async def begins(self) -> bool:
        return await self._link.begins()

    def close(self) -> None:
        self._link.close()


async def main(home: Path, card: Path, package: Path, diary: Path, pause: str) -> int:
    """Send or go on; return the exit code."""
    writer = Diary(diary).open(pause_seconds=float(pause))
    async with open_agent(home) as person:
        person.context = replace(person.context, dial=writer.watched(person.context.dial))
        rows = await person.transfers(direction=Direction.OUT)
        try:
            if rows and rows[0].state is not TransferState.DECLINED:
                sent = await person.resume(rows[0].transfer_id)
            else:
                to = await person.remember_card(await trio.Path(card).read_text())
                sent = await person.send(await person.prepare(package, card=to))
        except DdtpError as err:
            sys.stderr.write(f"{err.code}: {err.message}\n")
            return BROKEN_OFF
        return 0 if sent.verified else 1


if __name__ == "__main__":
    sys.exit(trio.run(main, *map(Path, sys.argv[1:5]), sys.argv[5]))
