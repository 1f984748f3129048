"""An incident's report as one HTML page that stands alone: no script, nothing fetched, made to be printed."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from tempfile import SpooledTemporaryFile
from typing import Any, Final, TextIO

from device_status.incident_records import Digest, Record

_NO_FAILURES: Final = (
    "succeeded",
    "superseded",
    "expanded",
    "no_devices",
    "given",
    # Not over yet.
    "queued",
    "claimed",
    "retry_wait",
)
_DEVICE: Final = (
    "username",
    "device_key",
    "outcome",
    "verified_as",
    "finished_at",
    "attempts",
    "request_id",
    "error_code",
    "error_message",
)
_USER: Final = ("username", "outcome", "devices", "finished_at", "error_code", "error_message", "request_id")
_SPOOL: Final = 4 * 1024 * 1024
_MOST_POINTS: Final = 400
_CHART: Final = (860, 240, 60, 28)
"""Width, height, left and bottom margin, in CSS pixels."""

_STYLE: Final = """
:root { color-scheme: light; font: 15px/1.45 system-ui, sans-serif; color: #1c2127; background: #fff }
body { max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100%; font-size: .85rem }
th, td { text-align: left; padding: .25rem .5rem; border-bottom: 1px solid #d9dde2; vertical-align: top;
  overflow-wrap: anywhere }
th { background: #f1f3f5 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0 }
dt { color: #5b6670 } dd { margin: 0; overflow-wrap: anywhere }
.bad { color: #a61b1b; font-weight: 600 } .good { color: #14683a; font-weight: 600 }
svg text { font-size: 11px; fill: #5b6670 }
@media print {
  @page { margin: 15mm } body { margin: 0; max-width: none } thead { display: table-header-group }
  tr, svg { break-inside: avoid } h2 { break-after: avoid }
}
"""


def write_html(records: Iterable[Record], timeline: Sequence[tuple[datetime, int]], out: TextIO) -> str:
    """Write the page; returns the SHA-256 over the records, the same as of the JSON report.

    What failed stands before the long lists, so both are spooled to disk: memory stays constant.
    """
    digest = Digest()
    incident: Record = {}
    with _spool() as failures, _spool() as users, _spool() as devices:
        for record in records:
            digest.add(record)
            match record["record"]:
                case "incident":
                    incident = record
                case "user":
                    users.write(_row(record, _USER))
                    _note_failure(record, failures)
                case "device":
                    devices.write(_row(record, _DEVICE))
                    _note_failure(record, failures)
                case _:
                    failures.write(_row(record | {"outcome": record["finding"]}, _DEVICE))
        _head(incident, digest.value, out)
        out.write(chart(timeline, incident["devices"]))
        for title, columns, spooled in (
            ("What is not as ordered", _DEVICE, failures),
            ("Users", _USER, users),
            ("Devices", _DEVICE, devices),
        ):
            _section(title, columns, spooled, out)
        out.write("</body></html>\n")
    return digest.value


def chart(timeline: Sequence[tuple[datetime, int]], total: int) -> str:
    """The devices that had their outcome, over time, as SVG."""
    if not timeline:
        return "<p>No device has had an outcome.</p>"
    width, height, left, bottom = _CHART
    began, span = (
        timeline[0][0].timestamp(),
        max(10.0, (timeline[-1][0] - timeline[0][0]).total_seconds() + 10),
    )
    done, points = 0, [(0.0, 0)]
    step = max(1, len(timeline) // _MOST_POINTS)
    for number, (at, count) in enumerate(timeline):
        done += count
        if number % step == 0 or number == len(timeline) - 1:
            points.append((at.timestamp() + 10 - began, done))
    top = max(total, done, 1)

    def place(seconds: float, count: int) -> str:
        x = left + seconds / span * (width - left - 10)
        return f"{x:.1f},{(height - bottom) - count / top * (height - bottom - 14):.1f}"

    line = " ".join(place(*point) for point in points)
    first, last = (datetime.fromtimestamp(began + at, UTC) for at in (0, span))
    return (
        f"<h2>Progress</h2><svg viewBox='0 0 {width} {height}' role='img' width='100%'>"
        f"<title>{done} of {total} devices had their outcome</title>"
        f"<polyline points='{place(0, 0)} {place(span, 0)}' fill='none' stroke='#9aa5b1'/>"
        f"<polyline points='{place(0, top)} {place(span, top)}' fill='none' stroke='#d9dde2'/>"
        f"<polyline points='{line}' fill='none' stroke='#1f5fbf' stroke-width='2'/>"
        f"<text x='{left - 6}' y='18' text-anchor='end'>{top:,}</text>"
        f"<text x='{left - 6}' y='{height - bottom}' text-anchor='end'>0</text>"
        f"<text x='{left}' y='{height - 8}'>{first:%Y-%m-%d %H:%M:%S} UTC</text>"
        f"<text x='{width - 10}' y='{height - 8}' text-anchor='end'>{last:%Y-%m-%d %H:%M:%S} UTC</text></svg>"
    )


def _head(incident: Record, digest: str, out: TextIO) -> None:
    title = f"Incident {escape(str(incident['incident_id']))}"
    out.write(
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title>"
        f"<meta name='viewport' content='width=device-width'><style>{_STYLE}</style></head>"
        f"<body><h1>{title}</h1>"
    )
    clean = incident["all_succeeded"]
    verdict = (
        "Every user and device came to what was ordered."
        if clean
        else "Not everything came to what was ordered."
    )
    if not incident["is_over"]:
        verdict, clean = "The incident is not over: this is how far it has come.", False
    out.write(f"<p class='{'good' if clean else 'bad'}'>{verdict}</p><dl>")
    for name, value in incident.items():
        if name not in ("record", "verification", "all_succeeded", "is_over") and value is not None:
            out.write(f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(str(value))}</dd>")
    out.write(f"<dt>records SHA-256</dt><dd>{digest}</dd></dl><h2>Verification</h2>")
    if incident["verification"] is None:
        out.write("<p>The devices were not listed again after the incident.</p>")
        return
    verified = incident["verification"]["is_as_ordered"]
    out.write(f"<p class='{'good' if verified else 'bad'}'>")
    out.write(
        "Every device that was listed is as ordered." if verified else "Not every device is as ordered."
    )
    out.write("</p><dl>")
    for name, value in incident["verification"].items():
        out.write(f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(str(value))}</dd>")
    out.write("</dl>")


def _section(title: str, columns: Sequence[str], rows: Any, out: TextIO) -> None:
    out.write(f"<h2>{title}</h2>")
    if not rows.tell():
        out.write("<p>None.</p>")
        return
    heads = "".join(f"<th>{column.replace('_', ' ')}</th>" for column in columns)
    out.write(f"<table><thead><tr>{heads}</tr></thead><tbody>")
    rows.seek(0)
    shutil.copyfileobj(rows, out)
    out.write("</tbody></table>")


def _note_failure(record: Record, failures: Any) -> None:
    other = record.get("verified_as") not in (None, "gone", record.get("status"))
    if record["outcome"] not in _NO_FAILURES or other:
        failures.write(_row(record, _DEVICE))


def _row(record: Record, columns: Sequence[str]) -> str:
    cells = (record.get(column) for column in columns)
    return (
        "<tr>"
        + "".join(f"<td>{'' if cell is None else escape(str(cell))}</td>" for cell in cells)
        + "</tr>\n"
    )


def _spool() -> Any:
    return SpooledTemporaryFile(_SPOOL, mode="w+", encoding="utf-8")
