"""Reads JSON lines: an object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NoReturn

from device_status.cli.files.errors import UnusableFileError
from device_status.cli.files.lines import BLANKS, Line
from device_status.cli.files.record import Record
from device_status.cli.files.tally import Tally


class _RefusedJSONError(Exception):
    """It is JSON to Python, and not to us."""


def read_json_lines(lines: Iterator[Line], tally: Tally) -> Iterator[Record]:
    """A record for each line that is not blank.

    Raises:
        UnusableFileError: the file begins as one JSON array, or as an object that is laid out over lines.
    """
    is_first = True
    for line in lines:
        if line.is_blank:
            tally.blank += 1
            continue
        if is_first:
            _check_layout(line)
            is_first = False
        yield Record(line.number, None, line.problem) if line.problem else _parse(line)


def _check_layout(first: Line) -> None:
    text = first.text.strip(BLANKS + "\r\n")
    if text.startswith("[") or text == "{":
        raise UnusableFileError(
            f"line {first.number} begins JSON that is laid out over lines: write each object on one line "
            "of its own, as `jq -c` does (`jq -c '.[]'` for an array)"
        )


def _parse(line: Line) -> Record:
    try:
        fields = json.loads(line.text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return Record(
                line.number, None, "holds more than one JSON value: write each on one line of its own"
            )
        return Record(line.number, None, f"is not JSON: {error.msg}, column {error.colno}")
    except _RefusedJSONError as error:
        return Record(line.number, None, str(error))
    except RecursionError:
        return Record(line.number, None, "is nested too deeply")
    except ValueError:
        # The only other one: Python converts no text of more than 4,300 digits.
        return Record(line.number, None, "holds a number that is too long")
    if not isinstance(fields, dict):
        return Record(line.number, None, "is not a JSON object")
    return Record(line.number, fields)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _RefusedJSONError("repeats a field")
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise _RefusedJSONError(f"holds {name}, which is not JSON")
