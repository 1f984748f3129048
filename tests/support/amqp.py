"""What a test does with RabbitMQ itself: empty it, and put raw messages in its queues."""

from __future__ import annotations

import struct
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


def close_frame(code: int, *, channel: int = 0) -> bytes:
    """A server's close with this code, of a channel or (0) of the connection."""
    class_id, method_id = (20, 40) if channel else (10, 50)
    text = b"TEST - as a server may say"
    payload = struct.pack(">HHHB", class_id, method_id, code, len(text)) + text + struct.pack(">HH", 0, 0)
    return frame(payload, channel=channel)


def frame(payload: bytes, *, channel: int = 0, end: bytes = b"\xce") -> bytes:
    """A frame with a method."""
    return struct.pack(">BHI", 1, channel, len(payload)) + payload + end


def declare_classic(url: str, lane: Lane) -> None:
    """As anything does that declares a queue without arguments."""
    with kombu.Connection(url) as connection:
        connection.default_channel.queue_declare(queue_name(lane), durable=True, auto_delete=False)


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
