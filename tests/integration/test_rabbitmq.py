"""What is RabbitMQ's own: quorum queues, confirms, a broker that dies and comes back."""

from __future__ import annotations

import os
from collections.abc import Iterator

import kombu
import pytest

from device_status import Lane, Producer, PublishError, State, load_settings
from device_status.publisher import queue_name
from support import wire_object
from support.rabbitmq import RabbitMQ, missing
from support.site import Site


def _node() -> Iterator[RabbitMQ]:
    if reason := missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    with RabbitMQ() as node:
        yield node


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitMQ]:
    """A node of this module alone, since it is killed."""
    yield from _node()


@pytest.fixture
def another_node() -> Iterator[RabbitMQ]:
    """A node of one test alone, whose queues no worker needs."""
    yield from _node()


@pytest.fixture(scope="module")
def site(node: RabbitMQ) -> Iterator[Site]:
    with Site(node.url) as site:
        site.start_worker().wait_until_ready()
        node.restart_in_order()
        yield site


def test_queues_are_quorum_queues(site: Site) -> None:
    with kombu.Connection(site.broker_url) as connection, pytest.raises(Exception, match="x-queue-type"):
        # As a classic one it is refused, since it is there as another.
        kombu.Queue(queue_name(Lane.BULK), channel=connection.default_channel, durable=True).declare()


def test_a_broker_that_is_away_is_told_and_the_repeat_has_no_second_effect(
    site: Site, node: RabbitMQ
) -> None:
    producer, command = Producer(site.settings), site.make_command()
    producer.enqueue(site.make_command())
    node.kill()
    try:
        with pytest.raises(PublishError) as raised:
            producer.enqueue(command)
        assert raised.value.command_ids == [command["command_id"]]
        assert "guest" not in str(raised.value)
    finally:
        node.start()
    producer.enqueue(command)
    producer.enqueue(command)
    assert site.outcome(command["command_id"], 60).state is State.SUCCEEDED
    assert len(site.requests_for(command["user_pool_id"])) == 1


def test_a_connection_that_the_broker_closed_while_it_was_idle_is_no_error(
    site: Site, node: RabbitMQ
) -> None:
    producer, command = Producer(site.settings), site.make_command()
    producer.enqueue(site.make_command())
    node.restart_in_order()
    producer.enqueue(command)
    assert site.outcome(command["command_id"], 60).state is State.SUCCEEDED


def test_what_the_broker_refuses_is_an_error_of_ours(another_node: RabbitMQ, redis_url: str) -> None:
    with kombu.Connection(another_node.url) as connection:
        # A queue of another kind under the same name: RabbitMQ refuses ours.
        connection.default_channel.queue_declare(queue_name(Lane.URGENT), durable=True, auto_delete=False)
        producer = Producer(load_settings(broker_url=another_node.url, ledger_url=redis_url))
        with pytest.raises(PublishError):
            producer.enqueue(wire_object(), lane=Lane.URGENT)


def test_a_worker_goes_on_when_the_broker_is_back(site: Site, node: RabbitMQ) -> None:
    node.restart()
    command = site.make_command()
    producer = Producer(site.settings)
    producer.enqueue(command)
    assert site.outcome(command["command_id"], 60).state is State.SUCCEEDED
    assert all(worker.is_alive for worker in site.workers)
    output = "".join(worker.output for worker in site.workers)
    assert "Connection to broker lost" in output or "Connection error" in output, output
    assert "DeprecationWarning" not in output
    assert "Traceback" not in output
