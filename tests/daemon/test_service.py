"""The service in one process: what its settings lack, what it does every hour, and how it stops taking work."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from ddtp.agent.anchoring import remote_ledger
from ddtp.agent.facade import own_ledger
from ddtp.chain.admission import AdmissionPolicy, policy_entry
from ddtp.chain.allowance import PEER_RATE
from ddtp.chain.statement import coarse
from ddtp.config import Config, Institution
from ddtp.daemon.service import TIDY_SECONDS, serve
from ddtp.errors import (
    AlreadyRunning,
    ConfigInvalid,
    DdtpError,
    IdentityMissing,
    NotFound,
    PeerRefused,
    PeerVanished,
    StorageFailed,
    StoreDamaged,
)
from ddtp.identity.document import Card, Role
from ddtp.protocol.envelope import Signed
from ddtp.store.keystore import load_identity, locked
from ddtp.store.records import DATABASE_FILE
from tests.attacks.quiet import Leaving, Way, leaving_holder, until
from tests.daemons import free_port
from tests.ledgers import make_entry, make_key
from tests.town import FILES, ORIGIN, REQUEST, USE_SECONDS, Town, make_home, names, open_house, open_town


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    """A ledger, an issuer and a receiver."""
    async with open_town(tmp_path) as town:
        yield town


def institution(home: Path, *roles: Role, **changes: object) -> Config:
    config = Config(home=home, vault=home / "vault", institution=Institution("Bank", "CN", "b@bank.example"))
    return replace(config, roles=frozenset(roles), **changes)


async def start(config: Config) -> None:
    """Start a service that must not come up."""

    def ready(_card: Signed[Card]) -> None:
        pytest.fail("the service came up")

    await serve(config, passphrase=None, ready=ready)


@pytest.mark.parametrize("role", [Role.LEDGER, Role.RECEIVER, Role.VERIFIER])
async def test_a_role_without_its_settings_does_not_start(tmp_path: Path, role: Role) -> None:
    """The error names what is missing."""
    make_home(tmp_path)
    with pytest.raises(ConfigInvalid, match=role.value):
        await start(institution(tmp_path, role, ledger=tmp_path / "operator.ddtp-card"))


async def test_a_receiver_without_a_ledger_does_not_start(town: Town) -> None:
    """Its receipts would have nowhere to go."""
    with pytest.raises(ConfigInvalid, match="ledger"):
        await start(town.receiver_config("other", ledger=None))


async def test_a_service_without_roles_does_not_start(tmp_path: Path) -> None:
    """There is nothing to do."""
    make_home(tmp_path)
    with pytest.raises(ConfigInvalid, match="role"):
        await start(institution(tmp_path))


async def test_a_person_is_no_service(tmp_path: Path) -> None:
    """A home without an institution has no card."""
    make_home(tmp_path)
    with pytest.raises(ConfigInvalid, match="institution"):
        await start(institution(tmp_path, Role.LEDGER, institution=None))


async def test_a_home_without_keys_is_no_service(tmp_path: Path) -> None:
    """Nothing is made by the way."""
    with pytest.raises(IdentityMissing):
        await start(institution(tmp_path / "home", Role.LEDGER, ledger_origin=ORIGIN))


async def test_a_home_in_use_is_refused(tmp_path: Path) -> None:
    """Two services would write the same files."""
    make_home(tmp_path)
    with locked(tmp_path), pytest.raises(AlreadyRunning):
        await start(institution(tmp_path, Role.LEDGER, ledger_origin=ORIGIN))


async def test_a_port_in_use_is_refused(tmp_path: Path, town: Town) -> None:
    """The next service says so instead of taking half of the connections."""
    port = town.ledger.card.body.addresses[0].split("/")[4]
    make_home(tmp_path / "second")
    config = institution(tmp_path / "second", Role.LEDGER, ledger_origin=ORIGIN, listen=(f"/ip4/127.0.0.1/tcp/{port}",))
    with pytest.raises(AlreadyRunning):
        await start(config)


async def test_damaged_files_keep_a_service_down(tmp_path: Path) -> None:
    """Records or a ledger that are corrupt are never overwritten by a new start."""
    make_home(tmp_path)
    for file in (DATABASE_FILE, "ledger.db"):
        (tmp_path / file).write_bytes(b"not a database" * 1000)
        with pytest.raises(StoreDamaged):
            await start(institution(tmp_path, Role.LEDGER, ledger_origin=ORIGIN))
        (tmp_path / file).unlink()


async def test_a_policy_that_is_missing_or_wrong_keeps_a_receiver_down(town: Town) -> None:
    """Nobody is trusted by accident."""
    config = town.receiver_config("other")
    assert config.receiver is not None
    config.receiver.policy.write_text("attestation = 'maybe'")
    with pytest.raises(ConfigInvalid, match=f"{config.receiver.policy}.*attestation"):
        await start(config)
    config.receiver.policy.unlink()
    with pytest.raises(NotFound):
        await start(config)


async def test_a_broken_template_keeps_a_receiver_down(town: Town) -> None:
    """The operator hears of it, with its file and key, before a customer asks."""
    config = town.receiver_config("other", request=REQUEST.replace("use_seconds = 86400", ""))
    assert config.receiver is not None
    with pytest.raises(ConfigInvalid, match=rf"use_seconds.*{config.receiver.requests / 'mortgage.toml'}"):
        await start(config)


async def test_a_vault_on_an_absent_drive_keeps_a_service_down(town: Town) -> None:
    """A folder below the mount point would fill the wrong disk, and be hidden when the drive comes back."""
    absent = town.folder / "drive" / "vault"
    with pytest.raises(StorageFailed) as caught:
        await start(town.receiver_config("other", vault=absent, vault_is_set=True))
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("is the drive mounted?")
    assert not absent.parent.exists()


async def test_a_drive_that_goes_away_is_not_replaced(town: Town) -> None:
    """The transfer is refused, nothing is written elsewhere, and it goes on when the drive is back."""
    vault = town.folder / "drive"
    vault.mkdir()
    receiver = await town.open_receiver("other", vault=vault, vault_is_set=True)
    person = await town.person()
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=receiver.card)
    vault.rmdir()
    with pytest.raises(PeerRefused) as caught:
        await person.send(prepared)
    assert caught.value.reason_code == "storage-failed"
    assert not vault.exists()


async def test_names_of_templates_must_fit_on_the_card(town: Town) -> None:
    """A name that nobody can ask for, or a folder that is not there, is a mistake of the operator."""
    config = town.receiver_config("other")
    assert config.receiver is not None
    template = config.receiver.requests / "mortgage.toml"
    for name in ("x" * 65, "two  blanks"):
        wrong = template.rename(template.with_stem(name))
        with pytest.raises(ConfigInvalid, match=name):
            await start(config)
        wrong.rename(template)
    missing = replace(config.receiver, requests=town.folder / "nowhere")
    with pytest.raises(ConfigInvalid, match="nowhere"):
        await start(replace(config, receiver=missing))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"listen": ("/ip4/127.0.0.1/udp/4001",)}, "listen.*udp"),
        ({"announce": ("bank.example:4001",)}, "announce.*bank.example:4001"),
        ({"announce": ("/dns4/bank.example/tcp/0",)}, "announce"),
        ({"announce": ("/ip4/0.0.0.0/tcp/4001",)}, "card"),
        ({"listen": ("/ip4/0.0.0.0/tcp/4001",)}, "card"),
        ({"listen": ("/ip6/::/tcp/4001",)}, "card"),
    ],
)
async def test_an_address_that_nobody_can_use_keeps_a_service_down(
    tmp_path: Path, network: dict[str, tuple[str, ...]], words: str
) -> None:
    """Cards are handed out on paper: a wrong address on one is found when it is too late."""
    make_home(tmp_path)
    with pytest.raises(ConfigInvalid, match=words) as caught:
        await start(institution(tmp_path, Role.LEDGER, ledger_origin=ORIGIN, **network))
    assert words != "card" or caught.value.hint == "set [network] announce"


async def test_a_template_that_breaks_later_is_told_to_the_institution(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    """The person is told whose fault it is, and nothing of the institution's disk."""
    assert town.receiver.config.receiver is not None
    template = town.receiver.config.receiver.requests / "mortgage.toml"
    template.write_text(REQUEST.replace("use_seconds = 86400", ""))
    person = await town.person()
    package = await town.issue(person)
    with pytest.raises(PeerRefused, match="broken one at this institution") as caught:
        await person.prepare(package.path, card=town.receiver.card)
    assert str(town.folder) not in caught.value.message
    (record,) = [record for record in caplog.records if record.message == "a request template is broken"]
    assert str(template) in record.reason
    template.write_text(REQUEST)
    assert await person.prepare(package.path, card=town.receiver.card)


