"""One change each to the valid transfer, with the step that must notice it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ddtp.chain.statement import AnchorRole, Entry, EntryKind
from ddtp.consent.request import AtEnd, Keep, When
from ddtp.protocol import envelope
from ddtp.protocol.openings import DisclosedLeaf
from ddtp.verify.evidence import Evidence
from ddtp.verify.policy import Attestation, TrustedIssuer
from ddtp.verify.receipt import Receipt, ReceiptStage
from ddtp.verify.steps import Step
from tests.worlds import (
    ASK,
    CIPHERTEXT_ROOT,
    DAY,
    HOUR,
    ISSUER,
    NOW,
    RECEIVER,
    STRANGER,
    TRANSFER_ID,
    WITNESS,
    World,
)


@dataclass(frozen=True)
class Attack:
    """One change to the valid transfer, and who must notice it."""

    name: str
    step: Step
    cause: str
    make: Callable[[World], Evidence]
    policy: dict[str, object] = field(default_factory=dict)
    receiver: str | None = RECEIVER.did

    def __str__(self) -> str:
        return self.name


def unchanged(world: World) -> Evidence:
    return world.evidence()


def bit_flipped(part: str) -> Callable[[World], Evidence]:
    """One flipped bit in the last byte of a signed part, which is inside its signature."""

    def make(world: World) -> Evidence:
        evidence = world.evidence()
        data = bytearray(getattr(evidence, part))
        data[-1] ^= 1
        return replace(evidence, **{part: bytes(data)})

    return make


def garbled(part: str) -> Callable[[World], Evidence]:
    """A part that is an empty map."""

    def make(world: World) -> Evidence:
        return replace(world.evidence(), **{part: b"\xa0"})

    return make


def manifest_with(**changes: object) -> Callable[[World], Evidence]:
    def make(world: World) -> Evidence:
        return world.evidence(manifest=world.manifest(**changes))

    return make


def other_root(world: World) -> Evidence:
    """A disclosure whose leaf was replaced, so that it leads to another root."""
    first, *others = world.disclosure.leaves
    return world.evidence(disclosure=replace(world.disclosure, leaves=(DisclosedLeaf(first.index, bytes(32)), *others)))


def split_group(world: World) -> Evidence:
    """Only one leaf of a group is shown; the proof for it is right."""
    package = World(groups=()).package
    disclosure, _openings = package.disclose(world.indexes(["name", "school"]))
    return world.evidence(disclosure=replace(disclosure, groups=world.package.groups))


def request_with(**changes: object) -> Callable[[World], Evidence]:
    def make(world: World) -> Evidence:
        return world.evidence(request=world.request(**changes))

    return make


def grant_with(**changes: object) -> Callable[[World], Evidence]:
    """Evidence whose grant says something else, properly signed by the holder."""

    def make(world: World) -> Evidence:
        manifest, request = world.manifest(), world.request()
        grant = world.grant(manifest=manifest, request=request, **changes)
        return world.evidence(manifest=manifest, request=request, grant=grant)

    return make


def granted_with(**changes: object) -> Callable[[World], Evidence]:
    """Evidence whose grant names another package or part."""

    def make(world: World) -> Evidence:
        manifest, request = world.manifest(), world.request()
        grant = world.grant(manifest=manifest, request=request)
        data = (replace(grant.body.data[0], **changes),)
        changed = world.grant(manifest=manifest, request=request, data=data)
        return world.evidence(manifest=manifest, request=request, grant=changed)

    return make


def package_anchor(*, forge: Callable[[Entry], Entry] | None = None, **changes: object) -> Callable[[World], Evidence]:
    def make(world: World) -> Evidence:
        manifest = world.manifest()
        anchored = replace(world.package_anchor(manifest), **changes)
        anchor = anchored.anchor()
        if forge is not None:
            anchor = replace(anchor, entry=forge(anchored.entry()).encode())
        return world.evidence(manifest=manifest, package_anchor=anchor)

    return make


def grant_anchor(**changes: object) -> Callable[[World], Evidence]:
    def make(world: World) -> Evidence:
        manifest, request = world.manifest(), world.request()
        grant = world.grant(manifest=manifest, request=request)
        anchor = replace(world.grant_anchor(grant), **changes).anchor()
        return world.evidence(manifest=manifest, request=request, grant=grant, grant_anchor=anchor)

    return make


def without_witness(entry: Entry) -> Entry:
    """An entry that was never appended: a genuine one without its second statement."""
    return replace(entry, statements=entry.statements[:1])


def wrong_salt(world: World) -> Evidence:
    manifest = world.manifest()
    anchor = world.package_anchor(manifest).anchor()
    return world.evidence(manifest=manifest, package_anchor=replace(anchor, salt=bytes(32)))


def moved_grant(world: World) -> Evidence:
    """A grant that answers another request of the same receiver."""
    manifest = world.manifest()
    grant = world.grant(manifest=manifest, request=world.request(nonce=b"\x77" * 32))
    return world.evidence(manifest=manifest, grant=grant)


def rolled_root(world: World) -> Evidence:
    """The log's signed checkpoint of a smaller tree, with the proof of the larger one."""
    manifest = world.manifest()
    anchored = world.package_anchor(manifest)
    entry = anchored.entry()
    smaller = replace(anchored, size=3).proof(entry)
    proof = replace(anchored.proof(entry), checkpoint=smaller.checkpoint)
    return world.evidence(manifest=manifest, package_anchor=replace(anchored.anchor(), proof=proof.encode()))


