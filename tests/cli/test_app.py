"""The whole command line: help, versions, exit codes, start-up."""

import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

import ddtp as package
from ddtp.cli.app import _single, main
from ddtp.errors import NotFound
from tests.cli.conftest import ROOT, TIMEOUT_SECONDS, Run, command, environment

pytestmark = pytest.mark.slow

COMMANDS = [
    *(
        "init",
        "phrase",
        "id",
        "collect",
        "inbox",
        "request",
        "consent",
        "send",
        "resume",
        "transfers",
        "show",
        "export",
    ),
    *(
        "verify",
        "issue",
        "pack",
        "witness",
        "serve",
        "relay",
        "paths",
        "doctor",
        "bench",
        "demo",
        "help",
        "card",
        "vault",
        "ledger",
    ),
]


def modules_after(*arguments: str) -> set[str]:
    """Names of the modules that a run has loaded."""
    code = (
        "import sys\n"
        "from ddtp.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment(), check=True
    )
    return set(done.stderr.split())


def test_help_lists_every_command(ddtp: Run) -> None:
    """--help goes to stdout, names every command, and tells the exit codes."""
    done = ddtp("--help")
    assert done.code == 0
    assert done.err == ""
    for name in COMMANDS:
        assert f"\n  {name} " in done.out
    assert "Exit codes:" in done.out


