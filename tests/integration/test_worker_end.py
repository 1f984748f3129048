"""SIGTERM ends a worker within 30 seconds, whatever hangs and whatever it is doing."""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import redis

from device_status import Lane, Producer, load_settings
from device_status.publisher import Publisher, queue_name
from device_status_worker.local import EmbeddedValkey, Fault, LocalCognito
from support.commands import wire_object
from support.waiting import eventually
from support.workers import WorkerProcess

ENDS_WITHIN = 30.0
THREADS = 4


@dataclass(frozen=True)
class Case:
    """What a worker is doing when it is to end, and what hangs then."""

    phase: str
    hung: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.phase}, hung: {' and '.join(self.hung)}"


BOTH = ("broker", "ledger")
CASES = [
    Case("starting", ("broker",)),
    Case("starting", ("ledger",)),
    Case("idle", ("broker",)),
    Case("idle", BOTH),
    Case("claiming", ("ledger",)),
    Case("calling AWS", BOTH),
    Case("calling AWS, with a rest to publish", ("broker",)),
]


class Doomed:
    """A worker with a broker and a ledger of its own, of which some hang when it is to end."""

    def __init__(self, case: Case, cognito: LocalCognito, folder: Path) -> None:
        self.case = case
        self._cognito = cognito
        self._log = folder / f"{CASES.index(case)}.log"
        self._frozen: list[int] = []
        self._pool = cognito.create_pool()
        cognito.add_user(self._pool, "ada")
        self._commands: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            self._broker = exits.enter_context(EmbeddedValkey())
            self._ledger = exits.enter_context(EmbeddedValkey())
            self._client = exits.enter_context(redis.Redis(port=self._broker.port))
            exits.callback(self._thaw)
            self._settings = load_settings(broker_url=self._broker.url, ledger_url=self._ledger.url)
            environment = (
                os.environ
                | self._cognito.environment()
                | {
                    "DEVICE_STATUS_BROKER_URL": self._broker.url,
                    "DEVICE_STATUS_LEDGER_URL": self._ledger.url,
                    "DEVICE_STATUS_CONCURRENCY": str(THREADS),
                }
            )
            self._worker = WorkerProcess(environment, self._log)
            exits.callback(self._worker.kill)
            if self.case.phase == "starting":
                self._freeze()
            self._worker.start()
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    def go_to_work(self) -> None:
        """Return when it does what the case asks for and the servers hang."""
        match self.case.phase:
            case "starting":
                sign = "Cannot connect" if "broker" in self.case.hung else " ready."
                eventually(lambda: sign in self._worker.output, "it starts", 60)
            case "idle":
                self._worker.wait_until_ready()
                self._freeze()
            case "claiming":
                self._worker.wait_until_ready()
                self._freeze()
                self._publish(2 * THREADS)
                eventually(lambda: self._client.hlen("unacked") == THREADS, "every thread has a message")
            case _:
                self._worker.wait_until_ready()
                # Messages with more than one command leave a rest.
                self._publish(2 * THREADS, together=2 if "rest" in self.case.phase else 1)
                eventually(lambda: len(self._requests()) == THREADS, "every thread makes a call")
                self._freeze()

    def end(self) -> None:
        """SIGTERM."""
        self._ended_at = time.monotonic()
        self._worker.send_signal(signal.SIGTERM)

    def exit_code(self) -> int:
        """Once it has ended."""
        return self._worker.wait(max(0.1, self._ended_at + ENDS_WITHIN - time.monotonic()))

    @property
    def log(self) -> str:
        """What it wrote."""
        return self._worker.output

    def lost(self) -> list[str]:
        """Commands that nothing knows of, after the end."""
        self._thaw()
        producer = Producer(self._settings)
        raw = [*self._client.lrange(queue_name(Lane.ROUTINE), 0, -1)]
        raw += [json.dumps(json.loads(each)[0]).encode() for each in self._client.hvals("unacked")]
        bodies = b"".join(base64.b64decode(json.loads(each)["body"]) for each in raw).decode()
        return [
            command["command_id"]
            for command in self._commands
            if command["command_id"] not in bodies and producer.lookup(command["command_id"]) is None
        ]

    def _publish(self, count: int, together: int = 1) -> None:
        """As a producer without our package: messages, and nothing in the ledger."""
        self._commands = [
            wire_object(
                user_pool_id=self._pool,
                username="ada",
                device_key=self._cognito.add_device(self._pool, "ada"),
                command_id=f"{self._pool}/{number}",
            )
            for number in range(count)
        ]
        publisher = Publisher(self._broker.url)
        for first in range(0, count, together):
            texts = [json.dumps(command) for command in self._commands[first : first + together]]
            publisher.publish(texts, Lane.ROUTINE)

    def _requests(self) -> list[Any]:
        return [each for each in self._cognito.requests if each.user_pool_id == self._pool]

    def _freeze(self) -> None:
        servers = {"broker": self._broker, "ledger": self._ledger}
        for name in self.case.hung:
            pid = servers[name].pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            self._frozen.append(pid)

    def _thaw(self) -> None:
        while self._frozen:
            os.kill(self._frozen.pop(), signal.SIGCONT)


@pytest.mark.timeout(240)
def test_sigterm_ends_a_worker_in_time_and_nothing_is_lost(tmp_path: Path) -> None:
    # All at once: most of the time is waiting.
    with LocalCognito() as cognito, ExitStack() as exits:
        cognito.faults.add(Fault.delay(2.0))
        doomed = [exits.enter_context(Doomed(case, cognito, tmp_path)) for case in CASES]
        for each in doomed:
            each.go_to_work()
        for each in doomed:
            each.end()
        codes = {str(each.case): each.exit_code() for each in doomed}
        assert codes == dict.fromkeys(codes, 0)
        # In order, and not by the last resort.
        idle = [each for each in doomed if each.case.phase in ("starting", "idle")]
        assert [str(each.case) for each in idle if "exits now" in each.log] == []
        lost = {str(each.case): each.lost() for each in doomed}
        assert lost == {name: [] for name in lost}


def test_a_log_that_nobody_reads_keeps_no_worker_alive(tmp_path: Path) -> None:
    """Every thread comes to a line that it can't write, the signal's handler as well."""
    log = tmp_path / "log"
    os.mkfifo(log)
    ends = [reader := os.open(log, os.O_RDONLY | os.O_NONBLOCK)]
    with EmbeddedValkey() as valkey:
        worker = WorkerProcess(os.environ | {"DEVICE_STATUS_BROKER_URL": valkey.url}, log)
        try:
            worker.start()
            said = bytearray()

            def is_ready() -> bool:
                with suppress(BlockingIOError):
                    said.extend(os.read(reader, 65_536))
                return b" ready." in said

            eventually(is_ready, "the worker is ready", 60)
            ends.append(writer := os.open(log, os.O_WRONLY | os.O_NONBLOCK))
            with suppress(BlockingIOError):
                while True:
                    os.write(writer, b"x")
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(ENDS_WITHIN) == 0
        finally:
            worker.kill()
            for end in ends:
                os.close(end)
