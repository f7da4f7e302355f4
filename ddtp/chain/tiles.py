"""The tree of a log in tiles of 256 hashes (spec/09-ledger s.9), pure.

Tile (0, n) holds the leaves 256n to 256n + 255; tile (k, n) holds the roots of the tiles (k - 1, 256n) to
(k - 1, 256n + 255). A full tile never changes, so it is stored once; the incomplete one of each level stays in memory.
Any hash of the tree lies in, or is folded from, one tile, so a proof reads a few tiles and not the leaves.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, final

from ddtp.protocol import merkle

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
"""Hashes of a full tile: 8 KiB, as C2SP tlog-tiles."""

HASH_SIZE: Final = 32

TileKey = tuple[int, int]
"""Level and number of a tile."""


@final
class Tile:
    """Some hashes of one level, with the complete nodes over them, as far as they were asked for or grown."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: list[list[bytes]] = [[]]

    @classmethod
    def unpack(cls, data: bytes) -> "Tile":
        """Build a tile from its stored hashes."""
        tile = cls()
        for start in range(0, len(data), HASH_SIZE):
            tile.add(data[start : start + HASH_SIZE])
        return tile

    def pack(self) -> bytes:
        """Return the hashes as they are stored."""
        return b"".join(self._rows[0])

    def copy(self) -> "Tile":
        """Return a tile that grows independently."""
        twin = Tile()
        twin._rows = [row.copy() for row in self._rows]
        return twin

    def __len__(self) -> int:
        return len(self._rows[0])

    def add(self, leaf: bytes) -> None:
        """Append one hash and complete the nodes that it completes."""
        node, rows = leaf, self._rows
        for row in rows:
            row.append(node)
            if len(row) & 1:
                return
            node = merkle.node_hash(row[-2], row[-1])
        rows.append([node])

    def node(self, height: int, position: int) -> bytes:
        """Return the node over the 2**height hashes that start at position * 2**height."""
        return self._rows[height][position]

    def top(self) -> bytes:
        """Return the root of a full tile."""
        return self._rows[TILE_HEIGHT][0]


@dataclass(frozen=True, slots=True)
class FullTile:
    """A tile that has just become full and is to be stored."""

    key: TileKey
    tile: Tile


@final
class TileTree:
    """The growing right edge of a log's tree: the incomplete tile of each level."""

    __slots__ = ("_edge", "size")

    def __init__(self) -> None:
        self.size = 0
        self._edge: list[Tile] = [Tile()]

    @classmethod
    def restore(cls, size: int, edge: list[Tile]) -> "TileTree":
        """Build the edge of a stored tree; the caller compares `root` with the stored one.

        Args:
            size: Number of leaves.
            edge: The incomplete tile of each level, lowest first, at least one.
        """
        tree = cls()
        tree.size, tree._edge = size, edge
        return tree

    def copy(self) -> "TileTree":
        """Return a tree that grows independently, so that a failed write leaves this one as it was."""
        return TileTree.restore(self.size, [tile.copy() for tile in self._edge])

    def add(self, leaf: bytes) -> list[FullTile]:
        """Append a leaf hash; return the tiles that it fills, lowest first."""
        node, full = leaf, []
        for level in range(len(self._edge) + 1):
            if level == len(self._edge):
                self._edge.append(Tile())
            tile = self._edge[level]
            tile.add(node)
            if len(tile) < TILE_WIDTH:
                break
            full.append(FullTile((level, self.size >> TILE_HEIGHT * (level + 1)), tile))
            self._edge[level], node = Tile(), tile.top()
        self.size += 1
        return full

    def root(self) -> bytes:
        """Return the root over all leaves."""
        return merkle.root([]) if self.size == 0 else self.subtree({})(0, self.size)

    def subtree(self, stored: Mapping[TileKey, Tile]) -> merkle.Subtree:
        """Return the hashes of the tree, as far as they lie in the edge or in `stored`."""

        def node(height: int, position: int) -> bytes:
            key, inside = _locate(height, position)
            return (stored[key] if key in stored else self._edge[key[0]]).node(height % TILE_HEIGHT, inside)

        return _subtree(node)

    def tiles_for(self, walk: Callable[[merkle.Subtree], object]) -> set[TileKey]:
        """Return the stored tiles that a computation over `subtree` will need.

        Args:
            walk: The computation, which must not look at the hashes it is given.
        """
        keys: set[TileKey] = set()

        def visit(start: int, stop: int) -> bytes:
            for height, position in _nodes(start, stop):
                key, _ = _locate(height, position)
                if not self._on_edge(key):
                    keys.add(key)
            return b""

        walk(visit)
        return keys

    def _on_edge(self, key: TileKey) -> bool:
        level, number = key
        return number == self.size >> TILE_HEIGHT * (level + 1)


def _locate(height: int, position: int) -> tuple[TileKey, int]:
    """Return the tile of a complete node, and its position among the nodes of its height there."""
    level, inner_height = divmod(height, TILE_HEIGHT)
    nodes_per_tile = TILE_WIDTH >> inner_height
    return (level, position // nodes_per_tile), position % nodes_per_tile


def _nodes(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Give the complete nodes, as height and position, that make up a range of RFC 9162 splits, left to right."""
    while start < stop:
        height = (stop - start).bit_length() - 1
        yield height, start >> height
        start += 1 << height


def _subtree(node: Callable[[int, int], bytes]) -> merkle.Subtree:
    def subtree(start: int, stop: int) -> bytes:
        parts = [node(height, position) for height, position in _nodes(start, stop)]
        top = parts.pop()
        while parts:
            top = merkle.node_hash(parts.pop(), top)
        return top

    return subtree
