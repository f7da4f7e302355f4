"""The tools people use today, measured by the benchmark of their own (`peers.py`) in the same round as ours.

Two that it does not know are run by it as extra commands, and time themselves (`pairs`).
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.bench.figures import Options
from tests.bench.processes import bound_to_us

TOOLS = ("curl-tls", "curl-tls+sha256", "scp", "rsync", "wormhole", "trio-tcp")
OWN_PACKAGES = {"wormhole": "magic-wormhole", "trio-tcp": "trio"}
"""Tools that `peers.py` would install for itself, and the package it marks as installed."""
CROC, IROH = "croc", "iroh"
PAIRED = {CROC: "10.7.0", IROH: "1.2.0"}
"""Tools that `peers.py` does not know, and the versions that are installed: from source by go, and a wheel."""
ROOT = Path(__file__).parents[2]
ROUND_SECONDS = 1800.0
INSTALL_SECONDS = 900.0
"""croc is compiled."""


class Rivals:
    """Runs the other benchmark once per round.

    Attributes:
        missing: Tools that cannot run here, and what would bring them.
    """

    def __init__(self, options: Options) -> None:
        self._script = options.peers
        self._install = options.install
        self._work = options.peers_work or options.work / "peers"
        self.missing: dict[str, str] = {}
        self._tools = [tool for tool in TOOLS if self._is_ready(tool)] if options.peers else []
        self._paired = [tool for tool in PAIRED if self._is_paired(tool)] if options.peers else []

    def walls(self, *, size: str, small: str) -> dict[tuple[str, str], float]:
        """Let every tool move the loads once.

        Args:
            size: Size of the one file, as "1GiB".
            small: Number and size of the small files, as "1000x4KiB".

        Returns:
            Seconds by load and tool.

        Raises:
            RuntimeError: The other benchmark does not run.
        """
        if not self._tools + self._paired or self._script is None:
            return {}
        told = self._work / "pairs.jsonl"
        told.parent.mkdir(exist_ok=True)
        told.write_text("")
        done = subprocess.run(
            bound_to_us(
                *(sys.executable, str(self._script), "--json", "--runs", "1"),
                *("--work", str(self._work), "--tools", ",".join(self._tools)),
                *("--size", size, "--small", small),
                *(["--install"] if self._install else []),
                *(word for tool in self._paired for word in ("--extra", f"{tool}={self._command(tool, told)}")),
            ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ROUND_SECONDS,
            check=False,
        )
        if done.returncode not in {0, 1}:
            raise RuntimeError(f"{self._script} failed: {done.stderr[-500:]}")
        walls = self._read(done.stdout)
        # the wall time of an extra command has the start of the waiting end in it, that of other tools has not
        timed = [json.loads(line) for line in told.read_text().splitlines()]
        own = {(found["load"], found["tool"]): found["wall_s"] for found in timed}
        return {key: own.get(key, wall) for key, wall in walls.items()}

    def why_missing(self, tool: str) -> str:
        """Return why a tool was not measured."""
        if self._script is None:
            return "the benchmark of other tools was not found; name it with --peers"
        return self.missing.get(tool, "no reason given")

    def _read(self, output: str) -> dict[tuple[str, str], float]:
        walls: dict[tuple[str, str], float] = {}
        for line in output.splitlines():
            found = json.loads(line)
            if found["type"] == "result":
                walls[found["load"], found["tool"]] = found["wall_s"]
            elif found["type"] in {"missing", "failed"}:
                self.missing[found["tool"]] = found.get("hint") or found["error"]
        return walls

    def _is_ready(self, tool: str) -> bool:
        package = OWN_PACKAGES.get(tool)
        if package is None or self._install or any(Path(self._work, "venv").glob(f".{package}==*")):
            return True
        self.missing[tool] = f"{package} is not installed; --install brings it"
        return False

    def _command(self, tool: str, told: Path) -> str:
        """Return the shell command that `peers.py` runs for a load; it fills in the words in braces."""
        words = shlex.join([sys.executable, "-m", "tests.bench.pairs", str(told), tool, str(self._program(tool))])
        return f"cd {shlex.quote(str(ROOT))} && {words} {{src}} {{dst}}"

    def _program(self, tool: str) -> Path:
        folder = self._work / f"{tool}-{PAIRED[tool]}"
        return folder / "croc" if tool == CROC else folder / "bin" / "python"

    def _is_paired(self, tool: str) -> bool:
        program = self._program(tool)
        mark = program.with_name(".installed")
        if mark.exists():
            return True
        why_not = self._bring(tool, program) if self._install else f"{tool} is not installed; --install brings it"
        if why_not:
            self.missing[tool] = why_not
            return False
        mark.touch()
        return True

    def _bring(self, tool: str, program: Path) -> str:
        """Install a tool; return why that failed, or nothing."""
        steps: list[list[str]]
        environment: Mapping[str, str] = os.environ
        if tool == CROC:
            go = shutil.which("go")
            if go is None:
                return "croc is compiled by go, which is not installed"
            steps = [[go, "install", f"github.com/schollz/croc/v10@v{PAIRED[CROC]}"]]
            environment = {**os.environ, "GOBIN": str(program.parent)}
        else:
            folder = program.parents[1]
            packages = [f"{IROH}=={PAIRED[IROH]}"]
            steps = [
                [sys.executable, "-m", "venv", str(folder)],
                [str(program), "-m", "pip", "install", "-q", *packages],
            ]
        program.parent.mkdir(parents=True, exist_ok=True)
        for step in steps:
            done = subprocess.run(
                bound_to_us(*step),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=INSTALL_SECONDS,
                env=environment,
                check=False,
            )
            if done.returncode:
                return f"{tool} could not be installed: {done.stderr.strip()[-300:]}"
        return ""
