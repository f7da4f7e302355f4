"""The contract that every ledger keeps (spec/09-ledger s.6).

A ledger is an append-only list of entries with one tree over it. Implementations differ in where they store and who
orders; proofs and checkpoints are the same everywhere, so a log can move from one to another.
"""

from collections.abc import Sequence
from typing import Protocol

from ddtp.chain.checkpoint import Checkpoint
from ddtp.chain.proof import LedgerProof
from ddtp.errors import NotFound, PolicyRefused
from ddtp.protocol.envelope import Signed

PAGE_ENTRIES = 256
"""Most entries that one read returns: one bundle of storage, at most 2 MiB."""

MAX_SAME_DIGEST = 64
"""Most entries with one digest: a digest is blinded, so more than its issuer and a few witnesses is an attack."""


class Ledger(Protocol):
    """An append-only log of entries.

    Every method may be called from many tasks at once. A ledger that cannot write any more still reads.
    """

    @property
    def origin(self) -> str:
        """Name of the log."""

    @property
    def public_key(self) -> bytes:
        """Key that signs its checkpoints, 33 bytes."""

    async def append(self, entries: Sequence[bytes]) -> tuple[int, ...]:
        """Append encoded entries, all or none.

        When this returns, the entries survive loss of power. An entry whose very bytes stand in the log already is not
        appended again but keeps its first position, so a caller that did not see the answer simply asks again. When
        this is cancelled or raises an `EnvironmentProblem`, the entries may or may not have been appended.

        Args:
            entries: Encoded `Entry` objects.

        Returns:
            The position of each.

        Raises:
            DecodeError: An entry is malformed.
            SignatureInvalid: A statement in an entry is not signed as it says.
            PolicyRefused: The admission policy of the log forbids an entry.
            PeerRefused: The same, said by a remote ledger.
            DiskFull: There is no room; nothing was appended, and appending works again when there is.
            StorageFailed: The disk refused.
            AlreadyRunning: Another process writes to this log; nothing was appended.
            Overloaded: Too much is waiting to be appended; nothing was.
        """

    async def lookup(self, digest: bytes) -> tuple[int, ...]:
        """Return the positions of the entries with a blinded digest, rising; none if there are none.

        A hint: only a proof shows that an entry is there, and nothing shows that one is not.
        """

    async def head(self) -> Signed[Checkpoint]:
        """Return the newest checkpoint, which covers every entry whose append has returned."""

    async def prove(self, index: int) -> LedgerProof:
        """Prove one entry under the newest checkpoint.

        The caller checks the proof against the entry it means (`proof.verify_inclusion`).

        Raises:
            NotFound: The log is not that long.
        """

    async def prove_growth(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """Return the consistency path between two sizes of the log.

        Raises:
            NotFound: The log is not that long, or the sizes fall.
        """

    async def entries(self, start: int, stop: int) -> tuple[bytes, ...]:
        """Return the encoded entries from `start` up to `stop`.

        Raises:
            NotFound: The log is not that long, or the range is longer than `PAGE_ENTRIES`.
        """


def check_sizes(*rising: int) -> None:
    """Check that positions or sizes of a question rise and end within the log.

    Raises:
        NotFound: They do not.
    """
    if rising[0] < 0 or list(rising) != sorted(rising):
        raise NotFound(f"expected positions that rise from 0 within the log, found {rising}")


def check_page(start: int, stop: int, size: int) -> None:
    """Check the range of a read.

    Raises:
        NotFound: The log is not that long, or the range is longer than `PAGE_ENTRIES`.
    """
    check_sizes(start, stop, size)
    if stop - start > PAGE_ENTRIES:
        raise NotFound(f"expected a range of at most {PAGE_ENTRIES} entries, found {stop - start}")


def check_same_digest(count: int) -> None:
    """Check how many entries with one digest a log would have.

    Raises:
        PolicyRefused: More than `MAX_SAME_DIGEST`.
    """
    if count > MAX_SAME_DIGEST:
        raise PolicyRefused(f"expected at most {MAX_SAME_DIGEST} entries with one digest, found another one")
