"""A worker and a producer outlive the moods of Redis: what it refuses, and where it moves to."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from device_status import (
    DeviceStatusError,
    Lane,
    LedgerUnavailableError,
    Producer,
    PublishError,
    load_settings,
)
from device_status.publisher import Publisher, queue_name
from device_status_worker.local import EmbeddedValkey, LocalCognito
from support.commands import wire_object
from support.forwarder import Forwarder
from support.messages import body_of, envelope
from support.moods import LASTING, OPTIONS, PASSING, Endpoint
from support.servers import HOST
from support.waiting import eventually
from support.workers import WorkerProcess

FOLLOWS_WITHIN = 5.0
"""Seconds after which an endpoint that has moved is served from its new place."""

THREADS = 4

WHAT_TO_DO = {
    "OOM": "raise maxmemory",
    "READONLY": "let the URL lead to the primary",
    "MASTERDOWN": "let the URL lead to the primary",
    "NOREPLICAS": "min-replicas-to-write",
    "MISCONF": "look at its log and its disk",
    "LOADING": "it loads its data: wait",
    "BUSY": "SCRIPT KILL",
    "NOPERM": "allow its user every key and command",
    "NOPERM for everything": "allow its user every key and command",
    "WRONGPASS": "correct user and password",
    "max number of clients reached": "raise its maxclients",
    "CLUSTERDOWN": "Redis Cluster, which can't be used",
    "not Redis": "its answer is not one of Redis",
    "refused": "Connection",
    "silence": "Timeout",
}
"""What the log of a worker and the error of a producer say."""


class Scene:
    """A Valkey behind an endpoint, a Cognito, and one worker."""

    def __init__(self, endpoint: Endpoint, cognito: LocalCognito, worker: WorkerProcess) -> None:
        self.endpoint = endpoint
        self.cognito = cognito
        self.worker = worker
        self.accounts: dict[str, Account] = {}
        self.pool = cognito.create_pool()
        cognito.add_user(self.pool, "ada")

    def command(self) -> dict[str, Any]:
        """For a new device."""
        key = self.cognito.add_device(self.pool, "ada")
        return wire_object(user_pool_id=self.pool, username="ada", device_key=key)

    def publish_raw(self, command: dict[str, Any]) -> None:
        """As a producer without our package: a message and no entry in the ledger."""
        message = envelope(body_of({"command": command}))
        self.endpoint.admin.lpush(queue_name(Lane.ROUTINE), message)

    def is_done(self, command: dict[str, Any]) -> bool:
        """Whether Cognito got it."""
        status = self.cognito.device_status(self.pool, "ada", command["device_key"])
        return status == command["status"]


@pytest.fixture(scope="module")
def scene(server_binary: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    log = tmp_path_factory.mktemp("moods") / "worker.log"
    with ExitStack() as exits:
        server = EmbeddedValkey(config=OPTIONS, binary=server_binary)
        endpoint = exits.enter_context(Endpoint(server))
        cognito = exits.enter_context(LocalCognito())
        environment = os.environ | cognito.environment() | {"DEVICE_STATUS_BROKER_URL": endpoint.url}
        worker = WorkerProcess(environment, log)
        exits.callback(worker.kill)
        # The user does not exist yet: a password that is wrong at the very start may be set right later.
        worker.start()
        eventually(lambda: "correct user and password" in worker.output, "it says what is wrong", 60)
        endpoint.allow()
        worker.wait_until_ready()
        yield Scene(endpoint, cognito, worker)


@contextmanager
def paused(worker: WorkerProcess) -> Iterator[None]:
    """What Redis hands it meanwhile, it reads afterwards."""
    worker.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        worker.send_signal(signal.SIGCONT)


def problems(log: str) -> list[str]:
    return [line for line in log.splitlines() if re.search(r"Traceback|Unrecoverable|CRITICAL", line)]


@dataclass(frozen=True)
class Account:
    """What came of one mood."""

    is_alive: bool
    log: str
    """Of the worker."""
    lost: list[str]
    """Of three messages of another producer: popped and not registered, waiting, sent when it was over."""
    error: Exception
    """Of a producer in the mood."""
    seconds: float
    """Until it came."""


def live_through(mood: str, scene: Scene) -> Account:
    """Once for each mood."""
    if mood in scene.accounts:
        return scene.accounts[mood]
    worker, before = scene.worker, len(scene.worker.output)
    producer = Producer(load_settings(broker_url=scene.endpoint.url))
    producer.enqueue(scene.command())
    messages = {name: scene.command() for name in ("popped", "waiting", "later")}
    repeated = scene.command()
    with ExitStack() as exits:
        with paused(worker):
            # Redis hands the first to the worker, which reads it when it can't register it any longer.
            scene.publish_raw(messages["popped"])
            scene.publish_raw(messages["waiting"])
            exits.enter_context(LASTING[mood](scene.endpoint))
        began_at = time.monotonic()
        with pytest.raises(DeviceStatusError) as raised:
            producer.enqueue(repeated)
        seconds = time.monotonic() - began_at
        eventually(lambda: WHAT_TO_DO[mood] in worker.output[before:], f"the worker says why: {mood}", 20)
    scene.publish_raw(messages["later"])
    eventually(lambda: accepts(producer, repeated), "the repeat works", 5)
    eventually(lambda: scene.is_done(repeated) or not worker.is_alive, "it is done", 15)
    lost = [name for name, command in messages.items() if not comes_true(partial(scene.is_done, command))]
    account = Account(worker.is_alive, worker.output[before:], lost, raised.value, seconds)
    return scene.accounts.setdefault(mood, account)


@pytest.mark.parametrize("mood", LASTING)
class TestWhatRedisRefuses:
    def test_a_worker_waits_says_why_and_loses_no_message(self, mood: str, scene: Scene) -> None:
        account = live_through(mood, scene)
        assert account.is_alive
        assert account.lost == []
        assert problems(account.log) == []
        errors = [line for line in account.log.splitlines() if ": ERROR/" in line]
        assert 0 < len(errors) < 30

    def test_a_producer_gets_one_line_within_seconds_and_the_repeat_works(
        self, mood: str, scene: Scene
    ) -> None:
        account = live_through(mood, scene)
        assert isinstance(account.error, LedgerUnavailableError | PublishError)
        assert account.error.retryable
        assert WHAT_TO_DO[mood] in str(account.error)
        assert "\n" not in str(account.error)
        assert "hunter2" not in str(account.error)
        assert account.seconds < 15


@pytest.mark.parametrize("mood", PASSING)
def test_what_is_over_at_once_is_hardly_noticed(mood: str, scene: Scene) -> None:
    producer, before = Producer(load_settings(broker_url=scene.endpoint.url)), len(scene.worker.output)
    first, second = scene.command(), scene.command()
    producer.enqueue(first)
    PASSING[mood](scene.endpoint)
    producer.enqueue(second)
    for command in (first, second):
        eventually(partial(scene.is_done, command), "it is done", 10)
    assert scene.worker.is_alive
    assert problems(scene.worker.output[before:]) == []


def test_the_documentation_has_a_row_for_each() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()
    table = text.partition("### When Redis does not serve")[2].partition("\n#")[0]
    codes = set(re.findall(r"`([^`]+)`", table))
    assert {mood.partition(" for ")[0] for mood in (*LASTING, *PASSING)} <= codes


def accepts(producer: Producer, command: dict[str, Any]) -> bool:
    try:
        producer.enqueue(command)
    except DeviceStatusError:
        return False
    return True


def comes_true(condition: Callable[[], bool]) -> bool:
    try:
        return eventually(condition, "", 10)
    except AssertionError:
        return False


class TestAnEndpointThatMoves:
    """As that of ElastiCache, or a virtual address: it leads to the new primary, and the old one, which is a
    replica now, keeps its connections.
    """

    @pytest.fixture
    def servers(self, server_binary: Path | None) -> Iterator[tuple[EmbeddedValkey, EmbeddedValkey]]:
        with (
            EmbeddedValkey(config={"repl-diskless-sync-delay": "0"}, binary=server_binary) as old,
            EmbeddedValkey(config={"replicaof": f"{HOST} {old.port}"}, binary=server_binary) as new,
        ):
            yield old, new

    def test_producers_and_workers_follow_within_seconds(
        self, servers: tuple[EmbeddedValkey, EmbeddedValkey], scene: Scene, tmp_path: Path
    ) -> None:
        with Forwarder(servers[0].port) as endpoint:
            environment = (
                os.environ | scene.cognito.environment() | {"DEVICE_STATUS_BROKER_URL": endpoint.url}
            )
            worker = WorkerProcess(environment, tmp_path / "worker.log")
            try:
                worker.start().wait_until_ready()
                producer = Producer(load_settings(broker_url=endpoint.url))
                before, after = ([scene.command() for _ in range(THREADS)] for _ in range(2))
                with ThreadPoolExecutor(THREADS) as pool:
                    # So many connections of the producer to the old primary.
                    list(pool.map(producer.enqueue, before))
                    fail_over(servers, endpoint)
                    moved_at = time.monotonic()
                    accepted = pool.map(lambda each: comes_true(lambda: accepts(producer, each)), after)
                    assert all(accepted)
                    assert time.monotonic() - moved_at < FOLLOWS_WITHIN
                left = moved_at + 2 * FOLLOWS_WITHIN - time.monotonic()
                eventually(lambda: all(map(scene.is_done, before + after)), "all are done", left)
                assert problems(worker.output) == []
                assert worker.terminate() == 0
            finally:
                worker.kill()

    def test_a_broker_of_its_own_is_followed_by_those_who_publish(
        self, servers: tuple[EmbeddedValkey, EmbeddedValkey]
    ) -> None:
        with Forwarder(servers[0].port) as endpoint, ThreadPoolExecutor(THREADS) as pool:
            publisher, command = Publisher(endpoint.url), json.dumps(wire_object())
            barrier = threading.Barrier(THREADS)

            def publish(_: int) -> None:
                barrier.wait()
                publisher.publish([command], Lane.BULK)

            list(pool.map(publish, range(THREADS)))
            with redis.Redis(port=servers[0].port) as old, redis.Redis(port=servers[1].port) as new:
                assert len(old.client_list(_type="normal")) > THREADS
                fail_over(servers, endpoint)
                new.delete(queue_name(Lane.BULK))
                publisher.publish([command], Lane.BULK)
                assert new.llen(queue_name(Lane.BULK)) == 1
                # Else the next calls, of several threads, would each find out for themselves.
                eventually(
                    lambda: len(old.client_list(_type="normal")) == 1, "no connection is left but ours", 5
                )


def fail_over(servers: tuple[EmbeddedValkey, EmbeddedValkey], endpoint: Forwarder) -> None:
    """Make the second server the primary, the first its replica, and lead new connections to the second."""
    with redis.Redis(port=servers[0].port) as old, redis.Redis(port=servers[1].port) as new:
        eventually(lambda: new.info("replication")["master_link_status"] == "up", "the replica is linked")
        old.wait(1, 5000)
        new.replicaof("NO", "ONE")
        old.replicaof(HOST, str(servers[1].port))
        endpoint.lead_to(servers[1].port)
