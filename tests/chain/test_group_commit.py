"""Callers that wait for the disk together."""

from collections.abc import Sequence

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from ddtp.chain.group_commit import MAX_WAITING_BYTES, GroupCommit
from ddtp.errors import DdtpError, DiskFull, InternalError, Overloaded, PolicyRefused


class Disk:
    """A disk that takes a second for each commit; "full" and "odd" make it fail."""

    def __init__(self) -> None:
        self.commits: list[list[str]] = []
        self.group: GroupCommit[str, str] = GroupCommit(self.commit)

    async def commit(self, items: Sequence[str]) -> Sequence[str | DdtpError]:
        await trio.sleep(1)
        self.commits.append(list(items))
        if "full" in items:
            raise DiskFull("no room", hint="make some")
        if "odd" in items:
            raise ValueError("a defect")
        return [PolicyRefused("no") if item == "bad" else item.upper() for item in items]

    async def submit(self, item: str) -> str:
        return await self.group.submit(item, size_bytes=len(item))


@pytest.fixture
def disk() -> Disk:
    return Disk()


async def test_one_caller_waits_for_nobody(disk: Disk, autojump_clock: MockClock) -> None:
    """A single item is committed at once."""
    assert await disk.submit("a") == "A"
    assert trio.current_time() == 1


async def test_callers_who_come_during_a_commit_share_the_next(disk: Disk, autojump_clock: MockClock) -> None:
    """The first goes alone, all the others together, and each gets its own outcome."""
    outcomes: dict[str, str] = {}

    async def submit(item: str) -> None:
        outcomes[item] = await disk.submit(item)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit, "a")
        await trio.testing.wait_all_tasks_blocked()
        for item in "bcde":
            nursery.start_soon(submit, item)
    assert outcomes == {item: item.upper() for item in "abcde"}
    assert disk.commits[0] == ["a"]
    assert sorted(disk.commits[1]) == ["b", "c", "d", "e"]


async def test_refusal_of_one_item_is_for_its_caller_only(disk: Disk, autojump_clock: MockClock) -> None:
    """Each caller gets an error of its own."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk.submit, "first")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(disk.submit, "a")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(PolicyRefused, match="no"):
            await disk.submit("bad")
    assert disk.commits == [["first"], ["a", "bad"]]


async def test_failed_commit_is_told_to_all_and_forgotten(disk: Disk, autojump_clock: MockClock) -> None:
    """Everybody in a batch hears why it failed; the next batch works."""
    errors: list[DdtpError] = []

    async def submit(item: str) -> None:
        try:
            await disk.submit(item)
        except DiskFull as err:
            errors.append(err)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit, "first")
        await trio.testing.wait_all_tasks_blocked()
        for item in ("a", "full", "b"):
            nursery.start_soon(submit, item)
    assert len(errors) == 3
    assert len(set(map(id, errors))) == 3
    assert {(err.message, err.hint) for err in errors} == {("no room", "make some")}
    assert await disk.submit("a") == "A"


async def test_defect_is_raised_once_and_told_to_the_others(disk: Disk, autojump_clock: MockClock) -> None:
    """A defect comes out where it happened; who shared the batch is not left waiting."""
    others = []

    async def other() -> None:
        with pytest.raises(InternalError):
            await disk.submit("a")
        others.append("told")

    async def leader() -> None:
        with pytest.raises(ValueError, match="a defect"):
            await disk.submit("odd")
        others.append("raised")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leader)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(disk.submit, "x")
    assert others == ["raised"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk.submit, "first")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(leader)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(other)
    assert sorted(others) == ["raised", "raised", "told"]


async def test_cancelled_caller_does_not_take_others_along(disk: Disk, autojump_clock: MockClock) -> None:
    """A caller that gives up while others rely on it finishes the commit first."""
    outcomes = []

    async def patient() -> None:
        outcomes.append(await disk.submit("b"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk.submit, "first")
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0.5):
            nursery.start_soon(patient)
            await disk.submit("a")
    assert outcomes == ["B"]
    assert sorted(item for commit in disk.commits for item in commit) == ["a", "b", "first"]


async def test_waiting_bytes_are_bounded(disk: Disk, autojump_clock: MockClock) -> None:
    """Past the bound a caller is turned away, and what waits is still committed."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk.submit, "a")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(lambda: disk.group.submit("b", size_bytes=MAX_WAITING_BYTES))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Overloaded):
            await disk.submit("c")
    assert disk.commits == [["a"], ["b"]]
