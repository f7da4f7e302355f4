"""A ledger in memory, for tests and trials (spec/09-ledger s.6): it keeps the contract, but nothing is durable."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import final

from ddtp.chain.admission import AdmissionPolicy, admit
from ddtp.chain.checkpoint import Checkpoint
from ddtp.chain.ledger import check_page, check_same_digest, check_sizes
from ddtp.chain.proof import LedgerProof, entry_hash
from ddtp.chain.statement import Entry
from ddtp.chain.tiles import Tile, TileKey, TileTree
from ddtp.protocol import envelope, merkle
from ddtp.protocol.envelope import Signed, Signer


@final
class MemoryLedger:
    """A `Ledger` that lives as long as this object.

    Args:
        origin: Name of the log.
        signer: Key that signs checkpoints.
        clock: Returns the time in seconds.
        policy: Which entries it accepts.
    """

    def __init__(
        self, origin: str, signer: Signer, *, clock: Callable[[], int], policy: AdmissionPolicy | None = None
    ) -> None:
        self.origin = origin
        self._signer = signer
        self._clock = clock
        self._policy = policy or AdmissionPolicy()
        self._tree = TileTree()
        self._tiles: dict[TileKey, Tile] = {}
        self._entries: list[bytes] = []
        self._by_digest: dict[bytes, list[int]] = {}
        self._head: Signed[Checkpoint] | None = None
        self._time = 0

    @property
    def public_key(self) -> bytes:
        """Key that signs its checkpoints, 33 bytes."""
        return self._signer.public_key

    async def append(self, entries: Sequence[bytes]) -> tuple[int, ...]:
        """Append encoded entries, all or none."""
        parsed = admit(entries, self._policy, now=self._latest_time())
        known = [self._find(encoded, entry) for encoded, entry in zip(entries, parsed, strict=True)]
        new = {encoded: entry for encoded, entry, index in zip(entries, parsed, known, strict=True) if index is None}
        for digest, added in Counter(entry.digest for entry in new.values()).items():
            check_same_digest(len(self._by_digest.get(digest, ())) + added)
        positions = {encoded: self._add(encoded, entry) for encoded, entry in new.items()}
        return tuple(
            positions[encoded] if index is None else index for encoded, index in zip(entries, known, strict=True)
        )

    async def lookup(self, digest: bytes) -> tuple[int, ...]:
        """Return the positions of the entries with a blinded digest."""
        return tuple(self._by_digest.get(digest, ()))

    async def head(self) -> Signed[Checkpoint]:
        """Return the newest checkpoint."""
        time = self._latest_time()
        if self._head is None or (self._head.body.size, self._head.body.time) != (self._tree.size, time):
            checkpoint = Checkpoint(origin=self.origin, size=self._tree.size, root=self._tree.root(), time=time)
            self._head = envelope.sign(checkpoint, self._signer)
        return self._head

    async def prove(self, index: int) -> LedgerProof:
        """Prove one entry under the newest checkpoint."""
        head = await self.head()
        check_sizes(index, index + 1, head.body.size)
        path = merkle.inclusion_path(index, head.body.size, self._tree.subtree(self._tiles))
        return LedgerProof(checkpoint=head.envelope, index=index, path=path)

    async def prove_growth(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """Return the consistency path between two sizes."""
        check_sizes(old_size, new_size, self._tree.size)
        return merkle.consistency_path(old_size, new_size, self._tree.subtree(self._tiles))

    async def entries(self, start: int, stop: int) -> tuple[bytes, ...]:
        """Return the encoded entries from `start` up to `stop`."""
        check_page(start, stop, self._tree.size)
        return tuple(self._entries[start:stop])

    def _latest_time(self) -> int:
        self._time = max(self._time, self._clock())
        return self._time

    def _find(self, encoded: bytes, entry: Entry) -> int | None:
        return next((at for at in self._by_digest.get(entry.digest, ()) if self._entries[at] == encoded), None)

    def _add(self, encoded: bytes, entry: Entry) -> int:
        index = self._tree.size
        self._entries.append(encoded)
        self._by_digest.setdefault(entry.digest, []).append(index)
        self._tiles.update((full.key, full.tile) for full in self._tree.add(entry_hash(encoded)))
        return index
