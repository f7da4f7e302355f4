"""The records: every method, both sides of every failure, and a database that cannot be trusted."""

import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import trio

from ddtp.database import Connection, open_database
from ddtp.errors import NotFound, PolicyRefused, StorageFailed, StoreDamaged
from ddtp.identity.document import Card, Role
from ddtp.identity.keys import Seed
from ddtp.protocol import envelope
from ddtp.store import records as module
from ddtp.store.durable import make_directory
from ddtp.store.records import (
    DATABASE_FILE,
    FINAL_STATES,
    KEY_RELEASE_STAGE,
    Direction,
    PackageRow,
    ReceiptRow,
    Records,
    TransferRow,
    TransferState,
    open_records,
)
from ddtp.store.schema import MIGRATIONS
from tests.faults import Faults

NOW = 1_790_000_000
SECRET = b"the one-time key of this transfer"


def identifier(number: int) -> bytes:
    return number.to_bytes(16, "big")


@cache
def card(number: int, *, issued: int = NOW) -> bytes:
    """The card of one of several institutions."""
    seed = Seed(bytes(31) + bytes([number + 1]))
    body = Card(
        did=seed.institution_key("sign").did,
        agreement=seed.institution_key("agree").public_key,
        name=f"Bank {number}",
        country="CN",
        contact="bank.example",
        roles=(Role.ISSUER,),
        addresses=(),
        logs=(),
        requests=(),
        issued=issued,
        expires=issued + 1000,
    )
    return envelope.sign(body, seed.institution_key("sign")).envelope


def transfer(number: int = 1, **changes: object) -> TransferRow:
    row = TransferRow(
        transfer_id=identifier(number),
        direction=Direction.IN,
        state=TransferState.OFFERED,
        peer="did:example:holder",
        peer_name="小明",
        package_id=identifier(99),
        schema="student-card/1",
        offer=b"an offer",
        secret=SECRET,
        created=NOW + number,
        updated=NOW + number,
    )
    return replace(row, **changes)


def receipt(stage: str, envelope: bytes = b"signed", anchor: bytes | None = None) -> ReceiptRow:
    return ReceiptRow(stage, envelope, anchor)


def package(number: int, path: str = "/vault/a.ddtp") -> PackageRow:
    return PackageRow(identifier(number), Path(path), b"manifest", added=NOW + number)


async def test_new_home_is_made_private(tmp_path: Path) -> None:
    """A first start makes the directory and an empty database, which survives closing."""
    home = tmp_path / "home"
    for _ in range(2):
        async with open_records(home) as records:
            assert (await records.cards(), await records.heads(), await records.packages()) == ([], [], [])
            assert (await records.transfers(), await records.find_transfer(identifier(1))) == ([], None)
            assert {stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()} == {0o600}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


async def test_cards(tmp_path: Path) -> None:
    """Cards come oldest first; a newer one of the same DID takes the place of the older."""
    async with open_records(tmp_path) as records:
        await records.save_card("did:b", card(2), now=2)
        await records.save_card("did:a", card(1), now=1)
        await records.save_card("did:c", card(3), now=2)
        assert await records.cards() == [card(1), card(2), card(3)]
        await records.save_card("did:a", card(1, issued=NOW + 1), now=9)
        assert await records.cards() == [card(1, issued=NOW + 1), card(2), card(3)]


async def test_an_older_card_never_replaces_a_newer_one(tmp_path: Path) -> None:
    """Whoever hands over an old card cannot lead back to what was given up; the same one again changes nothing."""
    async with open_records(tmp_path) as records:
        await records.save_card("did:a", card(1), now=NOW)
        with pytest.raises(PolicyRefused, match="older"):
            await records.save_card("did:a", card(1, issued=NOW - 1), now=NOW)
        await records.save_card("did:a", card(1), now=NOW)
        assert await records.cards() == [card(1)]


async def test_heads(tmp_path: Path) -> None:
    """The last checkpoint of each log is kept."""
    async with open_records(tmp_path) as records:
        assert await records.load("log.example") is None
        await records.save("log.example", b"1")
        await records.save("a.example", b"a")
        await records.save("log.example", b"2")
        assert await records.load("log.example") == b"2"
    async with open_records(tmp_path) as records:
        assert await records.heads() == [b"a", b"2"]


