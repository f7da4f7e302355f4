"""Every attack is refused, by the step that is there for it."""

from dataclasses import replace

import pytest

from ddtp.consent.request import When
from ddtp.errors import ContentMismatch, VerificationFailed
from ddtp.protocol.codec import encode
from ddtp.protocol.leaves import Field, FieldKind
from ddtp.protocol.openings import Openings
from ddtp.verify.evidence import Evidence
from ddtp.verify.policy import Attestation, TrustPolicy, parse_policy
from ddtp.verify.steps import Step
from ddtp.verify.verified import VerifiedEvidence
from ddtp.verify.verifier import check_content, verify_evidence
from tests.vectors import Case, load
from tests.verify.attacks import (
    ATTACKS,
    BY_ISSUER,
    BY_STRANGER,
    BY_WITNESS,
    Attack,
    package_anchor,
    receipts,
    request_with,
)
from tests.worlds import (
    CONTENT,
    DAY,
    HOLDER,
    LOG,
    NOW,
    ORIGIN,
    RECEIVER,
    STRANGER,
    World,
)


def verify(
    world: World,
    evidence: Evidence | bytes,
    *,
    policy: TrustPolicy | None = None,
    receiver: str | None = RECEIVER.did,
    now: int = NOW,
) -> VerifiedEvidence:
    encoded = evidence if isinstance(evidence, bytes) else evidence.encode()
    return verify_evidence(encoded, policy=policy or world.policy(), receiver=receiver, now=now)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_attack_is_refused_by_its_step(world: World, attack: Attack) -> None:
    """One change to the valid evidence fails exactly the step that is there for it."""
    evidence = attack.make(world)
    with pytest.raises(VerificationFailed) as caught:
        verify(world, evidence, policy=world.policy(**attack.policy), receiver=attack.receiver)
    assert (Step(caught.value.step), caught.value.cause_code) == (attack.step, attack.cause)
    assert caught.value.step_name == attack.step.label


def test_every_step_of_evidence_has_an_attack() -> None:
    """No step is there without a test that it refuses something."""
    evidence_steps = set(Step) - {Step.BUNDLE_FORM, Step.OPENINGS, Step.CONTENT}
    assert {attack.step for attack in ATTACKS} == evidence_steps


def test_valid_evidence_is_verified(world: World) -> None:
    """The parts that were verified come back, with the digest of the evidence."""
    manifest = world.manifest()
    evidence = world.evidence(manifest=manifest)
    verified = verify(world, evidence)
    assert verified.evidence_digest == evidence.digest
    assert verified.manifest == manifest
    assert verified.disclosure == world.disclosure
    assert verified.request.body.receiver.did == RECEIVER.did
    assert verified.grant.body.subject == HOLDER.did
    assert verified.at == NOW


def test_receipts_of_a_valid_transfer_pass(world: World) -> None:
    """Evidence with both receipts is verified."""
    verify(world, receipts()(world))


def test_auditor_needs_no_receiver(world: World) -> None:
    """Without a receiver the evidence may be for anybody."""
    verify(world, world.evidence(), receiver=None)


def test_skew_is_allowed_for_starts(world: World) -> None:
    """Times up to the skew in the future pass: manifest, grant, checkpoints."""
    ahead = NOW + 120
    manifest, request = world.manifest(issued=ahead), world.request(when=When(ahead, ahead + DAY, 5))
    grant = world.grant(manifest=manifest, request=request, issued=ahead)
    evidence = world.evidence(
        manifest=manifest,
        request=request,
        grant=grant,
        package_anchor=replace(world.package_anchor(manifest), time=ahead).anchor(),
        grant_anchor=replace(world.grant_anchor(grant), time=ahead).anchor(),
    )
    verify(world, evidence)


def test_ends_have_no_skew(world: World) -> None:
    """What expires now is in force now, and a second later it is not."""
    evidence = world.evidence(manifest=world.manifest(expires=NOW))
    verify(world, evidence)
    with pytest.raises(VerificationFailed, match="in force"):
        verify(world, evidence, now=NOW + 1)


def test_checkpoint_age_is_up_to_the_policy(world: World) -> None:
    """An archive accepts a checkpoint of any age."""
    manifest, request = world.manifest(), world.request()
    grant = world.grant(manifest=manifest, request=request)
    evidence = world.evidence(
        manifest=manifest,
        request=request,
        grant=grant,
        package_anchor=replace(world.package_anchor(manifest), time=NOW - 20 * DAY).anchor(),
    )
    verify(world, evidence, policy=world.policy(max_checkpoint_age_seconds=None))


