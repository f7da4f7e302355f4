"""How the demo tells its steps: numbered sentences with seconds for people, or one JSON object each."""

import time
from collections.abc import Sequence
from typing import Final, final

from ddtp.cli._console import Console
from ddtp.cli.demo_wording import Words, words
from ddtp.verify.steps import Step
from ddtp.verify.wording import words as verify_words

_INDENT: Final = " " * 13
"""As wide as the number and the seconds before a sentence."""
_SHOWN_BLOCKS: Final = 4
"""Of the consent screen: its title, who asks, what is sent, what it is used for."""


@final
class Teller:
    """Tells what happens, and measures how long each step took.

    Args:
        console: Where to write.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._number = 0
        self._begun = self._last = time.monotonic()

    @property
    def words(self) -> Words:
        """The words of the language."""
        return words(self._console.language)

    def say(self, text: str, **values: object) -> None:
        """Write a text between the steps, for people only."""
        if not self._console.options.json_output:
            self._console.result(self.words.fill(text, **values), {})

    def tell(self, step: str, *, data: dict[str, object] | None = None, **values: object) -> None:
        """Tell a step that has just ended.

        Args:
            step: Its name in the words.
            data: What machines are told beside the values.
            values: What its sentence needs.
        """
        self._tell(step, self.words.text(step, **values), values | (data or {}))

    def caught(self, attack: str, step: Step, *, reason: str, **values: object) -> None:
        """Tell an attack that a step of the verification has refused.

        Args:
            attack: Its name in the words.
            step: What caught it.
            reason: What the refusing side said, for machines.
            values: What its sentence needs.
        """
        title = verify_words(self._console.language).steps[step].title
        text = self.words.text(attack, **values)
        text += "\n" + self.words.fill(self.words.caught, number=step.value, label=step.label, title=title)
        refusal = {"refused": True, "failed_step": step.value, "failed_step_name": step.label, "reason": reason}
        self._tell(attack, text, values | refusal)

    def show_screen(self, screen: str) -> None:
        """Show the first half of a consent screen, and its last section, which says who checks."""
        *blocks, last = screen.rstrip("\n").split("\n\n")
        shown, hidden = (part.split("\n") for part in _halves(blocks))
        more = self.words.more.format(count=len(hidden))
        text = "\n".join(f"{_INDENT}| {line}".rstrip() for line in [*shown, "", more, "", *last.split("\n")])
        if not self._console.options.json_output:
            self._console.result(text, {})

    def end(self, data: dict[str, object], text: str, **values: object) -> None:
        """Tell that all went as it must, and what comes next."""
        seconds = time.monotonic() - self._begun
        told = self.words.fill(self.words.end, seconds=seconds) + "\n" + self.words.fill(text, **values)
        self._console.result(told, {"step": "end", "passed": True, "seconds": round(seconds, 3), **data})

    def warn(self, text: str) -> None:
        """Tell something that explains a failure."""
        self._console.warn(text)

    def _tell(self, step: str, text: str, data: dict[str, object]) -> None:
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        self._number += 1
        first, *rest = text.split("\n")
        lines = [f"{self._number:>2}. {seconds:6.2f} s {first}", *(f"{_INDENT}{line}" for line in rest)]
        self._console.result("\n".join(lines), {"step": step, "seconds": round(seconds, 3), **data})


def _halves(blocks: Sequence[str]) -> tuple[str, str]:
    return "\n\n".join(blocks[:_SHOWN_BLOCKS]), "\n\n".join(blocks[_SHOWN_BLOCKS:])