async def test_packages(tmp_path: Path) -> None:
    """Packages come newest first; saving one again changes its place alone."""
    async with open_records(tmp_path) as records:
        await records.save_package(package(1))
        await records.save_package(package(2))
        moved = replace(package(1), path=Path("/moved/字.ddtp"), added=NOW + 9)
        await records.save_package(moved)
        assert await records.packages() == [package(2), package(1, "/moved/字.ddtp")]
        assert await records.find_package(identifier(2)) == package(2)
        assert await records.find_package(identifier(3)) is None


async def test_package_id_of_another(tmp_path: Path) -> None:
    """A package that uses the id of another one does not take its place."""
    async with open_records(tmp_path) as records:
        await records.save_package(package(1))
        with pytest.raises(PolicyRefused):
            await records.save_package(replace(package(1), path=Path("/forged"), manifest=b"other"))
        assert await records.packages() == [package(1)]


async def test_transfers(tmp_path: Path) -> None:
    """A transfer comes back with every value, and transfers newest first, of one direction or both."""
    full = transfer(2, direction=Direction.OUT, state=TransferState.REJECTED, secret=None, failed_step=14, reason="bad")
    async with open_records(tmp_path) as records:
        assert await records.add_transfer(transfer(1))
        assert await records.add_transfer(full)
        assert await records.add_transfer(transfer(3))
        assert await records.find_transfer(identifier(2)) == full
        assert await records.transfers() == [transfer(3), full, transfer(1)]
        assert await records.transfers(direction=Direction.OUT) == [full]
        assert await records.transfers(direction=Direction.IN) == [transfer(3), transfer(1)]


async def test_known_transfer_is_not_added_again(tmp_path: Path) -> None:
    """A second transfer of the same id changes nothing."""
    async with open_records(tmp_path) as records:
        assert await records.add_transfer(transfer(1))
        assert not await records.add_transfer(transfer(1, state=TransferState.VERIFIED, secret=b"other"))
        assert await records.find_transfer(identifier(1)) == transfer(1)


@pytest.mark.parametrize("state", TransferState)
async def test_every_state_is_kept(tmp_path: Path, state: TransferState) -> None:
    """A transfer can be moved to each state; a final one stays, from others it goes on; other values stay."""
    async with open_records(tmp_path) as records:
        await records.add_transfer(transfer(1))
        await records.add_transfer(transfer(2))
        await records.set_state(identifier(1), state, now=NOW + 50, failed_step=3, reason="why")
        expected = transfer(1, state=state, updated=NOW + 50, failed_step=3, reason="why")
        assert await records.find_transfer(identifier(1)) == expected
        await records.set_state(identifier(1), TransferState.KEYED, now=NOW + 60)
        if state not in FINAL_STATES:
            expected = transfer(1, state=TransferState.KEYED, updated=NOW + 60)
        assert await records.find_transfer(identifier(1)) == expected
        assert await records.find_transfer(identifier(2)) == transfer(2)


async def test_conclusion_is_kept_once(tmp_path: Path) -> None:
    """Last receipt, final state and the end of the key come together; another conclusion is refused whole."""
    async with open_records(tmp_path) as records:
        await records.add_transfer(transfer(1))
        receipt = ReceiptRow("verified", b"envelope", anchor=None)
        await records.conclude(identifier(1), TransferState.VERIFIED, receipt=receipt, now=NOW + 5)
        late = ReceiptRow("rejected", b"other", anchor=None)
        with pytest.raises(PolicyRefused):
            await records.conclude(identifier(1), TransferState.REJECTED, receipt=late, now=NOW + 6, failed_step=14)
        assert await records.receipts(identifier(1)) == {"verified": receipt}
        again = replace(receipt, envelope=b"signed again")
        await records.conclude(identifier(1), TransferState.VERIFIED, receipt=again, now=NOW + 7)
        assert await records.receipts(identifier(1)) == {"verified": receipt}
        row = await records.find_transfer(identifier(1))
        assert row == transfer(1, state=TransferState.VERIFIED, updated=NOW + 5, secret=None)


async def test_what_was_given_up_is_not_concluded(tmp_path: Path) -> None:
    """No receipt is kept for a transfer whose chunks are gone, whoever was about to sign it; and no key is released."""
    async with open_records(tmp_path) as records:
        await records.add_transfer(transfer(1))
        await records.set_state(identifier(1), TransferState.DECLINED, now=NOW + 1)
        receipt = ReceiptRow("verified", b"envelope", anchor=None)
        with pytest.raises(PolicyRefused):
            await records.conclude(identifier(1), TransferState.VERIFIED, receipt=receipt, now=NOW + 5)
        with pytest.raises(PolicyRefused):
            await records.release(identifier(1), b"key", now=NOW + 5)
        assert await records.receipts(identifier(1)) == {}


