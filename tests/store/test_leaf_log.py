"""The memory of a sender: what is there is found again, what is not is computed anew."""

from pathlib import Path

import pytest

from ddtp.store.leaf_log import LeafLog, delete_leaf_log
from tests.disks import DiskFaults

LEAVES = [bytes([number + 1]) * 32 for number in range(6)]


def joined(first: int, stop: int) -> bytes:
    return b"".join(LEAVES[first:stop])


def test_leaves_are_found_again(tmp_path: Path) -> None:
    """A later attempt finds what an earlier one has kept, and only that."""
    log = LeafLog(tmp_path / "outgoing" / "1.leaves")
    log.keep(0, joined(0, 2))
    log.keep(2, joined(2, 4))
    log.close()
    again = LeafLog(tmp_path / "outgoing" / "1.leaves")
    assert (again.find(0, 4), again.find(1, 2)) == (joined(0, 4), joined(1, 3))
    assert again.find(3, 2) is None
    assert again.count == 4
    again.keep(1, joined(1, 3))
    assert again.find(0, 4) == joined(0, 4)
    again.close()


def test_a_gap_is_not_filled_with_nothing(tmp_path: Path) -> None:
    """Leaves behind a gap are not kept: what lies in between would be taken for leaves."""
    log = LeafLog(tmp_path / "1.leaves")
    log.keep(2, joined(2, 4))
    assert log.find(2, 2) is None
    log.keep(0, joined(0, 1))
    assert (log.find(0, 1), log.find(0, 3)) == (joined(0, 1), None)
    log.close()


@pytest.mark.parametrize("damage", ["cut", "zeros", "moved"])
def test_what_a_crash_garbled_is_not_found(tmp_path: Path, damage: str) -> None:
    """A record that is cut, empty, or in another's place is none; it can be kept again."""
    path = tmp_path / "1.leaves"
    log = LeafLog(path)
    log.keep(0, joined(0, 3))
    log.close()
    data = path.read_bytes()
    size = len(data) // 3
    path.write_bytes(
        {"cut": data[:-1], "zeros": data[: 2 * size] + bytes(size), "moved": data[: 2 * size] + data[:size]}[damage]
    )
    again = LeafLog(path)
    assert (again.find(0, 2), again.find(2, 1), again.find(0, 3)) == (joined(0, 2), None, None)
    again.keep(2, joined(2, 3))
    assert again.find(0, 3) == joined(0, 3)
    again.close()


def test_deleting_twice_is_no_error(tmp_path: Path) -> None:
    """A transfer that is over has no leaves; one that never sent anything neither."""
    path = tmp_path / "1.leaves"
    LeafLog(path).close()
    delete_leaf_log(path)
    delete_leaf_log(path)
    assert not path.exists()


def test_a_disk_that_refuses_makes_it_forget(tmp_path: Path, faults: DiskFaults) -> None:
    """The transfer goes on without a memory; a later attempt has what was kept before."""
    log = LeafLog(tmp_path / "1.leaves")
    log.keep(0, joined(0, 2))
    faults.arm(0)
    log.keep(2, joined(2, 3))
    faults.arm(None)
    assert log.find(0, 2) is None
    log.keep(0, joined(0, 3))
    log.close()
    again = LeafLog(tmp_path / "1.leaves")
    assert (again.find(0, 2), again.find(0, 3)) == (joined(0, 2), None)
    again.close()


def test_a_folder_that_cannot_be_made_makes_it_forget(tmp_path: Path) -> None:
    """Where a file is in the way, nothing is kept and nothing is raised."""
    (tmp_path / "outgoing").write_text("in the way")
    log = LeafLog(tmp_path / "outgoing" / "1.leaves")
    log.keep(0, joined(0, 1))
    assert log.find(0, 1) is None
    log.close()
