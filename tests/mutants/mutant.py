"""A mutant: one place in the code that is broken on purpose, and the test that must notice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


class NoLongerAppliesError(Exception):
    """The code has changed; the text names the mutant and says what to adapt."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One text of one file, replaced."""

    name: str
    """What breaks, in words."""
    file: str
    """Its path from the root of the repository."""
    text: str
    """Must occur exactly once in the file or, with `after`, somewhere behind that."""
    replacement: str
    test: str
    """Id of the test that must fail; docs/guarantees.md names it, or its class, for the promise."""
    after: str = ""
    """A text that must occur exactly once; the first `text` behind it is the one that is meant."""

    def apply(self, source: str) -> str:
        """The file's text with the mutant in it.

        Raises:
            NoLongerAppliesError: the file does not hold what is to be replaced, or holds it twice.
        """
        if self.after:
            before, anchor, behind = source.partition(self.after)
            self._check(source.count(self.after) == 1 and self.text in behind)
            return before + anchor + behind.replace(self.text, self.replacement, 1)
        self._check(source.count(self.text) == 1)
        return source.replace(self.text, self.replacement)

    def _check(self, applies: bool) -> None:
        if not applies:
            raise NoLongerAppliesError(
                f"mutant {self.name!r} no longer applies: {self.file} must hold {self.text!r} once"
                + (f" behind {self.after!r}, which must be there once" if self.after else "")
            )