async def test_the_newest_key_message_is_kept(tmp_path: Path) -> None:
    """Each exchange wraps the key anew; the ledger entry of an earlier one stays beside it."""
    async with open_records(tmp_path) as records:
        await records.add_transfer(transfer(1))
        await records.release(identifier(1), b"first", now=NOW)
        await records.save_receipt(identifier(1), ReceiptRow(KEY_RELEASE_STAGE, b"first", anchor=b"proof"))
        await records.release(identifier(1), b"second", now=NOW + 1)
        assert await records.receipts(identifier(1)) == {
            KEY_RELEASE_STAGE: ReceiptRow(KEY_RELEASE_STAGE, b"second", anchor=b"proof")
        }


async def test_receipts_wait_for_the_ledger(tmp_path: Path) -> None:
    """Last receipts of incoming transfers are listed until they are anchored."""
    async with open_records(tmp_path) as records:
        await records.add_transfer(transfer(1))
        receipt = ReceiptRow("verified", b"envelope", anchor=None)
        await records.conclude(identifier(1), TransferState.VERIFIED, receipt=receipt, now=NOW + 5)
        assert await records.unanchored_receipts() == [(identifier(1), receipt)]
        await records.save_receipt(identifier(1), replace(receipt, anchor=b"proof"))
        assert await records.unanchored_receipts() == []


async def test_state_of_an_unknown_transfer(tmp_path: Path) -> None:
    """Nothing can happen to a transfer that is not there."""
    async with open_records(tmp_path) as records:
        with pytest.raises(NotFound):
            await records.set_state(identifier(1), TransferState.VERIFIED, now=NOW, forget_secret=True)


async def test_forgotten_secret_is_gone(tmp_path: Path) -> None:
    """The key of a finished transfer is not only out of its row: its bytes are in none of the files."""

    def holders() -> list[str]:
        return [path.name for path in tmp_path.iterdir() if SECRET in path.read_bytes()]

    async with open_records(tmp_path) as records:
        for number in range(1, 4):
            await records.add_transfer(transfer(number))
        assert holders()
        for number in range(1, 4):
            await records.set_state(identifier(number), TransferState.VERIFIED, now=NOW, forget_secret=True)
        assert holders() == []
        row = await records.find_transfer(identifier(1))
        assert row == transfer(1, state=TransferState.VERIFIED, secret=None, updated=NOW)
    assert holders() == []


async def test_forgetting_while_somebody_reads(tmp_path: Path) -> None:
    """Another process that reads does not keep a transfer from its end."""
    async with open_records(tmp_path) as records, open_records(tmp_path) as others:
        await records.add_transfer(transfer(1))
        assert await others.transfers() == [transfer(1)]
        await records.set_state(identifier(1), TransferState.VERIFIED, now=NOW, forget_secret=True)
        row = await others.find_transfer(identifier(1))
        assert row is not None
        assert row.secret is None


@pytest.mark.parametrize("prefix", ["aB", "ab", "AB00", "ab" + "0" * 30])
async def test_transfer_by_prefix(tmp_path: Path, prefix: str) -> None:
    """The first digits of an id, in either case, name a transfer."""
    row = transfer(1, transfer_id=b"\xab" + bytes(15))
    async with open_records(tmp_path) as records:
        await records.add_transfer(row)
        await records.add_transfer(transfer(2, transfer_id=b"\xac" + bytes(15)))
        assert await records.transfer_by_prefix(prefix) == row


@pytest.mark.parametrize(
    "prefix", ["", "%", "_", "a_", "ab%", "ab_", "%b", "a", "ad", "ab" + "0" * 31, "xyz", "ab\n", "ａｂ", "'", "ab\x00"]
)
async def test_prefix_that_names_no_one_transfer(tmp_path: Path, prefix: str) -> None:
    """Too little, too much, another, and whatever SQL would give a meaning to, finds nothing."""
    async with open_records(tmp_path) as records:
        await records.add_transfer(transfer(1, transfer_id=b"\xab" + bytes(15)))
        if prefix == "a":
            await records.add_transfer(transfer(2, transfer_id=b"\xac" + bytes(15)))
        with pytest.raises(NotFound):
            await records.transfer_by_prefix(prefix)


