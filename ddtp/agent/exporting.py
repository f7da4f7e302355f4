"""Use case: take a transfer out as files and a proof bundle that verifies anywhere, without us (spec/10 s.1)."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import trio

from ddtp.agent.context import Context
from ddtp.agent.inbox import FIELDS_FILE, FILES, encode_fields, inbox_folder, read_openings
from ddtp.agent.receiving import evidence_of
from ddtp.errors import NotFound, StorageFailed
from ddtp.protocol.messages import Offer
from ddtp.protocol.openings import Openings
from ddtp.store.durable import make_directory, storage_errors, sync_directory, write_file
from ddtp.store.records import Direction, TransferRow, TransferState
from ddtp.verify.evidence import BUNDLE_SUFFIX, BUNDLE_VERSION, Bundle, encode_bundle


@dataclass(frozen=True, slots=True)
class ExportedTransfer:
    """Where an export lies.

    Attributes:
        folder: The new folder.
        bundle: The proof bundle in it.
        files: Number of files in it.
        fields: Number of fields in it.
    """

    folder: Path
    bundle: Path
    files: int
    fields: int


async def export(context: Context, transfer: TransferRow, folder: Path) -> ExportedTransfer:
    """Write the proof bundle of a transfer, and its files and fields where this home has them.

    Args:
        context: Surroundings.
        transfer: The transfer.
        folder: Appears whole, or not at all; must not exist.

    Raises:
        NotFound: The transfer has no receipt yet.
        StorageFailed: The folder exists, or the disk refuses.
        DiskFull: There is no room; nothing is left behind.
    """
    stored = await context.records.receipts(transfer.transfer_id)
    stages = [stage for stage in ("cipher", "verified", "rejected") if stage in stored]
    if not stages:
        raise NotFound("expected a transfer with receipts, found one that nobody has signed for")
    evidence = evidence_of(Offer.parse(transfer.offer), tuple(stored[stage].envelope for stage in stages))
    inbox = None
    if transfer.direction is Direction.IN and transfer.state is TransferState.VERIFIED and context.config.receiver:
        inbox = inbox_folder(context.config.receiver, transfer.transfer_id)
    return await trio.to_thread.run_sync(_write, evidence.encode(), inbox, folder, transfer.transfer_id.hex()[:16])


def _write(evidence: bytes, inbox: Path | None, folder: Path, name: str) -> ExportedTransfer:
    if folder.exists():
        raise StorageFailed(f"expected no folder at {folder}, found one", hint="choose another name")
    make_directory(folder.parent)
    with storage_errors(folder):
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        openings, files, fields = None, 0, 0
        if inbox is not None:
            openings = read_openings(inbox)
            opened = Openings.parse(openings)
            files, fields = len(opened.files), len(opened.fields)
            with storage_errors(folder):
                shutil.copytree(inbox / FILES, temporary / FILES)
            if fields:
                write_file(temporary / FIELDS_FILE, encode_fields(opened))
        bundle = Bundle(version=BUNDLE_VERSION, evidence=evidence, openings=openings)
        write_file(temporary / f"{name}{BUNDLE_SUFFIX}", encode_bundle(bundle))
        with storage_errors(folder):
            temporary.rename(folder)
        sync_directory(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return ExportedTransfer(folder, folder / f"{name}{BUNDLE_SUFFIX}", files, fields)
