"""A complete, valid transfer as evidence; a test can replace every part. Keys are fixed, the log is one small tree."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ddtp.chain.checkpoint import Checkpoint
from ddtp.chain.proof import AnchorProof, LedgerProof, entry_hash
from ddtp.chain.statement import AnchorRole, Entry, EntryKind, blind, coarse, make_statement, package_subject
from ddtp.consent.choice import make_choice
from ddtp.consent.grant import HOW_TERMINAL, Grant, build_grant
from ddtp.consent.request import Ask, AtEnd, Basis, Keep, Notice, Operation, Party, Purpose, Request, When
from ddtp.identity.keys import PrivateKey
from ddtp.identity.language import Language
from ddtp.protocol import envelope, merkle
from ddtp.protocol.canonical import canonical_digest
from ddtp.protocol.envelope import Signed
from ddtp.protocol.leaves import Field, FieldKind, FileHead, file_key
from ddtp.protocol.openings import Disclosure, Openings
from ddtp.protocol.package import FileHasher, Manifest, Package, build_package
from ddtp.verify.evidence import Evidence
from ddtp.verify.policy import Attestation, TrustedIssuer, TrustPolicy
from ddtp.verify.receipt import Receipt, cipher_receipt

NOW = 1_790_000_000
HOUR = coarse(NOW)
DAY = 86_400
SCHEMA = "student-card/1"
ORIGIN = "log.example/2026"
CHUNK_SIZE = 1 << 16
MASTER_SALT = bytes(range(32))
TRANSFER_ID = b"\x31" * 16
CIPHERTEXT_ROOT = b"\x32" * 32
CONTENT = {"photo.jpg": b"\xff\xd8" + bytes(CHUNK_SIZE), "records/grades.json": b'{"mathematics": 1.0, "physics": 2}'}
MEDIA_TYPES = {"photo.jpg": "image/jpeg", "records/grades.json": "application/json"}
FIELDS = (
    Field("age", FieldKind.INTEGER, "18"),
    Field("name", FieldKind.TEXT, "小明"),
    Field("school", FieldKind.TEXT, "第一中学"),
    Field("secret", FieldKind.TEXT, "not asked for"),
)
ASK = Ask(SCHEMA, ("age", "name", "school", "photo.jpg", "records/"), 2, sensitive=False)
SHOWN = ("name", "age", "school", "photo.jpg", "records/grades.json")


def key(number: int) -> PrivateKey:
    """A fixed key."""
    return PrivateKey(bytes(30) + bytes((1, number)))


ISSUER, HOLDER, RECEIVER, WITNESS, LOG, VERIFIER, STRANGER = (key(number) for number in range(1, 8))


@dataclass
class Anchored:
    """An entry to be put on the log: its parts, and what the log signs about it."""

    kind: EntryKind
    subject: bytes
    statements: Sequence[tuple[AnchorRole, PrivateKey]] = ()
    hour: int = HOUR
    log: PrivateKey = LOG
    origin: str = ORIGIN
    time: int = NOW
    size: int = 5
    salt: bytes = b"\x41" * 32

    def entry(self) -> Entry:
        digest = blind(self.salt, self.subject)
        signed = tuple(
            make_statement(digest, hour=self.hour, role=role, signer=signer).envelope
            for role, signer in self.statements
        )
        return Entry(self.kind, digest, self.hour, signed)

    def proof(self, entry: Entry) -> LedgerProof:
        """Prove the entry as the third of `size` in the log."""
        leaves = [entry_hash(bytes((number,))) for number in range(self.size)]
        leaves[2] = entry_hash(entry.encode())
        checkpoint = Checkpoint(self.origin, self.size, merkle.root(leaves), self.time)
        path = merkle.inclusion_path(2, self.size, merkle.subtrees(leaves))
        return LedgerProof(envelope.sign(checkpoint, self.log).envelope, 2, path)

    def anchor(self) -> AnchorProof:
        entry = self.entry()
        return AnchorProof(self.salt, entry.encode(), self.proof(entry).encode())


@dataclass
class World:
    """Who takes part, and what they make; every method takes what differs from the valid case."""

    holder: PrivateKey = HOLDER
    attestors: Sequence[tuple[AnchorRole, PrivateKey]] = ((AnchorRole.ISSUER, ISSUER), (AnchorRole.WITNESS, WITNESS))
    groups: Sequence[Sequence[str]] = (("age", "name"),)
    shown: Sequence[str] = SHOWN
    content: dict[str, bytes] = field(default_factory=lambda: dict(CONTENT))

    @cached_property
    def package(self) -> Package:
        files = [self.head(path, data, file_key(MASTER_SALT, path)) for path, data in self.content.items()]
        return build_package(schema=SCHEMA, fields=FIELDS, files=files, master_salt=MASTER_SALT, groups=self.groups)

    @cached_property
    def disclosed(self) -> tuple[Disclosure, Openings]:
        return self.package.disclose(self.indexes(self.shown))

    @property
    def disclosure(self) -> Disclosure:
        return self.disclosed[0]

    @property
    def openings(self) -> Openings:
        return self.disclosed[1]

    def indexes(self, paths: Sequence[str]) -> list[int]:
        """Positions of fields and files."""
        everything = self.package.openings
        found = {opening.field.path: opening.index for opening in everything.fields}
        found |= {opening.head.path: opening.index for opening in everything.files}
        return [found[path] for path in paths]

    def head(self, path: str, data: bytes, secret: bytes) -> FileHead:
        """The fingerprint of a file, as its receiver computes it."""
        hasher = FileHasher(path, MEDIA_TYPES[path], chunk_size=CHUNK_SIZE, file_key=secret)
        for start in range(0, len(data), CHUNK_SIZE):
            hasher.add(data[start : start + CHUNK_SIZE])
        return hasher.finish(canonical=canonical_digest(MEDIA_TYPES[path], data))

    def files(self, **changed: bytes) -> dict[str, FileHead]:
        """Fingerprints of the received files; `photo` and `grades` replace their bytes."""
        names = {"photo": "photo.jpg", "grades": "records/grades.json"}
        content = self.content | {names[name]: data for name, data in changed.items()}
        return {
            opening.head.path: self.head(opening.head.path, content[opening.head.path], opening.file_key)
            for opening in self.openings.files
        }

    def manifest(self, *, signer: PrivateKey = ISSUER, **changes: object) -> Signed[Manifest]:
        manifest = Manifest(
            package_id=b"\x11" * 16,
            issuer=ISSUER.did,
            holder=self.holder.did,
            schema=SCHEMA,
            root=self.package.root,
            issued=NOW - 30 * DAY,
            expires=NOW + 300 * DAY,
        )
        return envelope.sign(replace(manifest, **changes), signer)

    def request(self, *, signer: PrivateKey = RECEIVER, **changes: object) -> Signed[Request]:
        request = Request(
            request_id=b"\x12" * 16,
            issued=NOW - DAY,
            expires=NOW + DAY,
            receiver=Party(RECEIVER.did, "Example University", "+86 10 0000 0000", "CN"),
            nonce=b"\x13" * 32,
            title="Admission",
            notice=Notice("https://university.example/privacy", b"\x14" * 32, "en"),
            purposes=(
                Purpose("enrol", "Decide about admission", Basis.CONSENT, required=True),
                Purpose("news", "Send you news", Basis.CONSENT, required=False),
            ),
            asks=(ASK,),
            operations=(Operation.VIEW, Operation.STORE),
            when=When(NOW - DAY, NOW + 10 * DAY, 5),
            keep=Keep(AtEnd.ERASE, seconds=30 * DAY),
            withdrawal=("in your agent, at any time",),
            jurisdictions=("CN",),
            logs=(ORIGIN,),
        )
        return envelope.sign(replace(request, **changes), signer)

    def grant(
        self,
        *,
        manifest: Signed[Manifest] | None = None,
        request: Signed[Request] | None = None,
        disclosure: Disclosure | None = None,
        signer: PrivateKey | None = None,
        **changes: object,
    ) -> Signed[Grant]:
        request = request or self.request()
        choice = make_choice(request.body, [((manifest or self.manifest()).body, disclosure or self.disclosure)])
        grant = build_grant(
            request,
            choice,
            grant_id=b"\x15" * 16,
            subject=self.holder.did,
            language=Language.ZH,
            now=NOW - 600,
            how=HOW_TERMINAL,
        )
        return envelope.sign(replace(grant, **changes), signer or self.holder)

    def package_anchor(self, manifest: Signed[Manifest] | None = None) -> Anchored:
        manifest = manifest or self.manifest()
        subject = package_subject(manifest.body.root, manifest.digest)
        return Anchored(EntryKind.ANCHOR, subject, self.attestors, hour=HOUR - 30 * DAY)

    def grant_anchor(self, grant: Signed[Grant] | None = None) -> Anchored:
        return Anchored(EntryKind.GRANT, (grant or self.grant()).digest)

    def cipher_receipt(self, grant: Signed[Grant] | None = None, /, **changes: object) -> Signed[Receipt]:
        receipt = cipher_receipt(
            transfer_id=TRANSFER_ID, grant=(grant or self.grant()).digest, ciphertext_root=CIPHERTEXT_ROOT, at=NOW - 60
        )
        return envelope.sign(replace(receipt, **changes), RECEIVER)

    def evidence(
        self,
        *,
        manifest: Signed[Manifest] | None = None,
        disclosure: Disclosure | None = None,
        request: Signed[Request] | None = None,
        grant: Signed[Grant] | None = None,
        package_anchor: AnchorProof | None = None,
        grant_anchor: AnchorProof | None = None,
        receipts: Sequence[Signed[Receipt]] = (),
    ) -> Evidence:
        """Evidence with some parts given, and the others made to fit them."""
        manifest = manifest or self.manifest()
        request = request or self.request()
        disclosure = disclosure or self.disclosure
        # SM2 signatures are randomised, so what refers to a signed object is made from that very object
        grant = grant or self.grant(manifest=manifest, request=request, disclosure=disclosure)
        return Evidence(
            manifest=manifest.envelope,
            disclosure=disclosure.encode(),
            request=request.envelope,
            grant=grant.envelope,
            package_anchor=(package_anchor or self.package_anchor(manifest).anchor()).encode(),
            grant_anchor=(grant_anchor or self.grant_anchor(grant).anchor()).encode(),
            receipts=tuple(receipt.envelope for receipt in receipts),
        )

    def policy(self, **changes: object) -> TrustPolicy:
        policy = TrustPolicy(
            issuers={ISSUER.did: TrustedIssuer("First School", frozenset({SCHEMA}))},
            witnesses={WITNESS.did: "City Notary"},
            logs={ORIGIN: LOG.public_key},
            attestation=Attestation.ISSUER,
            max_checkpoint_age_seconds=DAY,
            verifiers={VERIFIER.did: "Our verifier"},
        )
        return replace(policy, **changes)
