"""The output of the benchmark; its speeds are for people to read."""

import itertools
import json
from pathlib import Path

import pytest

from ddtp.crypto import sm2, sm3
from ddtp.crypto.sm4 import SM4GCM
from tests.bench import __main__ as command
from tests.bench import survival, transfer
from tests.bench.crypto_libraries import CryptoMb, load
from tests.bench.figures import Figure, Measured, Missing, Options, calls_per_second, encode_json, encode_row, race
from tests.bench.rivals import Rivals
from tests.bench.survival import Death, Side, Toll, count_resent
from tests.bench.town import Told
from tests.bench.transfer import parse_size
from tests.mortal import Note

FIGURE = Figure("package_2MB_ms", "ms", [310.04, 290.0, 305.55], {"scp": 120.0})


def test_json_is_one_flat_object_of_the_agreed_keys() -> None:
    """Each figure is one line of JSON with median, extremes, number of runs, and what others reached."""
    line = encode_json(FIGURE)
    assert "\n" not in line
    assert json.loads(line) == {
        "name": "package_2MB_ms",
        "value": 305.6,
        "unit": "ms",
        "peer": {"scp": 120},
        "runs": 3,
        "min": 290,
        "max": 310,
    }


def test_the_value_is_the_median() -> None:
    """One slow run does not move a figure."""
    assert Figure("x", "s", [1.0, 1.2, 60.0]).value == 1.2


def test_a_row_for_people_shows_the_same_numbers() -> None:
    """Name, median, unit, extremes, runs and peers stand in one line."""
    words = encode_row(FIGURE).split()
    assert words == ["package_2MB_ms", "305.6", "ms", "[290-310,", "3", "runs]", "scp", "120"]


def test_ours_and_theirs_are_measured_in_turns() -> None:
    """In every round each contestant is measured once, and each value stays with its own."""
    count = itertools.count(1)
    figure = race("x", "s", lambda: next(count), runs=3, peers={"other": lambda: 10.0 * next(count)})
    assert list(figure.samples) == [1, 3, 5]
    assert figure.peer == {"other": 40.0}


