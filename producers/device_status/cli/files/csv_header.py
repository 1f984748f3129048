"""Reads the header of a CSV file, and learns the delimiter from it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from device_status.cli.files.errors import UnusableFileError
from device_status.cli.files.lines import Line, next_line
from device_status.cli.files.tally import Tally
from device_status.command import DeviceStatusCommand

_DELIMITERS: Final = ",;\t|"
_DELIMITER_LINE: Final = re.compile(r'"?sep=([^"\r\n])"?[\r\n]*', re.IGNORECASE)
"""Excel writes it, and reads it, before the header."""
_KNOWN: Final = DeviceStatusCommand.model_fields
_NEEDED: Final = ("user_pool_id", "username", "device_key", "status")


@dataclass(frozen=True, slots=True)
class Header:
    """The columns of a file, and what is between them."""

    delimiter: str
    columns: tuple[str, ...]

    def mistake(self, defaults: Mapping[str, str]) -> str | None:
        """What is wrong with it, without its text: the first line of a file without a header holds a name."""
        missing = [name for name in _NEEDED if name not in self.columns and name not in defaults]
        if missing:
            return f"missing columns: {', '.join(missing)}"
        if not set(self.columns) <= set(_KNOWN):
            return "a column is unknown"
        if len(set(self.columns)) != len(self.columns):
            return "a column appears twice"
        return None


def read_header(lines: Iterator[Line], defaults: Mapping[str, str], tally: Tally) -> Header:
    """The first line that is not blank, or after a line `sep=;` the second.

    Raises:
        UnusableFileError: it names no columns, not all that are needed, or others.
    """
    line = next_line(lines, tally)
    delimiters = _DELIMITERS
    if line and (named := _DELIMITER_LINE.fullmatch(line.text)):
        delimiters = named[1]
        tally.header += 1
        line = next_line(lines, tally)
    if line:
        tally.header += 1
    where = f"line {line.number if line else 1} must be a header"
    if line and line.problem:
        raise UnusableFileError(f"{where}, but it {line.problem}")
    found = [_split(line.text if line else "", delimiter) for delimiter in delimiters]
    best = max(found, key=lambda header: len(_KNOWN.keys() & set(header.columns)))
    if mistake := best.mistake(defaults):
        raise UnusableFileError(
            f"{where}: {mistake}; known columns: {', '.join(_KNOWN)}. "
            'The delimiter is a comma, semicolon, tab or vertical bar, and the quote is "'
        )
    return best


def _split(text: str, delimiter: str) -> Header:
    try:
        cells = next(csv.reader([text], delimiter=delimiter, strict=True), [])
    except csv.Error:
        cells = []
    return Header(delimiter, tuple(cell.strip() for cell in cells))
