"""Reads commands from CSV and JSONL, line by line in constant memory; a bad line is told, never fatal."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, BinaryIO, Final

from device_status.command import SCHEMA_VERSION, DeviceStatusCommand
from device_status.errors import DeviceStatusError

LONGEST: Final = 64 * 1024
"""Bytes of one record."""
_NEEDED: Final = ("user_pool_id", "username", "device_key", "status")


class Format(StrEnum):
    """What an import file is written in."""

    CSV = "csv"
    JSONL = "jsonl"


class UnusableFileError(DeviceStatusError):
    """Nothing of the file can be imported."""


@dataclass(frozen=True, slots=True)
class Line:
    """One record: its fields, or why it has none."""

    number: int
    """Of its first line in the file, from 1."""
    fields: Mapping[str, Any] | None
    problem: str = ""


def read(file: BinaryIO, kind: Format, defaults: Mapping[str, str]) -> Iterator[Line]:
    """The records of a file; `defaults` fill what a record does not give.

    Raises:
        UnusableFileError: a CSV file without the columns that are needed.
    """
    records = _read_csv(file, defaults) if kind is Format.CSV else _read_jsonl(file)
    for line in records:
        yield line if line.fields is None else Line(line.number, {**defaults, **line.fields})


def _read_jsonl(file: BinaryIO) -> Iterator[Line]:
    for number, text in physical_lines(file):
        if text is None:
            yield Line(number, None, f"is no UTF-8, or longer than {LONGEST} bytes")
        elif text.strip():
            yield _from_json(number, text)


def _from_json(number: int, text: str) -> Line:
    try:
        fields = json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError):
        return Line(number, None, "is no JSON, or repeats a field")
    if not isinstance(fields, dict):
        return Line(number, None, "is no JSON object")
    return Line(number, fields)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field stands twice")
    return fields


def _read_csv(file: BinaryIO, defaults: Mapping[str, str]) -> Iterator[Line]:
    records = _csv_records(file)
    header = next((line for line in records if line.fields is None or line.fields["cells"] != []), None)
    columns = [cell.strip() for cell in header.fields["cells"]] if header and header.fields else []
    # The text of the header is not repeated: where it is missing, the first line holds somebody's name.
    missing = [name for name in _NEEDED if name not in columns and name not in defaults]
    unknown = sum(column not in DeviceStatusCommand.model_fields for column in columns)
    if missing or unknown or len(set(columns)) != len(columns):
        raise UnusableFileError(
            "line 1 must be a header: "
            + (f"missing columns: {', '.join(missing)}" if missing else "a column is unknown or stands twice")
            + f"; known columns: {', '.join(DeviceStatusCommand.model_fields)}"
        )
    for line in records:
        if line.fields is None:
            yield line
            continue
        cells = line.fields["cells"]
        if not cells:
            continue
        if len(cells) != len(columns):
            yield Line(line.number, None, f"has {len(cells)} cells; the header has {len(columns)}")
            continue
        fields: dict[str, Any] = {
            name: cell for name, cell in zip(columns, cells, strict=True) if cell.strip()
        }
        if fields.get("schema_version") == str(SCHEMA_VERSION):
            fields["schema_version"] = SCHEMA_VERSION
        yield Line(line.number, fields)


def _csv_records(file: BinaryIO) -> Iterator[Line]:
    """Records as {"cells": […]}; a quoted cell may run over several lines."""
    first = 0
    parts: list[str] = []
    for number, text in physical_lines(file):
        if text is None:
            yield Line(number, None, f"is no UTF-8, or longer than {LONGEST} bytes")
            continue
        first = first if parts else number
        parts.append(text)
        record = "".join(parts)
        if record.count('"') % 2 and len(record) < LONGEST:
            continue
        parts = []
        yield _from_csv(first, record)
    if parts:
        yield _from_csv(first, "".join(parts))


def _from_csv(number: int, record: str) -> Line:
    if record.count('"') % 2:
        return Line(number, None, "has a quote that is not closed")
    try:
        rows = list(csv.reader(record.splitlines(keepends=True), strict=True))
    except csv.Error as error:
        return Line(number, None, f"is no CSV: {error}")
    return Line(number, {"cells": rows[0] if rows else []})


def physical_lines(file: BinaryIO) -> Iterator[tuple[int, str | None]]:
    """Lines with their number; None for one that is too long or no UTF-8."""
    number = 0
    while raw := file.readline(LONGEST + 1):
        number += 1
        too_long = len(raw) > LONGEST
        while too_long and not raw.endswith(b"\n") and (raw := file.readline(LONGEST)):
            pass
        if too_long:
            yield number, None
            continue
        try:
            yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            yield number, None


Told = Callable[[int, str], None]
"""Takes a line number and what is wrong with it."""
