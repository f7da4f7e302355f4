"""The shape of the project: sizes, names, errors, and the ties between chapters, modules and vectors."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

import ddtp.errors

ROOT = Path(__file__).parents[1]
SPEC = ROOT / "spec"

MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 50
"""Of a body, without its docstring: a signature with its options is a table."""
MAX_CLASS_LINES = 250
MAX_DOCSTRING_LINES = 15

LONG_FUNCTIONS: dict[str, str] = {}
LONG_CLASSES = {
    "ddtp/store/records.py:Records": "one short method for each transaction on one database",
    "ddtp/transfer/stream.py:FlowStream": "one trio stream; its halves share credit, locks and the end of both",
}
LONG_DOCSTRINGS = {
    "ddtp/errors.py": "draws the whole tree of errors",
}
BROAD_EXCEPTS = {
    "ddtp/agent/lines.py": "carries the error of a block out of a nursery, which would wrap it",
    "ddtp/agent/blocking.py": "hands the error to the thread that opened the agent",
    "ddtp/cli/app.py": "the last place that sees an error; reports it and sets the exit code",
    "ddtp/transfer/host.py": "the border of one connection or stream: logs, closes, and spares the others",
}
"""Modules in which a broad `except` may end without a `raise`."""
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "base", "manager", "core"}

CHAPTER_PACKAGES = ("protocol", "crypto", "identity", "consent", "chain", "verify", "transfer")
"""Packages whose modules each follow a chapter."""
CHAPTERLESS = {
    "ddtp/chain/group_commit.py": "how callers share a write; no bytes of its own",
    "ddtp/identity/base45.py": "RFC 9285",
    "ddtp/identity/language.py": "a list of two languages",
    "ddtp/protocol/__init__.py": "all chapters",
}
CHAPTERS_WITHOUT_VECTORS = {
    "12-errors": "its table is compared with the classes",
}

CITATION = re.compile(r"spec/(\d\d)(-[a-z]+)?((?: s\.\d+)?(?:(?:,| and) s\.\d+)*)")
NAMED_FILE = re.compile(r"\b(?:ddtp|tests)/[\w/]+\.py\b")
NAMED_MODULE = re.compile(r"`(ddtp(?:\.(?!v\d)\w+)+)`")
REMINDER = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
REGISTRIES = ("pypi.org", "pythonhosted.org", "npmjs.org", "proxy.golang.org", "crates.io", "docker.io", "quay.io")
MACHINE_PATH = re.compile(r"(?<![\w.$}/])/(?:home/(?!somebody)|root/|work/|Users/)\w")
TEXT_SUFFIXES = {".py", ".pyi", ".md", ".toml", ".json", ".cddl", ".txt", ".csv", ".c", ".h", ""}
GENERATED = {"build", "dist"}


@dataclass(frozen=True)
class Module:
    """One source file."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def docstring(self) -> str:
        return ast.get_docstring(self.tree) or ""

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def classes(self) -> Iterator[ast.ClassDef]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ClassDef):
                yield node


MODULES = [Module(path) for path in sorted((ROOT / "ddtp").rglob("*.py"))]
CHAPTERS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(SPEC.glob("[0-9][0-9]-*.md"))}


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the number of lines of a body, without the docstring."""
    statements = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if not statements:
        return 0
    return (function.end_lineno or 0) - statements[0].lineno + 1


def is_broad(handler: ast.ExceptHandler) -> bool:
    """Tell whether a handler catches everything."""
    if handler.type is None:
        return True
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(each, ast.Name) and each.id in {"Exception", "BaseException"} for each in types)


def committed_texts() -> Iterator[Path]:
    """Yield the text files of the project, leaving out what tools generate."""
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        # in a worktree .git is a file
        hidden = parts == (".git",) or any(part.startswith(".") and part != ".ci" for part in parts[:-1])
        installed = (".egg-info", "__pycache__", "node_modules")
        generated = parts[0] in GENERATED or any(part.endswith(installed) for part in parts)
        generated = generated or parts[:3] == ("native", "tests", "build")
        if path.is_file() and path.suffix in TEXT_SUFFIXES and not hidden and not generated:
            yield path


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules that are loaded after a statement in a fresh interpreter."""
    code = f"{statement}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_modules_are_short() -> None:
    """A module that needs more lines holds more than one thing."""
    long = {module.name: module.text.count("\n") for module in MODULES if module.text.count("\n") > MAX_MODULE_LINES}
    assert not long


