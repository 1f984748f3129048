"""Keeps RabbitMQ from dropping messages that come back often.

A quorum queue counts how often a message was delivered and came back, from a worker that stopped or lost its
connection as well, and beyond its limit (20 in RabbitMQ 4, in older ones if a policy says so) it drops the
message without a word. A copy is counted from 0 again.
"""

from __future__ import annotations

from typing import Any, Final

from device_status.publisher import Publisher

COUNT: Final = "x-delivery-count"
"""The header in which RabbitMQ says how often a message has come back."""
OFTEN: Final = 3
"""Well below any limit that is of use, since a worker that ends spends one for all it has."""


def comes_often(message: Any) -> bool:
    """Whether a message of RabbitMQ has come back so often that a copy must take its place."""
    headers = message.headers
    count = headers.get(COUNT) if isinstance(headers, dict) else None
    return isinstance(count, int) and count >= OFTEN


def publish_copy(message: Any, publisher: Publisher) -> None:
    """Put the same message at the end of its queue; the one at hand may be acknowledged then.

    Raises:
        BrokerUnavailableError: it may not have been published.
    """
    properties = dict(message.properties)
    properties["application_headers"] = {
        name: value for name, value in message.headers.items() if name != COUNT
    }
    publisher.publish_raw(message.body, properties, message.delivery_info["routing_key"])
