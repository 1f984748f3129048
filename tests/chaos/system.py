"""The servers and the worker processes of a run."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from chaos.fleet import Fleet
from chaos.servers import OneRedis, WatchedRedis
from device_status import Lane, Settings, load_settings
from device_status.publisher import queue_name
from device_status_worker.local import EmbeddedValkey, LocalCognito
from support.amqp import count_messages
from support.forwarder import Forwarder
from support.moods import PASSWORD, USER, admin_of
from support.rabbitmq import RabbitMQ
from support.rabbitmq_states import WORKER, set_delivery_limit, set_user
from support.servers import REDIS
from support.workers import WorkerProcess

BROKERS = ("redis", "redis-without-disk", "rabbitmq")
"""The ledger's own Redis; another one, which forgets all its messages when it is killed; RabbitMQ."""
LEDGERS = ("valkey", "redis", "sentinel")
"""Valkey or Redis, alone behind an address that moves; a primary and a replica of Valkey behind Sentinel."""
DELIVERY_LIMIT = 10
"""The lowest that the documentation allows."""


class System:
    """A ledger on disk, a Cognito, workers, and a broker of its own if one is asked for.

    Parameters:
        quota: requests a second that the workers are given.
    """

    def __init__(
        self, folder: Path, *, broker: str, ledger: str, workers: int, seed: int, quota: int
    ) -> None:
        self._exits = ExitStack()
        self._folder = folder
        self.ledger: OneRedis | WatchedRedis = (
            WatchedRedis(folder)
            if ledger == "sentinel"
            else OneRedis(folder, REDIS if ledger == "redis" else None)
        )
        self.cognito = LocalCognito(seed=seed, log_size=1_000_000)
        self.rabbitmq = RabbitMQ() if broker == "rabbitmq" else None
        self.other_redis = EmbeddedValkey() if broker == "redis-without-disk" else None
        self._workers = workers
        self._quota = quota
        self._broker_url = ""

    @property
    def settings(self) -> Settings:
        """For producers and look-ups."""
        return load_settings(broker_url=self._broker_url, ledger_url=self.ledger.url)

    def messages_left(self) -> dict[str, int]:
        """What stands in the broker's queues, or was delivered and not acknowledged; empty: nothing."""
        if self.rabbitmq:
            counts = {lane.value: count_messages(self.rabbitmq.url, lane) for lane in Lane}
        else:
            with admin_of(self.other_redis) if self.other_redis else self.ledger.admin() as client:
                counts = {lane.value: client.llen(queue_name(lane)) for lane in Lane}
                counts["unacked"] = client.hlen("unacked")
        return {name: count for name, count in counts.items() if count}

    def open_commands(self) -> int | None:
        """How many have no outcome; None: the ledger does not say."""
        with suppress(redis.RedisError, OSError), self.ledger.admin() as client:
            return sum(
                client.zcard(f"device-status:{kind}:{lane}") for kind in ("open", "queued") for lane in Lane
            )
        return None

    def redis(self) -> Any:
        """A client of the ledger for the harness."""
        return self.ledger.admin()

    def logs(self) -> list[Path]:
        """What the workers said."""
        return sorted(self._folder.glob("worker*.log"))

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            exits.enter_context(self.ledger)
            exits.enter_context(self.cognito)
            self._broker_url = self._start_broker(exits)
            self.fleet = Fleet([self._make_worker(number, exits) for number in range(self._workers)])
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    def _start_broker(self, exits: ExitStack) -> str:
        if self.other_redis:
            return exits.enter_context(self.other_redis).url
        if not self.rabbitmq:
            return self.ledger.url
        node = exits.enter_context(self.rabbitmq)
        for lane in Lane:
            count_messages(node.url, lane)  # declares it
        # RabbitMQ 3.10 that is killed right after that may never serve a queue again.
        node.restart_in_order()
        set_delivery_limit(node, DELIVERY_LIMIT)
        url = set_user(node, USER, PASSWORD, *WORKER)
        forwarder = exits.enter_context(Forwarder(node.port))
        return url.replace(str(node.port), str(forwarder.port))

    def _make_worker(self, number: int, exits: ExitStack) -> WorkerProcess:
        environment = (
            os.environ
            | self.cognito.environment()
            | {
                "DEVICE_STATUS_BROKER_URL": self._broker_url,
                "DEVICE_STATUS_LEDGER_URL": self.ledger.url,
                "DEVICE_STATUS_UPDATE_QUOTA": str(self._quota),
            }
        )
        worker = WorkerProcess(environment, self._folder / f"worker{number}.log", level="WARNING")
        exits.callback(worker.kill)
        return worker.start()