STATEMENTS = {"issuer": BY_ISSUER, "witness": BY_WITNESS, "both": BY_ISSUER + BY_WITNESS, "stranger": BY_STRANGER}
ACCEPTED = {
    Attestation.ISSUER: {"issuer", "both"},
    Attestation.WITNESS: {"witness", "both"},
    Attestation.EITHER: {"issuer", "witness", "both"},
    Attestation.BOTH: {"both"},
}


@pytest.mark.parametrize("attestation", Attestation, ids=lambda each: each.value)
@pytest.mark.parametrize("stated_by", STATEMENTS)
def test_attestation_decides_whose_statement_counts(world: World, stated_by: str, attestation: Attestation) -> None:
    """Each policy accepts exactly the ledger entries that spec/10 s.2 says."""
    evidence = package_anchor(statements=STATEMENTS[stated_by])(world)
    policy = world.policy(attestation=attestation)
    if stated_by in ACCEPTED[attestation]:
        verify(world, evidence, policy=policy)
        return
    with pytest.raises(VerificationFailed) as caught:
        verify(world, evidence, policy=policy)
    assert caught.value.step == Step.PACKAGE_ANCHOR


@pytest.mark.parametrize("attestation", [Attestation.WITNESS, Attestation.EITHER], ids=lambda each: each.value)
def test_unknown_issuer_passes_with_a_witness_only_where_that_is_the_policy(
    world: World, attestation: Attestation
) -> None:
    """A witness can vouch for an issuer that the policy does not list."""
    policy = world.policy(attestation=attestation, issuers={})
    verify(world, package_anchor(statements=BY_WITNESS)(world), policy=policy)


def test_statement_of_an_untrusted_issuer_is_no_statement(world: World) -> None:
    """Where either is demanded, the issuer counts only if it is trusted for the schema."""
    policy = world.policy(attestation=Attestation.EITHER, issuers={})
    with pytest.raises(VerificationFailed) as caught:
        verify(world, package_anchor(statements=BY_ISSUER)(world), policy=policy)
    assert caught.value.step == Step.PACKAGE_ANCHOR


def test_log_that_the_request_does_not_limit(world: World) -> None:
    """A request without logs accepts all that the policy trusts."""
    verify(world, request_with(logs=())(world))


def test_other_trusted_logs_do_not_matter(world: World) -> None:
    """A policy may trust many logs."""
    verify(world, world.evidence(), policy=world.policy(logs={"a": STRANGER.public_key, ORIGIN: LOG.public_key}))


@pytest.mark.parametrize(
    "encoded",
    [b"", b"\xa0", b"\xff", b"\x80", encode({"manifest": b""}), bytes(100), encode({"manifest": [[[[]]]]})],
    ids=lambda data: data.hex()[:12] or "empty",
)
def test_malformed_evidence_fails_the_first_step(world: World, encoded: bytes) -> None:
    """What is no evidence is refused before anything else."""
    with pytest.raises(VerificationFailed) as caught:
        verify(world, encoded)
    assert (caught.value.step, caught.value.cause_code) == (Step.BUNDLE_FORM, "malformed")


def test_truncated_evidence_is_refused(world: World) -> None:
    """Evidence cut anywhere fails the first step, never otherwise."""
    encoded = world.evidence().encode()
    for length in range(0, len(encoded), 41):
        with pytest.raises(VerificationFailed) as caught:
            verify(world, encoded[:length])
        assert caught.value.step == Step.BUNDLE_FORM


def test_flipped_bit_never_passes(world: World) -> None:
    """A flipped bit anywhere is refused by some step, with a typed error."""
    encoded = receipts()(world).encode()
    for position in range(0, len(encoded), 89):
        changed = bytearray(encoded)
        changed[position] ^= 1 << position % 8
        with pytest.raises(VerificationFailed):
            verify(world, bytes(changed))


def content_failure(world: World, **parts: object) -> VerificationFailed:
    verified = verify(world, world.evidence())
    arguments = {"openings": world.openings, "files": world.files()} | parts
    with pytest.raises(VerificationFailed) as caught:
        check_content(verified, **arguments)
    return caught.value


def test_valid_content_is_verified(world: World) -> None:
    """Content that matches the evidence gives the verified package."""
    verified = verify(world, world.evidence())
    package = check_content(verified, world.openings, files=world.files())
    assert package.evidence is verified
    assert package.openings == world.openings
    assert package.files.keys() == CONTENT.keys()


def test_swapped_openings_fail(world: World) -> None:
    """Two values with each other's salts do not open their leaves."""
    first, second, *others = world.openings.fields
    swapped = (replace(first, salt=second.salt), replace(second, salt=first.salt), *others)
    failure = content_failure(world, openings=replace(world.openings, fields=swapped))
    assert (failure.step, failure.cause_code) == (Step.OPENINGS, "content-mismatch")


