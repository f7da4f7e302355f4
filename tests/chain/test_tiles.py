"""The tree in tiles, compared with the plain tree over all leaves."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddtp.chain.tiles import TILE_WIDTH, Tile, TileKey, TileTree
from ddtp.protocol import merkle

COUNT = 70_000
LEAVES = [number.to_bytes(32, "big") for number in range(COUNT)]
"""Enough for three levels of tiles."""


def grow(size: int) -> tuple[TileTree, dict[TileKey, Tile]]:
    tree, stored = TileTree(), {}
    for leaf in LEAVES[:size]:
        stored.update((full.key, full.tile) for full in tree.add(leaf))
    return tree, stored


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 256, 257, 511, 512, 1000])
def test_root_is_that_of_the_plain_tree(size: int) -> None:
    """Tiles change how a tree is kept, not what it is."""
    tree, _ = grow(size)
    assert tree.root() == merkle.root(LEAVES[:size])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_proofs_are_those_of_the_plain_tree(data: st.DataObject) -> None:
    """Paths of any position, size and older size come out of the tiles they name, and of no others."""
    tree, stored = grow(1300)
    size = data.draw(st.integers(1, tree.size))
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(0, size))
    plain = merkle.subtrees(LEAVES[:size])
    for walk in (
        lambda subtree: merkle.inclusion_path(index, size, subtree),
        lambda subtree: merkle.consistency_path(old, size, subtree),
    ):
        keys = tree.tiles_for(walk)
        assert walk(tree.subtree({key: stored[key] for key in keys})) == walk(plain)


@pytest.mark.slow
def test_three_levels_of_tiles() -> None:
    """A tree over 65,536 leaves has a tile on the third level, and proofs read few tiles."""
    tree, stored = grow(COUNT)
    assert (1, 0) in stored
    assert tree.root() == merkle.root(LEAVES)
    for index in (0, 65_535, 65_536, COUNT - 1):
        keys = tree.tiles_for(lambda subtree, index=index: merkle.inclusion_path(index, COUNT, subtree))
        assert len(keys) <= 2
        path = merkle.inclusion_path(index, COUNT, tree.subtree({key: stored[key] for key in keys}))
        assert merkle.root_from_inclusion(LEAVES[index], index, size=COUNT, path=path) == tree.root()


def test_copy_grows_alone() -> None:
    """What is added to a copy does not reach the original."""
    tree, _ = grow(300)
    before = tree.root()
    twin = tree.copy()
    for leaf in LEAVES[300:600]:
        twin.add(leaf)
    assert tree.root() == before
    assert twin.root() == merkle.root(LEAVES[:600])


def test_tile_packs_and_unpacks() -> None:
    """A stored tile is its 256 hashes."""
    _, stored = grow(TILE_WIDTH)
    packed = stored[0, 0].pack()
    assert packed == b"".join(LEAVES[:TILE_WIDTH])
    assert Tile.unpack(packed).top() == merkle.root(LEAVES[:TILE_WIDTH])
