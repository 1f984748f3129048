"""The table in docs/operating.md, row by row: what a producer and a worker do in each state of RabbitMQ."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import kombu
import pytest
from amqp.exceptions import NotFound

from device_status import Lane, Producer, PublishError, State, load_settings
from support.amqp import close_frame, count_messages, declare_classic, delete_queues, frame, publish_raw
from support.commands import wire_object
from support.forwarder import Forwarder
from support.rabbitmq import RabbitMQ, missing
from support.rabbitmq_states import (
    LANES,
    WORKER,
    add_vhost,
    clear_permissions,
    close_connections,
    connection_states,
    delete_user,
    disk_alarm,
    frozen,
    memory_alarm,
    set_consumer_timeout,
    set_delivery_limit,
    set_password,
    set_permissions,
    set_user,
    vhost_url,
)
from support.servers import silent
from support.site import Site
from support.waiting import eventually

CALL = 10.0
"""Seconds that a call of a producer may take, as promised."""
SPARE = 2.0
"""For a machine that is busy."""
STOP = 30.0
"""Seconds after which a worker that was asked to stop has ended, as promised."""
MOST_TROUBLES = 12
"""Lines in a worker's log about one trouble; each lasts some ten seconds here."""
CONSUMERS = '[proplists:get_value(channel_pid, C) || C <- rabbit_amqqueue:consumers_all(<<"/">>)].'

USER, PASSWORD = "worker", "swordfish"


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitMQ]:
    """A node of this module alone; each test leaves it well."""
    if reason := missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    with RabbitMQ() as node:
        yield node


ROOT = Path(__file__).parents[2]
NODE = ROOT / "tests" / "node"
needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (NODE / "node_modules").exists(),
    reason="needs Node.js and: npm ci --prefix tests/node",
)


class TestProducer:
    @pytest.fixture
    def producer(self, node: RabbitMQ, redis_url: str) -> Producer:
        """One that has published, as most have when the trouble begins."""
        producer = Producer(load_settings(broker_url=node.url, ledger_url=redis_url))
        producer.enqueue(wire_object())
        return producer

    @pytest.mark.parametrize("alarm", [memory_alarm, disk_alarm])
    def test_an_alarm_is_reported_at_once_by_its_name_and_leaves_one_connection(
        self, alarm: Callable[[RabbitMQ], AbstractContextManager[None]], node: RabbitMQ, producer: Producer
    ) -> None:
        before = len(connection_states(node))
        began_at = time.monotonic()
        with alarm(node):
            for _ in range(5):
                with pytest.raises(PublishError, match="alarm"):
                    producer.enqueue(wire_object())
            assert time.monotonic() - began_at < CALL
            assert len(connection_states(node)) <= before
        began_at = time.monotonic()
        producer.enqueue(wire_object())
        assert time.monotonic() - began_at < SPARE

    def test_what_a_producer_publishes_after_an_alarm_is_confirmed_for_itself(
        self, node: RabbitMQ, producer: Producer
    ) -> None:
        with memory_alarm(node), pytest.raises(PublishError, match="alarm"):
            producer.enqueue(wire_object(), lane=Lane.BULK)
        before = count_messages(node.url, Lane.URGENT)
        producer.enqueue(wire_object(), lane=Lane.URGENT)
        # The confirm that was outstanding must not count for this one.
        assert count_messages(node.url, Lane.URGENT) == before + 1

    def test_a_node_that_hangs_costs_ten_seconds_a_call_and_no_connection(
        self, node: RabbitMQ, producer: Producer
    ) -> None:
        before = len(connection_states(node))
        with frozen(node):
            began_at = time.monotonic()
            with pytest.raises(PublishError):
                producer.enqueue(wire_object())
            assert time.monotonic() - began_at < CALL + SPARE
        producer.enqueue(wire_object())
        assert len(connection_states(node)) <= before + 1

    def test_a_queue_that_was_deleted_is_declared_again(self, node: RabbitMQ, producer: Producer) -> None:
        delete_queues(node.url)
        producer.enqueue(wire_object())
        assert count_messages(node.url, Lane.ROUTINE) == 1

    def test_many_threads_in_an_alarm_end_in_time_and_leave_nothing_behind(
        self, node: RabbitMQ, producer: Producer
    ) -> None:
        threads_before = threading.active_count()
        errors: list[PublishError] = []

        def enqueue() -> None:
            try:
                producer.enqueue(wire_object())
            except PublishError as error:
                errors.append(error)

        with memory_alarm(node):
            threads = [threading.Thread(target=enqueue) for _ in range(12)]
            began_at = time.monotonic()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert time.monotonic() - began_at < CALL + SPARE
            assert len(errors) == 12
            # As many as a producer ever has.
            assert len(connection_states(node)) <= 8
        assert threading.active_count() == threads_before


