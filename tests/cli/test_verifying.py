"""`ddtp verify`: the report, the exit code, the policy that is used."""

import json
from pathlib import Path

import pytest

from ddtp.cli.verifying import parse_time
from ddtp.errors import UsageError
from ddtp.verify.evidence import BUNDLE_VERSION, Bundle, encode_bundle
from tests.cli.conftest import Run
from tests.worlds import CONTENT, ISSUER, LOG, NOW, ORIGIN, RECEIVER, WITNESS, World

POLICY = f"""
attestation = "issuer"
[issuers."{ISSUER.did}"]
name = "First School"
[witnesses."{WITNESS.did}"]
name = "City Notary"
[logs."{ORIGIN}"]
public_key = "{LOG.public_key.hex()}"
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with its values, its files beside it, and a policy that trusts its makers."""
    world = World()
    made = Bundle(BUNDLE_VERSION, world.evidence().encode(), world.openings.encode())
    path = tmp_path / "b.ddtp-proof"
    path.write_bytes(encode_bundle(made))
    for name, data in CONTENT.items():
        (tmp_path / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / name).write_bytes(data)
    (tmp_path / "policy.toml").write_text(POLICY)
    return path


def arguments(bundle: Path, *more: object) -> list[object]:
    return ["verify", bundle, "--policy", bundle.parent / "policy.toml", "--at", NOW, *more]


@pytest.mark.slow
def test_genuine(ddtp: Run, bundle: Path, home: Path) -> None:
    """A valid bundle with its files passes all steps, needs no home, and makes none."""
    done = ddtp(*arguments(bundle))
    assert (done.code, done.err) == (0, "")
    assert "RESULT: genuine" in done.out
    assert not home.exists()


@pytest.mark.slow
def test_report_as_data(ddtp: Run, bundle: Path) -> None:
    """--json gives every step with a stable name."""
    done = ddtp(*arguments(bundle, "--receiver", RECEIVER.did, "--json"))
    assert done.code == 0
    assert done.json["passed"] is True
    assert done.json["content_checked"] is True
    assert [step["number"] for step in done.json["steps"]] == list(range(1, 15))


@pytest.mark.slow
def test_changed_file_is_refused_in_chinese(ddtp: Run, bundle: Path) -> None:
    """One changed byte in a file: exit 6, and the report says which check failed, in the chosen language."""
    photo = bundle.parent / "files" / "photo.jpg"
    photo.write_bytes(photo.read_bytes()[:-1] + b"\x01")
    done = ddtp(*arguments(bundle, "--language", "zh"))
    assert done.code == 6
    assert "结论：不可采信" in done.out
    assert "[失败] 14" in done.out


@pytest.mark.slow
def test_another_receiver_is_refused(ddtp: Run, bundle: Path) -> None:
    """Evidence that was made for somebody else does not count."""
    done = ddtp(*arguments(bundle, "--receiver", ISSUER.did, "--json"))
    assert done.code == 6
    assert done.json["passed"] is False


@pytest.mark.slow
def test_nothing_is_trusted_by_default(ddtp: Run, bundle: Path, home: Path) -> None:
    """Without a policy there is no verification; that of the home is used if it is there."""
    refused = ddtp("verify", bundle, "--at", NOW)
    assert (refused.code, refused.out) == (2, "")
    assert "--policy" in refused.err
    home.mkdir()
    (home / "policy.toml").write_text(POLICY)
    assert ddtp("verify", bundle, "--at", NOW).code == 0


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"DDTP-PROOF 1\n", b"something else"])
def test_no_bundle(ddtp: Run, bundle: Path, content: bytes) -> None:
    """What is no bundle cannot be trusted: exit 6."""
    bundle.write_bytes(content)
    done = ddtp(*arguments(bundle, "--json"))
    assert (done.code, done.out) == (6, "")
    assert done.error["code"] == "malformed"


@pytest.mark.slow
def test_missing_bundle_is_a_mistake_of_the_line(ddtp: Run, bundle: Path) -> None:
    """A file that is not there is exit 2, not a failed verification."""
    bundle.unlink()
    assert ddtp(*arguments(bundle)).code == 2


@pytest.mark.slow
def test_folder_of_a_bundle(ddtp: Run, bundle: Path) -> None:
    """The folder that `ddtp export` makes stands for its bundle; with two bundles they are listed."""
    named = arguments(bundle)
    assert ddtp(named[0], bundle.parent, *named[2:]).code == 0
    (bundle.parent / "two.ddtp-proof").touch()
    done = ddtp(named[0], bundle.parent, *named[2:])
    assert (done.code, done.out) == (2, "")
    assert bundle.name in done.err


def test_missing_bundle_is_named_before_a_missing_policy(ddtp: Run) -> None:
    """Who mistypes the file is told about the file."""
    done = ddtp("verify", "nothere")
    assert done.code == 2
    assert "nothere" in done.err
    assert "policy" not in done.err


@pytest.mark.slow
def test_show_bundle(ddtp: Run, bundle: Path) -> None:
    """`show` says what a bundle is about without claiming that it is true."""
    done = ddtp("show", bundle)
    assert done.code == 0
    assert "Nothing of this is verified yet" in done.out
    assert json.loads(ddtp("show", bundle, "--json").out)["issuer"] == ISSUER.did


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1790000000", 1_790_000_000),
        ("1970-01-02", 86_400),
        ("1970-01-01T08:00+08:00", 0),
        ("1970-01-01 00:01", 60),
    ],
)
def test_times(text: str, seconds: int) -> None:
    """A time is seconds, or ISO 8601 in UTC unless it says otherwise."""
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "now", "2026-13-01", "12345", "-1790000000"])
def test_wrong_times(text: str) -> None:
    """Anything else is the user's mistake."""
    with pytest.raises(UsageError):
        parse_time(text)
