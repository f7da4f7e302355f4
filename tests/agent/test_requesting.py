"""Requests from templates: signed, fresh each time, and refused when the template is wrong."""

from pathlib import Path

import pytest

from ddtp.agent.context import REQUEST_PROTOCOL, Context
from ddtp.agent.requesting import make_request, template_names
from ddtp.agent.sending import MAX_REQUEST_BYTES
from ddtp.config import Config, Institution
from ddtp.consent.request import Request, check_request
from ddtp.errors import ConfigInvalid, NotFound, PeerRefused
from ddtp.identity.keys import Seed
from ddtp.protocol import envelope
from ddtp.transfer import rpc
from tests.ledgers import NOW, Clock
from tests.town import REQUEST, USE_SECONDS, VALID_SECONDS, Town, write_files

SEED = Seed(bytes(range(32)))
KEY = SEED.institution_key("sign")
BANK = Institution("Bank B", "CN", "b@bank.example")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_files(tmp_path / "requests", {"mortgage.toml": REQUEST.encode(), "note.txt": b"no template"})
    return tmp_path / "requests"


def context(folder: Path, *, institution: Institution | None = BANK) -> Context:
    """Surroundings of an institution; no records or network are needed."""
    config = Config(home=folder, vault=folder, institution=institution)
    counts = iter(range(256))
    random = lambda size: bytes((next(counts),)) * size  # noqa: E731
    return Context(config, SEED, None, Clock(), random, "peer", None)


def test_a_request_holds_what_the_template_says(folder: Path) -> None:
    """Signed by the institution, with its name, its times, and a fresh id and nonce."""
    signed = make_request(context(folder), folder, "mortgage", signer=KEY)
    check_request(signed, now=NOW)
    body = envelope.verify(Request, signed.envelope, signer=KEY.public_key).body
    assert (body.receiver.name, body.receiver.did, body.receiver.country) == ("Bank B", KEY.did, "CN")
    assert (body.issued, body.expires) == (NOW, NOW + VALID_SECONDS)
    assert (body.when.not_before, body.when.expires, body.when.uses) == (NOW, NOW + USE_SECONDS, 1)
    assert body.title == "Mortgage application"


def test_limits_of_use_go_into_the_request(folder: Path) -> None:
    """How often, and how far apart; a template says lengths, never dates."""
    (folder / "mortgage.toml").write_text("uses = 12\nevery_seconds = 86400\n" + REQUEST)
    when = make_request(context(folder), folder, "mortgage", signer=KEY).body.when
    assert (when.uses, when.every_seconds) == (12, 86400)


def test_who_judges_is_said(folder: Path) -> None:
    """Evidence that goes to another party goes there because the person has read so; our own key is nobody else."""
    other = Seed(bytes(32)).institution_key("sign").did
    for verifier, said in ((other, other), (None, None), (KEY.did, None)):
        body = make_request(context(folder), folder, "mortgage", signer=KEY, verifier=verifier).body
        assert body.verifier == said
    (folder / "mortgage.toml").write_text(f'verifier = "{other}"\n' + REQUEST)
    assert make_request(context(folder), folder, "mortgage", signer=KEY, verifier=other).body.verifier == other
    for verifier in (None, Seed(bytes(range(1, 33))).institution_key("sign").did):
        with pytest.raises(ConfigInvalid, match="verifier"):
            make_request(context(folder), folder, "mortgage", signer=KEY, verifier=verifier)


def test_no_two_requests_are_the_same(folder: Path) -> None:
    """An answer to one is no answer to another."""
    surroundings = context(folder)
    first, second = (make_request(surroundings, folder, "mortgage", signer=KEY).body for _ in range(2))
    assert first.request_id != second.request_id
    assert first.nonce != second.nonce


def test_templates_are_the_toml_files_of_the_folder(folder: Path) -> None:
    """Other files do not count; a folder that is not there has none."""
    assert template_names(folder) == ("mortgage",)
    assert template_names(folder / "nothing") == ()


@pytest.mark.parametrize("name", ["", "loan", "../requests/mortgage", "note", "mortgage.toml"])
def test_a_name_that_is_no_template_is_not_found(folder: Path, name: str) -> None:
    """Nothing outside the folder can be named."""
    with pytest.raises(NotFound):
        make_request(context(folder), folder, name, signer=KEY)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("valid_seconds = 3600", ""),
        ("valid_seconds = 3600", "valid_seconds = 0"),
        ("valid_seconds = 3600", "valid_seconds = true"),
        ("use_seconds = 86400", 'use_seconds = "1 day"'),
        ("use_seconds = 86400", "use_seconds = 86400\nuses = 0"),
        ("use_seconds = 86400", "use_seconds = 86400\nevery_seconds = 0"),
        ("use_seconds = 86400", "use_seconds = 86400\nwhen = { uses = 3 }"),
        ('title = "Mortgage application"', ""),
        ('title = "Mortgage application"', 'title = "Mortgage"\nsubtitle = "application"'),
        ('title = "Mortgage application"', 'title = "Mortgage"\nnonce = "mine"'),
        ('title = "Mortgage application"', 'title = "Mortgage"\nexpires = 1'),
        ('title = "Mortgage application"', "title = 1.5"),
        ('digest = "' + "00" * 32 + '"', 'digest = "00"'),
        ('digest = "' + "00" * 32 + '"', 'digest = "zz"'),
        ('digest = "' + "00" * 32 + '"', ""),
        ('basis = "consent"', 'basis = "whim"'),
        ("[keep]", "[kept]"),
        ('title = "Mortgage application"', "title ="),
    ],
)
def test_a_wrong_template_is_told_to_the_institution(folder: Path, old: str, new: str) -> None:
    """Every defect is an error of the settings, before anything is signed."""
    assert old in REQUEST
    (folder / "mortgage.toml").write_text(REQUEST.replace(old, new))
    with pytest.raises(ConfigInvalid):
        make_request(context(folder), folder, "mortgage", signer=KEY)


def test_a_person_makes_no_requests(folder: Path) -> None:
    """A home without an institution has nobody to ask for."""
    with pytest.raises(ConfigInvalid):
        make_request(context(folder, institution=None), folder, "mortgage", signer=KEY)


async def test_a_peer_that_asks_for_nonsense_is_told_so(town: Town) -> None:
    """Whatever is asked over the network, the answer is an error with a code, and the service goes on."""
    person, card = await town.person(), town.receiver.card

    async def ask(question: bytes) -> bytes:
        async with await person.context.dial(card.body.addresses, REQUEST_PROTOCOL) as stream:
            return await rpc.call(stream, question, max_response_bytes=MAX_REQUEST_BYTES, timeout_seconds=10)

    for question in (b"loan", b"x" * 64, "\u4f60".encode(), b"\xff"):
        with pytest.raises(PeerRefused) as caught:
            await ask(question)
        assert caught.value.reason_code == "not-found"
    assert await ask(b"mortgage")


async def test_a_request_that_is_not_on_the_card_is_not_asked_for(town: Town) -> None:
    """The person is told which ones there are; an institution that asks for nothing is no receiver."""
    person = await town.person()
    package = await town.issue(person)
    with pytest.raises(NotFound, match="mortgage"):
        await person.prepare(package.path, card=town.receiver.card, template="loan")
    with pytest.raises(NotFound, match="Issuer with the roles: issuer"):
        await person.prepare(package.path, card=town.issuer.card)