class TestWorker:
    @pytest.fixture(scope="class")
    @staticmethod
    def between(node: RabbitMQ) -> Iterator[Forwarder]:
        """What stands between the worker and RabbitMQ."""
        with Forwarder(node.port) as forwarder:
            yield forwarder

    @pytest.fixture(scope="class")
    @staticmethod
    def site(node: RabbitMQ, between: Forwarder) -> Iterator[Site]:
        """With one worker, whose user is its own."""
        url = set_user(node, USER, PASSWORD, *WORKER)
        with Site(node.url) as site:
            site.environment["DEVICE_STATUS_BROKER_URL"] = url.replace(str(node.port), str(between.port))
            # Where its sign of life is, apart from those of other workers.
            site.environment["TMPDIR"] = str(site.folder)
            site.start_worker().wait_until_ready()
            yield site

    @pytest.fixture(autouse=True)
    def _goes_on_in_few_lines(self, site: Site) -> Iterator[None]:
        """Whatever happened: the process takes the next command, and has written no traceback."""
        site.restart_dead_workers()
        (worker,) = site.workers
        written = len(worker.output)
        yield
        command = site.make_command()
        site.producer.enqueue(command)
        assert site.outcome(command["command_id"], 40).state is State.SUCCEEDED
        assert worker.is_alive
        said = worker.output[written:]
        assert "Traceback" not in said, said
        troubles = [line for line in said.splitlines() if "ERROR" in line or "CRITICAL" in line]
        assert len(troubles) <= MOST_TROUBLES, said

    def test_in_an_alarm_a_worker_starts_works_and_stops(self, site: Site, node: RabbitMQ) -> None:
        (worker,) = site.workers
        assert worker.terminate() == 0
        commands = [site.make_command() for _ in range(30)]
        site.publish(*commands)
        # So that RabbitMQ refuses nothing that Celery might publish on the connection that consumes.
        set_permissions(node, USER, ".*", ".*", ".*")
        try:
            with memory_alarm(node):
                worker.start()
                for record in site.outcomes([each["command_id"] for each in commands], 30):
                    assert record.state is State.SUCCEEDED
                began_at = time.monotonic()
                assert worker.terminate() == 0
                assert time.monotonic() - began_at < STOP
        finally:
            set_permissions(node, USER, *WORKER)
        worker.start()

    def test_a_node_that_hangs_is_waited_for(self, site: Site, node: RabbitMQ) -> None:
        with frozen(node):
            time.sleep(3)  # so long that what the worker begins meets the silence

    def test_a_worker_ends_in_time_while_the_node_hangs(self, site: Site, node: RabbitMQ) -> None:
        (worker,) = site.workers
        with frozen(node):
            site.ledger.redis.ping()
            began_at = time.monotonic()
            assert worker.terminate() == 0
            assert time.monotonic() - began_at < STOP
        worker.start().wait_until_ready()

    def test_deleted_queues_are_declared_again(self, site: Site, node: RabbitMQ) -> None:
        consumers = node.run(CONSUMERS)
        delete_queues(node.url)
        is_back(node, consumers)

    @pytest.mark.timeout(900)
    def test_whatever_a_server_closes_with_the_worker_is_back(
        self, site: Site, node: RabbitMQ, between: Forwarder
    ) -> None:
        for data in [
            *(close_frame(code) for code in (501, 530, 541)),
            *(close_frame(code, channel=1) for code in (311, 404)),
            frame(b"\0\x0a\0\x3d", end=b"!"),  # not the end of a frame
            frame(b"\xff\xff\xff\xff"),  # of no method
            frame(b"\0\x0a\0\x32"),  # without its arguments
            frame(b"\0\x14\0\x0b\0\0\0\0", channel=99),  # of no channel
        ]:
            consumers = node.run(CONSUMERS)
            between.inject(data)
            is_back(node, consumers)

    def test_its_health_check_tells_the_truth(self, site: Site, node: RabbitMQ) -> None:
        (worker,) = site.workers

        def health() -> int:
            command = [sys.executable, str(ROOT / "examples" / "worker_health.py")]
            return subprocess.run(command, env=site.environment, capture_output=True, check=False).returncode

        assert worker.terminate() == 0
        assert health() == 1
        worker.start().wait_until_ready()
        assert health() == 0
        worker.kill()
        assert health() == 1
        worker.start().wait_until_ready()

    def test_bad_messages_and_their_neighbours_outlive_a_ledger_that_is_away(
        self, site: Site, node: RabbitMQ
    ) -> None:
        marker = f"marker-{uuid.uuid4().hex}"
        set_delivery_limit(node, 2)
        commands = [site.make_command() for _ in range(40)]
        eventually(lambda: node.run(CONSUMERS) != "[]", "the worker is back")
        consumers = node.run(CONSUMERS)
        with silent(site.valkey):
            for each in range(20):
                publish_raw(node.url, Lane.ROUTINE, f"{marker} {each}".encode())
                site.publish(*commands[2 * each : 2 * each + 2])
            time.sleep(5)  # in which a worker that reconnects for it spends every delivery
            assert node.run(CONSUMERS) == consumers
        assert {each.state for each in site.outcomes([each["command_id"] for each in commands], 60)} == {
            State.SUCCEEDED
        }
        for each in range(20):
            eventually(lambda each=each: site.letter_with(f"{marker} {each}"), "it is a dead letter")
        assert len([each for each in site.dead_letters.list() if marker in (each.raw or "")]) == 20

    def test_a_message_that_comes_back_again_and_again_is_never_dropped(
        self, site: Site, node: RabbitMQ
    ) -> None:
        marker, command = f"marker-{uuid.uuid4().hex}", site.make_command()
        set_delivery_limit(node, 4)
        with silent(site.valkey):
            publish_raw(node.url, Lane.ROUTINE, marker.encode())
            site.publish(command)
            for _ in range(7):
                consumers = node.run(CONSUMERS)
                close_connections(node)
                is_back(node, consumers)
        assert site.outcome(command["command_id"], 60).state is State.SUCCEEDED
        eventually(lambda: site.letter_with(marker), "it is a dead letter")

    def test_a_message_that_waits_longer_than_rabbitmq_likes_is_delivered_again(
        self, site: Site, node: RabbitMQ
    ) -> None:
        (worker,) = site.workers
        command = site.make_command()
        set_consumer_timeout(node, 1000)
        close_connections(node)
        try:
            with silent(site.valkey):
                site.publish(command)
                eventually(lambda: "delivery acknowledgement" in worker.output, "RabbitMQ closes the channel")
        finally:
            set_consumer_timeout(node, 1_800_000)
            close_connections(node)
        assert site.outcome(command["command_id"], 60).state is State.SUCCEEDED

    @pytest.mark.parametrize("what", ["password", "permissions", "virtual host"])
    def test_a_user_who_is_shut_out_waits_and_says_what_to_do(
        self, what: str, site: Site, node: RabbitMQ
    ) -> None:
        (worker,) = site.workers
        shut_out: dict[str, tuple[Callable[[], None], Callable[[], None], str]] = {
            "password": (
                lambda: set_password(node, USER, "another"),
                lambda: set_password(node, USER, PASSWORD),
                "correct user and password",
            ),
            "permissions": (
                lambda: set_permissions(node, USER, WORKER[0], WORKER[1], "^$"),
                lambda: set_permissions(node, USER, *WORKER),
                "grant the user its permissions",
            ),
            "virtual host": (
                lambda: clear_permissions(node, USER),
                lambda: set_permissions(node, USER, *WORKER),
                "grant the user its permissions",
            ),
        }
        close, open_again, advice = shut_out[what]
        written = len(worker.output)
        close()
        close_connections(node)
        try:
            eventually(lambda: advice in worker.output[written:], "the worker says what to do")
            time.sleep(4)  # in which a worker that tries without a pause fills its log
        finally:
            open_again()
        assert PASSWORD not in worker.output

    def test_a_queue_that_something_else_declared_is_waited_for(self, site: Site, node: RabbitMQ) -> None:
        (worker,) = site.workers
        assert worker.terminate() == 0
        delete_queues(node.url)
        declare_classic(node.url, Lane.ROUTINE)
        written = len(worker.output)
        worker.start()
        eventually(
            lambda: "declared this queue, in another way" in worker.output[written:],
            "the worker says what to do",
        )
        assert worker.is_alive
        delete_queues(node.url)


