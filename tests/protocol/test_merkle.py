"""The tree of spec/02 against a recursive definition, for every size up to 70."""

import functools
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddtp.crypto import sm3
from ddtp.errors import DecodeError, ProofInvalid
from ddtp.protocol import merkle
from ddtp.protocol.merkle import LeafType
from tests.vectors import Case, check, load

SIZES = range(1, 71)
LEAVES = [sm3.digest(bytes([number])) for number in range(71)]


@functools.cache
def naive_root(start: int, stop: int) -> bytes:
    """RFC 9162 s.2.1.1 word for word, on the leaves from `start` up to `stop`."""
    count = stop - start
    if count == 0:
        return sm3.digest(b"")
    if count == 1:
        return LEAVES[start]
    split = max(1 << bit for bit in range(count.bit_length()) if 1 << bit < count)
    return sm3.digest(b"\x01" + bytes(63) + naive_root(start, start + split) + naive_root(start + split, stop))


def naive_leaf(leaf_type: int, content: bytes, *, salt: bytes, index: int) -> bytes:
    """The leaf hash of spec/02 s.2, field by field."""
    header = b"\x00" + bytes([leaf_type]) + salt + index.to_bytes(8, "big") + len(content).to_bytes(8, "big")
    return sm3.digest(header + bytes(64 - len(header)) + content)


def altered_paths(path: Sequence[bytes]) -> list[tuple[bytes, ...]]:
    """Proofs that differ from a proof in one place."""
    nodes = tuple(path)
    other = sm3.digest(b"other")
    changed = [(*nodes[:place], other, *nodes[place + 1 :]) for place in range(len(nodes))]
    dropped = [(*nodes[:place], *nodes[place + 1 :]) for place in range(len(nodes))]
    swapped = [(*nodes[:place], nodes[place + 1], nodes[place], *nodes[place + 2 :]) for place in range(len(nodes) - 1)]
    return [*changed, *dropped, *swapped, (*nodes, other), (other, *nodes)]


def refused(prove: Callable[[], bytes], root: bytes) -> bool:
    """Return whether a proof is refused or leads to another root."""
    try:
        return prove() != root
    except ProofInvalid:
        return True


def test_root_of_every_size() -> None:
    """The root is that of the recursive definition; the empty tree has the hash of nothing."""
    for size in range(71):
        assert merkle.root(LEAVES[:size]) == naive_root(0, size)


def test_builder_gives_every_prefix() -> None:
    """One builder gives the root of each prefix while it grows."""
    builder = merkle.RootBuilder()
    for size in SIZES:
        builder.add(LEAVES[size - 1])
        assert (builder.size, builder.root()) == (size, naive_root(0, size))


@given(
    st.sampled_from(LeafType),
    st.binary(max_size=300),
    st.binary(min_size=32, max_size=32),
    st.integers(0, (1 << 64) - 1),
)
def test_leaf(leaf_type: LeafType, content: bytes, salt: bytes, index: int) -> None:
    """A leaf is the hash of one block that says what it is, and the content."""
    expected = naive_leaf(leaf_type, content, salt=salt, index=index)
    assert merkle.leaf_hash(leaf_type, memoryview(content), salt=salt, index=index) == expected


def test_leaf_says_everything() -> None:
    """Another type, salt, index or content gives another leaf."""
    leaves = {
        merkle.leaf_hash(LeafType.CHUNK, b"a"),
        merkle.leaf_hash(LeafType.SEALED_CHUNK, b"a"),
        merkle.leaf_hash(LeafType.CHUNK, b"a", salt=b"s" * 32),
        merkle.leaf_hash(LeafType.CHUNK, b"a", index=1),
        merkle.leaf_hash(LeafType.CHUNK, b"b"),
        merkle.leaf_hash(LeafType.CHUNK, b"a\x00"),
        merkle.leaf_hash(LeafType.CHUNK, b""),
    }
    assert len(leaves) == 7


def test_leaf_is_no_node() -> None:
    """A leaf whose content is two hashes is not the node above them."""
    content = LEAVES[0] + LEAVES[1]
    assert merkle.leaf_hash(LeafType.CHUNK, content) != merkle.node_hash(LEAVES[0], LEAVES[1])


@pytest.mark.parametrize("size", [0, 31, 33])
def test_salt_of_another_size(size: int) -> None:
    """A salt that would move the fields after it is refused."""
    with pytest.raises(DecodeError):
        merkle.leaf_hash(LeafType.FIELD, b"", salt=bytes(size))


