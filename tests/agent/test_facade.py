"""A home that is open: its packages, its witness, its cards, and what it refuses to open."""

import shutil
from pathlib import Path

import pytest

from ddtp.agent.facade import Agent, open_agent
from ddtp.agent.finding import find_item, is_package
from ddtp.config import CARD_FILE, Config
from ddtp.errors import ConfigInvalid, DdtpError, IdentityMissing, NotFound, PeerUnreachable, UsageError
from ddtp.identity.document import Role
from tests.town import FIELDS, FILES, REQUEST, SCHEMA, House, Town, make_home, names, read_files, write_files


@pytest.fixture
async def witness(town: Town) -> House:
    """A notary that anchors on the town's ledger."""
    return await town.open("witness", town.config("witness", Role.WITNESS))


async def receiver_of_witnessed(town: Town, witness: House, person: Agent) -> House:
    """A receiver that believes what a person says if the witness has attested it."""
    own = person.context.seed.holder_key("self").did
    policy = town.policy(issuers=[own], attestation="witness")
    return await town.open_receiver(
        "believer", policy=f'{policy}\n[witnesses."{witness.did}"]\nname = "City notary"', request=REQUEST
    )


async def test_a_person_packs_own_files_and_a_witness_attests_them(town: Town, witness: House) -> None:
    """The package is kept, verified by whoever trusts the witness, and by nobody else."""
    person = await town.person()
    sources = write_files(town.folder / "own", FILES)
    package = await person.pack(sources, fields=FIELDS, schema=SCHEMA, witness=witness.card)
    (row,) = await person.packages()
    assert row.package_id == package.package_id
    assert package.issuer == package.holder
    believer = await receiver_of_witnessed(town, witness, person)
    sent = await person.send(await person.prepare(row.path, card=believer.card))
    assert sent.verified
    assert read_files(believer.inbox / sent.transfer_id.hex() / "files") == FILES
    with pytest.raises(DdtpError) as caught:
        await person.send(await person.prepare(row.path, card=town.receiver.card))
    assert caught.value.code == "refused"


async def test_without_a_witness_nothing_is_packed(town: Town, witness: House) -> None:
    """If the notary is away, the vault stays as it was."""
    person = await town.person()
    sources = write_files(town.folder / "own", FILES)
    await town.close("witness")
    with pytest.raises(PeerUnreachable, match=r"^Witness does not answer: "):
        await person.pack(sources, schema=SCHEMA, witness=witness.card)
    assert names(person.context.config.vault / "packages") == []
    assert await person.packages() == []


async def test_an_institution_without_a_ledger_is_no_witness(town: Town) -> None:
    """The card of a witness has to say where it anchors."""
    person = await town.person()
    config = town.config("lonely", Role.WITNESS, ledger=None)
    lonely = await town.open("lonely", config)
    sources = write_files(town.folder / "own", FILES)
    with pytest.raises(NotFound):
        await person.pack(sources, schema=SCHEMA, witness=lonely.card)


async def test_a_package_of_nothing_is_not_made(town: Town) -> None:
    """At least one file or field."""
    person = await town.person()
    draft = town.draft(person, [], town.folder / "empty.ddtp")
    with pytest.raises(UsageError):
        await town.issuer.agent.issue(type(draft)([], [], SCHEMA, draft.holder, 60, draft.output))
    assert not draft.output.exists()


async def test_a_person_issues_nothing(town: Town) -> None:
    """Without an institution in the settings there is no key to sign with."""
    person = await town.person()
    source = write_files(town.folder / "own", FILES)
    with pytest.raises(ConfigInvalid):
        await person.issue(town.draft(person, source, town.folder / "x.ddtp"))
    with pytest.raises(ConfigInvalid):
        person.card(addresses=[], logs=[], requests=[], valid_seconds=60)


async def test_a_home_without_identity_is_not_opened(tmp_path: Path) -> None:
    """Nothing is made in a place that only looks like a home."""
    with pytest.raises(IdentityMissing):
        async with open_agent(config=Config(home=tmp_path / "home", vault=tmp_path / "vault")):
            pytest.fail("opened")
    assert names(tmp_path) == []


async def test_a_person_shows_a_new_network_identity_every_time(tmp_path: Path) -> None:
    """Nobody can follow a person by the peer id, and everybody can find an institution by it."""
    make_home(tmp_path / "person")
    peers = []
    for _ in range(2):
        async with open_agent(config=Config(home=tmp_path / "person", vault=tmp_path)) as agent:
            peers.append(agent.host.peer_id)
    assert peers[0] != peers[1]


async def test_an_institution_keeps_its_network_identity(town: Town) -> None:
    """Its card stays good when it is started again."""
    config, before = town.receiver.config, town.receiver.agent.host.peer_id
    await town.close("receiver")
    assert (await town.open("receiver", config)).agent.host.peer_id == before


async def test_issuers_cannot_compare_notes(town: Town) -> None:
    """A person is somebody else towards every institution."""
    person = await town.person()
    other = await town.open_issuer("other")
    addresses = [person.address(house.card).body for house in (town.issuer, other)]
    assert addresses[0].did != addresses[1].did
    assert addresses[0].agreement != addresses[1].agreement
    assert person.address(town.issuer.card).body.did == addresses[0].did


async def test_a_plain_file_is_found_in_the_vault_by_its_bytes(town: Town) -> None:
    """The name does not matter, one changed byte does, and files that are no packages are passed over."""
    person = await town.person()
    package = await town.issue(person)
    broken = town.folder / "broken.ddtp"
    broken.write_bytes(b"no package")
    candidates, seed = [broken, package.path], person.context.seed
    plain = town.folder / "renamed.pdf"
    plain.write_bytes(FILES["papers/deed.pdf"])
    found = find_item(plain, candidates, seed=seed)
    assert found is not None
    assert (found.package, found.item) == (package.path, "papers/deed.pdf")
    plain.write_bytes(FILES["papers/deed.pdf"][:-1] + b"!")
    assert find_item(plain, candidates, seed=seed) is None
    assert [is_package(path) for path in (package.path, broken, plain)] == [True, True, False]
    renamed = Path(shutil.copy(package.path, town.folder / "renamed"))
    assert is_package(renamed)
    with pytest.raises(NotFound):
        is_package(town.folder / "nothing")


async def test_a_card_of_the_town_is_a_file_that_others_read(town: Town) -> None:
    """What a service writes is what a person remembers."""
    person = await town.person()
    text = (town.receiver.config.home / CARD_FILE).read_text()
    assert (await person.remember_card(text)).body == town.receiver.card.body
    assert await person.records.cards() == [town.receiver.card.envelope]