async def test_receipts(tmp_path: Path) -> None:
    """Receipts are kept by stage; the first of a stage stays, and only a missing anchor can be added."""
    async with open_records(tmp_path) as records:
        await records.add_transfer(transfer(1))
        assert await records.receipts(identifier(1)) == {}
        await records.save_receipt(identifier(1), receipt("cipher"))
        await records.save_receipt(identifier(1), receipt("verified", b"v", b"proof"))
        await records.save_receipt(identifier(1), receipt("cipher", b"other", b"anchor"))
        await records.save_receipt(identifier(1), receipt("verified", b"other", b"other"))
        assert await records.receipts(identifier(1)) == {
            "cipher": receipt("cipher", anchor=b"anchor"),
            "verified": receipt("verified", b"v", b"proof"),
        }
        assert await records.receipts(identifier(2)) == {}


async def test_receipt_of_an_unknown_transfer(tmp_path: Path) -> None:
    """A receipt needs its transfer."""
    async with open_records(tmp_path) as records:
        with pytest.raises(StorageFailed):
            await records.save_receipt(identifier(1), receipt("cipher"))


async def test_grant_is_consumed_once(tmp_path: Path) -> None:
    """The transfer that used a grant may use it again, no other may, and that survives closing."""
    async with open_records(tmp_path) as records:
        assert await records.consume_grant(b"g" * 32, identifier(1))
        assert not await records.consume_grant(b"g" * 32, identifier(2))
        assert await records.consume_grant(b"h" * 32, identifier(2))
    async with open_records(tmp_path) as records:
        assert await records.consume_grant(b"g" * 32, identifier(1))
        assert not await records.consume_grant(b"g" * 32, identifier(2))


async def test_one_of_many_transfers_gets_the_grant(tmp_path: Path) -> None:
    """Of transfers that ask at the same time, from two processes, exactly one gets it."""
    winners = []
    async with open_records(tmp_path) as first, open_records(tmp_path) as second, trio.open_nursery() as nursery:

        async def ask(records: Records, number: int) -> None:
            if await records.consume_grant(b"g" * 32, identifier(number)):
                winners.append(number)

        for number in range(8):
            nursery.start_soon(ask, (first, second)[number % 2], number)
    assert len(winners) == 1
    async with open_records(tmp_path) as records:
        assert await records.consume_grant(b"g" * 32, identifier(winners[0]))


