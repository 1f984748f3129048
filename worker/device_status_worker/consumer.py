"""Celery's consumer, made to bury what is no message of ours before Celery sees it, on every broker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, ClassVar

from celery.worker.consumer import Consumer

from device_status.errors import DeviceStatusError
from device_status.publisher import BrokerUnavailableError
from device_status_worker import process
from device_status_worker.delivery_limit import comes_often, publish_copy
from device_status_worker.errands import Errands
from device_status_worker.intake import message_problem, plain_headers

logger = logging.getLogger(__name__)


class CheckedConsumer(Consumer):  # type: ignore[misc]
    """Named in the setting `worker_consumer`."""

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]
        """Celery's, less the step that declares 28 exchanges and queues on RabbitMQ for tasks with an ETA."""

        default_steps: ClassVar = [
            step for step in Consumer.Blueprint.default_steps if "delayed_delivery" not in str(step)
        ]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # Workers need not know of each other, and hear it from the broker at the cost of a message each. In
        # an alarm RabbitMQ confirms none of them, and the thread that sends them is the one that receives.
        super().__init__(
            *arguments,
            **options | {"without_gossip": True, "without_mingle": True, "without_heartbeat": True},
        )
        # What breaks in the middle of a frame makes py-amqp raise whatever comes: KeyError, struct.error, …
        self.channel_errors = (Exception,)
        self._connected = object()
        self._burials = Errands("burials", process.stop)
        self._renewals = Errands("renewals", process.stop)

    def create_task_handler(self, *arguments: Any, **options: Any) -> Callable[[Any], Any]:
        """The function that takes each message of the broker."""
        on_task_received = super().create_task_handler(*arguments, **options)

        # Each connection has a handler of its own; RabbitMQ alone counts deliveries.
        self._connected = object()
        counts_deliveries = self.connection.transport.driver_type == "amqp"

        def take(message: Any) -> None:
            problem = message_problem(
                message.headers, message.content_type, message.content_encoding, message.body
            )
            if problem is None:
                message.headers = plain_headers(message.headers)
                on_task_received(message)
            else:
                self._bury(message, *problem)

        def on_message(message: Any) -> None:
            if counts_deliveries and comes_often(message):
                self._renew(message, take)
            else:
                take(message)

        return on_message

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """What kombu itself could not unpack, such as a compression that it does not know."""
        # The text of the error may hold the message.
        self._bury(message, "MalformedMessage", f"message: can't be unpacked ({type(exc).__name__})")

    def _bury(self, message: Any, code: str, reason: str) -> None:
        body = message.body
        raw = body if isinstance(body, bytes) else str(body).encode("utf-8", "backslashreplace")
        queue = str((message.delivery_info or {}).get("routing_key", ""))
        # On Redis the tag travels with the message; RabbitMQ's is only a count of deliveries.
        place = message.delivery_tag if isinstance(message.delivery_tag, str) else ""
        came_over = self._connected

        def bury() -> bool:
            if came_over is self._connected:
                try:
                    process.intake().bury(code, reason, raw, queue, place)
                except DeviceStatusError:
                    return False
                self._soon(came_over, message.ack_log_error, logger, self.connection_errors)
            return True

        self._burials.add(bury)

    def _renew(self, message: Any, take: Callable[[Any], None]) -> None:
        came_over = self._connected

        def renew() -> bool:
            if came_over is self._connected:
                try:
                    publish_copy(message, process.publisher())
                except BrokerUnavailableError:
                    # As it is, then: it need not wait for the end of an alarm.
                    self._soon(came_over, take, message)
                else:
                    self._soon(came_over, message.ack_log_error, logger, self.connection_errors)
            return True

        self._renewals.add(renew)

    def _soon(self, came_over: object, action: Callable[..., Any], *arguments: Any) -> None:
        """In the thread that the connection belongs to, unless it is another connection by then: over that
        one the broker delivers the message again.
        """

        def act() -> None:
            if came_over is self._connected:
                action(*arguments)

        self.call_soon(act)