def test_changed_value_fails(world: World) -> None:
    """A value that the issuer did not sign is refused."""
    first, *others = world.openings.fields
    changed = replace(first, field=Field("age", FieldKind.INTEGER, "81"))
    failure = content_failure(world, openings=replace(world.openings, fields=(changed, *others)))
    assert (failure.step, failure.cause_code) == (Step.OPENINGS, "content-mismatch")


def test_missing_opening_fails(world: World) -> None:
    """Every disclosed leaf must be opened."""
    failure = content_failure(world, openings=replace(world.openings, fields=world.openings.fields[1:]))
    assert (failure.step, failure.cause_code) == (Step.OPENINGS, "bad-proof")


def test_surplus_opening_fails(world: World) -> None:
    """Nothing is opened that was not disclosed."""
    failure = content_failure(world, openings=world.package.openings)
    assert (failure.step, failure.cause_code) == (Step.OPENINGS, "bad-proof")


def test_value_beyond_the_request_fails() -> None:
    """A value that was not asked for is not taken, even if the holder agreed to show it."""
    world = World(shown=("name", "age", "secret"))
    verified = verify(world, world.evidence())
    with pytest.raises(VerificationFailed) as caught:
        check_content(verified, world.openings, files=world.files())
    assert (caught.value.step, caught.value.cause_code) == (Step.OPENINGS, "consent-invalid")


@pytest.mark.parametrize(
    "changed",
    [
        {"photo": b"\xff\xd9" + CONTENT["photo.jpg"][2:]},
        {"photo": CONTENT["photo.jpg"][:-1]},
        {"photo": CONTENT["photo.jpg"] + b"\x00"},
        {"photo": b""},
        {"grades": b'{"mathematics": 5, "physics": 2}'},
        {"grades": b"no JSON"},
        {"grades": b'{"physics":2,"mathematics":1}', "photo": b"other"},
    ],
    ids=["first-byte", "cut", "longer", "empty", "other-value", "broken", "one-of-two"],
)
def test_changed_file_is_different(world: World, changed: dict[str, bytes]) -> None:
    """A file with other content is refused as different."""
    failure = content_failure(world, files=world.files(**changed))
    assert (failure.step, failure.cause_code) == (Step.CONTENT, "content-mismatch")
    assert isinstance(failure.__cause__, ContentMismatch)
    assert not failure.__cause__.same_content


def test_same_content_in_other_bytes_is_told_apart(world: World) -> None:
    """A JSON file that was saved again is refused, but not called forged."""
    failure = content_failure(world, files=world.files(grades=b'{"physics":2,"mathematics":1}'))
    assert (failure.step, failure.cause_code) == (Step.CONTENT, "content-mismatch")
    assert isinstance(failure.__cause__, ContentMismatch)
    assert failure.__cause__.same_content


def test_missing_file_fails(world: World) -> None:
    """Every announced file must be there."""
    files = world.files()
    del files["photo.jpg"]
    assert content_failure(world, files=files).step == Step.CONTENT


def test_extra_file_fails(world: World) -> None:
    """No file may be there that was not announced."""
    files = world.files()
    files["virus.exe"] = files["photo.jpg"]
    assert content_failure(world, files=files).step == Step.CONTENT


def test_package_without_files(world: World) -> None:
    """Fields alone are a package."""
    world.shown = ("age", "name")
    verified = verify(world, world.evidence())
    assert check_content(verified, world.openings, files={}).files == {}


def run(world: World, case: Case) -> None:
    verified = verify_evidence(
        case.data("evidence"),
        policy=parse_policy(case.input["policy"]),
        receiver=case.input["receiver"],
        now=case.input["now"],
    )
    if "openings" in case.input:
        openings = Openings.parse(case.data("openings"))
        keys = {opening.head.path: opening.file_key for opening in openings.files}
        received = {path: bytes.fromhex(data) for path, data in case.input["files"].items()}
        files = {path: world.head(path, data, keys[path]) for path, data in received.items()}
        check_content(verified, openings, files=files)


@pytest.mark.parametrize("case", load("10-verification"), ids=str)
def test_vectors(world: World, case: Case) -> None:
    """The vectors of spec/10: each changes one thing in a valid transfer, and names the step that must refuse it."""
    if case.expect == "ok":
        run(world, case)
        return
    with pytest.raises(VerificationFailed) as caught:
        run(world, case)
    failure = caught.value
    assert failure.code == case.expect
    assert {"step": failure.step, "name": failure.step_name, "cause": failure.cause_code} == case.output
