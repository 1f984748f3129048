"""What is after a run, against what must be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from chaos.system import System
from chaos.workload import Malformed, Workload
from device_status import DeadLetter, DeadLetters, Producer, State
from device_status.ledger import PREFIX
from device_status.publisher import queue_name
from device_status_worker.intake import MOST_RAW


@dataclass
class Result:
    """What was seen; `wrong` is empty after a good run."""

    faults: Counter[str]
    answers: dict[str, int] = field(default_factory=dict)
    """Requests that the service failed, by how."""
    commands: int = 0
    repeated: int = 0
    malformed: int = 0
    calls: int = 0
    applied: int = 0
    duplicates: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    recovery: float = 0.0
    wrong: list[str] = field(default_factory=list)


def compare(system: System, load: Workload, pushes: Counter[Malformed], result: Result) -> None:
    """Fill in the result, with all that is wrong."""
    result.commands = len(load.commands)
    result.repeated = len(load.publications) - result.commands
    result.malformed = len(load.malformed)
    result.wrong += _wrong_outcomes(system, load, result.outcomes)
    result.wrong += _wrong_dead_letters(system, load, pushes)
    result.wrong += _leases(system.redis())
    requests = [each for each in system.cognito.requests if each.operation == "AdminUpdateDeviceStatus"]
    result.calls = len(requests)
    result.applied = sum(request.applied for request in requests)
    repairs = sum(1 for _ in system.redis().scan_iter(f"{PREFIX}command:repair:*", count=1000))
    result.duplicates = result.applied - result.outcomes[State.SUCCEEDED] - repairs


def _wrong_outcomes(system: System, load: Workload, outcomes: Counter[str]) -> Iterator[str]:
    producer = Producer(system.settings)
    newest = {command.command_id for command in load.newest.values()}
    for command_id in load.commands:
        record = producer.lookup(command_id)
        if record is None or record.outcome is None:
            yield f"{command_id}: {record.state if record else 'lost'}"
            continue
        outcomes[record.outcome] += 1
        if command_id in load.unknown:
            allowed = {State.DEAD_LETTERED}
        elif command_id in newest:
            allowed = {State.SUCCEEDED}
        else:
            allowed = {State.SUCCEEDED, State.SUPERSEDED}
        if record.outcome not in allowed:
            yield f"{command_id}: is {record.outcome} ({record.error_code}), must be {sorted(allowed)}"
    for (username, device_key), command in load.newest.items():
        status = system.cognito.device_status(load.pool_id, username, device_key)
        if status != command.status:
            yield f"device of {command.command_id}: is {status}, must be {command.status}"


def _wrong_dead_letters(system: System, load: Workload, pushes: Counter[Malformed]) -> Iterator[str]:
    dead = DeadLetters(system.settings)
    letters = list(dead.list())
    commands = Counter(_known_as(each) for each in letters if each.raw is None)
    expected: Counter[tuple[str | None, str]] = Counter(
        (command_id, "UserNotFoundException") for command_id in load.unknown
    )
    yield from (f"dead letter missing: {each}" for each in expected - commands)
    yield from (f"dead letter that nobody expected: {each}" for each in commands - expected)

    messages = Counter((each.error_code, each.queue, each.raw) for each in letters if each.raw is not None)
    most = Counter({_kept(each, system): pushes[each] for each in load.malformed})
    for each in most.keys() - messages.keys():
        # A broker without a disk loses what it alone has.
        if not system.forgets:
            yield f"malformed message lost: {_short(each)}"
    for each, count in messages.items():
        if count > most[each]:
            yield f"malformed message kept {count} times, pushed {most[each]} times: {_short(each)}"
    counted = dead.count_by_error()
    if counted != Counter(letter.error_code for letter in letters):
        yield f"dead letters counted: {counted}; there are {len(letters)}"


def _known_as(letter: DeadLetter) -> tuple[str | None, str]:
    return letter.command_id, letter.error_code


def _kept(malformed: Malformed, system: System) -> tuple[str, str | None, str | None]:
    """Code, queue and raw text of its dead letter."""
    message = malformed.message
    code = "MalformedMessage" if system.rabbitmq and message.code == "MalformedEnvelope" else message.code
    return code, queue_name(malformed.lane), message.kept[:MOST_RAW].decode("utf-8", "backslashreplace")


def _short(letter: tuple[str, str | None, str | None]) -> str:
    return str(letter)[:200]


def _leases(client: Any) -> Iterator[str]:
    for kind, field_name in (("device", "owner"), ("command", "lease_until")):
        for key in client.scan_iter(f"{PREFIX}{kind}:*", count=1000):
            if client.hexists(key, field_name):
                yield f"{key}: still leased"