def is_back(node: RabbitMQ, consumers: str) -> None:
    """Return when the worker consumes, and not by these consumers."""

    def has_new() -> bool:
        now = node.run(CONSUMERS)
        return now.count("<") >= len(Lane) and now != consumers

    # What comes in the middle of a frame leaves py-amqp waiting for its end, until heartbeats are missed.
    eventually(has_new, "the worker is back", 100)


def publish_from_node(url: str) -> tuple[int, str]:
    """Run the example of the documentation; its exit code, and what it complained about."""
    command = ["node", str(NODE / "publish_amqp.js"), url, json.dumps(wire_object())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stderr


class TestPermissions:
    """Each user has exactly what docs/operating.md says, and could do with nothing less."""

    @pytest.fixture
    def producer(self, node: RabbitMQ, redis_url: str) -> Iterator[Callable[..., Producer]]:
        """Makes one whose user has these permissions: configure, write, read."""

        def make(*permissions: str) -> Producer:
            url = set_user(node, "producer", "secret", *permissions)
            return Producer(load_settings(broker_url=url, ledger_url=redis_url))

        yield make
        delete_user(node, "producer")

    def test_a_producer_publishes(self, producer: Callable[..., Producer]) -> None:
        producer(LANES, r"^amq\.default$", "^$").enqueue(wire_object())

    @pytest.mark.parametrize("missing", [0, 1])
    def test_a_producer_with_less_is_refused_and_says_what_it_needs(
        self, missing: int, producer: Callable[..., Producer]
    ) -> None:
        permissions = [LANES, r"^amq\.default$", "^$"]
        permissions[missing] = "^$"
        with pytest.raises(PublishError, match=r"ACCESS_REFUSED.*grant the user its permissions"):
            producer(*permissions).enqueue(wire_object())

    @needs_node
    def test_a_producer_without_our_package_publishes_to_a_broker_where_nothing_is(
        self, node: RabbitMQ
    ) -> None:
        add_vhost(node, "empty")
        url = set_user(node, "other", "secret", LANES, r"^amq\.default$", "^$", vhost="empty")
        assert publish_from_node(url) == (0, "")
        assert count_messages(vhost_url(node, "empty"), Lane.ROUTINE) == 1

    @needs_node
    def test_a_producer_without_our_package_that_is_refused_says_so(self, node: RabbitMQ) -> None:
        url = set_user(node, "another", "secret", "^$", "^$", "^$")
        code, said = publish_from_node(url)
        assert code == 1
        assert "ACCESS_REFUSED" in said

    def test_they_stand_in_the_documentation(self) -> None:
        text = (ROOT / "docs" / "operating.md").read_text()
        assert f"| `{LANES}` | `^amq\\.default$` | `^$` |" in text
        assert f"| `{LANES}` | `^amq\\.default$` | `{LANES}` |" in text


class TestDoctor:
    @pytest.fixture
    def doctor(self, node: RabbitMQ, redis_url: str) -> Iterator[Callable[..., dict[str, list[str]]]]:
        """Runs it, as a user with these permissions; the findings about the broker, by level."""

        def run(*permissions: str) -> dict[str, list[str]]:
            url = set_user(node, "doctor", "secret", *permissions)
            environment = {
                **os.environ,
                "DEVICE_STATUS_BROKER_URL": url,
                "DEVICE_STATUS_LEDGER_URL": redis_url,
            }
            command = [str(Path(sys.executable).with_name("device-status")), "doctor", "--json"]
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=60, check=False
            )
            found: dict[str, list[str]] = {}
            for each in json.loads(done.stdout):
                if each["check"] == "broker":
                    found.setdefault(each["level"], []).append(each["finding"])
            assert "secret" not in done.stdout + done.stderr
            return found

        delete_queues(node.url)
        yield run
        delete_queues(node.url)
        delete_user(node, "doctor")

    def test_a_well_broker(self, doctor: Callable[..., dict[str, list[str]]], node: RabbitMQ) -> None:
        assert doctor(*WORKER).keys() == {"ok"}
        with kombu.Connection(node.url) as connection, pytest.raises(NotFound):
            # It looked, and made nothing.
            connection.default_channel.queue_declare("device-status.bulk", passive=True)

    def test_a_queue_that_something_else_declared(
        self, doctor: Callable[..., dict[str, list[str]]], node: RabbitMQ
    ) -> None:
        declare_classic(node.url, Lane.BULK)
        (error,) = doctor(*WORKER)["error"]
        assert "device-status.bulk" in error
        assert "rabbitmqctl delete_queue" in error

    def test_missing_permissions(self, doctor: Callable[..., dict[str, list[str]]], node: RabbitMQ) -> None:
        count_messages(node.url, Lane.URGENT)  # declares it
        errors = doctor("^$", "^$", "^$")["error"]
        assert ["queue 'device-status.urgent'" in errors[0], "exchange 'amq.default'" in errors[1]] == [
            True,
            True,
        ]
        assert all("grant the user its permissions" in error for error in errors)

    def test_an_alarm(self, doctor: Callable[..., dict[str, list[str]]], node: RabbitMQ) -> None:
        with memory_alarm(node):
            (error,) = doctor(*WORKER)["error"]
            assert "alarm" in error
            # The server has noticed that this process ended.
            eventually(lambda: "blocked" not in connection_states(node), "the connection is gone")
