"""The options that every command takes, wherever on the line they stand."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ddtp.identity.language import Language

_SWITCHES: Final = frozenset({"--json", "--quiet", "--debug"})
_VALUED: Final = frozenset({"--home", "--config", "--language", "--passphrase-file"})


@dataclass(frozen=True, slots=True)
class Options:
    """What was said for the whole run.

    Attributes:
        home: Home directory; None takes the platform's place.
        config_file: Settings file; None takes the one in the home.
        language: Of texts for people; None takes that of the settings.
        json_output: Write the result as JSON, and ask nothing.
        quiet: Write no notes and no progress.
        passphrase_file: File whose first line opens the key file.
        debug: Show the traceback of a defect, and the logs of libraries.
    """

    home: Path | None = None
    config_file: Path | None = None
    language: Language | None = None
    json_output: bool = False
    quiet: bool = False
    passphrase_file: Path | None = None
    debug: bool = False


def hoist(arguments: Sequence[str]) -> list[str]:
    """Move the options for the whole run to the front, so that they may stand after the command as well.

    What follows `--` stays where it is.
    """
    front: list[str] = []
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word in _SWITCHES or (word.partition("=")[0] in _VALUED and "=" in word):
            front.append(word)
        elif word in _VALUED:
            front += [word, *[value for value in [next(words, None)] if value is not None]]
        else:
            rest.append(word)
    return front + rest
