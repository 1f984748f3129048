"""Gives lines to `csv.reader`, and gives them again if it turns out that a quote was out of place."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from enum import Enum, auto

from device_status.cli.files.lines import LONGEST, Line


class RecordTooLongError(Exception):
    """More than LONGEST characters belong to one record, because of a quote that is open."""


class CsvLines(Iterator[str]):
    """The lines of a file for `csv.reader`, which asks for one more while a quote is open."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._sources = [lines]
        self._size = 0
        self.taken: list[Line] = []
        """Those of the present record."""
        self.has_ended = False
        """Whether the present record asked for more than the file holds."""

    def begin_record(self) -> None:
        """Forget the lines of the record before."""
        self.taken = []
        self.has_ended = False
        self._size = 0

    def __next__(self) -> str:
        """The text of the next line.

        Raises:
            RecordTooLongError: with that line the record is too long; `taken` has the line.
        """
        line = self.take()
        if line is None:
            self.has_ended = True
            raise StopIteration
        self.taken.append(line)
        self._size += len(line.text)
        if self._size > LONGEST and len(self.taken) > 1:
            raise RecordTooLongError
        return line.text

    def take(self) -> Line | None:
        """The next line outside of a record, or None at the end."""
        while self._sources:
            if (line := next(self._sources[-1], None)) is not None:
                return line
            self._sources.pop()
        return None

    def give_back(self, lines: Iterable[Line]) -> None:
        """Let these come next."""
        self._sources.append(iter(lines))


class End(Enum):
    """How a line leaves the record that it belongs to."""

    OPEN = auto()
    """It goes on: a quote is open."""
    CLOSED = auto()
    BROKEN = auto()
    """It is not CSV."""


def end_of(line: Line, delimiter: str, *, in_quotes: bool) -> End:
    """How `line` leaves its record, whose quotes are open before it or not."""
    has_asked = False

    def text() -> Iterator[str]:
        nonlocal has_asked
        yield '"' + line.text if in_quotes else line.text
        has_asked = True

    try:
        next(csv.reader(text(), delimiter=delimiter, strict=True), None)
    except csv.Error:
        return End.OPEN if has_asked else End.BROKEN
    return End.CLOSED
