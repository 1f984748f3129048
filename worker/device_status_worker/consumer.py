"""Celery's consumer, made to bury what is no message of ours before Celery sees it, on every broker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, ClassVar

from celery.worker.consumer import Consumer

from device_status.errors import DeviceStatusError
from device_status_worker.intake import message_problem, plain_headers
from device_status_worker.process import intake

logger = logging.getLogger(__name__)


class CheckedConsumer(Consumer):  # type: ignore[misc]
    """Named in the setting `worker_consumer`."""

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]
        """Celery's, less the step that declares 28 exchanges and queues on RabbitMQ for tasks with an ETA."""

        default_steps: ClassVar = [
            step for step in Consumer.Blueprint.default_steps if "delayed_delivery" not in str(step)
        ]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # Workers need not know of each other, and hear it from the broker at the cost of a message each.
        super().__init__(*arguments, **options | {"without_gossip": True, "without_mingle": True})

    def create_task_handler(self, *arguments: Any, **options: Any) -> Callable[[Any], Any]:
        """The function that takes each message of the broker."""
        on_task_received = super().create_task_handler(*arguments, **options)

        def on_message(message: Any) -> Any:
            problem = message_problem(
                message.headers, message.content_type, message.content_encoding, message.body
            )
            if problem is None:
                message.headers = plain_headers(message.headers)
                return on_task_received(message)
            _bury(message, *problem)
            return message.ack_log_error(logger, self.connection_errors)

        return on_message

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """What kombu itself could not unpack, such as a compression that it does not know."""
        # The text of the error may hold the message.
        _bury(message, "MalformedMessage", f"message: can't be unpacked ({type(exc).__name__})")
        message.ack_log_error(logger, self.connection_errors)


def _bury(message: Any, code: str, reason: str) -> None:
    body = message.body
    raw = body if isinstance(body, bytes) else str(body).encode("utf-8", "backslashreplace")
    queue = str((message.delivery_info or {}).get("routing_key", ""))
    # On Redis the tag travels with the message; RabbitMQ's is only a count of deliveries.
    place = message.delivery_tag if isinstance(message.delivery_tag, str) else ""
    try:
        intake().bury(code, reason, raw, queue, place)
    except DeviceStatusError as error:
        # An error after which Celery reconnects; the message is not acknowledged and comes again.
        raise ConnectionResetError("the ledger is away") from error
