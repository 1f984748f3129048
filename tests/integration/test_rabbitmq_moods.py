"""The table in docs/operating.md, row by row: what a producer and a worker do in each state of RabbitMQ."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from device_status import Lane, Producer, PublishError, State, load_settings
from support.amqp import count_messages, declare_classic, delete_queues, publish_raw
from support.commands import wire_object
from support.rabbitmq import RabbitMQ, missing
from support.rabbitmq_states import (
    clear_permissions,
    close_connections,
    connection_states,
    disk_alarm,
    frozen,
    memory_alarm,
    set_consumer_timeout,
    set_delivery_limit,
    set_password,
    set_permissions,
    set_user,
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
LANES = r"^device-status\.(urgent|routine|bulk)$"
WORKER = (LANES, r"^amq\.default$", LANES)
"""What docs/operating.md says a worker needs: configure, write, read."""


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitMQ]:
    """A node of this module alone; each test leaves it well."""
    if reason := missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    with RabbitMQ() as node:
        yield node


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
            for _ in range(2):
                began_at = time.monotonic()
                with pytest.raises(PublishError):
                    producer.enqueue(wire_object())
                assert time.monotonic() - began_at < CALL + SPARE
        producer.enqueue(wire_object())
        assert len(connection_states(node)) <= before + 1

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
    def site(self, node: RabbitMQ) -> Iterator[Site]:
        """With one worker, whose user is its own."""
        url = set_user(node, USER, PASSWORD, *WORKER)
        with Site(node.url) as site:
            site.environment["DEVICE_STATUS_BROKER_URL"] = url
            site.start_worker().wait_until_ready()
            yield site

    @pytest.fixture(autouse=True)
    def _goes_on_in_few_lines(self, site: Site) -> Iterator[None]:
        """Whatever happened: the same process takes the next command, and has written no traceback."""
        site.restart_dead_workers()
        (worker,) = site.workers
        pid, written = worker.pid, len(worker.output)
        yield
        command = site.make_command()
        site.producer.enqueue(command)
        assert site.outcome(command["command_id"], 40).state is State.SUCCEEDED
        assert worker.is_alive
        assert worker.pid == pid
        said = worker.output[written:]
        assert "Traceback" not in said, said
        troubles = [line for line in said.splitlines() if "ERROR" in line or "CRITICAL" in line]
        assert len(troubles) <= MOST_TROUBLES, said

    def test_in_an_alarm_a_worker_starts_works_and_stops(self, site: Site, node: RabbitMQ) -> None:
        (worker,) = site.workers
        assert worker.terminate() == 0
        commands = [site.make_command() for _ in range(60)]
        site.publish(*commands)
        with memory_alarm(node):
            worker.start()
            for record in site.outcomes([each["command_id"] for each in commands], 60):
                assert record.state is State.SUCCEEDED
            began_at = time.monotonic()
            assert worker.terminate() == 0
            assert time.monotonic() - began_at < STOP
        worker.start()

    def test_a_node_that_hangs_is_waited_for(self, site: Site, node: RabbitMQ) -> None:
        with frozen(node):
            time.sleep(3)  # so long that what the worker begins meets the silence

    @pytest.mark.parametrize("what", ["connections are closed", "queues are deleted", "restart"])
    def test_what_is_lost_is_made_again(self, what: str, site: Site, node: RabbitMQ) -> None:
        match what:
            case "connections are closed":
                close_connections(node)
            case "queues are deleted":
                delete_queues(node.url)
            case _:
                node.restart_in_order()

    def test_bad_messages_and_their_neighbours_outlive_a_ledger_that_is_away(
        self, site: Site, node: RabbitMQ
    ) -> None:
        marker = f"marker-{uuid.uuid4().hex}"
        set_delivery_limit(node, 2)
        commands = [site.make_command() for _ in range(40)]
        connections = node.run("rabbit_networking:connections().")
        with silent(site.valkey):
            for each in range(20):
                publish_raw(node.url, Lane.ROUTINE, f"{marker} {each}".encode())
                site.publish(*commands[2 * each : 2 * each + 2])
            time.sleep(8)  # in which a worker that reconnects for it spends every delivery
            assert node.run("rabbit_networking:connections().") == connections
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
        set_delivery_limit(node, 5)
        with silent(site.valkey):
            publish_raw(node.url, Lane.ROUTINE, marker.encode())
            site.publish(command)
            for _ in range(9):
                consumers = node.run(CONSUMERS)
                close_connections(node)
                eventually(lambda: node.run(CONSUMERS) not in ("[]", consumers), "the worker is back")  # noqa: B023
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
            time.sleep(5)  # in which a worker that tries without a pause fills its log
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
