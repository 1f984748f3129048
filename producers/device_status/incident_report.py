"""An incident's report as JSON or CSV, and the check of its digest; HTML is in incident_html.py."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import deque
from collections.abc import Iterable
from typing import Final, TextIO

from device_status.errors import DeviceStatusError
from device_status.incident_records import Digest, Record

FORMAT: Final = "device-status incident report 1"
COLUMNS: Final = (
    "record",
    "username",
    "device_key",
    "status",
    "outcome",
    "verified_as",
    "finding",
    "devices",
    "attempts",
    "issued_at",
    "entered_at",
    "finished_at",
    "error_code",
    "error_message",
    "request_id",
    "command_id",
    "name",
    "value",
)
"""Of the CSV. The incident's own fields stand one a row, as `name` and `value`."""


class BrokenReportError(DeviceStatusError):
    """A report whose records are not those that its digest was made of, or that is no report."""


def write_json(records: Iterable[Record], out: TextIO) -> str:
    """Write one record a line; returns the SHA-256 over their canonical lines, which ends the report."""
    digest = Digest()
    out.write(f'{{"format":{json.dumps(FORMAT)},"records":[')
    separator = "\n"
    for record in records:
        out.write(separator + digest.add(record))
        separator = ",\n"
    out.write(f'\n],"records_sha256":"{digest.value}"}}\n')
    return digest.value


def write_csv(records: Iterable[Record], out: TextIO) -> str:
    """Write RFC 4180 with a header; returns the SHA-256 over all lines but the last, which holds it.

    A cell that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    sha256 = hashlib.sha256()
    row_text = io.StringIO()
    writer = csv.DictWriter(row_text, COLUMNS, lineterminator="\r\n", extrasaction="ignore")

    def write(row: dict[str, object]) -> None:
        writer.writerow({name: _cell(value) for name, value in row.items()})
        text = row_text.getvalue()
        row_text.seek(0)
        row_text.truncate()
        sha256.update(text.encode())
        out.write(text)

    write({name: name for name in COLUMNS})
    for record in records:
        if record["record"] == "incident":
            for name, value in record.items():
                if name != "record":
                    write({"record": "incident", "name": name, "value": value})
        else:
            write(record)
    digest = sha256.hexdigest()
    write({"record": "lines_sha256", "value": digest})
    return digest


def check_report(report: TextIO) -> str:
    """The digest of a JSON or CSV report, read line by line.

    Raises:
        BrokenReportError: the content is not what the digest was made of.
    """
    first = report.readline()
    if first.startswith('{"format":'):
        return _check_json(report)
    if first.startswith("record,"):
        return _check_csv(first, report)
    raise BrokenReportError("this is no JSON or CSV report of an incident")


def _check_json(report: TextIO) -> str:
    digest = Digest()
    for line in report:
        try:
            if line.startswith("]"):
                told = json.loads("{" + line[2:])["records_sha256"]
                if told != digest.value or report.read().strip():
                    break
                return digest.value
            digest.add(json.loads(line.rstrip().removesuffix(",")))
        except (ValueError, KeyError):
            break
    raise BrokenReportError("the records are not those that the digest was made of")


def _check_csv(first: str, report: TextIO) -> str:
    sha256 = hashlib.sha256()
    # One line behind: the last holds the digest and is not part of it.
    waiting = deque([first])
    for line in report:
        sha256.update(waiting.popleft().encode())
        waiting.append(line)
    digest = sha256.hexdigest()
    if digest not in waiting.popleft():
        raise BrokenReportError("the lines are not those that the digest was made of")
    return digest


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + value
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else value
