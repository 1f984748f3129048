"""A Valkey, a Cognito, a broker, and the workers between them."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, closing
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import redis

from device_status import DeadLetter, DeadLetters, Lane, Producer, Record, Settings, load_settings
from device_status.ledger import Ledger
from device_status.publisher import Publisher, queue_name
from device_status_worker.local import LocalCognito, Request
from support.amqp import delete_queues
from support.commands import wire_object
from support.servers import Valkey, start_valkey
from support.waiting import eventually
from support.workers import WorkerProcess


class Site:
    """A Valkey, a Cognito, and the workers that were started here; all ends with the context."""

    def __init__(
        self,
        rabbitmq_url: str = "",
        *,
        server: Callable[[], AbstractContextManager[Valkey]] = start_valkey,
        **settings: str,
    ) -> None:
        """`settings` are DEVICE_STATUS_* without the prefix, for the workers.

        Parameters:
            rabbitmq_url: of a broker that is running and that this takes over, all it holds included;
                default: the site's own Valkey.
            server: starts the site's Valkey.
        """
        self._rabbitmq_url = rabbitmq_url
        self._server = server
        self._overrides = settings
        self._exits = ExitStack()
        self.workers: list[WorkerProcess] = []

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            self._folder = Path(exits.enter_context(TemporaryDirectory(prefix="device-status-workers-")))
            self.valkey = exits.enter_context(self._server())
            self.cognito = exits.enter_context(LocalCognito())
            self.client = exits.enter_context(
                closing(redis.Redis.from_url(self.valkey.url, decode_responses=True))
            )
            self._exits = exits.pop_all()
        if self._rabbitmq_url:
            delete_queues(self._rabbitmq_url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    @property
    def folder(self) -> Path:
        """For what the workers write."""
        return self._folder

    @property
    def broker_url(self) -> str:
        """URL of the broker."""
        return self._rabbitmq_url or self.valkey.url

    @cached_property
    def settings(self) -> Settings:
        """As the workers have them."""
        return load_settings(broker_url=self.broker_url, ledger_url=self.valkey.url, **self._overrides)

    @cached_property
    def environment(self) -> dict[str, str]:
        """For programs that work here."""
        return (
            dict(os.environ)
            | self.cognito.environment()
            | _variables(self._overrides)
            | {"DEVICE_STATUS_BROKER_URL": self.broker_url, "DEVICE_STATUS_LEDGER_URL": self.valkey.url}
        )

    @cached_property
    def producer(self) -> Producer:
        """A producer for the workers here."""
        return Producer(self.settings)

    @cached_property
    def ledger(self) -> Ledger:
        """The workers' ledger."""
        return Ledger(self.settings.ledger)

    @cached_property
    def dead_letters(self) -> DeadLetters:
        """What the workers buried."""
        return DeadLetters(self.settings)

    def start_worker(
        self, *, level: str = "INFO", lanes: Iterable[Lane] = (), **settings: str
    ) -> WorkerProcess:
        """Start one more; it is not ready yet.

        Parameters:
            settings: of this one alone, as those of the site.
        """
        log = self._folder / f"worker{len(self.workers)}.log"
        environment = self.environment | _variables(settings)
        worker = WorkerProcess(environment, log, level=level, lanes=lanes)
        self.workers.append(worker)
        self._exits.callback(worker.kill)
        return worker.start()

    def restart_dead_workers(self) -> None:
        """So that a test that ended a worker is the only one to fail by it."""
        for worker in self.workers:
            if not worker.is_alive:
                worker.start()
                worker.wait_until_ready()

    def make_pool(self, *users: str, region: str = "us-east-1") -> str:
        """A new pool with these users."""
        pool = self.cognito.create_pool(region)
        for user in users:
            self.cognito.add_user(pool, user)
        return pool

    def make_devices(self, pool: str, count: int, username: str) -> list[dict[str, Any]]:
        """New devices of one user, as the fields that a command for one has; all are `remembered`."""
        return [
            wire_object(
                user_pool_id=pool, username=username, device_key=self.cognito.add_device(pool, username)
            )
            for _ in range(count)
        ]

    def make_command(self, **overrides: Any) -> dict[str, Any]:
        """A command for a new device of a new user in a new pool; see `wire_object`."""
        pool, username = self.make_pool(), overrides.pop("username", f"user-{uuid.uuid4()}")
        self.cognito.add_user(pool, username)
        (fields,) = self.make_devices(pool, 1, username)
        return fields | {"command_id": str(uuid.uuid4()), **overrides}

    def requests_for(self, user_pool_id: str) -> list[Request]:
        """The requests that reached the pool."""
        return [request for request in self.cognito.requests if request.user_pool_id == user_pool_id]

    def status_of(self, command: dict[str, Any]) -> str:
        """What Cognito thinks of the command's device."""
        return self.cognito.device_status(command["user_pool_id"], command["username"], command["device_key"])

    def outcome(self, command_id: str, seconds: float = 20.0) -> Record:
        """The command's record, once it has an outcome."""

        def found() -> Record | None:
            record = self.producer.lookup(command_id)
            return record if record and record.outcome else None

        record = eventually(found, f"{command_id} has an outcome", seconds)
        assert record is not None
        return record

    def outcomes(self, command_ids: Iterable[str], seconds: float = 30.0) -> list[Record]:
        """The records, once all have an outcome."""
        deadline = time.monotonic() + seconds
        return [self.outcome(each, max(0.1, deadline - time.monotonic())) for each in command_ids]

    def push(self, raw: bytes, lane: Lane = Lane.ROUTINE) -> None:
        """Put raw bytes in a queue of Redis."""
        self.client.lpush(queue_name(lane), raw)

    def publish(self, *commands: dict[str, Any], lane: Lane = Lane.ROUTINE) -> None:
        """Publish messages, one for each command, without any entry in the ledger: a producer of others."""
        for command in commands:
            self._publisher.publish([json.dumps(command)], lane)

    def publish_together(self, *commands: dict[str, Any], lane: Lane = Lane.ROUTINE) -> None:
        """As `publish`, in one message."""
        self._publisher.publish([json.dumps(command) for command in commands], lane)

    def fence(self, lane: Lane = Lane.ROUTINE) -> None:
        """Return when all that was published in this lane before has been received by a worker."""
        last = self.make_command()
        self.publish(last, lane=lane)
        self.outcome(last["command_id"])

    @cached_property
    def _publisher(self) -> Publisher:
        return Publisher(self.broker_url)

    def letter_with(self, marker: str) -> DeadLetter | None:
        """The dead letter of a message that is no command whose raw text holds `marker`."""
        # Without NULs, so that it is found in UTF-16 as well.
        letters = self.dead_letters.list()
        return next((each for each in letters if marker in (each.raw or "").replace("\0", "")), None)


def _variables(settings: Mapping[str, str]) -> dict[str, str]:
    return {f"DEVICE_STATUS_{name.upper()}": value for name, value in settings.items()}
