"""An incident's report as one HTML page that stands alone: no script, nothing fetched, made to be printed."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from tempfile import SpooledTemporaryFile
from typing import Any, Final, TextIO

from device_status.clean import printable
from device_status.incident_chart import chart
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
_BREAKABLE: Final = ("username", "device_key", "request_id", "error_code", "error_message")
"""Columns whose text may be broken anywhere, so that the others are not."""
_NOT_SHOWN: Final = (
    "record",
    "verification",
    "all_succeeded",
    "is_over",
    "is_listing_pool",
    "is_input_complete",
)
_MUST_BE_SHOWN: Final = ("reason", "requested_by")
"""Facts whose absence is told."""

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
"""For the browser: nothing is run and nothing is fetched, whatever stands in the page."""
_STYLE: Final = """
:root { color-scheme: light; font: 15px/1.45 system-ui, sans-serif; color: #1c2127; background: #fff }
body { max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100%; font-size: .85rem }
th, td { text-align: left; padding: .25rem .5rem; border-bottom: 1px solid #d9dde2; vertical-align: top;
  white-space: nowrap }
th { background: #f1f3f5 } td.long { white-space: normal; overflow-wrap: anywhere; min-width: 7rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0 }
dt { color: #5b6670 } dd { margin: 0; overflow-wrap: anywhere }
.bad { color: #a61b1b; font-weight: 600 } .good { color: #14683a; font-weight: 600 }
p.verdict { border-left: .35rem solid; padding: .4rem .8rem; font-size: 1.1rem; background: #f7f8f9 }
svg text { font-size: 11px; fill: #5b6670 }
@media print {
  @page { size: landscape; margin: 12mm } body { margin: 0; max-width: none; font-size: 11px }
  thead { display: table-header-group }
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
        _section("What is not as ordered", _DEVICE, failures, out)
        out.write("<h2>Progress</h2>" + chart(timeline, incident["devices"]))
        _section("Users", _USER, users, out)
        _section("Devices", _DEVICE, devices, out)
        out.write("</body></html>\n")
    return digest.value


def _head(incident: Record, digest: str, out: TextIO) -> None:
    title = _plain(f"Incident {incident['incident_id']}")
    out.write(
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title>"
        f"<meta http-equiv='Content-Security-Policy' content=\"{_POLICY}\">"
        f"<meta name='viewport' content='width=device-width'><style>{_STYLE}</style></head>"
        f"<body><h1>{title}</h1>"
    )
    verdict, is_good = _verdict(incident)
    out.write(f"<p class='verdict {'good' if is_good else 'bad'}'>{verdict}</p>")
    if incident["refused"]:
        refused = f"{incident['refused']:,} lines of the input were refused: they can name no user or device."
        out.write(f"<p class=bad>{refused}</p>")
    _facts(
        {name: value for name, value in incident.items() if name not in _NOT_SHOWN}
        | {"report written at": datetime.now(UTC).isoformat(), "records SHA-256": digest},
        out,
    )
    out.write("<h2>Verification</h2>")
    if incident["verification"] is None:
        out.write("<p>The devices were not listed again after the incident.</p>")
    else:
        _facts(incident["verification"], out)


def _verdict(incident: Record) -> tuple[str, bool]:
    """What the whole report comes to, and whether that is good."""
    verification = incident["verification"]
    if not incident["is_over"]:
        return "The incident is not over: this is how far it has come.", False
    if not incident["all_succeeded"]:
        return "Not everything came to what was ordered.", False
    changed = "Every user and device came to what was ordered"
    if verification is None or verification["ended_at"] is None:
        return f"{changed}. The devices were not listed again afterwards.", True
    if not verification["is_as_ordered"]:
        return f"{changed}; but when they were listed again, not every device was as ordered.", False
    return f"{changed}. Listed again, every device was as ordered.", True


def _facts(facts: Mapping[str, Any], out: TextIO) -> None:
    out.write("<dl>")
    for name, value in facts.items():
        if value is not None or name in _MUST_BE_SHOWN:
            shown = "not given" if value is None else _shown(name, value)
            out.write(f"<dt>{_plain(name.replace('_', ' '))}</dt><dd>{shown}</dd>")
    out.write("</dl>")


def _shown(name: str, value: Any) -> str:
    """A value as people read it: nothing in it is markup, steers or hides."""
    if name.endswith(("_at", " at")):
        return f"{datetime.fromisoformat(value).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _plain(f"{value:,}" if isinstance(value, int) else str(value))


def _plain(text: str) -> str:
    return escape(printable(text))


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
    cells = (
        ("<td class=long>" if column in _BREAKABLE else "<td>")
        + ("" if record.get(column) is None else _shown(column, record[column]))
        for column in columns
    )
    # The end of a cell may be left out in HTML; in a million rows that counts.
    return f"<tr>{''.join(cells)}</tr>\n"


def _spool() -> Any:
    return SpooledTemporaryFile(_SPOOL, mode="w+", encoding="utf-8")
