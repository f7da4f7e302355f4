"""Evidence and bundles as bytes."""

from dataclasses import replace

import pytest

from ddtp.crypto import sm3
from ddtp.errors import DecodeError
from ddtp.protocol.codec import encode
from ddtp.verify.evidence import BUNDLE_MAGIC, Bundle, Evidence, encode_bundle, parse_bundle
from tests.worlds import World

EVIDENCE = Evidence(b"m", b"d", b"r", b"g", b"p", b"a", (b"1", b"2"))


def test_evidence_round_trip() -> None:
    """Evidence comes back equal, with the digest of its bytes."""
    encoded = EVIDENCE.encode()
    assert Evidence.parse(encoded) == EVIDENCE
    assert EVIDENCE.digest == sm3.digest(encoded)


@pytest.mark.parametrize(
    "changes",
    [
        {"manifest": b""},
        {"manifest": bytes((1 << 20) + 1)},
        {"disclosure": bytes((4 << 20) + 1)},
        {"package_anchor": bytes(14 << 10)},
        {"receipts": (b"1", b"2", b"3")},
        {"receipts": (b"",)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_evidence_out_of_bounds_is_refused(changes: dict[str, object]) -> None:
    """Each part has a bound."""
    with pytest.raises(DecodeError):
        replace(EVIDENCE, **changes)


@pytest.mark.parametrize("openings", [None, b"values"], ids=["without-values", "with-values"])
def test_bundle_round_trip(openings: bytes | None) -> None:
    """A bundle file comes back equal, and its first line tells what it is."""
    bundle = Bundle(1, EVIDENCE.encode(), openings)
    data = encode_bundle(bundle)
    assert data.splitlines()[0] == b"DDTP-PROOF 1"
    assert parse_bundle(data) == bundle


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"DDTP-PROOF 2\n" + Bundle(1, b"e").encode(),
        BUNDLE_MAGIC,
        BUNDLE_MAGIC + b"\xa0",
        BUNDLE_MAGIC + Bundle(1, b"e").encode() + b"\n",
        BUNDLE_MAGIC.replace(b"\n", b"\r\n") + Bundle(1, b"e").encode(),
        BUNDLE_MAGIC + encode({"version": 2, "evidence": b"e"}),
        BUNDLE_MAGIC + encode({"version": 1, "evidence": b"e", "payload": b"x"}),
    ],
    ids=["empty", "other-version", "magic-only", "no-fields", "trailing", "line-end", "version-field", "unknown-field"],
)
def test_damaged_bundle_is_refused(data: bytes) -> None:
    """What is not exactly a bundle is refused."""
    with pytest.raises(DecodeError):
        parse_bundle(data)


def test_truncated_bundle_is_refused(world: World) -> None:
    """A bundle cut anywhere is refused."""
    data = encode_bundle(Bundle(1, world.evidence().encode(), world.openings.encode()))
    for length in range(0, len(data), 97):
        with pytest.raises(DecodeError):
            parse_bundle(data[:length])
