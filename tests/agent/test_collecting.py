"""Collecting: holders get their own packages, whole, and nobody else's."""

import pytest

from ddtp.agent.collecting import PIECE_BYTES, Challenge, Counter, Question, Ready, ReadyList, Shelf
from ddtp.agent.context import COLLECT_PROTOCOL
from ddtp.agent.facade import Agent
from ddtp.errors import DiskFull, EvidenceError, NotFound, ProtocolViolation, StorageFailed
from ddtp.identity.binding import make_binding
from ddtp.identity.keys import PrivateKey
from ddtp.transfer import rpc
from ddtp.transfer.stream import FlowStream
from tests.town import FILES, Town, names, write_files

LARGE = {"archive.bin": bytes(PIECE_BYTES) * 2 + b"end"}


async def make_ready(town: Town, person: Agent, name: str = "package", files: dict[str, bytes] = FILES) -> bytes:
    """Have the issuer make a package that its holder is to collect."""
    paths = write_files(town.folder / f"sources-{name}", files)
    output = town.folder / "issuer" / "packages" / f"{name}.ddtp"
    package = await town.issuer.agent.issue(town.draft(person, paths, output))
    return package.package_id


def binding(town: Town, nonce: bytes, key: PrivateKey, *, peer_id: str = "holder-peer") -> bytes:
    house = town.issuer.agent
    made = make_binding(key, peer_id, remote_peer_id=house.host.peer_id, nonce=nonce, now=town.clock())
    return made.envelope


@pytest.fixture
def counter(town: Town) -> Counter:
    """The issuer's side of one stream."""
    folder = town.issuer.config.packages
    assert folder is not None
    return Counter(town.issuer.agent.context, Shelf(folder))


async def ask(counter: Counter, question: Question, peer_id: str = "holder-peer") -> bytes:
    return await counter.answer(question.encode(), peer_id)


async def test_each_holder_collects_their_own(town: Town) -> None:
    """Two persons find one package each, of many pieces or of one, and collecting again brings nothing new."""
    person, other = await town.person(), await town.person("other")
    mine = await make_ready(town, person, "large", LARGE)
    theirs = await make_ready(town, other, "small")
    assert [row.package_id for row in await person.collect(town.issuer.card)] == [mine]
    assert [row.package_id for row in await other.collect(town.issuer.card)] == [theirs]
    assert await person.collect(town.issuer.card) == ()
    (row,) = await person.packages()
    assert (await person.send(await person.prepare(row.path, card=town.receiver.card))).verified


async def test_nothing_ready_is_no_error(town: Town) -> None:
    """A person without packages gets none; damaged files and other things in the issuer's folder are passed over."""
    person, other = await town.person(), await town.person("other")
    await make_ready(town, other)
    write_files(town.folder / "issuer" / "packages", {"broken.ddtp": b"no package", "note.txt": b"hello"})
    assert await person.collect(town.issuer.card) == ()
    assert len(await other.collect(town.issuer.card)) == 1


async def test_a_binding_by_somebody_else_opens_nothing(town: Town, counter: Counter) -> None:
    """Who asks must sign with the holder's key, for this connection and this nonce."""
    person, mallory = await town.person(), await town.person("mallory")
    package_id = await make_ready(town, person)
    holder = person.context.seed.holder_key(town.issuer.did)
    stranger = mallory.context.seed.holder_key(town.issuer.did)
    nonce = Challenge.parse(await ask(counter, Question(holder=holder.did))).nonce
    for wrong in (
        binding(town, nonce, stranger),
        binding(town, bytes(32), holder),
        binding(town, nonce, holder, peer_id="another-peer"),
    ):
        with pytest.raises(EvidenceError):
            await ask(counter, Question(holder=holder.did, binding=wrong))
    with pytest.raises(ProtocolViolation):
        await ask(counter, Question(holder=holder.did, package_id=package_id, offset=0))


