"""What an incident's report says, record by record, in constant memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from device_status.clean import printable
from device_status.incident import Progress, incident_key
from device_status.incident_rules import unknown
from device_status.incidents import Incidents
from device_status.ledger import command_key, from_ms
from device_status.scripts import ledger_errors

Record = dict[str, Any]

_PAGE: Final = 500
_ENTRY: Final = (
    "command",
    "state",
    "attempts",
    "entered_at",
    "finished_at",
    "error_code",
    "error_message",
    "request_id",
    "verified_run",
    "verified_as",
)


def records(incidents: Incidents, incident_id: str) -> Iterator[Record]:
    """The incident, its users, its devices, and what its verification found; each with its `record` kind.

    Shapes: see docs/incident-report.md. Usernames are in them: a report is evidence.

    Raises:
        IncidentError: there is no such incident, or no longer, not even at the end of the records.
    """
    progress = incidents.progress(incident_id)
    yield _incident(progress)
    redis = incidents.ledger.redis
    with ledger_errors():
        for username, outcome in redis.hscan_iter(incident_key(incident_id, "outcomes"), count=_PAGE):
            yield _user(username, json.loads(outcome))
    run = _ended_run(incidents, progress)
    for keys in _pages(incidents, incident_key(incident_id, "devices")):
        with ledger_errors(), redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hmget(command_key(key), _ENTRY)
            entries = pipe.execute()
        found = [dict(zip(_ENTRY, entry, strict=True)) for entry in entries]
        unverified = _unverified(incidents, progress, found)
        for key, entry, is_unverified in zip(keys, found, unverified, strict=True):
            yield _device(key, entry, run, is_unverified)
    for findings in _pages(incidents, incident_key(incident_id, "findings")):
        for finding in map(json.loads, findings):
            # What became of the incident's own devices stands with them.
            if finding["finding"] != "not_as_ordered":
                fields = {
                    # Names are evidence, and are looked up: they stay as they are.
                    name: value if name == "username" else _clean(value)
                    for name, value in finding.items()
                }
                yield {"record": "finding", **fields}
    if incidents.progress(incident_id).opened_at != progress.opened_at:
        raise unknown(incident_id)


def canonical(record: Mapping[str, Any]) -> str:
    """One line of JSON, the same for equal records: sorted names, no spaces, UTF-8 unescaped; as `jq -cS`."""
    return json.dumps(record, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class Digest:
    """SHA-256 over the canonical lines of records, each with its line feed."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def add(self, record: Mapping[str, Any]) -> str:
        """Count a record in; its canonical line, without the line feed."""
        line = canonical(record)
        self._sha256.update(line.encode() + b"\n")
        return line

    @property
    def value(self) -> str:
        """As 64 hexadecimal digits."""
        return self._sha256.hexdigest()


def timeline(incidents: Incidents, incident_id: str) -> list[tuple[datetime, int]]:
    """How many devices had their outcome in each ten seconds that saw any, in order."""
    with ledger_errors():
        counts = incidents.ledger.redis.hgetall(incident_key(incident_id, "timeline"))
    return sorted((datetime.fromtimestamp(int(at), UTC), int(count)) for at, count in counts.items())


def _pages(incidents: Incidents, key: str) -> Iterator[Sequence[str]]:
    first = 0
    while True:
        with ledger_errors():
            page = incidents.ledger.redis.lrange(key, first, first + _PAGE - 1)
        if not page:
            return
        yield page
        first += len(page)


def _ended_run(incidents: Incidents, progress: Progress) -> str | None:
    if progress.verification is None or progress.verification.ended_at is None:
        return None
    with ledger_errors():
        run: str = incidents.ledger.redis.hget(incident_key(progress.incident_id, "verification"), "run")
    return run


def _unverified(
    incidents: Incidents, progress: Progress, entries: Sequence[Mapping[str, str | None]]
) -> list[bool]:
    """Of each device, whether its user could not be listed for the verification."""
    if progress.verification is None or not progress.verification.users_failed:
        return [False] * len(entries)
    names = [json.loads(entry["command"] or "{}").get("username", "") for entry in entries]
    with ledger_errors():
        found = incidents.ledger.redis.smismember(incident_key(progress.incident_id, "unverified"), names)
    return [bool(each) for each in found]


def _incident(progress: Progress) -> Record:
    fields = progress.to_dict()
    # What changes from second to second is no evidence.
    for name in ("rate", "trouble", "webhook"):
        del fields[name]
    return {"record": "incident", **{name: _clean(value) for name, value in fields.items()}}


def _user(username: str, outcome: Mapping[str, Any]) -> Record:
    record: Record = {
        "record": "user",
        "username": username,
        "outcome": outcome["outcome"],
        "devices": outcome.get("devices"),
        "attempts": outcome.get("attempts"),
        "finished_at": _time(outcome["at"]),
    }
    for name in ("error_code", "error_message", "request_id"):
        record[name] = _clean(outcome.get(name) or None)
    return record


def _device(key: str, entry: Mapping[str, str | None], run: str | None, is_unverified: bool) -> Record:
    if entry["command"] is None:
        return {"record": "device", "command_id": key, "outcome": "forgotten"}
    command = json.loads(entry["command"])
    record: Record = {
        "record": "device",
        "command_id": command["command_id"],
        "username": command["username"],
        "device_key": command["device_key"],
        "status": command["status"],
        "issued_at": command["issued_at"],
        "outcome": entry["state"],
        "attempts": int(entry["attempts"] or 0),
        "entered_at": _time(entry["entered_at"]),
        "finished_at": _time(entry["finished_at"]),
    }
    for name in ("error_code", "error_message", "request_id"):
        record[name] = _clean(entry[name] or None)
    if run is not None:
        missing = "not_verified" if is_unverified else "gone"
        record["verified_as"] = _clean(entry["verified_as"]) if entry["verified_run"] == run else missing
    return record


def _time(milliseconds: str | int | None) -> str | None:
    return from_ms(milliseconds).isoformat() if milliseconds else None


def _clean(value: Any) -> Any:
    """For what is read and never looked up. It also keeps out what JSON writers escape in different ways."""
    return printable(value) if isinstance(value, str) else value