def borrowed_statements(world: World) -> Evidence:
    """The entry carries a genuine statement of the issuer, but about another entry."""
    manifest = world.manifest()
    other = replace(world.package_anchor(manifest), salt=b"\x55" * 32).entry()
    anchored = world.package_anchor(manifest)
    entry = replace(anchored.entry(), statements=other.statements)
    proof = anchored.proof(entry).encode()
    return world.evidence(
        manifest=manifest, package_anchor=replace(anchored.anchor(), entry=entry.encode(), proof=proof)
    )


def receipts(*changes: dict[str, object], signer: object = RECEIVER) -> Callable[[World], Evidence]:
    """Evidence with both receipts; each takes what is changed in it."""

    def make(world: World) -> Evidence:
        manifest, request = world.manifest(), world.request()
        grant = world.grant(manifest=manifest, request=request)
        first = world.cipher_receipt(grant, **(changes[0] if changes else {}))
        second = Receipt(
            TRANSFER_ID,
            grant.digest,
            ReceiptStage.VERIFIED,
            NOW,
            CIPHERTEXT_ROOT,
            manifest.body.root,
            None,
            None,
            first.digest,
        )
        signed = envelope.sign(replace(second, **(changes[1] if len(changes) > 1 else {})), signer)
        return world.evidence(manifest=manifest, request=request, grant=grant, receipts=(first, signed))

    return make


def swapped_receipts(world: World) -> Evidence:
    evidence = receipts()(world)
    return replace(evidence, receipts=evidence.receipts[::-1])


def late_anchor(world: World) -> Evidence:
    """The receiver signed for the data hours before the consent stood on the ledger."""
    manifest, request = world.manifest(), world.request()
    grant = world.grant(manifest=manifest, request=request)
    receipt = world.cipher_receipt(grant, at=HOUR - 3600)
    return world.evidence(manifest=manifest, request=request, grant=grant, receipts=(receipt,))


BY_STRANGER = ((AnchorRole.ISSUER, STRANGER),)
BY_WITNESS = ((AnchorRole.WITNESS, WITNESS),)
BY_ISSUER = ((AnchorRole.ISSUER, ISSUER),)

