"""The servers and the worker processes of a run."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from device_status import Lane, Settings, load_settings
from device_status.publisher import queue_name
from device_status_worker.local import EmbeddedValkey, Fault, LocalCognito, Rule
from support.amqp import count_messages
from support.rabbitmq import RabbitMQ
from support.workers import WorkerProcess

BROKERS = ("redis", "redis-without-disk", "rabbitmq")
"""The ledger's own Redis; another one, which forgets all its messages when it is killed; RabbitMQ."""
QUOTA = 200
"""Requests a second that the workers are given."""

# A few requests of a hundred fail, in every way that a service can.
_ANSWERS = {
    "Cognito throttles": (Fault.error("TooManyRequestsException"), 0.02),
    "Cognito answers 500": (Fault.error("InternalErrorException", http_status=500), 0.02),
    "Cognito answers 503 in HTML": (Fault.html(503), 0.01),
    "Cognito resets the connection": (Fault.reset(), 0.01),
    "Cognito does it and resets the connection": (Fault.answer_lost(), 0.01),
    "Cognito hangs": (Fault.hang(15), 0.003),
    # Done after the caller has given up: may undo a newer command that was applied meanwhile.
    "Cognito does it after the caller gave up": (Fault.delay(13, late=True), 0.003),
}


class System:
    """A Valkey with AOF, a Cognito with faults, workers, and a broker of its own where one is asked for."""

    def __init__(self, folder: Path, *, broker: str, workers: int, seed: int) -> None:
        self._exits = ExitStack()
        # `always`: what was answered is on disk, so whatever is lost was lost by us.
        self.valkey = EmbeddedValkey(
            data_dir=folder / "valkey", append_only=True, config={"appendfsync": "always"}
        )
        self.cognito = LocalCognito(seed=seed, log_size=1_000_000)
        self.rabbitmq = RabbitMQ() if broker == "rabbitmq" else None
        self.other_redis = EmbeddedValkey() if broker == "redis-without-disk" else None
        self._answers: dict[str, Rule] = {}
        self._folder = folder
        self._count = workers
        self.workers: list[WorkerProcess] = []

    @property
    def settings(self) -> Settings:
        """For producers and look-ups."""
        broker = self.rabbitmq or self.other_redis or self.valkey
        return load_settings(broker_url=broker.url, ledger_url=self.valkey.url)

    @property
    def forgets(self) -> bool:
        """Whether the broker loses what it holds when it is killed."""
        return self.other_redis is not None

    def messages_left(self) -> dict[str, int]:
        """What stands in the broker's queues, or was delivered and not acknowledged; empty: nothing."""
        if self.rabbitmq:
            counts = {lane.value: count_messages(self.rabbitmq.url, lane) for lane in Lane}
        else:
            with redis.Redis.from_url(self.settings.broker_url) as client:
                counts = {lane.value: client.llen(queue_name(lane)) for lane in Lane}
                counts["unacked"] = client.hlen("unacked")
        return {name: count for name, count in counts.items() if count}

    def redis(self) -> Any:
        """A client for the harness."""
        return redis.Redis.from_url(self.valkey.url, decode_responses=True)

    def logs(self) -> list[Path]:
        """What the workers said."""
        return sorted(self._folder.glob("*.log"))

    def make_cognito_unreliable(self) -> None:
        """From here on it fails now and then."""
        for name, (fault, probability) in _ANSWERS.items():
            self._answers[name] = self.cognito.faults.add(
                fault, operation="AdminUpdateDeviceStatus", probability=probability
            )

    def make_cognito_reliable(self) -> dict[str, int]:
        """No more faults; says how often it failed in which way."""
        self.cognito.faults.clear()
        return {name: rule.hits for name, rule in self._answers.items()}

    def __enter__(self) -> Self:
        self._exits.enter_context(self.valkey)
        self._exits.enter_context(self.cognito)
        if other := self.rabbitmq or self.other_redis:
            self._exits.enter_context(other)
        environment = (
            os.environ
            | self.cognito.environment()
            | {
                "DEVICE_STATUS_BROKER_URL": self.settings.broker_url,
                "DEVICE_STATUS_LEDGER_URL": self.settings.ledger,
                "DEVICE_STATUS_UPDATE_QUOTA": str(QUOTA),
            }
        )
        self.workers = [
            WorkerProcess(environment, self._folder / f"worker{n}.log", level="WARNING")
            for n in range(self._count)
        ]
        for worker in self.workers:
            self._exits.callback(worker.kill)
            worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()