async def test_a_holder_cannot_ask_for_the_package_of_another(town: Town, counter: Counter) -> None:
    """A known id does not help: only what is made out to the proven holder is found."""
    person, mallory = await town.person(), await town.person("mallory")
    package_id = await make_ready(town, person)
    stranger = mallory.context.seed.holder_key(town.issuer.did)
    nonce = Challenge.parse(await ask(counter, Question(holder=stranger.did))).nonce
    answer = await ask(counter, Question(holder=stranger.did, binding=binding(town, nonce, stranger)))
    assert ReadyList.parse(answer).packages == ()
    with pytest.raises(NotFound):
        await ask(counter, Question(holder=stranger.did, package_id=package_id, offset=0))


async def test_a_question_that_is_malformed_is_refused(counter: Counter) -> None:
    """Noise is no question."""
    with pytest.raises(EvidenceError):
        await counter.answer(b"noise", "peer")


def promise(town: Town, size_bytes: int, piece: bytes) -> None:
    """Make the issuer promise a file of some size, and give the same piece whatever it is asked for."""

    async def answer(question: bytes, _peer: str) -> bytes:
        asked = Question.parse(question)
        if asked.package_id is not None:
            return piece
        if asked.binding is not None:
            return ReadyList(packages=(Ready(bytes(16), size_bytes),)).encode()
        return Challenge(nonce=bytes(32)).encode()

    async def handler(stream: FlowStream) -> None:
        await rpc.answer(stream, answer, max_request_bytes=8192, timeout_seconds=10)

    town.issuer.agent.host.serve(COLLECT_PROTOCOL, handler)


@pytest.mark.parametrize("piece", [b"", b"short", bytes(101)])
async def test_a_piece_of_another_length_is_a_broken_promise(town: Town, piece: bytes) -> None:
    """Nothing is kept of a file that does not come as it was announced."""
    person = await town.person()
    promise(town, 100, piece)
    with pytest.raises(ProtocolViolation):
        await person.collect(town.issuer.card)
    assert names(person.context.config.vault / "packages") == []


async def test_what_is_no_package_is_not_kept(town: Town) -> None:
    """An issuer that hands out rubbish leaves nothing in the vault."""
    person = await town.person()
    promise(town, 100, bytes(100))
    with pytest.raises(EvidenceError):
        await person.collect(town.issuer.card)
    assert names(person.context.config.vault / "packages") == []
    assert await person.packages() == []


async def test_a_promise_that_the_disk_cannot_hold_is_refused_before_the_first_byte(town: Town) -> None:
    """A size is what a stranger says; room for it is looked for before anything is written."""
    person = await town.person()
    promise(town, 1 << 40, bytes(PIECE_BYTES))
    with pytest.raises(DiskFull):
        await person.collect(town.issuer.card)
    assert names(person.context.config.vault / "packages") == []


async def test_a_file_that_changes_while_it_is_handed_out_is_not_mixed(town: Town, counter: Counter) -> None:
    """Two states of a file never come as one; the new one is found by asking anew."""
    person = await town.person()
    first = await make_ready(town, person, "first", LARGE)
    second = await make_ready(town, person, "second", LARGE)
    holder = person.context.seed.holder_key(town.issuer.did)
    nonce = Challenge.parse(await ask(counter, Question(holder=holder.did))).nonce
    prove = Question(holder=holder.did, binding=binding(town, nonce, holder))
    assert len(ReadyList.parse(await ask(counter, prove)).packages) == 2
    piece = Question(holder=holder.did, package_id=first, offset=0)
    assert len(await ask(counter, piece)) == PIECE_BYTES
    folder = town.folder / "issuer" / "packages"
    (folder / "second.ddtp").rename(folder / "first.ddtp")
    with pytest.raises(NotFound):
        await ask(counter, piece)
    (ready,) = ReadyList.parse(await ask(counter, prove)).packages
    assert ready.package_id == second


async def test_a_vault_on_an_absent_drive_is_not_made_elsewhere(town: Town) -> None:
    """Packages that were collected below an empty mount point would be hidden when the drive comes back."""
    absent = town.folder / "drive" / "vault"
    person = await town.person(vault=absent, vault_is_set=True)
    await make_ready(town, person)
    with pytest.raises(StorageFailed, match=str(absent)):
        await person.collect(town.issuer.card)
    assert not absent.parent.exists()
    absent.mkdir(parents=True)
    assert len(await person.collect(town.issuer.card)) == 1