async def test_lists_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list holds the newest rows and no more than its limit."""
    monkeypatch.setattr(module, "LIST_LIMIT", 3)
    async with open_records(tmp_path) as records:
        for number in range(5):
            await records.save_card(f"did:{number}", card(number), now=NOW)
            await records.save(f"log{number}", bytes([number]))
            await records.save_package(package(number))
            await records.add_transfer(transfer(number))
        assert await records.cards() == [card(number) for number in (2, 3, 4)]
        assert await records.heads() == [bytes([number]) for number in (0, 1, 2)]
        assert [row.added - NOW for row in await records.packages()] == [4, 3, 2]
        assert [row.created - NOW for row in await records.transfers()] == [4, 3, 2]
        assert [row.created - NOW for row in await records.transfers(direction=Direction.IN)] == [4, 3, 2]


def spoil(path: Path, damage: str) -> None:
    data = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "text": b"no database at all" * 300,
            "cut": data[: len(data) // 2],
            "pages": data[:4096] + os.urandom(len(data) - 4096),
        }[damage]
    )


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "pages"])
async def test_damaged_database_is_not_opened(tmp_path: Path, damage: str) -> None:
    """A file that is cut, overwritten or something else is reported, and never begun anew."""
    async with open_records(tmp_path) as records:
        await records.add_transfer(transfer(1))
    spoil(tmp_path / DATABASE_FILE, damage)
    before = (tmp_path / DATABASE_FILE).read_bytes()
    with pytest.raises(StoreDamaged):
        async with open_records(tmp_path):
            pass
    assert (tmp_path / DATABASE_FILE).read_bytes() == before


async def test_database_of_a_later_version(tmp_path: Path) -> None:
    """A schema that we do not know yet is not touched."""
    async with open_database(tmp_path / DATABASE_FILE, migrations=(*MIGRATIONS, "CREATE TABLE later (x ANY) STRICT;")):
        pass
    with pytest.raises(StoreDamaged, match="schema version"):
        async with open_records(tmp_path):
            pass


async def test_first_schema_is_still_migrated(tmp_path: Path) -> None:
    """A home of the first release opens with all its rows."""
    async with open_database(tmp_path / DATABASE_FILE, migrations=MIGRATIONS[:1]) as database:
        await database.execute("INSERT INTO card VALUES ('did:a', x'61', 1)")
    async with open_records(tmp_path) as records:
        assert await records.cards() == [b"a"]


async def test_unknown_state_is_damage(tmp_path: Path) -> None:
    """A state that no version of ours has written is an error of ours, not of Python."""
    async with open_records(tmp_path) as records:
        await records.add_transfer(transfer(1))
        await records._database.execute("UPDATE transfer SET state = 'lost'")
        for reading in (records.transfers, lambda: records.find_transfer(identifier(1))):
            with pytest.raises(StoreDamaged, match="lost"):
                await reading()


Write = Callable[[Records], Awaitable[object]]

WRITES: dict[str, Write] = {
    "save_card": lambda records: records.save_card("did:a", card(1, issued=NOW + 1), now=NOW),
    "save": lambda records: records.save("log.example", b"2"),
    "save_package": lambda records: records.save_package(package(1, "/moved")),
    "add_transfer": lambda records: records.add_transfer(transfer(2)),
    "set_state": lambda records: records.set_state(identifier(1), TransferState.VERIFIED, now=NOW, forget_secret=True),
    "save_receipt": lambda records: records.save_receipt(identifier(1), receipt("cipher", anchor=b"anchor")),
    "consume_grant": lambda records: records.consume_grant(b"g" * 32, identifier(1)),
}


async def everything(records: Records) -> tuple[object, ...]:
    return (
        await records.cards(),
        await records.heads(),
        await records.packages(),
        await records.transfers(),
        await records.receipts(identifier(1)),
        await records._database.fetch_all("SELECT * FROM consumed_grant"),
    )


async def prepare(records: Records) -> tuple[object, ...]:
    await records.save_card("did:a", card(1), now=NOW)
    await records.save("log.example", b"1")
    await records.save_package(package(1))
    await records.add_transfer(transfer(1))
    await records.save_receipt(identifier(1), receipt("cipher"))
    return await everything(records)


@pytest.mark.parametrize("persisted", [False, True])
@pytest.mark.parametrize("name", WRITES)
async def test_every_failing_statement_changes_all_or_nothing(tmp_path: Path, name: str, *, persisted: bool) -> None:
    """Whichever statement of a write fails, having had its effect or not, a retry leads to the same end."""
    async with open_records(tmp_path / "good") as records:
        before = await prepare(records)
        await WRITES[name](records)
        after = await everything(records)
    assert after != before
    # BEGIN, the statements, COMMIT
    for at in range(3):
        home = tmp_path / str(at)
        async with open_records(home) as records:
            await prepare(records)
        faults = Faults()
        async with opened_with(home, faults.factory()) as records:
            faults.arm(at, persisted=persisted)
            with pytest.raises(StorageFailed):
                await WRITES[name](records)
            faults.arm(None)
            assert await everything(records) in (before, after)
        async with open_records(home) as records:
            assert await everything(records) in (before, after)
            await WRITES[name](records)
            assert await everything(records) == after


@asynccontextmanager
async def opened_with(home: Path, factory: type[Connection]) -> AsyncIterator[Records]:
    """Records on a connection that fails."""
    path = make_directory(home) / DATABASE_FILE
    async with open_database(path, migrations=MIGRATIONS, connection_factory=factory) as database:
        yield Records(database)


async def test_forgetting_on_a_failing_disk_is_done_all_the_same(tmp_path: Path) -> None:
    """If only the log cannot be cut, the transfer has ended and its key is out of its row."""
    faults = Faults()
    async with opened_with(tmp_path, faults.factory()) as records:
        await records.add_transfer(transfer(1))
        faults.arm(3)
        await records.set_state(identifier(1), TransferState.VERIFIED, now=NOW, forget_secret=True)
        assert faults.seen[3].startswith("PRAGMA wal_checkpoint")
        row = await records.find_transfer(identifier(1))
        assert row == transfer(1, state=TransferState.VERIFIED, secret=None, updated=NOW)
