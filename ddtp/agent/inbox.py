"""Use case: what an institution has received and verified, as it lies in its inbox (spec/10 steps 13 and 14)."""

import json
from dataclasses import dataclass
from pathlib import Path

from ddtp.config import ReceiverSettings
from ddtp.errors import NotFound
from ddtp.protocol.leaves import Field, FileHead
from ddtp.protocol.openings import Openings
from ddtp.store.durable import delete_tree, read_file
from ddtp.store.records import Direction, TransferRow, TransferState

FILES = "files"
FIELDS_FILE = "fields.json"
"""The fields again, for people and programs that do not read CBOR."""
OPENINGS_FILE = "openings.cbor"


@dataclass(frozen=True, slots=True)
class ReceivedData:
    """Verified data.

    Attributes:
        folder: Where the files lie, under their names.
        fields: The values that were shown.
        files: Names, formats, sizes and fingerprints of the files.
    """

    folder: Path
    fields: tuple[Field, ...]
    files: tuple[FileHead, ...]


def inbox_folder(settings: ReceiverSettings, transfer_id: bytes) -> Path:
    """Return where the data of a verified transfer lies."""
    return settings.inbox / transfer_id.hex()


def read_openings(folder: Path) -> bytes:
    """Return the encoded openings of verified data.

    Raises:
        NotFound: The data is not there any more.
        StorageFailed: The disk refuses.
    """
    return read_file(folder / OPENINGS_FILE, max_bytes=Openings.MAX_BYTES)


def read_received(folder: Path) -> ReceivedData:
    """Return what lies in the folder of a verified transfer.

    Raises:
        NotFound: The data is not there any more.
        DecodeError: Somebody has changed the openings.
        StorageFailed: The disk refuses.
    """
    openings = Openings.parse(read_openings(folder))
    fields = tuple(opening.field for opening in openings.fields)
    return ReceivedData(folder / FILES, fields, tuple(opening.head for opening in openings.files))


def find_received(settings: ReceiverSettings | None, row: TransferRow) -> ReceivedData | None:
    """Return the verified data of an incoming transfer, or None if it brought none or it has been taken away.

    Raises:
        DecodeError: Somebody has changed the openings.
        StorageFailed: The disk refuses.
    """
    if settings is None or (row.direction, row.state) != (Direction.IN, TransferState.VERIFIED):
        return None
    try:
        return read_received(inbox_folder(settings, row.transfer_id))
    except NotFound:
        return None


def encode_fields(openings: Openings) -> bytes:
    """Return the fields as JSON: an object of objects with kind and value, by name."""
    table = {
        opening.field.path: {"kind": opening.field.kind.value, "value": opening.field.value}
        for opening in openings.fields
    }
    return json.dumps(table, ensure_ascii=False, indent=2).encode() + b"\n"


def withdraw(settings: ReceiverSettings, transfer_id: bytes) -> None:
    """Delete the data of a transfer that was not verified: an institution has nothing that it has not signed for.

    Raises:
        StorageFailed: The disk refuses.
    """
    delete_tree(inbox_folder(settings, transfer_id))
