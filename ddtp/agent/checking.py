"""Use case: judge evidence, here or at a verifier on another host, and check bundles offline (spec/10).

This module and what it imports load no network library: checking a bundle starts fast and needs nobody.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ddtp.errors import ConfigInvalid, NotFound, UsageError
from ddtp.protocol import canonical
from ddtp.protocol.chunks import RUN_CHUNKS
from ddtp.protocol.fingerprint import FileHasher
from ddtp.protocol.leaves import FileHead
from ddtp.protocol.openings import FileOpening, Openings
from ddtp.store.durable import read_file, storage_errors
from ddtp.verify.evidence import Bundle, parse_bundle
from ddtp.verify.policy import MAX_POLICY_CHARACTERS, TrustPolicy, parse_policy
from ddtp.verify.report import Report, run_report


def load_policy(path: Path) -> TrustPolicy:
    """Read a trust policy from a file.

    Raises:
        ConfigInvalid: It is wrong; names the file.
        NotFound: There is no such file.
    """
    data = read_file(path, max_bytes=4 * MAX_POLICY_CHARACTERS)
    try:
        return parse_policy(data.decode())
    except UnicodeDecodeError as err:
        raise UsageError(f"expected a policy in UTF-8 at {path}") from err
    except ConfigInvalid as err:
        raise ConfigInvalid(f"the policy {path} is wrong: {err.message}", hint=err.hint) from err


def check_bundle(path: Path, *, policy: TrustPolicy, files: Path | None, receiver: str | None, now: int) -> Report:
    """Check a proof bundle, and the files it is about if they are at hand.

    Args:
        path: The bundle.
        policy: Whom to trust.
        files: Folder with the files under their names in the package, or None.
        receiver: DID that the evidence must be for; None accepts any.
        now: The time for which the question is asked, in seconds.

    Raises:
        DecodeError: It is no bundle.
        NotFound: It, or the folder, does not exist.
    """
    bundle = parse_bundle(read_file(path, max_bytes=Bundle.MAX_BYTES + 64))
    openings = Openings.parse(bundle.openings) if bundle.openings is not None else None
    heads = None
    if files is not None and openings is not None:
        if not files.is_dir():
            raise NotFound(f"expected a folder at {files}, found none")
        heads = hash_files(files, openings)
    return run_report(bundle.evidence, policy=policy, receiver=receiver, now=now, openings=openings, files=heads)


def hash_files(folder: Path, openings: Openings) -> Mapping[str, FileHead]:
    """Compute the heads of the files that the openings name, as far as they exist."""
    return {
        opening.head.path: hash_file(folder / opening.head.path, opening)
        for opening in openings.files
        if (folder / opening.head.path).is_file()
    }


def hash_file(path: Path, opening: FileOpening) -> FileHead:
    """Compute the head of one file with the salts of its opening.

    Raises:
        StorageFailed: The disk refuses.
    """
    head = opening.head
    hasher = FileHasher(head.path, head.media_type, chunk_size=head.chunk_size, file_key=opening.file_key)
    with storage_errors(path), path.open("rb") as file:
        while data := file.read(RUN_CHUNKS * head.chunk_size):
            hasher.add(data)
    return finish_hash(hasher, path, expected=head)


def finish_hash(hasher: FileHasher, path: Path, *, expected: FileHead) -> FileHead:
    """Return the head of a hashed file; its content is only parsed if its bytes are not the expected ones.

    Args:
        hasher: Has seen the whole file.
        path: The same file.
        expected: What it should be.

    Raises:
        StorageFailed: The disk refuses.
    """
    head = hasher.finish()
    if head.root == expected.root:
        return expected
    if expected.canonical is None or not canonical.is_candidate(head.media_type, head.size_bytes):
        return head
    found = canonical.canonical_digest(head.media_type, read_file(path, max_bytes=head.size_bytes))
    return head if found is None else replace(head, canonical_form=found[0], canonical=found[1])