def test_functions_are_short() -> None:
    """A function fits on a screen; the list of exceptions holds only what needs it."""
    long = {
        f"{module.name}:{function.name}"
        for module in MODULES
        for function in module.functions()
        if body_lines(function) > MAX_FUNCTION_LINES
    }
    assert long == LONG_FUNCTIONS.keys()


def test_classes_are_short() -> None:
    """A class does one thing; the list of exceptions holds only what needs it."""
    long = {
        f"{module.name}:{each.name}"
        for module in MODULES
        for each in module.classes()
        if (each.end_lineno or 0) - each.lineno + 1 > MAX_CLASS_LINES
    }
    assert long == LONG_CLASSES.keys()


def test_modules_are_named_after_what_they_hold() -> None:
    """A name that fits anything says nothing."""
    assert not {module.name for module in MODULES if BANNED_NAMES & set(module.path.with_suffix("").parts)}


def test_module_docstrings_are_there_and_short() -> None:
    """Every module says what it is in at most 15 lines."""
    lines = {module.name: len(module.docstring.splitlines()) for module in MODULES}
    assert not {name for name, count in lines.items() if not count and not name.endswith("__init__.py")}
    assert {name for name, count in lines.items() if count > MAX_DOCSTRING_LINES} == LONG_DOCSTRINGS.keys()


def test_public_names_have_docstrings() -> None:
    """Whatever another module may use says what it does."""
    missing = set()
    for module in MODULES:
        for owner in (module.tree, *(each for each in module.classes() if not each.name.startswith("_"))):
            for node in owner.body:
                if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    continue
                if not node.name.startswith("_") and ast.get_docstring(node) is None:
                    missing.add(f"{module.name}:{node.name}")
    assert not missing


def test_imports_stand_at_the_top() -> None:
    """Only the bodies of commands import late, for the start-up time of `ddtp --help`."""
    late = {
        f"{module.name}:{node.lineno}"
        for module in MODULES
        if "cli" not in module.path.parts
        for function in module.functions()
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert not late


def test_no_error_is_swallowed() -> None:
    """No handler just passes, and one that catches everything raises again or stands at a border."""
    empty, broad, needed = set(), set(), set()
    for module in MODULES:
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.ExceptHandler):
                continue
            place = f"{module.name}:{node.lineno}"
            # a loop that leaves out what it cannot use names exactly the error that says so
            silent = (ast.Pass, ast.Continue) if is_broad(node) else ast.Pass
            if all(isinstance(each, silent) for each in node.body):
                empty.add(place)
            if is_broad(node) and not any(isinstance(each, ast.Raise) for each in ast.walk(node)):
                needed.add(module.name)
                if module.name not in BROAD_EXCEPTS:
                    broad.add(place)
        if re.search(r"suppress\((?:Base)?Exception\b", module.text):
            empty.add(module.name)
    assert not empty
    assert not broad
    assert needed == BROAD_EXCEPTS.keys()


def test_reminders_name_a_decision() -> None:
    """Work that was put off is written down where it is decided, not in a comment."""
    loose = []
    for module in (*MODULES, *map(Module, sorted((ROOT / "tests").rglob("*.py")))):
        if module.path != Path(__file__):
            lines = enumerate(module.text.splitlines(), start=1)
            loose += [
                f"{module.name}:{number}"
                for number, line in lines
                if REMINDER.search(line) and not re.search(r"spec/decisions/\d{4}", line)
            ]
    assert not loose


def test_modules_of_the_protocol_name_their_chapter() -> None:
    """The first paragraph of a module that follows the specification says which chapter."""
    silent = {
        module.name
        for module in MODULES
        if module.path.parent.name in CHAPTER_PACKAGES and not CITATION.search(module.docstring)
    }
    assert silent - {"ddtp/crypto/_native.pyi"} == CHAPTERLESS.keys()


