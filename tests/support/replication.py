"""A primary and its replica, which lags or takes over, and what producers hear meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import redis

from device_status import DeviceStatusError, Producer
from device_status_worker.local import EmbeddedValkey
from support.forwarder import Forwarder
from support.servers import HOST
from support.waiting import eventually


class Replicated:
    """A primary with a replica, behind an endpoint that moves; a context manager.

    The link between the two can stand still. To stop the replica's process would not do: what lies in its
    socket meanwhile still reaches it.
    """

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            config = {"repl-diskless-sync-delay": "0"}
            self.primary = exits.enter_context(EmbeddedValkey(config=config))
            self._link = exits.enter_context(Forwarder(self.primary.port))
            self.replica = exits.enter_context(
                EmbeddedValkey(config=config | {"replicaof": f"{HOST} {self._link.port}"})
            )
            self._endpoint = exits.enter_context(Forwarder(self.primary.port))
            self.wait_for_replica()
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    @property
    def url(self) -> str:
        """Of the endpoint."""
        return self._endpoint.url

    @contextmanager
    def lag(self) -> Iterator[None]:
        """The replica is connected and gets nothing."""
        self._link.hold()
        try:
            yield
        finally:
            self._link.release()

    def fail_over(self) -> None:
        """The primary dies, the replica takes over with what it has, and the old primary becomes its replica.

        What the link holds back is lost.
        """
        self.primary.kill()
        self._link.cut()
        self.primary, self.replica = self.replica, self.primary
        with closing(redis.Redis(port=self.primary.port)) as client:
            client.replicaof("NO", "ONE")
        self._endpoint.lead_to(self.primary.port)
        self._endpoint.cut()
        self.replica.start()
        with closing(redis.Redis(port=self.replica.port)) as client:
            client.replicaof(HOST, str(self.primary.port))
        self.wait_for_replica()

    def wait_for_replica(self) -> None:
        """Return when the primary would count it."""
        with closing(redis.Redis(port=self.primary.port)) as client:
            eventually(lambda: client.execute_command("WAIT", 1, 100) == 1, "the replica is linked")


def wait_until_primary(server: EmbeddedValkey) -> None:
    """Return when it has taken over."""
    with closing(redis.Redis(port=server.port)) as client:
        eventually(lambda: client.info("replication")["role"] == "master", "it has taken over", 60)


@dataclass
class Answers:
    """What a producer heard."""

    accepted: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    longest: float = 0.0
    """Seconds that one call took at most."""


def enqueue_each(producer: Producer, commands: Iterable[dict[str, Any]], *, threads: int = 8) -> Answers:
    """Enqueue each command once, in threads; every command must have a `command_id`."""
    answers = Answers()

    def enqueue(command: dict[str, Any]) -> None:
        began_at = time.monotonic()
        try:
            producer.enqueue(command)
        except DeviceStatusError as error:
            answers.refused.append(command)
            answers.errors.append(error)
        else:
            answers.accepted.append(command)
        answers.longest = max(answers.longest, time.monotonic() - began_at)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(enqueue, commands))
    return answers


def enqueue_through(fault: Callable[[], None], producer: Producer, commands: list[dict[str, Any]]) -> Answers:
    """Enqueue commands while `fault` happens (as a failover), and then repeat what was refused until all are
    accepted. What was accepted before the repeats stands first.
    """
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(enqueue_each, producer, commands)
        fault()
        answers = first.result()
    left = list(answers.refused)

    def is_accepted() -> bool:
        again = enqueue_each(producer, left)
        left[:] = again.refused
        answers.accepted += again.accepted
        return not left

    eventually(is_accepted, "what was refused is accepted when it is repeated", 60)
    return answers


def lost(producer: Producer, commands: Iterable[dict[str, Any]]) -> list[str]:
    """Ids of those that the ledger does not hold."""
    return [command["command_id"] for command in commands if producer.lookup(command["command_id"]) is None]
