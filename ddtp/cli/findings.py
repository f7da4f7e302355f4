"""What a check of `ddtp doctor` comes to."""

from dataclasses import dataclass, field
from enum import Enum

from ddtp.errors import DdtpError


class Health(Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check.

    Attributes:
        name: What was checked.
        health: How it ended.
        detail: What was found.
        hint: What to do, if it is not well.
    """

    name: str
    health: Health
    detail: str
    hint: str = field(default="")


def broken(name: str, error: DdtpError) -> Finding:
    """Return the finding of a check that an error ended."""
    return Finding(name, Health.BROKEN, error.message, error.hint or "")
