"""What `doctor` finds out about a RabbitMQ over AMQP, without changing anything there.

A policy's delivery limit is not to be seen that way, nor whether the user may read from the queues.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import amqp
from amqp.exceptions import AMQPError, NotFound

from device_status.broker import connection_to
from device_status.command import Lane
from device_status.publisher import queue
from device_status.rabbitmq import Alarms
from device_status.server_states import explain

_NOWHERE: Final = "device-status.doctor"
"""No queue has this name, so RabbitMQ confirms what is sent there, and throws it away."""
_TIMEOUT: Final = 5.0


def problems(broker_url: str) -> Iterator[str]:
    """Each thing that keeps producers or workers from their work, with what to do about it.

    Raises:
        OSError, AMQPError: it can't be reached at all.
    """
    # A server with an alarm reads nothing, not even a farewell; that the heartbeats end, it notices.
    connection = connection_to(broker_url)
    connection.heartbeat = _TIMEOUT
    connection.transport_options |= {"read_timeout": _TIMEOUT, "write_timeout": _TIMEOUT}
    try:
        Alarms().watch(connection.connection)
        for lane in Lane:
            yield from _queue_problems(connection, lane, broker_url)
        yield from _publish_problems(connection)
    finally:
        connection.collect()


def _queue_problems(connection: Any, lane: Lane, broker_url: str) -> Iterator[str]:
    ours = queue(lane, broker_url)(connection.channel())
    try:
        ours.queue_declare(passive=True)
        # It is there, so that this changes nothing, and RabbitMQ compares.
        ours.queue_declare()
    except NotFound:
        # The first producer or worker declares it.
        return
    except AMQPError as error:
        yield f"queue {ours.name}: {explain(error)}"


def _publish_problems(connection: Any) -> Iterator[str]:
    try:
        connection.channel().basic_publish(amqp.Message(b""), routing_key=_NOWHERE)
    except AMQPError as error:
        yield f"does not take messages: {explain(error)}"
