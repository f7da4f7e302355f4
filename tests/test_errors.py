"""The error tree equals the table of spec/12-errors."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ddtp import errors
from ddtp.errors import DdtpError

SPEC = Path(__file__).parents[1] / "spec" / "12-errors.md"
AUDIENCES = (
    errors.EvidenceError,
    errors.PeerError,
    errors.EnvironmentProblem,
    errors.InputError,
    errors.InternalError,
)
ROW = re.compile(r"^\| `([a-z-]+)` \| (\w+) \| (\w+) \| (\d+) \|", re.MULTILINE)


def classes(root: type[DdtpError]) -> Iterator[type[DdtpError]]:
    yield root
    for child in root.__subclasses__():
        yield from classes(child)


ALL = [each for each in classes(DdtpError) if each is not DdtpError]


def test_table_of_the_spec_lists_every_class() -> None:
    """Code, class, audience and exit status in spec/12 are those of the code."""
    audience_of = {each: audience.__name__ for audience in AUDIENCES for each in classes(audience)}
    expected = {(each.code, each.__name__, audience_of[each], str(each.exit_code)) for each in ALL}
    rows = ROW.findall(SPEC.read_text("utf-8"))
    assert len(rows) == len(set(rows))
    assert set(rows) == expected


def test_codes_are_unique() -> None:
    """No two classes share a code."""
    codes = [each.code for each in ALL]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("error", ALL, ids=lambda each: each.__name__)
def test_each_class_has_one_audience(error: type[DdtpError]) -> None:
    """Exactly one of the five audiences is above a class."""
    assert sum(issubclass(error, audience) for audience in AUDIENCES) == 1


@pytest.mark.parametrize("error", ALL, ids=lambda each: each.__name__)
def test_each_class_states_its_own_code(error: type[DdtpError]) -> None:
    """A code is written in its class, not inherited by accident."""
    assert "code" in vars(error)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", error.code)


@pytest.mark.parametrize("error", ALL, ids=lambda each: each.__name__)
def test_each_class_is_drawn_in_the_tree(error: type[DdtpError]) -> None:
    """The drawing at the top of the module names every class, and every leaf with its code."""
    drawing = inspect.getdoc(errors) or ""
    line = next(line for line in drawing.splitlines() if re.search(rf"── {error.__name__}\b", line))
    if not error.__subclasses__() and error not in AUDIENCES:
        assert f" {error.code} " in line


def test_fields_of_an_error_are_kept() -> None:
    """Software decides by fields: step, name and cause of a failed verification are readable."""
    error = errors.VerificationFailed("why", step=4, step_name="manifest-time", cause_code="evidence-invalid", hint="x")
    assert (error.step, error.step_name, error.cause_code) == (4, "manifest-time", "evidence-invalid")
    assert (error.message, error.hint, str(error)) == ("why", "x", "why")
