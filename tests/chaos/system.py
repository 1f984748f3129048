"""The servers and the worker processes of a run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from device_status import Settings, load_settings
from device_status_worker.local import EmbeddedValkey, Fault, LocalCognito
from support.rabbitmq import RabbitMQ

QUOTA = 200
"""Requests a second that the workers are given."""


class WorkerProcess:
    """One `celery worker`, which can be killed, stopped, continued and started again."""

    def __init__(self, name: str, environment: dict[str, str], folder: Path) -> None:
        self._name = name
        self._environment = environment
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start it, where it does not run."""
        with self._lock:
            if self._process and self._process.poll() is None:
                return
            command = [
                sys.executable,
                "-m",
                "celery",
                "-A",
                "device_status_worker",
                "worker",
                "-n",
                self._name,
            ]
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    [*command, "--loglevel", "WARNING"], env=self._environment, stdout=log, stderr=log
                )

    def kill(self) -> None:
        """SIGKILL."""
        with self._lock:
            if self._process:
                self._process.kill()
                self._process.wait()

    def stop(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)

    def proceed(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def terminate(self) -> int:
        """SIGTERM; its exit code."""
        self._signal(signal.SIGTERM)
        return self._process.wait(60) if self._process else 0

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def _signal(self, number: signal.Signals) -> None:
        with self._lock:
            if self._process and self._process.poll() is None:
                self._process.send_signal(number)


class System:
    """A Valkey with AOF, a Cognito with faults, workers, and RabbitMQ where it is the broker."""

    def __init__(self, folder: Path, *, broker: str, workers: int, seed: int) -> None:
        self._exits = ExitStack()
        # `always`: what was answered is on disk, so whatever is lost was lost by us.
        self.valkey = EmbeddedValkey(
            data_dir=folder / "valkey", append_only=True, config={"appendfsync": "always"}
        )
        self.cognito = LocalCognito(seed=seed, log_size=1_000_000)
        self.rabbitmq = RabbitMQ() if broker == "rabbitmq" else None
        self._folder = folder
        self._count = workers
        self.workers: list[WorkerProcess] = []

    @property
    def settings(self) -> Settings:
        """For producers and look-ups."""
        return load_settings(
            broker_url=self.rabbitmq.url if self.rabbitmq else self.valkey.url, ledger_url=self.valkey.url
        )

    def redis(self) -> Any:
        """A client for the harness."""
        return redis.Redis.from_url(self.valkey.url, decode_responses=True)

    def logs(self) -> list[Path]:
        """What the workers said."""
        return sorted(self._folder.glob("*.log"))

    def make_cognito_unreliable(self) -> None:
        """A few requests of a hundred fail, in every way that a service can."""
        add = self.cognito.faults.add
        for fault, probability in [
            (Fault.error("TooManyRequestsException"), 0.02),
            (Fault.error("InternalErrorException", http_status=500), 0.02),
            (Fault.html(503), 0.01),
            (Fault.reset(), 0.01),
            (Fault.answer_lost(), 0.01),
            (Fault.hang(15), 0.001),
            # Done after the caller has given up: may undo a newer command that was applied meanwhile.
            (Fault.delay(13, late=True), 0.001),
        ]:
            add(fault, operation="AdminUpdateDeviceStatus", probability=probability)

    def __enter__(self) -> Self:
        self._exits.enter_context(self.valkey)
        self._exits.enter_context(self.cognito)
        if self.rabbitmq:
            self._exits.enter_context(self.rabbitmq)
        environment = (
            os.environ
            | self.cognito.environment()
            | {
                "DEVICE_STATUS_BROKER_URL": self.settings.broker_url,
                "DEVICE_STATUS_LEDGER_URL": self.settings.ledger,
                "DEVICE_STATUS_UPDATE_QUOTA": str(QUOTA),
            }
        )
        self.workers = [WorkerProcess(f"worker{n}", environment, self._folder) for n in range(self._count)]
        for worker in self.workers:
            self._exits.callback(worker.kill)
            worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()
