"""What stands in the queues, read as a worker would read it."""

from __future__ import annotations

from typing import Any

import kombu
import redis

from device_status import Lane
from device_status.publisher import queue, queue_name


def queue_length(url: str, lane: Lane) -> int:
    """How many messages wait in a lane."""
    client = redis.Redis.from_url(url)
    try:
        return int(client.llen(queue_name(lane)))  # type: ignore[arg-type]
    finally:
        client.close()


def take_messages(url: str, lane: Lane) -> list[kombu.Message]:
    """Consume all that waits in a lane, oldest first, through kombu's own transport."""
    messages: list[kombu.Message] = []

    def keep(message: kombu.Message) -> None:
        message.ack()
        messages.append(message)

    expected = queue_length(url, lane)
    with (
        kombu.Connection(url) as connection,
        kombu.Consumer(
            connection.channel(), queues=[queue(lane, url)], on_message=keep, accept=["application/json"]
        ),
    ):
        while len(messages) < expected:
            connection.drain_events(timeout=5)
    return messages


def commands_in(message: kombu.Message) -> list[dict[str, Any]]:
    """The commands that a message carries."""
    _, keyword_arguments, _ = message.decode()
    if message.headers["task"] == "device_status.apply":
        return [keyword_arguments["command"]]
    return list(keyword_arguments["commands"])


def take_commands(url: str, lane: Lane) -> list[dict[str, Any]]:
    """Every command that waits in a lane, oldest first."""
    return [command for message in take_messages(url, lane) for command in commands_in(message)]
