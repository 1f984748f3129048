"""Reads records, in whichever of the two formats a file is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final

from device_status.cli.files.csv_records import read_csv
from device_status.cli.files.json_lines import read_json_lines
from device_status.cli.files.lines import BLANKS, Line, next_line, read_lines
from device_status.cli.files.record import Record
from device_status.cli.files.tally import Tally


class Format(StrEnum):
    """What an import file is written in."""

    CSV = "csv"
    JSONL = "jsonl"


_BY_SUFFIX: Final = {
    ".csv": Format.CSV,
    ".json": Format.JSONL,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
}


def read_records(
    file: BinaryIO, name: str, kind: Format | None, defaults: Mapping[str, str], tally: Tally
) -> Iterator[Record]:
    """The records of a file, in order; `tally` counts the lines that are not one.

    Parameters:
        name: of the file; its suffix says the format, unless `kind` does. Otherwise the first character does.
        defaults: fill what a record does not give.

    Raises:
        UnusableFileError: it is not what it must be as a whole, as CSV without the columns that are needed.
        UnreadableFileError: reading failed.
    """
    lines = read_lines(file, tally)
    first = next_line(lines, tally)
    kind = kind or _BY_SUFFIX.get(Path(name).suffix.lower()) or _by_content(first)
    if first is not None:
        lines = chain([first], lines)
    records = read_csv(lines, defaults, tally) if kind is Format.CSV else read_json_lines(lines, tally)
    for record in records:
        yield record if record.fields is None else Record(record.number, {**defaults, **record.fields})


def _by_content(first: Line | None) -> Format:
    is_json = first is not None and first.text.lstrip(BLANKS).startswith(("{", "["))
    return Format.JSONL if is_json else Format.CSV
