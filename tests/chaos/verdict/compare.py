"""What is in the ledger, in Cognito and in the dead letters after a run, against what must be there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from chaos.publishing import Published
from chaos.schedule import Happened
from chaos.system import System
from chaos.verdict.lost import judge_commands, judge_messages, rollbacks
from chaos.verdict.quota import ON_THEIR_WAY, Stalls, most_in_a_second
from chaos.verdict.result import Result
from chaos.workload import Malformed, Message, Workload
from device_status import DeadLetter, DeadLetters, Producer, Record, State
from device_status.publisher import queue_name
from device_status_worker.intake import MOST_RAW

PREFIX = "device-status:"

Kept = tuple[str, str | None, str | None]
"""Code, queue and raw text of the dead letter of a message."""


def compare(
    system: System,
    load: Workload,
    published: Published,
    happened: Sequence[Happened],
    stalls: Stalls,
    quota: int,
    result: Result,
) -> None:
    """Fill in the result, with all that is wrong."""
    records = _records(system, load)
    letters = list(DeadLetters(system.settings).list())
    own = judge_commands([each for each in load.own if records[each] is None], happened, published)
    missing = [*_missing_foreign(load, records, result), *_missing_malformed(system, load, letters)]
    if system.rabbitmq:
        result.wrong += [f"message lost: {each}"[:300] for each in missing]
    else:
        messages = judge_messages(missing, happened, published, len(system.fleet.workers))
        result.lost, result.wrong = messages.with_a_fault, result.wrong + messages.wrong
    result.rolled_back, result.wrong = own.with_a_fault, result.wrong + own.wrong

    lost = {each for each, record in records.items() if record is None}
    result.wrong += _wrong_outcomes(load, records, lost, result.outcomes)
    result.wrong += _wrong_devices(system, load, lost)
    result.wrong += _wrong_dead_letters(system, load, lost, letters, published)
    with system.redis() as client:
        result.wrong += _leases(client)
        repairs = sum(1 for _ in client.scan_iter(f"{PREFIX}command:repair:*", count=1000))

    requests = [each for each in system.cognito.requests if each.operation == "AdminUpdateDeviceStatus"]
    result.calls, result.applied = len(requests), sum(request.applied for request in requests)
    result.duplicates = result.applied - result.outcomes[State.SUCCEEDED] - repairs
    unsure = list(rollbacks(happened))
    times = [each.at for each in requests if not any(begin <= each.at <= end for begin, end in unsure)]
    result.most_in_a_second = most_in_a_second(times, stalls)
    if result.most_in_a_second > quota + ON_THEIR_WAY:
        result.wrong.append(f"{result.most_in_a_second} requests in a second; the quota is {quota}")


def _records(system: System, load: Workload) -> dict[str, Record | None]:
    producer = Producer(system.settings)
    return {command_id: producer.lookup(command_id) for command_id in load.commands}


def _missing_foreign(load: Workload, records: dict[str, Record | None], result: Result) -> Iterator[Message]:
    for message in load.foreign:
        unknown = [each.command_id for each in message.commands if records[each.command_id] is None]
        if len(unknown) == len(message.commands):
            yield message
        elif unknown:
            result.wrong.append(f"{unknown}: lost, and the message's other commands were not")


def _missing_malformed(system: System, load: Workload, letters: Sequence[DeadLetter]) -> Iterator[Message]:
    kept = {(each.error_code, each.queue, each.raw) for each in letters if each.raw is not None}
    yield from (each for each in load.malformed if _kept(each, system) not in kept)


def _wrong_outcomes(
    load: Workload, records: dict[str, Record | None], lost: set[str], outcomes: Counter[str]
) -> Iterator[str]:
    newest = {command.command_id for command in load.newest(lost).values()}
    for command_id, record in records.items():
        if record is None:
            continue
        if record.outcome is None:
            yield f"{command_id}: {record.state}"
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


def _wrong_devices(system: System, load: Workload, lost: set[str]) -> Iterator[str]:
    for (username, device_key), command in load.newest(lost).items():
        status = system.cognito.device_status(load.pool_id, username, device_key)
        if status != command.status:
            yield f"device of {command.command_id}: is {status}, must be {command.status}"


def _wrong_dead_letters(
    system: System, load: Workload, lost: set[str], letters: Sequence[DeadLetter], published: Published
) -> Iterator[str]:
    commands = Counter((each.command_id, each.error_code) for each in letters if each.raw is None)
    expected: Counter[tuple[str | None, str]] = Counter(
        (command_id, "UserNotFoundException") for command_id in load.unknown - lost
    )
    yield from (f"dead letter missing: {each}" for each in expected - commands)
    yield from (f"dead letter that nobody expected: {each}" for each in commands - expected)

    messages = Counter((each.error_code, each.queue, each.raw) for each in letters if each.raw is not None)
    most = Counter({_kept(each, system): published.pushes[each] for each in load.malformed})
    for each, count in messages.items():
        if count > most[each]:
            yield f"malformed message kept {count} times, pushed {most[each]} times: {str(each)[:200]}"
    counted = DeadLetters(system.settings).count_by_error()
    if counted != Counter(letter.error_code for letter in letters):
        yield f"dead letters counted: {counted}; there are {len(letters)}"


def _kept(malformed: Malformed, system: System) -> Kept:
    message = malformed.message
    code = "MalformedMessage" if system.rabbitmq and message.code == "MalformedEnvelope" else message.code
    return code, queue_name(malformed.lane), message.kept[:MOST_RAW].decode("utf-8", "backslashreplace")


def _leases(client: Any) -> Iterator[str]:
    for kind, field_name in (("device", "owner"), ("command", "lease_until")):
        for key in client.scan_iter(f"{PREFIX}{kind}:*", count=1000):
            if client.hexists(key, field_name):
                yield f"{key}: still leased"
