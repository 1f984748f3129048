"""`device-status incident report|verify|check-report`: what was done, and whether it holds."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from device_status.cli.incident import IncidentId, Timeout
from device_status.cli.incident_progress import goes_on, watch_verification
from device_status.cli.output import AsJson, Exit, fail, messages, print_fields, print_json, print_line
from device_status.cli.private_file import private_file
from device_status.incident_html import write_html
from device_status.incident_records import records, timeline
from device_status.incident_report import BrokenReportError, check_report, write_csv, write_json
from device_status.incidents import Incidents

_WHAT_IT_PROVES: Final = (
    "the report is complete and fits the SHA-256 in it. If that is the one noted elsewhere when it was "
    "written, nothing was changed since. Alone it proves nothing: who can edit the file can compute a new one"
)


class ReportFormat(StrEnum):
    """What a report is written as."""

    JSON = "json"
    CSV = "csv"
    HTML = "html"


def report(
    incident_id: IncidentId,
    kind: Annotated[ReportFormat, typer.Option("--format", help="What to write.")] = ReportFormat.JSON,
    output: Annotated[
        str, typer.Option("--output", "-o", help="A file, for you alone; `-` is standard output.")
    ] = "-",
) -> None:
    """Write who asked, why, when, and what became of every user and device.

    It holds usernames: it is evidence. Its SHA-256 stands in it and is printed on standard error; note it
    where those who can change the report can't write. `incident check-report` checks it.
    """
    incidents = Incidents()
    # Before the file is made: an unknown incident leaves none behind.
    progress = incidents.progress(incident_id)
    with private_file(output) as out:
        found = records(incidents, incident_id)
        match kind:
            case ReportFormat.JSON:
                digest = write_json(found, out)
            case ReportFormat.CSV:
                digest = write_csv(found, out)
            case ReportFormat.HTML:
                digest = write_html(found, timeline(incidents, incident_id), out)
    messages.print(f"SHA-256 {digest}")
    if not progress.is_over:
        messages.print("the incident is not over: this report says how far it has come")


def check(
    file: Annotated[Path, typer.Argument(help="A JSON or CSV report.", dir_okay=False)],
    as_json: AsJson = False,
) -> None:
    """Check that a report is complete and fits the SHA-256 in it, which is printed.

    Compare that SHA-256 with the one noted elsewhere when the report was written: if they are equal, nothing
    was changed since. Alone it does not prove that, or who wrote the report: it has no key, so whoever can
    edit the file can also compute a new SHA-256.
    """
    try:
        with file.open(encoding="utf-8", newline="") as source:
            digest = check_report(source)
    except OSError as error:
        fail(Exit.USAGE, f"{file}: can't be read: {error.strerror}")
    except (BrokenReportError, UnicodeDecodeError) as error:
        fail(Exit.NOT_ALL, f"{file}: {error}")
    print_json({"sha256": digest}) if as_json else print_line(digest)
    messages.print(_WHAT_IT_PROVES)


def verify(incident_id: IncidentId, timeout: Timeout = None, as_json: AsJson = False) -> None:
    """List every user's devices again and compare; the result is part of the report.

    Exit code 0 where all are as ordered, 1 where not, 5 where the time was over before.
    """
    incidents = Incidents()
    incidents.verify(incident_id)
    with goes_on(incident_id):
        found = watch_verification(incidents, incident_id, timeout)
    verification = found.verification
    if verification is None:
        fail(Exit.NOT_ALL, f"{incident_id}: not verified: it went on meanwhile, or is forgotten")
    fields = found.to_dict()["verification"]
    print_json(fields) if as_json else print_fields(fields)
    if verification.ended_at is None:
        raise typer.Exit(Exit.TIMED_OUT)
    if not verification.is_as_ordered:
        raise typer.Exit(Exit.NOT_ALL)