@pytest.mark.parametrize("group", [[], ["card"], ["ledger"], ["transfers"]])
def test_help_of_a_narrow_terminal_is_whole(ddtp: Run, group: list[str]) -> None:
    """At 60 columns the sentence beside each command still ends."""
    cut = {
        line.split()[0]
        for line in ddtp(*group, "--help", COLUMNS="60").out.splitlines()
        if line.startswith("  ") and line.endswith("...")
    }
    assert not cut


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_or_subcommands(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The help of every command ends with an example, or lists its own commands."""
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert "Examples:\n    ddtp " in out or "Commands:" in out


def test_version_is_that_of_the_distribution(ddtp: Run) -> None:
    """--version prints the version of the package, which is that of the project."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert ddtp("--version").out == f"ddtp {project['version']}\n"
    assert package.__version__ == project["version"]


def test_version_as_json(ddtp: Run) -> None:
    """With --json also the version is an object."""
    assert ddtp("--version", "--json").json == {"version": package.__version__}


def test_help_loads_nothing_heavy() -> None:
    """The help needs neither the network nor the database nor cryptography nor rich."""
    loaded = modules_after("--help")
    assert not loaded & {"libp2p", "trio", "trio_asyncio", "aiosqlite", "cryptography", "cbor2", "rich", "gmssl"}


def test_verify_never_loads_the_network() -> None:
    """Checking a bundle loads neither libp2p nor the bridge to asyncio, even if it fails."""
    loaded = modules_after("verify", str(ROOT / "pyproject.toml"), "--policy", str(ROOT / "pyproject.toml"))
    assert "ddtp.agent.checking" in loaded
    assert not loaded & {"libp2p", "trio_asyncio", "aiosqlite", "multiaddr", "ddtp.transfer.libp2p"}


def test_help_is_quick(ddtp: Run) -> None:
    """The best of five runs stays below a bound that is generous for slow machines; imports are the cause of more."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        ddtp("--help")
        times.append(time.perf_counter() - start)
    assert min(times) < 0.5


def test_unknown_command_suggests_the_near_one(ddtp: Run) -> None:
    """A misspelt command is a usage error that names what was probably meant."""
    done = ddtp("sned")
    assert (done.code, done.out) == (2, "")
    assert "'send'" in done.err


def test_group_without_command_shows_its_help(ddtp: Run) -> None:
    """A noun alone is no error message but its help; the exit code still says that nothing was done."""
    done = ddtp("card")
    assert done.code == 2
    assert "Commands:" in done.err
    assert "error:" not in done.err


def test_usage_error_as_json(ddtp: Run) -> None:
    """With --json a line that cannot be read is an object on stderr, and stdout stays empty."""
    done = ddtp("send", "--json")
    assert (done.code, done.out) == (2, "")
    assert done.error["code"] == "usage"
    assert done.error["exit_code"] == 2


def test_options_for_the_run_may_stand_anywhere(person: Run) -> None:
    """--json means the same before and after the command."""
    assert person("--json", "card", "list").out == person("card", "list", "--json").out


def test_settings_that_are_wrong_exit_2(person: Run, home: Path) -> None:
    """An unknown setting is refused by every command that reads settings."""
    (home / "config.toml").write_text("colour = 1\n")
    done = person("card", "list")
    assert done.code == 2
    assert "colour" in done.err


def test_chinese_frame_of_errors(ddtp: Run) -> None:
    """--language chooses the frame of an error; its technical message stays."""
    done = ddtp("transfers", "--language", "zh")
    assert done.code == 4
    assert "错误：" in done.err
    assert "下一步：" in done.err


def test_language_of_the_environment(ddtp: Run) -> None:
    """DDTP_LANGUAGE chooses the language, and --language wins over it."""
    assert "错误：" in ddtp("transfers", DDTP_LANGUAGE="zh").err
    assert "error:" in ddtp("transfers", "--language", "en", DDTP_LANGUAGE="zh").err


def test_group_of_errors_becomes_the_one_of_ours() -> None:
    """Of the errors that a nursery bundled, the one with a next step is reported."""
    ours = NotFound("expected it, found nothing")
    assert _single(BaseExceptionGroup("", [ValueError(), ExceptionGroup("", [ours])])) is ours


def test_defect_is_called_a_defect(ddtp: Run, home: Path) -> None:
    """What should not happen exits 1 with an apology; the traceback comes with --debug only."""
    code = (
        "import sys\n"
        "from ddtp.cli import app, doctor\n"
        "def broken(*a, **k): raise ZeroDivisionError('no')\n"
        "doctor._places = broken\n"
        "app.main(sys.argv[1:])\n"
    )
    for extra in ([], ["--debug"]):
        done = subprocess.run(
            [sys.executable, "-c", code, "paths", *extra],
            capture_output=True,
            text=True,
            env=environment(DDTP_HOME=str(home)),
            check=False,
        )
        assert done.returncode == 1
        assert "defect" in done.stderr
        assert ("Traceback" in done.stderr) == bool(extra)


def test_reader_that_leaves_early_is_no_defect(person: Run, home: Path) -> None:
    """`ddtp ... | head` ends without a traceback."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ddtp", "--home", str(home), "paths"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    process.stdout.close()
    error = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait() == 1
    assert error == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(shell: str) -> None:
    """A completion script is generated for the shells that people use."""
    done = subprocess.run(
        [sys.executable, "-m", "ddtp"],
        capture_output=True,
        text=True,
        env=environment(_DDTP_COMPLETE=f"source_{shell}"),
        check=False,
    )
    assert done.returncode == 0
    assert "_DDTP_COMPLETE" in done.stdout


def test_ctrl_c_exits_130(home: Path, tmp_path: Path) -> None:
    """An interrupt at any place ends with the code that shells expect, without a traceback."""
    pipe = tmp_path / "phrase"
    os.mkfifo(pipe)
    process = subprocess.Popen(
        command(home, ["init", "--no-passphrase", "--phrase", pipe]),
        stderr=subprocess.PIPE,
        env=environment(),
        # tests that run in the background of a shell inherit that interrupts are ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no thread runs here
    )
    try:
        # a pipe opens for writing when somebody reads it: now the program waits for the words
        with pipe.open("wb"):
            process.send_signal(signal.SIGINT)
            error = process.communicate(timeout=TIMEOUT_SECONDS)[1].decode()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    assert process.returncode == 130
    assert "interrupted" in error
    assert "Traceback" not in error
    assert not home.exists()