@pytest.mark.slow
def test_inclusion() -> None:
    """Each leaf of each size has a path to the root, and no altered path has."""
    for size in SIZES:
        root, subtree = naive_root(0, size), merkle.subtrees(LEAVES[:size])
        for index in range(size):
            path = merkle.inclusion_path(index, size, subtree)
            assert merkle.root_from_inclusion(LEAVES[index], index, size=size, path=path) == root
    for size in (1, 2, 3, 5, 8, 13, 21):
        root, subtree = naive_root(0, size), merkle.subtrees(LEAVES[:size])
        for index in range(size):
            for altered in altered_paths(merkle.inclusion_path(index, size, subtree)):
                prove = functools.partial(merkle.root_from_inclusion, LEAVES[index], index, size=size, path=altered)
                assert refused(prove, root), (size, index)


def test_inclusion_elsewhere() -> None:
    """A path proves its leaf at its place only."""
    for size in (2, 3, 6, 7, 11):
        root, subtree = naive_root(0, size), merkle.subtrees(LEAVES[:size])
        for index in range(size):
            path = merkle.inclusion_path(index, size, subtree)
            for other in range(-1, size + 2):
                for leaf in {LEAVES[index], LEAVES[(index + 1) % size]}:
                    if (other, leaf) != (index, LEAVES[index]):
                        prove = functools.partial(merkle.root_from_inclusion, leaf, other, size=size, path=path)
                        assert refused(prove, root), (size, index, other)


@pytest.mark.slow
def test_consistency() -> None:
    """Every tree extends every smaller one, and no altered path proves it."""
    for new in SIZES:
        subtree = merkle.subtrees(LEAVES[:new])
        for old in range(new + 1):
            path = merkle.consistency_path(old, new, subtree)
            merkle.check_consistency(old, naive_root(0, old), new_size=new, new_root=naive_root(0, new), path=path)
    for new in (1, 2, 3, 4, 7, 8, 12):
        subtree = merkle.subtrees(LEAVES[:new])
        for old in range(new + 1):
            for altered in altered_paths(merkle.consistency_path(old, new, subtree)):
                with pytest.raises(ProofInvalid):
                    merkle.check_consistency(
                        old, naive_root(0, old), new_size=new, new_root=naive_root(0, new), path=altered
                    )


def test_inconsistency() -> None:
    """A tree that changed an old leaf, or shrank, has no proof among the honest ones."""
    for new in (2, 3, 6, 7, 8, 13):
        other = [sm3.digest(b"changed"), *LEAVES[1:new]]
        subtree = merkle.subtrees(other)
        for old in range(1, new + 1):
            path = merkle.consistency_path(old, new, subtree)
            with pytest.raises(ProofInvalid):
                merkle.check_consistency(old, naive_root(0, old), new_size=new, new_root=merkle.root(other), path=path)
            with pytest.raises(ProofInvalid):
                merkle.check_consistency(
                    new + 1, naive_root(0, new + 1), new_size=old, new_root=naive_root(0, old), path=path
                )


def test_consistency_with_another_size() -> None:
    """A log that signs a root with a much larger size than its tree has no proof for it."""
    path = merkle.consistency_path(4, 8, merkle.subtrees(LEAVES[:8]))
    for claimed in (9, 16, 17, 32):
        with pytest.raises(ProofInvalid):
            merkle.check_consistency(4, naive_root(0, 4), new_size=claimed, new_root=naive_root(0, 8), path=path)


@pytest.mark.parametrize("old_size", [-5, -1])
def test_negative_size(old_size: int) -> None:
    """A negative size is refused."""
    with pytest.raises(ProofInvalid):
        merkle.check_consistency(old_size, LEAVES[0], new_size=4, new_root=naive_root(0, 4), path=(LEAVES[1],))


def naive_multiproof(wanted: set[int], start: int, stop: int) -> list[bytes]:
    """Roots of the largest subtrees without a wanted leaf, from left to right."""
    if not wanted & set(range(start, stop)):
        return [naive_root(start, stop)]
    if stop - start == 1:
        return []
    split = max(1 << bit for bit in range((stop - start).bit_length()) if 1 << bit < stop - start)
    return naive_multiproof(wanted, start, start + split) + naive_multiproof(wanted, start + split, stop)


