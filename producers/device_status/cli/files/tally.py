"""Accounts for every line of a file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """What became of each line of a file so far.

    The file's lines are counted where they are read, everything else where it is decided, so
    `unaccounted` shows a line that was lost in between.
    """

    file_lines: int = 0
    """As an editor numbers them: a last line without a line end counts."""
    header: int = 0
    blank: int = 0
    """Lines of nothing but spaces and tabs."""
    continued: int = 0
    """Lines that carry on a record, one with a line break in a quoted cell."""
    accepted: int = 0
    repeated: int = 0
    refused: int = 0

    @property
    def lines(self) -> int:
        """Lines that hold, or begin, a command, a device or a username."""
        return self.file_lines - self.header - self.blank - self.continued

    @property
    def unaccounted(self) -> int:
        """Lines of which nothing is known; 0 once a whole file is done."""
        return self.lines - self.accepted - self.repeated - self.refused

    def to_dict(self) -> dict[str, int]:
        """For people and `--json`: `lines` is the sum of the next three, and the rest is not in it."""
        return {
            "lines": self.lines,
            "accepted": self.accepted,
            "repeated": self.repeated,
            "refused": self.refused,
            "header": self.header,
            "blank": self.blank,
            "continued": self.continued,
        }

    def __str__(self) -> str:
        """`lines: 5; accepted: 3, repeated: 1, refused: 1; blank: 2`."""
        total, *counts = self.to_dict().items()
        fates, others = counts[:3], [count for count in counts[3:] if count[1]]
        return "; ".join(
            ", ".join(f"{name}: {count}" for name, count in part) for part in ([total], fates, others) if part
        )

    def so_far(self) -> str:
        """For the error that stops it in the middle."""
        return (
            f"Lines read: {self.lines}; accepted: {self.accepted}, repeated: {self.repeated}, "
            f"refused: {self.refused}, in doubt: {self.unaccounted}"
        )

    def mistake(self) -> str | None:
        """What to say if the lines of a whole file do not add up, which only a fault of ours can cause."""
        if not self.unaccounted:
            return None
        return (
            f"the lines do not add up, which is a fault of device-status; please report it. {self.so_far()}"
        )
