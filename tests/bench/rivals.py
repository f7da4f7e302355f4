"""The tools people use today, measured by the benchmark of their own (`peers.py`) in the same round as ours."""

import json
import subprocess
import sys
from pathlib import Path

from tests.bench.figures import Options
from tests.bench.processes import bound_to_us

TOOLS = ("curl-tls", "curl-tls+sha256", "scp", "rsync", "wormhole", "trio-tcp")
OWN_PACKAGES = {"wormhole": "magic-wormhole", "trio-tcp": "trio"}
"""Tools that `peers.py` would install for itself, and the package it marks as installed."""
ROUND_SECONDS = 1800.0


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
        if not self._tools or self._script is None:
            return {}
        done = subprocess.run(
            bound_to_us(
                *(sys.executable, str(self._script), "--json", "--runs", "1"),
                *("--work", str(self._work), "--tools", ",".join(self._tools)),
                *("--size", size, "--small", small),
                *(["--install"] if self._install else []),
            ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ROUND_SECONDS,
            check=False,
        )
        if done.returncode not in {0, 1}:
            raise RuntimeError(f"{self._script} failed: {done.stderr[-500:]}")
        return self._read(done.stdout)

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