@pytest.mark.slow
def test_multiproof() -> None:
    """Any set of leaves, even none or all, leads to the root with its proof and with no altered one."""
    choices = random.Random(7)
    for size in SIZES:
        root, subtree = naive_root(0, size), merkle.subtrees(LEAVES[:size])
        sets = [
            set(),
            set(range(size)),
            *(set(choices.sample(range(size), choices.randint(0, size))) for _ in range(6)),
        ]
        for wanted in sets:
            proof = merkle.multiproof(sorted(wanted, reverse=True), size, subtree)
            assert list(proof) == naive_multiproof(wanted, 0, size)
            leaves = {index: LEAVES[index] for index in wanted}
            assert merkle.root_from_multiproof(leaves, size, proof=proof) == root
            if size % 7 == 0:
                for altered in altered_paths(proof):
                    prove = functools.partial(merkle.root_from_multiproof, leaves, size, proof=altered)
                    assert refused(prove, root), (size, wanted)


@pytest.mark.parametrize(
    "leaves",
    [
        {2: 3, 3: 2, 9: 9},
        {2: 2, 3: 3, 9: 8},
        {2: 2, 3: 3, 8: 9},
        {2: 2, 3: 3},
        {2: 2, 3: 3, 9: 9, 10: 10},
        {2: 2, 3: 3, 13: 9},
        {-1: 2, 3: 3, 9: 9},
        {},
    ],
)
def test_multiproof_of_other_leaves(leaves: dict[int, int]) -> None:
    """A proof holds for its leaves at their places only."""
    root, subtree = naive_root(0, 13), merkle.subtrees(LEAVES[:13])
    proof = merkle.multiproof([2, 3, 9], 13, subtree)
    shown = {place: LEAVES[leaf] for place, leaf in leaves.items()}
    assert refused(lambda: merkle.root_from_multiproof(shown, 13, proof=proof), root)


def test_no_tree() -> None:
    """A tree of no leaves has no proofs."""
    with pytest.raises(ProofInvalid):
        merkle.root_from_multiproof({}, 0, proof=(sm3.digest(b""),))
    with pytest.raises(ProofInvalid):
        merkle.root_from_inclusion(LEAVES[0], 0, size=0, path=())


def test_enormous_size() -> None:
    """A claimed size of 2^62 costs no more than its depth."""
    with pytest.raises(ProofInvalid):
        merkle.root_from_multiproof({5: LEAVES[5]}, 1 << 62, proof=(LEAVES[0],))
    with pytest.raises(ProofInvalid):
        merkle.root_from_inclusion(LEAVES[5], 5, size=1 << 62, path=(LEAVES[0],))


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_hash_of_another_length(length: int) -> None:
    """A proof whose hashes are not 32 bytes is refused, whatever it leads to."""
    path = (bytes(length),)
    with pytest.raises(ProofInvalid):
        merkle.root_from_inclusion(LEAVES[0], 0, size=2, path=path)
    with pytest.raises(ProofInvalid):
        merkle.root_from_multiproof({0: LEAVES[0]}, 2, proof=path)
    with pytest.raises(ProofInvalid):
        merkle.check_consistency(1, LEAVES[0], new_size=2, new_root=naive_root(0, 2), path=path)


def _hashes(items: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(map(bytes.fromhex, items))


def _leaf(case: Case) -> str:
    given = case.input
    leaf_type = LeafType[given["type"].upper().replace("-", "_")]
    return merkle.leaf_hash(leaf_type, case.data("content"), salt=case.data("salt"), index=given["index"]).hex()


def _root(case: Case) -> str:
    return merkle.root(_hashes(case.input["leaves"])).hex()


def _inclusion(case: Case) -> None:
    given = case.input
    path = _hashes(given["path"])
    found = merkle.root_from_inclusion(case.data("leaf"), given["index"], size=given["size"], path=path)
    _compare(found, case.data("root"))


def _multiproof(case: Case) -> None:
    given = case.input
    leaves = {index: bytes.fromhex(leaf) for index, leaf in given["leaves"]}
    found = merkle.root_from_multiproof(leaves, given["size"], proof=_hashes(given["proof"]))
    _compare(found, case.data("root"))


def _consistency(case: Case) -> None:
    given = case.input
    merkle.check_consistency(
        given["old_size"],
        case.data("old_root"),
        new_size=given["new_size"],
        new_root=case.data("new_root"),
        path=_hashes(given["path"]),
    )


def _compare(found: bytes, expected: bytes) -> None:
    if found != expected:
        raise ProofInvalid("expected the root of the vector, found another one")


OPERATIONS = {
    "leaf": _leaf,
    "root": _root,
    "inclusion": _inclusion,
    "multiproof": _multiproof,
    "consistency": _consistency,
}


@pytest.mark.parametrize("case", load("02-tree"), ids=str)
def test_vector(case: Case) -> None:
    """The operation of a vector gives its output, or fails with its code."""
    check(case, OPERATIONS)
