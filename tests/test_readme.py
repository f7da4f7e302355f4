"""README as it stands: every command in it runs, in order, in an empty home; its tables say what the code says."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ddtp.agent import context
from ddtp.cli.topics import EXIT_CODES
from ddtp.errors import DdtpError

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SETUP = "apt-get update && "
"""How the two set-up lines begin; .ci/run takes them from README by the same words."""
TOUR_SECONDS = 300
"""The tour takes about 15 s on two idle cores; twenty commands that each start Python take long on busy ones."""


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language, in order."""
    return [text for kind, text in FENCE.findall(README) if kind == language]


def tour() -> str:
    """Return all commands of README but the two set-up lines, as one script; any failure ends it."""
    return "set -eu\n" + "\n".join(text for text in blocks("sh") if not text.startswith(SETUP))


def write_programs(folder: Path) -> list[str]:
    """Write the Python blocks to the files that their first lines name, as README tells its reader to do."""
    names = []
    for text in blocks("python"):
        name = text.partition("\n")[0].removeprefix("# ")
        (folder / name).write_text(text, encoding="utf-8")
        names.append(name)
    return names


def sandbox(folder: Path) -> dict[str, str]:
    """Return an environment with an empty home and this project's commands."""
    commands = folder / "bin"
    commands.mkdir()
    for name, line in {"ddtp": "-m ddtp ", "python": "", "python3": ""}.items():
        command = commands / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable} {line}"$@"\n', encoding="utf-8")
        command.chmod(0o755)
    return {
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PATH": f"{commands}:{os.defpath}",
        "PYTHONPATH": str(ROOT),
    }


def run_alone(script: str, *, folder: Path) -> tuple[int, str]:
    """Run a script in a session of its own; return its code and what it wrote. Nothing of it survives."""
    with subprocess.Popen(
        ["/bin/bash", "-c", script],
        cwd=folder,
        env=sandbox(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=TOUR_SECONDS)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                survived = False
            else:
                survived = True
    text = output.decode()
    assert not survived or process.returncode, f"the tour left a process behind:\n{text}"
    return process.returncode, text


@pytest.mark.slow
def test_every_command_of_readme_works(tmp_path: Path) -> None:
    """Whoever copies README block by block gets a verified transfer, from the shell and from Python."""
    (tmp_path / "tour").mkdir()
    programs = write_programs(tmp_path / "tour")
    code, output = run_alone(tour().replace("mkdir tour && cd tour", "cd tour"), folder=tmp_path)
    assert code == 0, output
    assert programs
    assert output.count("Bank B verified") == len(programs), output
    assert "RESULT: genuine." in output, output
    assert "[失败] 14" in output, output


def test_the_two_set_up_lines_are_there() -> None:
    """README has one command line that ends with the demo and one that ends with the tests."""
    demo, tests = (text for text in blocks("sh") if text.startswith(SETUP))
    assert demo.rstrip("\n").endswith("ddtp demo")
    assert tests.rstrip("\n").endswith("-m pytest -q")
    assert demo.count("\n") == tests.count("\n") == 1
    assert "venv .venv" in demo
    assert "venv .venv" in tests


def test_every_block_has_a_language_that_is_run() -> None:
    """No block escapes the test by its language."""
    assert {kind for kind, _text in FENCE.findall(README)} == {"sh", "python"}


def test_exit_codes_are_those_of_the_program() -> None:
    """The table of exit codes has exactly the codes that commands return."""
    section = README.partition("### Exit codes")[2].partition("###")[0]
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)}
    assert codes == set(EXIT_CODES)
    assert {error.exit_code for error in DdtpError.__subclasses__()} <= codes


def test_protocol_ids_are_those_of_the_program() -> None:
    """The table of protocols has exactly the ids that peers answer."""
    known = {value for name, value in vars(context).items() if name.endswith("_PROTOCOL")}
    assert set(re.findall(r"^\| `(/ddtp/[^`]+)` \|", README, re.MULTILINE)) == known


def test_links_lead_somewhere() -> None:
    """Every relative link of README and of the index of the specification names a file or folder."""
    for page in (ROOT / "README.md", *(ROOT / "spec").glob("**/README.md"), ROOT / "native" / "README.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"
