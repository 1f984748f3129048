"""Celery's consumer, made to bury what is no message of ours before Celery sees it, and to wait for its
broker whatever that answers, on every broker.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, ClassVar, Final

from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown

from device_status.errors import DeviceStatusError
from device_status.server_states import explain
from device_status_worker import process
from device_status_worker.intake import message_problem, plain_headers
from device_status_worker.pace import LONGEST, Pace
from device_status_worker.seldom import Seldom

logger = logging.getLogger(__name__)

_NAP: Final = 0.2
"""Seconds between two looks whether the worker is to end. Not `stop.wait`: a signal that comes while the main
thread is inside it would wait for itself."""


class CheckedConsumer(Consumer):  # type: ignore[misc]
    """Named in the setting `worker_consumer`."""

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]
        """Celery's, less the step that declares 28 exchanges and queues on RabbitMQ for tasks with an ETA."""

        default_steps: ClassVar = [
            step for step in Consumer.Blueprint.default_steps if "delayed_delivery" not in str(step)
        ]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # Workers need not know of each other, and hear it from the broker at the cost of a message each. What
        # sends their heartbeats tries until the broker takes them, in the thread that would notice a SIGTERM.
        alone = {"without_gossip": True, "without_mingle": True, "without_heartbeat": True}
        super().__init__(*arguments, **options | alone)
        self._pace = Pace()
        self._trouble = Seldom(logger)

    def connect(self) -> Any:
        """Connect, after a pause if the last attempts failed. Celery would try several times a second."""
        next_at = time.monotonic() + self._pace.delay()
        while (left := next_at - time.monotonic()) > 0:
            time.sleep(min(left, _NAP))
            maybe_shutdown()
        connection = super().connect()
        self._pace.connected()
        return connection

    def ensure_connected(self, conn: Any) -> Any:
        """Try until the broker is reached. Celery's delays grow to half a minute, for which a broker that is
        back would wait as well.
        """

        def say(error: Exception, delay: float) -> None:
            # No delay: the next of several hosts is tried.
            if delay:
                self._trouble.error(f"Cannot connect to the broker {conn.as_uri()}: {explain(error)}")

        conn.ensure_connection(
            say, interval_start=1, interval_step=1, interval_max=LONGEST, callback=maybe_shutdown
        )
        self.first_connection_attempt = False
        return conn

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """What failed while the connection was made."""
        self._say_lost(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """What failed on a connection; it is closed."""
        self._say_lost(exc)
        super().on_connection_error_after_connected(exc)

    def stop(self) -> None:
        """End, whatever it was that ended the worker; else threads would wait for a ledger that is away."""
        process.stop.set()
        super().stop()

    def _say_lost(self, error: Exception) -> None:
        self._pace.failed()
        self._trouble.error(f"Connection to broker lost or refused; the worker waits: {explain(error)}")

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
        process.intake().bury(code, reason, raw, queue, place)
    except DeviceStatusError as error:
        # An error after which Celery reconnects; the message is not acknowledged and comes again.
        raise ConnectionResetError("the ledger is away") from error