ATTACKS = [
    # 2
    Attack("manifest-by-stranger", Step.ISSUER_SIGNATURE, "bad-signature", manifest_with(signer=STRANGER)),
    Attack("manifest-bit-flipped", Step.ISSUER_SIGNATURE, "bad-signature", bit_flipped("manifest")),
    Attack(
        "manifest-is-a-grant",
        Step.ISSUER_SIGNATURE,
        "malformed",
        lambda w: replace(e := w.evidence(), manifest=e.grant),
    ),
    Attack(
        "issuer-is-no-did",
        Step.ISSUER_SIGNATURE,
        "malformed",
        lambda w: replace(w.evidence(), manifest=w.manifest(issuer="did:web:bank").envelope),
    ),
    # 3
    Attack("issuer-unknown", Step.ISSUER_TRUSTED, "policy-refused", unchanged, policy={"issuers": {}}),
    Attack(
        "issuer-of-other-schema",
        Step.ISSUER_TRUSTED,
        "policy-refused",
        unchanged,
        policy={"issuers": {ISSUER.did: TrustedIssuer("x", frozenset({"passport/1"}))}},
    ),
    Attack(
        "no-witness-in-policy",
        Step.ISSUER_TRUSTED,
        "policy-refused",
        unchanged,
        policy={"witnesses": {}, "attestation": Attestation.WITNESS},
    ),
    Attack(
        "no-witness-beside-issuer",
        Step.ISSUER_TRUSTED,
        "policy-refused",
        unchanged,
        policy={"witnesses": {}, "attestation": Attestation.BOTH},
    ),
    Attack(
        "nobody-of-either",
        Step.ISSUER_TRUSTED,
        "policy-refused",
        unchanged,
        policy={"witnesses": {}, "issuers": {}, "attestation": Attestation.EITHER},
    ),
    # 4
    Attack("manifest-expired", Step.MANIFEST_TIME, "evidence-invalid", manifest_with(expires=NOW - 1)),
    Attack("manifest-from-future", Step.MANIFEST_TIME, "evidence-invalid", manifest_with(issued=NOW + 121)),
    # 5
    Attack("leaf-replaced", Step.DISCLOSURE, "bad-proof", other_root),
    Attack(
        "proof-cut",
        Step.DISCLOSURE,
        "bad-proof",
        lambda w: w.evidence(disclosure=replace(w.disclosure, proof=w.disclosure.proof[:-1])),
    ),
    Attack("group-split", Step.DISCLOSURE, "bad-proof", split_group),
    Attack(
        "group-dropped", Step.DISCLOSURE, "bad-proof", lambda w: w.evidence(disclosure=replace(w.disclosure, groups=()))
    ),
    Attack("disclosure-garbled", Step.DISCLOSURE, "malformed", garbled("disclosure")),
    Attack("root-of-other-package", Step.DISCLOSURE, "bad-proof", manifest_with(root=b"\x66" * 32)),
    # 6
    Attack("anchor-of-other-package", Step.PACKAGE_ANCHOR, "not-anchored", package_anchor(subject=b"\x99" * 64)),
    Attack(
        "anchor-of-other-kind", Step.PACKAGE_ANCHOR, "not-anchored", package_anchor(kind=EntryKind.GRANT, statements=())
    ),
    Attack("anchor-with-wrong-salt", Step.PACKAGE_ANCHOR, "not-anchored", wrong_salt),
    Attack("anchor-garbled", Step.PACKAGE_ANCHOR, "malformed", garbled("package_anchor")),
    Attack("anchor-by-stranger", Step.PACKAGE_ANCHOR, "not-anchored", package_anchor(statements=BY_STRANGER)),
    Attack("anchor-by-witness-only", Step.PACKAGE_ANCHOR, "not-anchored", package_anchor(statements=BY_WITNESS)),
    Attack(
        "witness-speaks-as-issuer",
        Step.PACKAGE_ANCHOR,
        "not-anchored",
        package_anchor(statements=((AnchorRole.ISSUER, WITNESS),)),
        policy={"attestation": Attestation.WITNESS},
    ),
    Attack(
        "issuer-speaks-as-witness",
        Step.PACKAGE_ANCHOR,
        "not-anchored",
        package_anchor(statements=((AnchorRole.WITNESS, ISSUER),)),
    ),
    Attack("statements-of-other-entry", Step.PACKAGE_ANCHOR, "bad-signature", borrowed_statements),
    # 7
    Attack("log-not-trusted", Step.LEDGER_INCLUSION, "not-anchored", unchanged, policy={"logs": {}}),
    Attack("log-key-of-stranger", Step.LEDGER_INCLUSION, "bad-signature", package_anchor(log=STRANGER)),
    Attack("log-renamed", Step.LEDGER_INCLUSION, "not-anchored", package_anchor(origin="log.example/2025")),
    Attack("root-rolled-back", Step.LEDGER_INCLUSION, "bad-proof", rolled_root),
    Attack("entry-never-appended", Step.LEDGER_INCLUSION, "bad-proof", package_anchor(forge=without_witness)),
    Attack("checkpoint-from-future", Step.LEDGER_INCLUSION, "bad-proof", package_anchor(time=NOW + 121)),
    Attack("checkpoint-too-old", Step.LEDGER_INCLUSION, "policy-refused", package_anchor(time=NOW - DAY - 1)),
    # 8
    Attack(
        "request-by-stranger",
        Step.REQUEST_SIGNATURE,
        "bad-signature",
        lambda w: replace(w.evidence(), request=w.request(signer=STRANGER).envelope),
    ),
    Attack("request-bit-flipped", Step.REQUEST_SIGNATURE, "bad-signature", bit_flipped("request")),
    Attack("request-of-other-receiver", Step.REQUEST_SIGNATURE, "consent-invalid", unchanged, receiver=STRANGER.did),
    # 9
    Attack("grant-by-stranger", Step.GRANT_BINDING, "consent-invalid", grant_with(signer=STRANGER)),
    Attack(
        "grant-by-other-subject",
        Step.GRANT_BINDING,
        "consent-invalid",
        grant_with(signer=STRANGER, subject=STRANGER.did),
    ),
    Attack("grant-bit-flipped", Step.GRANT_BINDING, "bad-signature", bit_flipped("grant")),
    Attack("grant-for-other-receiver", Step.GRANT_BINDING, "consent-invalid", grant_with(receiver=STRANGER.did)),
    Attack("grant-of-other-request", Step.GRANT_BINDING, "consent-invalid", moved_grant),
    Attack("screen-altered", Step.GRANT_BINDING, "consent-invalid", grant_with(screen=bytes(32))),
    Attack("purpose-left-out", Step.GRANT_BINDING, "consent-invalid", grant_with(purposes=(1,))),
    Attack("purpose-added-after-screen", Step.GRANT_BINDING, "consent-invalid", grant_with(purposes=(0, 1))),
    Attack("package-of-other-id", Step.GRANT_BINDING, "consent-invalid", granted_with(package_id=b"\x88" * 16)),
    Attack("package-of-other-root", Step.GRANT_BINDING, "consent-invalid", granted_with(root=bytes(32))),
    Attack("package-of-other-issuer", Step.GRANT_BINDING, "consent-invalid", granted_with(issuer=STRANGER.did)),
    Attack("leaf-set-widened", Step.GRANT_BINDING, "consent-invalid", granted_with(leaf_set=bytes(32))),
    Attack("level-raised", Step.GRANT_BINDING, "consent-invalid", granted_with(level=1)),
    Attack("kept-longer", Step.GRANT_BINDING, "consent-invalid", grant_with(keep=Keep(AtEnd.ERASE, seconds=31 * DAY))),
    Attack("used-longer", Step.GRANT_BINDING, "consent-invalid", grant_with(when=When(NOW - DAY, NOW + 11 * DAY, 5))),
    Attack("grant-after-request-expired", Step.GRANT_BINDING, "consent-invalid", request_with(expires=NOW - 1000)),
    # 10
    Attack("grant-from-future", Step.GRANT_TIME, "consent-invalid", grant_with(issued=NOW + 121)),
    Attack("grant-expired", Step.GRANT_TIME, "consent-invalid", request_with(when=When(NOW - DAY, NOW - 1, 5))),
    Attack("grant-not-yet", Step.GRANT_TIME, "consent-invalid", request_with(when=When(NOW + 121, NOW + DAY, 5))),
    Attack(
        "package-too-old",
        Step.GRANT_TIME,
        "consent-invalid",
        request_with(asks=(replace(ASK, max_age_seconds=29 * DAY),)),
    ),
    # 11
    Attack("grant-anchor-of-other-grant", Step.GRANT_ANCHOR, "not-anchored", grant_anchor(subject=b"\x99" * 32)),
    Attack("grant-anchor-of-other-kind", Step.GRANT_ANCHOR, "not-anchored", grant_anchor(kind=EntryKind.RECEIPT)),
    Attack("grant-anchor-garbled", Step.GRANT_ANCHOR, "malformed", garbled("grant_anchor")),
    Attack("grant-log-forged", Step.GRANT_ANCHOR, "bad-signature", grant_anchor(log=STRANGER)),
    Attack("grant-checkpoint-from-future", Step.GRANT_ANCHOR, "bad-proof", grant_anchor(time=NOW + 121)),
    Attack("grant-entry-from-future", Step.GRANT_ANCHOR, "evidence-invalid", grant_anchor(hour=HOUR + 2 * 3600)),
    Attack("grant-on-log-not-asked-for", Step.GRANT_ANCHOR, "not-anchored", request_with(logs=("other.example/1",))),
    # 12
    Attack("receipts-out-of-order", Step.RECEIPTS, "evidence-invalid", swapped_receipts),
    Attack("receipt-by-stranger", Step.RECEIPTS, "bad-signature", receipts(signer=STRANGER)),
    Attack("receipt-of-other-grant", Step.RECEIPTS, "evidence-invalid", receipts({"grant": bytes(32)})),
    Attack("receipt-of-other-transfer", Step.RECEIPTS, "evidence-invalid", receipts({}, {"transfer_id": bytes(16)})),
    Attack("receipt-of-other-chunks", Step.RECEIPTS, "evidence-invalid", receipts({}, {"ciphertext_root": bytes(32)})),
    Attack("receipt-of-other-package", Step.RECEIPTS, "evidence-invalid", receipts({}, {"package_root": bytes(32)})),
    Attack("receipt-of-other-chain", Step.RECEIPTS, "evidence-invalid", receipts({}, {"previous": bytes(32)})),
    Attack("receipt-time-goes-back", Step.RECEIPTS, "evidence-invalid", receipts({}, {"at": NOW - 61})),
    Attack("receipt-from-future", Step.RECEIPTS, "evidence-invalid", receipts({}, {"at": NOW + 121})),
    Attack("receipt-before-consent", Step.RECEIPTS, "evidence-invalid", late_anchor),
]
