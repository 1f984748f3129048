"""Reads CSV as RFC 4180 has it. A quote out of place costs its own line, never those after it.

What a well-formed file has in quotes is never taken for a record, however long it is and whatever it says:
to send a command that nobody gave is worse than to refuse a good one. So the lines after a quote are read on
their own only once the file has proved not to be well-formed, and a record over several lines in which lines
look like records is refused.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from device_status.cli.files.csv_header import Header, read_header
from device_status.cli.files.csv_lines import CsvLines, End, RecordTooLongError, end_of
from device_status.cli.files.kept_lines import KeptLines
from device_status.cli.files.lines import BLANKS, LONGEST, Line
from device_status.cli.files.record import Record
from device_status.cli.files.tally import Tally
from device_status.command import SCHEMA_VERSION

_NOT_CLOSED: Final = "opens a quote that is not closed"
_TELLTALE: Final = re.compile("(not_)?remembered|[A-Za-z0-9_-]+_[0-9A-Za-z-]+")
"""A status, a pool or a device key: what every record holds, and prose hardly ever between two delimiters."""


def read_csv(lines: Iterator[Line], defaults: Mapping[str, str], tally: Tally) -> Iterator[Record]:
    """A record for each row below the header, and for each line that can't be read.

    Raises:
        UnusableFileError: there is no header with the columns that are needed; `defaults` need none.
    """
    header = read_header(lines, defaults, tally)
    source = CsvLines(lines)
    rows = csv.reader(source, delimiter=header.delimiter, strict=True)
    while True:
        source.begin_record()
        try:
            cells = next(rows, None)
        except csv.Error as error:
            yield _refuse_first(source, str(error))
        except RecordTooLongError:
            yield from _long_record(source, header.delimiter, tally)
        else:
            if cells is None:
                return
            read = _from_line if len(source.taken) == 1 else _from_lines
            yield from read(source.taken, cells, header, tally)


def _from_line(lines: Sequence[Line], cells: list[str], header: Header, tally: Tally) -> Iterator[Record]:
    (line,) = lines
    if line.problem:
        yield Record(line.number, None, line.problem)
    elif line.is_blank:
        tally.blank += 1
    elif len(cells) == len(header.columns):
        yield Record(line.number, _fields(header, cells))
    else:
        yield Record(line.number, None, _wrong_count(header, cells))


def _from_lines(lines: Sequence[Line], cells: list[str], header: Header, tally: Tally) -> Iterator[Record]:
    if bad := next((line for line in lines if line.problem), None):
        yield from _refuse_all(lines, f"can't be used: line {bad.number} {bad.problem}", tally)
    elif len(cells) != len(header.columns):
        yield from _refuse_all(
            lines, f"{_wrong_count(header, cells)}, with a quote over several lines", tally
        )
    elif _hides_records(lines, header):
        problem = (
            f"opens a quote that closes on line {lines[-1].number}, and lines up to there look like records: "
            "correct the quote, or put the text on one line"
        )
        yield from _refuse_all(lines, problem, tally)
    else:
        tally.continued += len(lines) - 1
        yield Record(lines[0].number, _fields(header, cells))


def _fields(header: Header, cells: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        name: cell for name, cell in zip(header.columns, cells, strict=True) if cell.strip(BLANKS)
    }
    if fields.get("schema_version") == str(SCHEMA_VERSION):
        fields["schema_version"] = SCHEMA_VERSION
    return fields


def _wrong_count(header: Header, cells: list[str]) -> str:
    return f"has {len(cells)} cell{'s' if len(cells) > 1 else ''}; the header has {len(header.columns)}"


def _hides_records(lines: Sequence[Line], header: Header) -> bool:
    """Whether two stray quotes may have made one record of several.

    Of a good one, the first line looks like a record if the quoted cell is the last, and the last line if it
    is the first; never both.
    """
    first, *inner, last = (_looks_like_record(line, header) for line in lines)
    return any(inner) or (first and last)


def _looks_like_record(line: Line, header: Header) -> bool:
    cells = line.text.split(header.delimiter)
    return len(cells) >= len(header.columns) and any(
        _TELLTALE.fullmatch(cell.strip(BLANKS + '\r\n"')) for cell in cells
    )


def _refuse_first(source: CsvLines, error: str) -> Record:
    """Refuse the line that the quote is in, and read those after it again."""
    first, *others = source.taken
    source.give_back(others)
    is_open = others or source.has_ended
    return Record(
        first.number, None, first.problem or (_NOT_CLOSED if is_open else f"is not valid CSV: {error}")
    )


def _refuse_all(lines: Iterable[Line], problem: str, tally: Tally) -> Iterator[Record]:
    """Refuse every line of a record, so that whoever looks for one of them finds it listed."""
    first = 0
    for line in lines:
        if line.is_blank:
            tally.blank += 1
        else:
            inside = f"belongs to the record that line {first} begins" if first else problem
            yield Record(line.number, None, line.problem or inside)
        first = first or line.number


def _long_record(source: CsvLines, delimiter: str, tally: Tally) -> Iterator[Record]:
    first, *others = source.taken
    kept = KeptLines()
    for line in others:
        kept.add(line)
    end = end_of(others[-1], delimiter, in_quotes=True)
    while end is End.OPEN and (following := source.take()):
        kept.add(following)
        end = end_of(following, delimiter, in_quotes=True)
    if end is End.CLOSED:
        yield from _refuse_all(
            chain([first], kept), f"begins a record of more than {LONGEST} characters", tally
        )
    else:
        source.give_back(kept)
        yield Record(first.number, None, first.problem or _NOT_CLOSED)
