"""An incident's report as JSON or CSV, and the check of its digest; HTML is in incident_html.py."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping
from typing import Final, TextIO

from device_status.clean import escaped_json, printable
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
_JSON_HEAD: Final = f'{{"format":{json.dumps(FORMAT)},"records":['
_FORMULA: Final = re.compile(
    r"(^|;)(?=[\s'\"]*[=+\-@|%\u2212\u207a-\u207c\u208a-\u208c\ufb29\ufe62\ufe63\ufe66\ufe6a\ufe6b"
    r"\uff05\uff0b\uff0d\uff1d\uff20\uff5c])"
)
"""Where a spreadsheet may see the beginning of a formula: a sign that starts one, or a character that some
programs convert to it, even after blanks and quotes. With many locales a cell ends at a semicolon. Source:
OWASP, CSV Injection."""


class BrokenReportError(DeviceStatusError):
    """A report whose records are not those that its digest was made of, or that is not a report."""


def write_json(records: Iterable[Record], out: TextIO) -> str:
    """Write one record a line; returns the SHA-256 over their canonical lines, which ends the report."""
    digest = Digest()
    out.write(_JSON_HEAD)
    separator = "\n"
    for record in records:
        out.write(separator + escaped_json(digest.add(record)))
        separator = ",\n"
    out.write("\n" + _json_tail(digest))
    return digest.value


def write_csv(records: Iterable[Record], out: TextIO) -> str:
    """Write RFC 4180 with a header; returns the SHA-256 over all lines but the last, which holds it.

    Cells are harmless to look at (`printable`); one that a spreadsheet would run as a formula gets an
    apostrophe in front.
    """
    sha256 = hashlib.sha256()

    def write(line: str) -> None:
        sha256.update(line.encode())
        out.write(line)

    write(_csv_head())
    for record in records:
        if record["record"] == "incident":
            for name, value in record.items():
                if name != "record":
                    write(_csv_line({"record": "incident", "name": name, "value": value}))
        else:
            write(_csv_line(record))
    digest = sha256.hexdigest()
    out.write(_csv_tail(digest))
    return digest


def check_report(report: TextIO) -> str:
    """The digest of a JSON or CSV report, read line by line.

    The file must be what `write_json` or `write_csv` writes, to the letter: with a second field of the same
    name, or a line after the end, some readers would see another report than the one that was checked.

    Parameters:
        report: opened with `newline=""`.

    Raises:
        BrokenReportError: the content is not what the digest was made of.
    """
    first = report.readline()
    if first == f"{_JSON_HEAD}\n":
        return _check_json(report)
    if first == _csv_head():
        return _check_csv(first, report)
    raise BrokenReportError(f"is not a JSON or CSV report of an incident in the format {FORMAT!r}")


def _check_json(report: TextIO) -> str:
    digest = Digest()
    follows = True
    while follows:
        line = report.readline()
        follows = line.endswith(",\n")
        text = line.removesuffix("\n").removesuffix(",")
        try:
            is_ours = text == escaped_json(digest.add(json.loads(text)))
        except (ValueError, RecursionError):
            is_ours = False
        if not is_ours:
            raise BrokenReportError(
                "a record is not as this program writes it: the file was changed or cut off"
            )
    if report.readline() != _json_tail(digest) or report.read(1):
        raise BrokenReportError("the records are not those that the digest at its end was made of")
    return digest.value


def _check_csv(first: str, report: TextIO) -> str:
    sha256 = hashlib.sha256()
    # One line behind: the last holds the digest and is not part of it.
    last = first
    for line in report:
        sha256.update(last.encode())
        last = line
    digest = sha256.hexdigest()
    if last != _csv_tail(digest):
        raise BrokenReportError("the last line is not the digest of the lines before it")
    return digest


def _json_tail(digest: Digest) -> str:
    return f'],"records_sha256":"{digest.value}"}}\n'


def _csv_head() -> str:
    return _csv_line({name: name for name in COLUMNS})


def _csv_tail(digest: str) -> str:
    return _csv_line({"record": "lines_sha256", "value": digest})


def _csv_line(row: Mapping[str, object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow([_cell(row.get(name)) for name in COLUMNS])
    return line.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, str):
        return _FORMULA.sub(r"\1'", printable(value))
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else value