def test_what_was_not_measured_never_becomes_a_figure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A missing figure is told on stderr with its reason; stdout has figures only, and no data is left behind."""

    def measure(_options: Options) -> Measured:
        yield FIGURE
        yield Missing("demo_s", "exit code 1")

    monkeypatch.setattr(command, "AREAS", {"cli": measure})
    assert command.main(["cli", "--json", "--work", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["name"] for line in out.splitlines()] == ["package_2MB_ms"]
    assert err.splitlines()[1:] == ["not measured: demo_s: exit code 1"]
    assert list(tmp_path.iterdir()) == []


def options_for(work: Path) -> Options:
    return Options(
        runs=1,
        work=work,
        size="0",
        entries=1,
        kills=1,
        seed=1,
        peers=work / "peers.py",
        peers_work=work,
        install=False,
    )


@pytest.mark.parametrize("tool", ["wormhole", "iroh", "croc"])
def test_tools_are_not_installed_unasked(tmp_path: Path, tool: str) -> None:
    """A tool that would have to be installed is reported with what brings it, unless --install says so."""
    assert "--install" in Rivals(options_for(tmp_path)).why_missing(tool)


def test_a_pair_is_timed_without_the_start_of_the_end_that_waits(tmp_path: Path) -> None:
    """The other benchmark runs croc and iroh as commands, but the time is what the pair has told."""
    program = tmp_path / "croc-10.7.0" / "croc"
    program.parent.mkdir()
    program.with_name(".installed").touch()
    told = {"load": "1GiB", "tool": "croc", "wall_s": 6.5}
    rows = [{"type": "result", "load": "1GiB", "tool": tool, "wall_s": 7.5} for tool in ("scp", "croc")]
    (tmp_path / "peers.py").write_text(
        "import sys, shlex\n"
        "command = sys.argv[sys.argv.index('--extra') + 1]\n"
        "words = shlex.split(command.removeprefix('croc='))\n"
        "assert words[-4:] == ['croc', " + repr(str(program)) + ", '{src}', '{dst}']\n"
        "open(words[-5], 'a').write(" + repr(json.dumps(told)) + ")\n"
        "print(" + repr("\n".join(map(json.dumps, rows))) + ")\n"
    )
    walls = Rivals(options_for(tmp_path)).walls(size="1GiB", small="0")
    assert walls == {("1GiB", "scp"): 7.5, ("1GiB", "croc"): 6.5}


@pytest.mark.parametrize("suffix", ["speedup_vs_iroh", "speedup_vs_croc", "speedup_vs_scp"])
def test_a_comparison_that_was_not_made_is_missing(tmp_path: Path, suffix: str) -> None:
    """Where another tool did not run, the figure is named with the reason."""
    rivals, samples = Rivals(options_for(tmp_path)), transfer._Samples(large=[2.0])
    found = {figure.name: figure for figure in transfer._comparisons("1GiB", samples, rivals)}
    assert isinstance(found[f"verified_1GiB_{suffix}"], Missing)


def test_only_what_was_beside_large_packages_is_a_figure() -> None:
    """Small packages count that began before the large ones had arrived; if there is none, the figure is missing."""
    told = Told(sent_s=[0.5, 0.2], began_s=[100.0, 200.0], phases_s={}, cpu_s=0.0, peak_rss_MB=0.0)
    assert transfer._begun_before(150.0, told) == [0.5]
    assert transfer._beside_figure([0.5]) == Figure("package_1KiB_beside_8x100MiB_ms", "ms", [500.0])
    assert isinstance(transfer._beside_figure(transfer._begun_before(100.0, told)), Missing)


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("64KiB", 65536), ("1GiB", 1 << 30)])
def test_sizes_are_read_with_binary_units(text: str, size: int) -> None:
    """A size is written with its unit."""
    assert parse_size(text) == size


def test_a_size_without_meaning_is_refused() -> None:
    """A unit that could be read in two ways is refused."""
    with pytest.raises(ValueError, match="expected a size"):
        parse_size("1GB")


def test_the_moments_of_kills_are_drawn_from_a_seed() -> None:
    """As many of each side, in the order of the content, and the last ones after it."""
    kills = survival.plan(50, chunks=1000, seed=1)
    assert kills == survival.plan(50, chunks=1000, seed=1) != survival.plan(50, chunks=1000, seed=2)
    assert sum(kill.side is Side.HOLDER for kill in kills) == 25
    places = [kill.chunk for kill in kills]
    assert places == sorted(places)
    assert [place == 1000 for place in places] == [False] * 45 + [True] * 5


def test_what_is_sent_again_is_counted_after_each_death() -> None:
    """Each exchange counts what an earlier one has sent; what the receiver had stored by then counts on its own."""
    deaths = [Death(Side.RECEIVER, 1, 30), Death(Side.HOLDER, 2, 48), Death(Side.HOLDER, 4, 100)]
    first = [Note(0, 0), Note(0, 16), Note(16, 16), Note(32, 16)]
    second = [Note(0, 0), Note(28, 16), Note(44, 16)]
    broken_off = [Note(0, 0)]
    third = [Note(0, 0), Note(60, 40)]
    toll = Toll()
    count_resent(toll, deaths, [*first, *second, *broken_off, *third, Note(0, 0)])
    assert toll.resent == {Side.RECEIVER: [20], Side.HOLDER: [0, 0]}
    assert toll.stored_resent == 2


@pytest.mark.parametrize("each_seconds", [1e-7, 1e-3, 10.0])
def test_a_sample_ends_soon_after_its_budget(monkeypatch: pytest.MonkeyPatch, each_seconds: float) -> None:
    """However fast an operation is, its rate is right and its sample overruns by a tenth or one call at most."""
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def operation() -> None:
        clock[0] += each_seconds

    assert calls_per_second(operation, budget_seconds=0.01) == pytest.approx(1 / each_seconds)
    assert clock[0] <= 0.011 + 3 * each_seconds


@pytest.mark.parametrize("name", ["libgcrypt", "crypto_mb"])
def test_a_peer_does_the_same_as_we(name: str) -> None:
    """A speed is compared only with that of the same work."""
    key, nonce, chunks = bytes(16), bytes(12), [bytes([number]) * 100 for number in range(16)]
    here, missing = load(key=key, nonce=nonce, chunks=chunks)
    if name in missing:
        pytest.skip(missing[name])
    peer = here[name]
    assert not peer.seal() | peer.digest()
    assert peer.results() == (
        [SM4GCM(key).seal(nonce, chunk) for chunk in chunks[: peer.lanes]],
        [sm3.digest(chunk) for chunk in chunks[: peer.lanes]],
    )
    if isinstance(peer, CryptoMb):
        private_key, message = bytes([1] * 32), bytes(32)
        public_key = sm2.public_key(private_key)
        lanes = peer.sm2(private_key, public_key, message)
        assert not lanes.sign() | lanes.verify() | lanes.agree()
        signature, shared = lanes.results()
        sm2.verify(public_key, message, signature)
        assert shared == sm2.agree(private_key, public_key)
