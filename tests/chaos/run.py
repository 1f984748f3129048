"""One run: publish under faults, wait until all is quiet, compare with what must be."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from chaos.faults import Track, tracks_of
from chaos.faults.cognito import Unreliable
from chaos.publishing import Publishing
from chaos.schedule import Schedule
from chaos.system import System
from chaos.verdict import logs
from chaos.verdict.compare import PREFIX, compare
from chaos.verdict.quota import Stalls
from chaos.verdict.result import Result
from chaos.workload import Workload, make
from device_status.command import Lane

RECOVERY = 60 + 1 + 120 + 30
"""Seconds after the last fault within which everything must have an outcome and no message be left: lease,
sweep, visibility timeout, and the time to do the work that had waited."""
NEARLY_DONE = 100
"""Commands without an outcome."""
QUIET = 2.0
"""Seconds for which nothing may be left: what a worker has just taken is in no queue, and may not be in the
ledger yet."""
DEVICES_A_USER = 5


@dataclass(frozen=True)
class Options:
    """Of a run.

    Attributes:
        broker: one of `system.BROKERS`.
        ledger: one of `system.LEDGERS`.
        quota: requests a second that the workers are given.
        shares: see `tracks_of`.
        once: whether each kind comes once and no more.
        logs: a folder for the logs of the workers.
        every: mean seconds between two faults of one part of the system.
        long_stops: workers stopped past their lease.
    """

    broker: str
    ledger: str
    seed: int
    commands: int
    devices: int
    workers: int
    quota: int
    every: float
    long_stops: int
    shares: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    once: bool = False
    logs: Path | None = None


def run(options: Options, say: Callable[[str], None]) -> Result:
    """Run once; `say` takes a line about each fault."""
    began_at = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="device-status-chaos-") as folder,
        Stalls() as stalls,
        System(
            Path(folder),
            broker=options.broker,
            ledger=options.ledger,
            workers=options.workers,
            seed=options.seed,
            quota=options.quota,
        ) as system,
    ):
        pool_id = system.cognito.create_pool()
        load = make(pool_id, list(_devices(system, pool_id, options.devices)), options.commands, options.seed)
        unreliable = Unreliable(system.cognito)
        tracks = tracks_of(system, Random(options.seed), options.long_stops, options.shares)
        schedule = Schedule(tracks, system.fleet, options.seed, options.every, options.once, say)
        publishing = Publishing(system, load, options.seed, _first_round(tracks, options.every))
        result = Result()

        schedule.start()
        publishing.start()
        _wait_until_nearly_done(system, publishing, schedule, 4 * options.commands / options.quota, say)
        schedule.end()
        last_at = time.monotonic()
        result.answers = unreliable.end()
        result.faults, result.wrong = schedule.counts, list(schedule.wrong)
        say("no more faults")
        result.wrong += _wait_until_quiet(system, last_at, result)
        published = publishing.published
        result.wrong += published.wrong
        compare(system, load, published, schedule.happened, stalls, options.quota, result)
        _end_workers(system, result)
        result.seconds = time.monotonic() - began_at
        _look_at_logs(system, load, options.logs, result)
        result.commands, result.repeated = len(load.commands), len(load.publications) - len(load.own)
        result.foreign, result.malformed = len(load.foreign), len(load.malformed)
        result.refused_calls, result.slowest_call = published.refusals, published.slowest_call
        return result


def _devices(system: System, pool_id: str, count: int) -> Iterator[tuple[str, str]]:
    for number in range(count):
        username = f"user{number // DEVICES_A_USER}"
        if number % DEVICES_A_USER == 0:
            system.cognito.add_user(pool_id, username)
        yield username, system.cognito.add_device(pool_id, username)


def _first_round(tracks: Mapping[str, Track], every: float) -> float:
    """Seconds that each kind of fault takes to have been there once, about."""
    return max(
        sum(every * fault.rest + sum(fault.lasts) / 2 for fault in track.values() if fault.most is None)
        for track in tracks.values()
    )


def _wait_until_nearly_done(
    system: System,
    publishing: Publishing,
    schedule: Schedule,
    seconds: float,
    say: Callable[[str], None],
) -> None:
    """Faults go on until each was there, and all but the last of the work is done, so that they meet work.

    Parameters:
        seconds: after which it is enough, once all is published: under faults the work may be slow.
    """
    began_at, looks = time.monotonic(), 0
    # What a fault of the run itself left behind is not undone.
    while not schedule.wrong:
        system.fleet.look()
        left = system.open_commands()
        if looks % 10 == 0:
            say(f"{'some' if left is None else left} commands without an outcome")
        looks += 1
        is_nearly_done = left is not None and left < NEARLY_DONE
        if not (publishing.is_over and schedule.had_each):
            began_at = time.monotonic()
        elif is_nearly_done or time.monotonic() - began_at > seconds:
            return
        time.sleep(1)


def _wait_until_quiet(system: System, last_at: float, result: Result) -> Iterator[str]:
    """Until all have an outcome and no message is left; says what is stuck."""
    quiet_at = None
    while quiet_at is None or time.monotonic() < quiet_at + QUIET:
        system.fleet.look()
        if system.open_commands() or system.messages_left():
            quiet_at = None
        elif quiet_at is None:
            quiet_at = time.monotonic()
            result.recovery = quiet_at - last_at
        if time.monotonic() - last_at > RECOVERY + QUIET:
            yield f"not quiet {RECOVERY} s after the last fault:"
            yield from _stuck(system)
            return
        time.sleep(0.2)


def _end_workers(system: System, result: Result) -> None:
    result.wrong += [
        f"a worker ended with exit code {code} after SIGTERM"
        for worker in system.fleet.workers
        if (code := worker.terminate()) != 0
    ]
    result.wrong += system.fleet.wrong
    result.ends = len(system.fleet.ended_after)
    result.slowest_end = max(system.fleet.ended_after, default=0.0)
    # RabbitMQ counts what a worker holds only once it is given back.
    if left := system.messages_left():
        result.wrong.append(f"messages left in the broker by workers that ended: {left}")


def _look_at_logs(system: System, load: Workload, keep: Path | None, result: Result) -> None:
    for log in system.logs():
        if keep:
            keep.mkdir(exist_ok=True)
            shutil.copy(log, keep)
        lines, size = logs.sizes(log)
        result.log_lines, result.log_bytes = max(result.log_lines, lines), max(result.log_bytes, size)
        result.wrong += logs.problems(log, result.seconds, len(load.malformed))


def _stuck(system: System) -> Iterator[str]:
    """What a person needs to see why something is stuck."""
    with system.redis() as client:
        for lane in Lane:
            yield f"{lane}: watermark {client.hgetall(f'{PREFIX}watermark:{lane}')}"
            for kind in ("open", "queued"):
                for key, score in client.zrange(f"{PREFIX}{kind}:{lane}", 0, 20, withscores=True):
                    fields = client.hgetall(f"{PREFIX}command:{key}")
                    fields.pop("command", None)
                    yield f"{kind} since or due {score:.0f}: {fields}"
        yield f"server's time {client.time()}, sweeper {client.get(f'{PREFIX}sweeper')}"
    yield f"messages left in the broker: {system.messages_left()}"
    for log in system.logs():
        yield f"{log.name}: {log.read_text()[-1500:]}"