async def test_the_card_says_what_others_need(town: Town) -> None:
    """Where it answers, its ledger, its requests; announced addresses replace those that it listens on."""
    place = f"/ip4/127.0.0.1/tcp/{free_port()}"
    told = "/dns4/bank.example/tcp/4001"
    body = town.receiver.card.body
    assert body.requests == ("mortgage",)
    assert body.logs == town.ledger.card.body.logs
    assert body.roles == (Role.RECEIVER,)
    config = town.config("behind", Role.ISSUER, listen=(place,), announce=(told,))
    async with open_house(config, clock=town.clock) as house:
        assert house.card.body.addresses == (f"{told}/p2p/{house.agent.host.peer_id}",)
        assert house.agent.host.addresses == (f"{place}/p2p/{house.agent.host.peer_id}",)


async def test_a_log_begins_with_its_policy(town: Town) -> None:
    """Who may append what is the first entry, once, whatever happens later."""
    config = town.ledger.config
    for _ in range(2):
        ledger = town.ledger.agent.context.own_ledger
        assert ledger is not None
        (first,) = await ledger.entries(0, 1)
        assert b"policy" in first
        size = (await ledger.head()).body.size
        await town.close("ledger")
        await town.open("ledger", config)
    assert size == 1


async def test_a_log_keeps_the_policy_that_it_publishes(town: Town) -> None:
    """What the settings say is on the log, from its day on, and is what the log enforces."""
    person = await town.person()
    await town.issue(person)
    admission = AdmissionPolicy(attestors=(make_key("somebody").public_key,))
    config = replace(town.ledger.config, admission=admission)
    await town.close("ledger")
    house = await town.open("ledger", config)
    ledger = house.agent.context.own_ledger
    assert ledger is not None
    size = (await ledger.head()).body.size
    assert (await ledger.entries(size - 1, size)) == (policy_entry(admission, now=town.clock()).encode(),)
    with pytest.raises(DdtpError, match="attestors"):
        await town.issue(person)


