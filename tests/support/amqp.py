"""What a test does with RabbitMQ itself: empty it, and put raw messages in its queues."""

from __future__ import annotations

from typing import Any

import amqp
import kombu

from device_status import Lane
from device_status.broker import transport_options
from device_status.publisher import queue, queue_name


def delete_queues(url: str) -> None:
    """Forget all messages, those that a worker holds included."""
    with kombu.Connection(url) as connection:
        for lane in Lane:
            connection.default_channel.queue_delete(queue_name(lane))


def count_messages(url: str, lane: Lane) -> int:
    """How many messages wait in a lane; those that a worker holds are not among them."""
    with kombu.Connection(url, connect_timeout=3) as connection:
        return int(queue(lane, url)(connection.default_channel).queue_declare().message_count)


def publish_raw(url: str, lane: Lane, body: bytes, **properties: Any) -> None:
    """Publish a body with `properties` as they are: `application_headers`, `content_type`, …"""
    with kombu.Connection(url, transport_options=transport_options(url)) as connection:
        channel = connection.default_channel
        queue(lane, url)(channel).declare()
        channel.basic_publish(amqp.Message(body, **properties), routing_key=queue_name(lane))
