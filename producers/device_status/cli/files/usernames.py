"""Reads a list of usernames, one a line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO, Final

from device_status.cli.files.errors import UnusableFileError
from device_status.cli.files.lines import BLANKS, Line, next_line, read_lines
from device_status.cli.files.record import Record
from device_status.cli.files.tally import Tally
from device_status.command import DeviceStatusCommand

_DELIMITERS: Final = re.compile("[,;\t|]")
_JSON: Final = re.compile(r"[\[{]\s*([\[{\"]|$)")
_QUOTED: Final = re.compile("([\"']).+\\1")


def read_usernames(file: BinaryIO, tally: Tally) -> Iterator[Record]:
    """A record with the field `username` for each line that is not blank.

    Spaces and tabs around a name are trimmed, and nothing else: the contract refuses any other space.

    Raises:
        UnusableFileError: it is a file with columns or fields, and not a list.
        UnreadableFileError: reading failed.
    """
    lines = read_lines(file, tally)
    first = next_line(lines, tally)
    if first is None:
        return
    _check_list(first)
    for line in chain([first], lines):
        if line.is_blank:
            tally.blank += 1
        elif problem := line.problem or _mistake(line):
            yield Record(line.number, None, problem)
        else:
            yield Record(line.number, {"username": _name(line)})


def _name(line: Line) -> str:
    return line.text.strip(BLANKS + "\r\n")


def _check_list(first: Line) -> None:
    columns = [column.strip(" \"'\r\n").lower() for column in _DELIMITERS.split(first.text)]
    has_fields = len(columns) > 1 and set(columns) <= set(DeviceStatusCommand.model_fields)
    if has_fields or _JSON.match(_name(first)):
        raise UnusableFileError(
            f"line {first.number} begins a CSV or JSON file: give usernames alone, one a line, "
            "or give devices by --device-file"
        )


def _mistake(line: Line) -> str:
    name = _name(line)
    if name.lower() == "username":
        return "is the name of a column, and not of a user"
    if _QUOTED.fullmatch(name):
        return "is in quotes: remove them"
    return ""
