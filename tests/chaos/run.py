"""One run: publish under faults, wait until all is quiet, compare with what must be."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import kombu
import redis

from chaos.faults import Faults
from chaos.system import System
from chaos.workload import Workload, make
from device_status import DeadLetters, LedgerUnavailableError, Producer, PublishError, State
from device_status.command import DeviceStatusCommand, Lane
from device_status.ledger import PREFIX, Ledger
from device_status.publisher import queue, queue_name

RECOVERY = 60 + 1 + 120 + 30
"""Seconds after the last fault within which everything must have an outcome: lease, sweep, visibility
timeout, and the time to do the work that had waited."""


@dataclass
class Result:
    """What was seen; `wrong` is empty after a good run."""

    faults: Counter[str]
    commands: int = 0
    calls: int = 0
    applied: int = 0
    duplicates: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    recovery: float = 0.0
    wrong: list[str] = field(default_factory=list)


def run(
    *, broker: str, seed: int, commands: int, devices: int, workers: int = 4, every: float, long_stops: int
) -> Result:
    """Run once; `broker` is `redis` or `rabbitmq`."""
    with (
        tempfile.TemporaryDirectory(prefix="device-status-chaos-") as folder,
        System(Path(folder), broker=broker, workers=workers, seed=seed) as system,
    ):
        pool_id = system.cognito.create_pool()
        keys = []
        for number in range(devices):
            username = f"user{number // 5}"
            if number % 5 == 0:
                system.cognito.add_user(pool_id, username)
            keys.append((username, system.cognito.add_device(pool_id, username)))
        load = make(pool_id, keys, commands, seed)
        system.make_cognito_unreliable()

        faults = Faults(system, seed, every, long_stops)
        faults.start()
        _publish(system, load)
        _wait_until_nearly_done(system, commands)
        faults.end()
        system.cognito.faults.clear()
        for worker in system.workers:
            worker.start()

        result = Result(faults.injected, commands=commands)
        _wait_until_quiet(system, faults.last_at, result)
        _compare(system, load, result)
        result.wrong += [
            f"a worker ended with exit code {code} after SIGTERM"
            for worker in system.workers
            if (code := worker.terminate()) != 0
        ]
        return result


def _publish(system: System, load: Workload) -> None:
    """Everything gets in, by repeating what met a fault, as `PublishError` tells its callers to."""
    producer = Producer(system.settings)
    raw = threading.Thread(target=_publish_raw, args=(system, load.raw))
    raw.start()
    for start in range(0, len(load.publications), 500):
        some = load.publications[start : start + 500]
        for lane in Lane:
            _until_accepted(producer, [c for c in some if _lane(c) is lane], lane)
    raw.join()


def _lane(command: DeviceStatusCommand) -> Lane:
    number = int(command.command_id.rpartition("-")[2])
    return Lane.URGENT if number % 10 == 0 else Lane.ROUTINE if number % 10 < 3 else Lane.BULK


def _until_accepted(producer: Producer, commands: list[DeviceStatusCommand], lane: Lane) -> None:
    while True:
        try:
            report = producer.enqueue_many(commands, lane=lane)
        except (PublishError, LedgerUnavailableError):
            continue
        assert not report.refused
        return


def _publish_raw(system: System, messages: Iterable[bytes]) -> None:
    for message in messages:
        while True:
            try:
                if system.rabbitmq:
                    with kombu.Connection(system.rabbitmq.url, connect_timeout=3) as connection:
                        channel = connection.default_channel
                        queue(Lane.ROUTINE, system.rabbitmq.url)(channel).declare()
                        channel.basic_publish(
                            channel.prepare_message(message, content_type="application/json"),
                            routing_key=queue_name(Lane.ROUTINE),
                        )
                else:
                    redis.Redis.from_url(system.valkey.url).lpush(queue_name(Lane.ROUTINE), message)
                break
            except Exception:
                time.sleep(0.1)


def _wait_until_nearly_done(system: System, commands: int) -> None:
    """Faults go on until nine of ten have an outcome, so that they meet work."""
    while True:
        try:
            if sum(Ledger(system.settings.ledger).open_count().values()) < commands / 10:
                return
        except LedgerUnavailableError:
            pass
        time.sleep(1)


def _wait_until_quiet(system: System, since: float, result: Result) -> None:
    ledger = Ledger(system.settings.ledger)
    while time.monotonic() - since < RECOVERY:
        if not sum(ledger.open_count().values()):
            result.recovery = time.monotonic() - since
            return
        time.sleep(0.2)
    result.wrong.append(f"{ledger.open_count()} without an outcome {RECOVERY} s after the last fault")
    result.wrong += _stuck(system)


def _stuck(system: System) -> Iterator[str]:
    """What a person needs to see why something is stuck."""
    client = system.redis()
    for lane in Lane:
        yield f"{lane}: watermark {client.hgetall(f'{PREFIX}watermark:{lane}')}"
        for kind in ("open", "queued"):
            for key, score in client.zrange(f"{PREFIX}{kind}:{lane}", 0, 20, withscores=True):
                fields = client.hgetall(f"{PREFIX}command:{key}")
                fields.pop("command", None)
                yield f"{kind} since or due {score:.0f}: {fields}"
    yield f"server's time {client.time()}, sweeper {client.get(f'{PREFIX}sweeper')}"
    yield f"unacked {client.hlen('unacked')}, queues {[client.llen(queue_name(lane)) for lane in Lane]}"
    for log in system.logs():
        yield f"{log.name}: {log.read_text()[-1500:]}"


def _compare(system: System, load: Workload, result: Result) -> None:
    producer, dead = Producer(system.settings), DeadLetters(system.settings)
    for command_id in load.commands:
        record = producer.lookup(command_id)
        if record is None or record.outcome is None:
            result.wrong.append(f"{command_id}: {record.state if record else 'lost'}")
            continue
        result.outcomes[record.outcome] += 1
        expected = record.outcome is State.DEAD_LETTERED
        if expected is not (command_id in load.unknown):
            result.wrong.append(f"{command_id}: is {record.outcome} ({record.error_code})")
    for (username, device_key), newest in load.newest.items():
        status = system.cognito.device_status(load.pool_id, username, device_key)
        if status != newest.status:
            result.wrong.append(f"device of {newest.command_id}: is {status}, must be {newest.status}")
        record = producer.lookup(newest.command_id)
        if record and record.outcome is not State.SUCCEEDED:
            result.wrong.append(f"{newest.command_id}: the newest of its device, is {record.outcome}")

    letters = Counter(letter.error_code for letter in dead.list())
    malformed = sum(count for code, count in letters.items() if code.startswith("Malformed"))
    if malformed != len(load.raw):
        result.wrong.append(f"{malformed} malformed messages kept of {len(load.raw)}: {dict(letters)}")
    if letters["UserNotFoundException"] != len(load.unknown):
        result.wrong.append(f"{letters['UserNotFoundException']} unknown users of {len(load.unknown)}")
    if sum(letters.values()) != malformed + letters["UserNotFoundException"]:
        result.wrong.append(f"dead letters that nobody expected: {dict(letters)}")
    if dict(letters) != dead.count_by_error():
        result.wrong.append(f"counted {dead.count_by_error()}, found {dict(letters)}")

    client = system.redis()
    result.wrong += [
        f"{key}: still leased"
        for key in client.scan_iter(f"{PREFIX}device:*", count=1000)
        if client.hexists(key, "owner")
    ]
    requests = system.cognito.requests
    result.calls = len(requests)
    result.applied = sum(request.applied for request in requests)
    repairs = sum(1 for _ in client.scan_iter(f"{PREFIX}command:repair:*", count=1000))
    result.duplicates = result.applied - result.outcomes[State.SUCCEEDED] - repairs
