"""One run: publish under faults, wait until all is quiet, compare with what must be."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from chaos.compare import Result, compare
from chaos.faults import Faults
from chaos.publishing import publish
from chaos.system import System
from chaos.workload import make
from device_status import LedgerUnavailableError
from device_status.command import Lane
from device_status.ledger import PREFIX, Ledger

RECOVERY = 60 + 1 + 120 + 30
"""Seconds after the last fault within which everything must have an outcome and no message be left: lease,
sweep, visibility timeout, and the time to do the work that had waited."""
DEVICES_A_USER = 5


def run(
    *, broker: str, seed: int, commands: int, devices: int, workers: int = 4, every: float, long_stops: int
) -> Result:
    """Run once; `broker` is one of `system.BROKERS`."""
    with (
        tempfile.TemporaryDirectory(prefix="device-status-chaos-") as folder,
        System(Path(folder), broker=broker, workers=workers, seed=seed) as system,
    ):
        pool_id = system.cognito.create_pool()
        load = make(pool_id, list(_devices(system, pool_id, devices)), commands, seed)
        system.make_cognito_unreliable()

        faults = Faults(system, seed, every, long_stops)
        result = Result(faults.injected)
        faults.start()
        pushes = publish(system, load)
        _wait_until_nearly_done(system, commands)
        faults.end()
        result.answers = system.make_cognito_reliable()
        for worker in system.workers:
            if not worker.is_alive:
                worker.start()

        if _is_quiet(lambda: not _open(system), faults.last_at):
            result.recovery = time.monotonic() - faults.last_at
        else:
            result.wrong += [f"without an outcome {RECOVERY} s after the last fault:", *_stuck(system)]
        if not _is_quiet(lambda: not system.messages_left(), faults.last_at):
            result.wrong.append(f"messages left in the broker: {system.messages_left()}")
        compare(system, load, pushes, result)
        result.wrong += [
            f"a worker ended with exit code {code} after SIGTERM"
            for worker in system.workers
            if (code := worker.terminate()) != 0
        ]
        # RabbitMQ counts what a worker holds only once it is given back.
        if left := system.messages_left():
            result.wrong.append(f"messages left in the broker by workers that ended: {left}")
        return result


def _devices(system: System, pool_id: str, count: int) -> Iterator[tuple[str, str]]:
    for number in range(count):
        username = f"user{number // DEVICES_A_USER}"
        if number % DEVICES_A_USER == 0:
            system.cognito.add_user(pool_id, username)
        yield username, system.cognito.add_device(pool_id, username)


def _open(system: System) -> int:
    return sum(Ledger(system.settings.ledger).open_count().values())


def _wait_until_nearly_done(system: System, commands: int) -> None:
    """Faults go on until nine of ten have an outcome, so that they meet work."""
    while True:
        try:
            if _open(system) < commands / 10:
                return
        except LedgerUnavailableError:
            pass
        time.sleep(1)


def _is_quiet(condition: Callable[[], bool], since: float) -> bool:
    while not condition():
        if time.monotonic() - since > RECOVERY:
            return False
        time.sleep(0.2)
    return True


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
    yield f"messages {system.messages_left()}"
    for log in system.logs():
        yield f"{log.name}: {log.read_text()[-1500:]}"
