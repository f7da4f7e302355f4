"""Streams that are closed, full, or of another encoding: what happens is told all the same."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import TIMEOUT_SECONDS, Run, command, environment

pytestmark = pytest.mark.slow

FULL = Path("/dev/full")
"""Linux has it: writing there finds no room."""


def shell(home: Path, redirections: str, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with streams as a shell makes them."""
    return subprocess.run(
        ["/bin/sh", "-c", f'"$@" {redirections}', "sh", *command(home, arguments)],
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
        env=environment(**more),
        check=False,
        text=True,
        encoding="latin-1",
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_the_null_device(person: Run, home: Path, closed: str) -> None:
    """Everything is done, and nothing is called a defect; what belongs on the other streams is there."""
    done = shell(home, closed, "transfers", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("" if ">&- " in f"{closed} ".replace("2>&-", "") else '{"transfers": []}\n')
    failed = shell(home, closed, "show", "00000000")
    assert failed.returncode == 2
    assert ("expected one transfer" in failed.stderr) == ("2>&-" not in closed)


def test_an_encoding_fails_no_text(tmp_path: Path) -> None:
    """What it does not have is escaped; JSON is read to the same values as ever."""
    home = tmp_path / "é小\U0001f600"
    latin = {"PYTHONIOENCODING": "latin-1:strict"}
    done = shell(home, "", "paths", **latin)
    assert (done.returncode, done.stderr) == (0, "")
    assert "/é\\u5c0f\\U0001f600 " in done.stdout
    told = shell(home, "", "paths", "--json", **latin)
    assert json.loads(told.stdout)["home"] == str(home)
    failed = shell(home, "", "transfers", "--language", "zh", **latin)
    assert failed.returncode == 4
    assert failed.stderr.startswith("\\u9519\\u8bef")


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_stdout_has_its_own_exit_code(person: Run, home: Path) -> None:
    """The error says that it is done, and why nothing can be read of it; nothing complains at the end."""
    done = shell(home, f"> {FULL}", "paths")
    assert done.returncode == 8
    assert done.stderr == (
        "error: it is done, but the result could not be written to stdout\n  cause: no space left on device\n"
    )
    done = shell(home, f"> {FULL}", "paths", "--json")
    error = json.loads(done.stderr)["error"]
    assert (done.returncode, error["code"], error["exit_code"]) == (8, "result-lost", 8)


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_stderr_stops_nothing(person: Run, home: Path) -> None:
    """The result is written, and the exit code is that of the command."""
    done = shell(home, f"2> {FULL}", "transfers", "--json")
    assert (done.returncode, done.stdout) == (0, '{"transfers": []}\n')
    assert shell(home, f"2> {FULL}", "transfers").returncode == 0
    assert shell(home, f"2> {FULL}", "show", "00000000").returncode == 2