def test_cited_sections_exist() -> None:
    """Every spec/NN s.N in the code leads to a heading of the specification."""
    numbers = {stem[:2]: stem for stem in CHAPTERS}
    wrong = []
    for module in MODULES:
        for number, name, sections in CITATION.findall(module.text):
            stem = numbers.get(number)
            if stem is None or (name and number + name != stem):
                wrong.append(f"{module.name}: spec/{number}{name}")
                continue
            wrong += [
                f"{module.name}: spec/{stem} s.{section}"
                for section in re.findall(r"s\.(\d+)", sections)
                if not re.search(rf"^## {section}\. ", CHAPTERS[stem], re.MULTILINE)
            ]
    assert not wrong


def test_what_the_specification_names_exists() -> None:
    """A chapter that names a file or module of this project names a real one."""
    missing = []
    for page in sorted(SPEC.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        named = {ROOT / name for name in NAMED_FILE.findall(text)}
        named |= {ROOT / name.replace(".", "/") for name in NAMED_MODULE.findall(text) if name != "ddtp.crypto._native"}
        missing += [
            f"{page.name}: {path.relative_to(ROOT)}"
            for path in named
            if not path.exists() and not path.with_suffix(".py").exists()
        ]
    assert not missing


def test_every_chapter_has_vectors_that_a_test_runs() -> None:
    """A chapter without vectors cannot be implemented by others; vectors that nobody runs prove nothing."""
    folders = {path.name for path in (SPEC / "vectors").iterdir()}
    assert folders == CHAPTERS.keys() - CHAPTERS_WITHOUT_VECTORS.keys()
    tests = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    assert not {folder for folder in folders if not any(f'"{folder}"' in text for text in tests)}


@pytest.mark.parametrize("folder", sorted((SPEC / "vectors").iterdir()), ids=lambda path: path.name)
def test_vectors_have_one_form(folder: Path) -> None:
    """A vector is named after its file, says what is special about it, and expects a code that exists."""
    codes = {"ok"} | {
        each.code for each in vars(ddtp.errors).values() if isinstance(each, type) and hasattr(each, "code")
    }
    for path in folder.iterdir():
        vector = json.loads(path.read_text(encoding="utf-8"))
        assert vector["name"] == path.stem, path
        assert vector["description"], path
        assert vector["expect"] in codes, path


def test_the_index_lists_every_chapter() -> None:
    """The indexes link every chapter, none of which has lost a vector since, and every decision."""
    index = (SPEC / "README.md").read_text(encoding="utf-8")
    for stem in CHAPTERS:
        row = re.search(rf"\[{stem[:2]}\]\({stem}\.md\).*\| (\d+|–) \|$", index, re.MULTILINE)
        assert row, stem
        count = len(list((SPEC / "vectors" / stem).glob("*.json")))
        assert count >= int(row[1].replace("–", "0")), stem
    decisions = (SPEC / "decisions" / "README.md").read_text(encoding="utf-8")
    records = sorted(path.name for path in (SPEC / "decisions").glob("[0-9]*.md"))
    assert sorted(re.findall(r"\]\((\d{4}-[^)]+\.md)\)", decisions)) == records


def test_nothing_names_a_machine_or_a_registry() -> None:
    """What is committed works on any machine and behind any mirror."""
    found = []
    for path in committed_texts():
        if path == Path(__file__):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {name}" for name in REGISTRIES if name in text]
        found += [f"{path.relative_to(ROOT)}: {hit.group()}" for hit in MACHINE_PATH.finditer(text)]
    assert not found


@pytest.mark.slow
def test_light_imports_stay_light() -> None:
    """`import ddtp` loads nothing of it, and checking a bundle loads no network."""
    heavy = {"trio", "libp2p", "cryptography", "cbor2", "aiosqlite", "typer", "rich", "trio_asyncio"}
    assert not heavy & loaded_by("import ddtp")
    network = {"libp2p", "multiaddr", "trio_asyncio", "aiosqlite"}
    assert not network & loaded_by("import ddtp.agent.checking, ddtp.verify, ddtp.cli.verifying")
