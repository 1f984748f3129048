"""What came of the sample: tables, and whether it is what must have come of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from device_status import Producer, Record, Settings
from device_status_worker.demo.sample import Sample
from device_status_worker.local import LocalCognito

_OUTCOMES: Final = {
    "succeeded": "Cognito applied it",
    "superseded": "a newer command was applied before it",
    "expired": "it was past its expires_at",
    "dead_lettered": "it can't succeed as it stands",
}
_ERRORS: Final = {
    "UserNotFoundException": "the pool has no such user",
    "ResourceNotFoundException": "the user has no such device",
    "TooOld": "issued longer ago than the retention",
}


def look_up(settings: Settings, sample: Sample) -> dict[str, Record]:
    """What the ledger says of every command."""
    producer = Producer(settings)
    found = {command_id: producer.lookup(command_id) for command_id in sample.commands}
    return {command_id: record for command_id, record in found.items() if record}


def show_outcomes(records: Mapping[str, Record], console: Console) -> None:
    """One table of the outcomes, one of the dead letters by reason."""
    outcomes = Counter(record.state.value for record in records.values())
    errors = Counter(record.error_code or "" for record in records.values() if record.error_code)
    console.print(_table("outcome", outcomes, _OUTCOMES), _table("dead letters by reason", errors, _ERRORS))


def show_requests(cognito: LocalCognito, quota: int, console: Console) -> None:
    """How fast the workers were together, as the local Cognito saw it."""
    requests = [request for request in cognito.requests if request.operation == "AdminUpdateDeviceStatus"]
    times = [request.at for request in requests]
    refused = sum(request.response_code == "TooManyRequestsException" for request in requests)
    console.print(
        f"Cognito got {len(requests)} requests in {times[-1] - times[0]:.1f} s, "
        f"at most {busiest_second(times)} in any one second."
    )
    console.print(f"Its quota is {quota} a second for all workers together; it refused {refused} requests.")


def busiest_second(times: Sequence[float]) -> int:
    """The most of `times`, given in order, that lie within one second, wherever that second begins."""
    most = first = 0
    for last, time in enumerate(times):
        while times[first] <= time - 1:
            first += 1
        most = max(most, last - first + 1)
    return most


def problems(sample: Sample, records: Mapping[str, Record], cognito: LocalCognito) -> list[str]:
    """What is not as it must be: each command's outcome, and each device's status in Cognito."""
    wrong = []
    for command_id, expected in sample.commands.items():
        record = records.get(command_id)
        if record is None:
            wrong.append(f"{command_id} is not in the ledger")
        elif record.outcome not in expected.outcomes or record.error_code != expected.error_code:
            wrong.append(f"{command_id} ended as {record.state} {record.error_code or ''}")
    for (username, device_key), ordered in sample.devices.items():
        status = cognito.device_status(sample.pool_id, username, device_key)
        if status != ordered:
            wrong.append(f"{device_key} of {username} is {status}; ordered was {ordered}")
    return wrong


def _table(title: str, counts: Counter[str], meanings: Mapping[str, str]) -> Table:
    table = Table(title, min_width=70)
    table.add_column("commands", justify="right")
    table.add_column("meaning")
    for name, count in counts.most_common():
        table.add_row(name, str(count), meanings.get(name, ""))
    return table