async def test_a_log_bounds_what_strangers_append(town: Town) -> None:
    """Over the network a peer has an allowance; a writer of the settings, and the own home, have none."""
    person, writer = await town.person("stranger"), await town.person("writer")
    config = replace(town.ledger.config, ledger_writers=frozenset({writer.context.peer_id}))
    await town.close("ledger")
    house = await town.open("ledger", config)
    batch = [make_entry(number, hour=coarse(town.clock())) for number in range(256)]
    for agent, refused in ((person, True), (writer, False), (house.agent, False)):
        async with remote_ledger(agent.context, house.card.body.logs[0]) as log:
            for _ in range(PEER_RATE.burst // 256):
                await log.append(batch)
            if not refused:
                await log.append(batch)
                continue
            with pytest.raises(PeerRefused) as caught:
                await log.append(batch)
            assert caught.value.reason_code == "overloaded"


async def test_a_closed_log_is_written_by_its_writers(town: Town) -> None:
    """Everybody reads it."""
    config = replace(town.ledger.config, ledger_closed=True)
    await town.close("ledger")
    house = await town.open("ledger", config)
    person = await town.person()
    async with remote_ledger(person.context, house.card.body.logs[0]) as log:
        assert (await log.head()).body.size == 1
        with pytest.raises(PeerRefused) as caught:
            await log.append([make_entry(1, hour=coarse(town.clock()))])
        assert caught.value.reason_code == "policy-refused"


async def test_a_log_keeps_its_name(tmp_path: Path) -> None:
    """Proofs name the log; a setting that is edited after the first start must not make another history of it."""
    make_home(tmp_path)
    config = institution(tmp_path, Role.LEDGER, ledger_origin=ORIGIN)
    async with own_ledger(config, load_identity(tmp_path, passphrase=None), clock=lambda: 1_800_000_000):
        pass
    with pytest.raises(ConfigInvalid, match=ORIGIN) as caught:
        await start(replace(config, ledger_origin="other.example"))
    assert caught.value.hint == "[ledger] origin in config.toml cannot change once ledger.db exists"


async def test_a_stopping_service_takes_no_new_work(town: Town) -> None:
    """Whoever comes now is told to come later, and nobody waits for those who are idle."""
    person = await town.person()
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    with trio.fail_after(5):
        assert await town.receiver.service.drain()
    with pytest.raises(DdtpError) as caught:
        await person.send(prepared)
    assert caught.value.code in {"vanished", "unreachable"}
    assert town.receiver.remains() == []


async def test_a_stopping_service_waits_for_work_only_so_long(mock_clock: MockClock, town: Town) -> None:
    """A holder who does not go on is waited for as long as the settings say."""
    mock_clock.rate = 1.0
    person = await town.person()
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    leaving = Leaving(Way.SILENT)
    service = town.receiver.service
    async with trio.open_nursery() as nursery:
        nursery.start_soon(leaving_holder(person, sends=3, leaving=leaving).send, prepared)
        await leaving.reached.wait()
        drained: list[bool] = []

        @nursery.start_soon
        async def drain() -> None:
            drained.append(await service.drain())

        await trio.testing.wait_all_tasks_blocked(0.05)
        assert drained == []
        mock_clock.jump(town.receiver.config.drain_seconds)
        await until(lambda: bool(drained))
        assert drained == [False]
        nursery.cancel_scope.cancel()


async def test_every_hour_what_has_no_future_goes(mock_clock: MockClock, town: Town) -> None:
    """Also after an hour in which the disk or the ledger refused."""
    mock_clock.rate = 1.0
    person = await town.person()
    package = await town.issue(person)
    prepared = await person.prepare(package.path, card=town.receiver.card)
    with pytest.raises(PeerVanished):
        await leaving_holder(person, sends=3, leaving=Leaving(Way.GONE)).send(prepared)
    service, incoming = town.receiver.service, town.receiver.config.vault / "incoming"
    await until(lambda: not service._streams)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.tidy)
        await trio.testing.wait_all_tasks_blocked(0.05)
        mock_clock.jump(TIDY_SECONDS)
        await trio.testing.wait_all_tasks_blocked(0.2)
        assert len(names(incoming)) == 2, "it can still be resumed"
        town.clock.now += USE_SECONDS
        mock_clock.jump(TIDY_SECONDS)
        await until(lambda: names(incoming) == [])
        nursery.cancel_scope.cancel()


async def test_two_roles_live_in_one_process(tmp_path: Path) -> None:
    """A small institution runs its own ledger beside its issuing desk."""
    async with open_town(tmp_path) as town:
        config = town.config("both", Role.ISSUER, ledger_origin="both.example/1", ledger=None)
        both = await town.open("both", replace(config, roles=frozenset({Role.ISSUER, Role.LEDGER})))
        (log,) = both.card.body.logs
        assert log.origin == "both.example/1"
        receiver = await town.open_receiver(
            "other",
            policy=town.policy(issuers=[both.did]) + f'\n[logs."{log.origin}"]\npublic_key = "{log.public_key.hex()}"',
        )
        person = await town.person()
        package = await town.issue(person, issuer=both, files=FILES)
        assert (await person.send(await person.prepare(package.path, card=receiver.card))).verified
