"""Writes the vectors of spec/10 and spec/11: `python -m tests.verify.make_vectors`.

Run it after a change of a format or of the screen text; SM2 signatures are random, so every file changes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ddtp.protocol import codec, envelope
from ddtp.protocol.envelope import Signed
from ddtp.protocol.leaves import Field, FieldKind
from ddtp.protocol.openings import Openings
from ddtp.verify.policy import Attestation, TrustPolicy
from ddtp.verify.receipt import Receipt, ReceiptStage
from ddtp.verify.steps import Step
from tests.verify.attacks import ATTACKS, BY_ISSUER, BY_WITNESS, package_anchor, receipts
from tests.worlds import CIPHERTEXT_ROOT, CONTENT, NOW, RECEIVER, STRANGER, TRANSFER_ID, World

VECTORS = Path(__file__).parents[2] / "spec" / "vectors"
GRADES = "records/grades.json"
ROOT, GRANT = b"\x51" * 32, b"\x52" * 32
EARLIEST, LATEST = NOW - 3600, NOW + 120

DESCRIPTIONS = {
    "manifest-by-stranger": "The manifest is signed by another key than that of the issuer it names.",
    "manifest-bit-flipped": "The last bit of the manifest's signature is flipped.",
    "manifest-is-a-grant": "The manifest is an envelope of another kind.",
    "issuer-is-no-did": "The manifest names an issuer that is no did:key.",
    "issuer-unknown": "The policy does not list the issuer.",
    "issuer-of-other-schema": "The policy trusts the issuer for another schema.",
    "no-witness-in-policy": "The policy demands a witness and names none.",
    "no-witness-beside-issuer": "The policy demands issuer and witness and names no witness.",
    "nobody-of-either": "The policy demands either and names neither.",
    "manifest-expired": "The manifest expired a second ago; an end has no tolerance.",
    "manifest-from-future": "The manifest was issued a second beyond the skew.",
    "leaf-replaced": "The hash of a shown leaf is another one.",
    "proof-cut": "The multiproof lacks its last hash.",
    "group-split": "A group is shown in part; the proof is right.",
    "group-dropped": "The group table is left out.",
    "disclosure-garbled": "The disclosure is an empty map.",
    "root-of-other-package": "The signed root is that of another package.",
    "anchor-of-other-package": "The entry is about another package.",
    "anchor-of-other-kind": "The entry is about this package, but of kind grant.",
    "anchor-with-wrong-salt": "The salt does not open the entry's digest.",
    "anchor-garbled": "The package's anchor proof is an empty map.",
    "anchor-by-stranger": "The entry's only statement is by a stranger in the role of issuer.",
    "anchor-by-witness-only": "The policy demands the issuer; only the witness attests.",
    "witness-speaks-as-issuer": "The policy demands a witness; the witness attests as issuer.",
    "issuer-speaks-as-witness": "The policy demands the issuer; the issuer attests as witness.",
    "statements-of-other-entry": "The statement is genuine, but about another entry.",
    "log-not-trusted": "The policy lists no log.",
    "log-key-of-stranger": "The checkpoint is signed by a stranger under the log's origin.",
    "log-renamed": "The log signed under an origin that the policy does not list.",
    "root-rolled-back": "The checkpoint is of a smaller tree than the proof.",
    "entry-never-appended": "The entry differs from the one in the log by one statement.",
    "checkpoint-from-future": "The checkpoint was signed a second beyond the skew.",
    "checkpoint-too-old": "The checkpoint is a second older than the policy permits.",
    "request-by-stranger": "The request is not signed by the receiver it names.",
    "request-bit-flipped": "The last bit of the request's signature is flipped.",
    "request-of-other-receiver": "The request is of another receiver than the one who verifies.",
    "grant-by-stranger": "The grant is not signed by the subject it names.",
    "grant-by-other-subject": "The grant is signed by its subject, who is not the holder.",
    "grant-bit-flipped": "The last bit of the grant's signature is flipped.",
    "grant-for-other-receiver": "The grant names another receiver.",
    "grant-of-other-request": "The grant answers another request of the same receiver.",
    "screen-altered": "The grant names another screen than that of this request and choice.",
    "purpose-left-out": "A required purpose is not granted.",
    "purpose-added-after-screen": "A purpose is granted that the screen did not show as granted.",
    "package-of-other-id": "The grant names another package.",
    "package-of-other-root": "The grant names another root.",
    "package-of-other-issuer": "The grant names another issuer.",
    "leaf-set-widened": "The grant names another set of leaves.",
    "level-raised": "The grant names a disclosure level beyond the one asked.",
    "kept-longer": "The grant permits to keep the data longer than asked.",
    "used-longer": "The grant permits use beyond the time asked.",
    "grant-after-request-expired": "The grant was signed after the request had expired.",
    "grant-from-future": "The grant was signed a second beyond the skew.",
    "grant-expired": "The grant ended a second ago; an end has no tolerance.",
    "grant-not-yet": "The grant starts a second beyond the skew.",
    "package-too-old": "The package is older than the request permits.",
    "grant-anchor-of-other-grant": "The entry is about another grant.",
    "grant-anchor-of-other-kind": "The entry is about this grant, but of kind receipt.",
    "grant-anchor-garbled": "The grant's anchor proof is an empty map.",
    "grant-log-forged": "The checkpoint over the grant is signed by a stranger.",
    "grant-checkpoint-from-future": "The checkpoint over the grant is a second beyond the skew.",
    "grant-entry-from-future": "The entry of the grant claims a later hour.",
    "grant-on-log-not-asked-for": "The grant is on a log that the request does not accept.",
    "receipts-out-of-order": "The second receipt comes first.",
    "receipt-by-stranger": "The second receipt is signed by a stranger.",
    "receipt-of-other-grant": "The first receipt is about another grant.",
    "receipt-of-other-transfer": "The second receipt is about another transfer.",
    "receipt-of-other-chunks": "The second receipt names another ciphertext root.",
    "receipt-of-other-package": "The second receipt names another package root.",
    "receipt-of-other-chain": "The second receipt does not follow the first.",
    "receipt-time-goes-back": "The second receipt is a second older than the first.",
    "receipt-from-future": "The second receipt is a second beyond the skew.",
    "receipt-before-consent": "The first receipt is older than the ledger entry of the grant.",
}


def small_world() -> World:
    """A transfer without large files."""
    return World(content={GRADES: CONTENT[GRADES]}, shown=("name", "age", "school", GRADES))


def write(chapter: str, name: str, **parts: object) -> None:
    path = VECTORS / chapter / f"{name}.json"
    path.write_text(json.dumps({"name": name, **parts}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_policy(policy: TrustPolicy) -> str:
    """The TOML form of a policy."""
    lines = [
        f'attestation = "{policy.attestation.value}"',
        f"clock_skew_seconds = {policy.clock_skew_seconds}",
        f"max_checkpoint_age_seconds = {policy.max_checkpoint_age_seconds}",
    ]
    for did, issuer in policy.issuers.items():
        lines += ["", f'[issuers."{did}"]', f'name = "{issuer.name}"']
        lines += [f"schemas = {json.dumps(sorted(issuer.schemas or ()))}"]
    for table, names in (("witnesses", policy.witnesses), ("verifiers", policy.verifiers)):
        for did, name in names.items():
            lines += ["", f'[{table}."{did}"]', f'name = "{name}"']
    for origin, key in policy.logs.items():
        lines += ["", f'[logs."{origin}"]', f'public_key = "{key.hex()}"']
    return "\n".join(lines) + "\n"


def write_transfer(
    name: str,
    description: str,
    evidence: bytes,
    *,
    policy: TrustPolicy,
    receiver: str | None = RECEIVER.did,
    failure: tuple[Step, str] | None = None,
    content: tuple[Openings, Mapping[str, bytes]] | None = None,
) -> None:
    inputs: dict[str, object] = {
        "evidence": evidence.hex(),
        "policy": write_policy(policy),
        "receiver": receiver,
        "now": NOW,
    }
    if content is not None:
        openings, files = content
        inputs |= {"openings": openings.encode().hex(), "files": {path: data.hex() for path, data in files.items()}}
    parts: dict[str, object] = {"description": description, "input": inputs, "expect": "ok"}
    if failure is not None:
        step, cause = failure
        parts |= {"expect": "verification-failed"}
        parts |= {"output": {"step": step.value, "name": step.label, "cause": cause}}
    write("10-verification", name, **parts)


def write_evidence() -> None:
    """Steps 1 to 12."""
    for attack in ATTACKS:
        world = small_world()
        write_transfer(
            attack.name,
            DESCRIPTIONS[attack.name],
            attack.make(world).encode(),
            policy=world.policy(**attack.policy),
            receiver=attack.receiver,
            failure=(attack.step, attack.cause),
        )
    world = small_world()
    evidence, policy = world.evidence().encode(), world.policy()
    malformed = (Step.BUNDLE_FORM, "malformed")
    write_transfer("evidence-cut", "The last byte is missing.", evidence[:-1], policy=policy, failure=malformed)
    write_transfer("evidence-trailing-byte", "A byte follows.", evidence + bytes(1), policy=policy, failure=malformed)
    write_transfer("valid-evidence", "A valid transfer before its receipts.", evidence, policy=policy)
    with_receipts = receipts()(world).encode()
    write_transfer("valid-with-receipts", "A valid transfer with both receipts.", with_receipts, policy=policy)
    for attestation, statements in (
        (Attestation.WITNESS, BY_WITNESS),
        (Attestation.EITHER, BY_WITNESS),
        (Attestation.BOTH, BY_ISSUER + BY_WITNESS),
    ):
        write_transfer(
            f"valid-by-{attestation.value}",
            f"The policy demands {attestation.value}; who attests suffices.",
            package_anchor(statements=statements)(world).encode(),
            policy=world.policy(attestation=attestation),
        )


def write_content() -> None:
    """Steps 13 and 14."""
    world = small_world()
    evidence, openings, files = world.evidence().encode(), world.openings, {GRADES: CONTENT[GRADES]}
    first, second, *others = openings.fields
    swapped = (replace(first, salt=second.salt), replace(second, salt=first.salt), *others)
    older = (replace(first, field=Field("age", FieldKind.INTEGER, "81")), second, *others)
    mismatch = "content-mismatch"
    cases: Sequence[tuple[str, str, Openings, Mapping[str, bytes], tuple[Step, str] | None]] = (
        ("valid-content", "A valid transfer with its content.", openings, files, None),
        (
            "openings-swapped",
            "Two openings have each other's salts.",
            replace(openings, fields=swapped),
            files,
            (Step.OPENINGS, mismatch),
        ),
        (
            "opening-missing",
            "A disclosed leaf is not opened.",
            replace(openings, fields=(second, *others)),
            files,
            (Step.OPENINGS, "bad-proof"),
        ),
        (
            "value-changed",
            "A value is another one than the issuer's.",
            replace(openings, fields=older),
            files,
            (Step.OPENINGS, mismatch),
        ),
        (
            "file-byte-changed",
            "One byte of a file is another one.",
            openings,
            {GRADES: CONTENT[GRADES].replace(b"2", b"3")},
            (Step.CONTENT, mismatch),
        ),
        (
            "file-saved-again",
            "A JSON file has the same content in other bytes.",
            openings,
            {GRADES: b'{"physics":2,"mathematics":1}'},
            (Step.CONTENT, mismatch),
        ),
        ("file-missing", "A disclosed file is not there.", openings, {}, (Step.CONTENT, mismatch)),
    )
    for name, description, opened, received, failure in cases:
        write_transfer(name, description, evidence, policy=world.policy(), failure=failure, content=(opened, received))


def sign(receipt: Receipt, **changes: object) -> Signed[Receipt]:
    return envelope.sign(replace(receipt, **changes), RECEIVER)


def sign_value(receipt: Receipt, *, without: str = "", **changes: object) -> bytes:
    """Sign what no `Receipt` can hold."""
    value = {name: item for name, item in (receipt.to_value() | changes).items() if name != without}
    payload = codec.encode(value)
    protected = envelope._protected(Receipt, RECEIVER.public_key)
    signature = RECEIVER.sign(envelope._structure(protected, payload))
    return envelope._TAG_SIGN1 + codec.encode([protected, {}, payload, signature])


def write_receipts(
    name: str, description: str, *chain: Signed[Receipt] | bytes, expect: str = "ok", stages: Sequence[str] = ()
) -> None:
    encoded = [each if isinstance(each, bytes) else each.envelope for each in chain]
    inputs = {
        "receiver": RECEIVER.did,
        "grant": GRANT.hex(),
        "package_root": ROOT.hex(),
        "earliest": EARLIEST,
        "latest": LATEST,
        "receipts": [each.hex() for each in encoded],
    }
    output = {"output": list(stages)} if expect == "ok" else {}
    write("11-receipts", name, description=description, input=inputs, expect=expect, **output)


def write_chains() -> None:
    """Chapter 11."""
    cipher = Receipt(TRANSFER_ID, GRANT, ReceiptStage.CIPHER, NOW, CIPHERTEXT_ROOT)
    first = sign(cipher)
    verified = replace(cipher, stage=ReceiptStage.VERIFIED, at=NOW + 1, package_root=ROOT, previous=first.digest)
    rejected = replace(
        cipher,
        stage=ReceiptStage.REJECTED,
        at=NOW + 1,
        step=14,
        reason="expected files with the signed bytes, found other content",
        previous=first.digest,
    )
    write_receipts("valid-none", "No receipts yet.")
    write_receipts("valid-cipher", "The first receipt alone.", first, stages=["cipher"])
    write_receipts("valid-verified", "A verified transfer.", first, sign(verified), stages=["cipher", "verified"])
    write_receipts("valid-rejected", "A rejected transfer.", first, sign(rejected), stages=["cipher", "rejected"])

    stranger = envelope.sign(cipher, STRANGER)
    flipped = first.envelope[:-1] + bytes((first.envelope[-1] ^ 1,))
    write_receipts("by-stranger", "Another key signed.", stranger, expect="bad-signature")
    write_receipts("signature-bit-flipped", "The last bit is flipped.", flipped, expect="bad-signature")

    invalid: Mapping[str, tuple[str, tuple[Signed[Receipt], ...]]] = {
        "verified-first": ("The second receipt without the first.", (sign(verified),)),
        "cipher-twice": ("The first receipt twice.", (first, first)),
        "third-receipt": ("A third receipt.", (first, sign(verified), sign(rejected))),
        "other-grant": ("A receipt for another grant.", (sign(cipher, grant=bytes(32)),)),
        "other-root": ("A receipt for another package.", (first, sign(verified, package_root=bytes(32)))),
        "other-transfer": ("Another transfer in the second.", (first, sign(verified, transfer_id=bytes(16)))),
        "other-ciphertext": ("Other chunks in the second.", (first, sign(verified, ciphertext_root=bytes(32)))),
        "other-previous": ("The second follows another first.", (first, sign(verified, previous=bytes(32)))),
        "time-goes-back": ("The second is a second older.", (first, sign(verified, at=NOW - 1))),
        "too-early": ("A second before the hour of the grant's entry.", (sign(cipher, at=EARLIEST - 1),)),
        "too-late": ("A second in the future, beyond the tolerance.", (sign(cipher, at=LATEST + 1),)),
    }
    for name, (description, chain) in invalid.items():
        write_receipts(name, description, *chain, expect="evidence-invalid")

    malformed: Mapping[str, tuple[str, tuple[Signed[Receipt] | bytes, ...]]] = {
        "cipher-with-root": ("A first receipt with a package root.", (sign_value(cipher, package_root=ROOT),)),
        "stage-unknown": ("A stage that does not exist.", (sign_value(cipher, stage="read"),)),
        "field-unknown": ("A field that does not exist.", (sign_value(cipher, note="x"),)),
        "grant-missing": ("No grant.", (sign_value(cipher, without="grant"),)),
        "verified-without-root": ("No package root.", (first, sign_value(verified, without="package_root"))),
        "verified-with-step": ("A step beside success.", (first, sign_value(verified, step=1))),
        "rejected-without-reason": ("No reason.", (first, sign_value(rejected, without="reason"))),
        "rejected-step-zero": ("Step 0.", (first, sign_value(rejected, step=0))),
        "rejected-step-unknown": ("Step 15.", (first, sign_value(rejected, step=15))),
        "reason-too-long": ("A reason of 501 characters.", (first, sign_value(rejected, reason="x" * 501))),
    }
    for name, (description, parts) in malformed.items():
        write_receipts(name, description, *parts, expect="malformed")


if __name__ == "__main__":
    write_evidence()
    write_content()
    write_chains()
