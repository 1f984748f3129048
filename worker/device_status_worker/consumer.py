"""Celery's consumer, made to bury what is no message of ours before Celery sees it, and to wait for its
broker whatever that answers, on every broker.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar, Final

from celery.worker import loops
from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown

from device_status.server_states import explain
from device_status_worker import process, sign_of_life
from device_status_worker.pace import LONGEST, Pace
from device_status_worker.reception import Reception
from device_status_worker.seldom import Seldom

logger = logging.getLogger(__name__)

_NAP: Final = 0.2
"""Seconds between two looks whether the worker is to end. Not `stop.wait`: a signal that comes while the main
thread is inside it would wait for itself."""


def _drain(connection: Any, timeout: float = 0.1) -> None:
    """Read what came already. Celery's own passes over that RabbitMQ closed the connection or its channel
    meanwhile, and the worker would go on with one on which nothing is consumed.
    """
    with suppress(TimeoutError, BlockingIOError):
        connection.drain_events(timeout=timeout)


loops._quick_drain = _drain


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
        alone = {"without_gossip": True, "without_mingle": True, "without_heartbeat": True}
        super().__init__(*arguments, **options | alone)
        # What breaks in the middle of a frame makes py-amqp raise whatever comes: KeyError, struct.error, …
        self.channel_errors = (Exception,)
        self._reception: Reception | None = None
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
        # What still waits here would be handed to threads that take nothing any longer.
        if self._reception:
            self._reception.close()
        super().stop()

    def _say_lost(self, error: Exception) -> None:
        self._pace.failed()
        self._trouble.error(f"Connection to broker lost or refused; the worker waits: {explain(error)}")

    def register_with_event_loop(self, hub: Any) -> None:
        """Called once for each connection, when all is declared."""
        super().register_with_event_loop(hub)
        connection = self.connection

        def look() -> None:
            # Asked for by kombu's other calls, a lost connection is made anew, and nobody would listen on it.
            if not connection.connected:
                raise ConnectionResetError("the broker closed the connection")
            sign_of_life.touch()

        look()
        hub.timer.call_repeatedly(sign_of_life.EVERY, look)

    def create_task_handler(self, *arguments: Any, **options: Any) -> Callable[[Any], Any]:
        """The function that takes each message of the broker; each connection has its own."""
        if self._reception:
            self._reception.close()
        self._reception = Reception(
            super().create_task_handler(*arguments, **options),
            self.call_soon,
            counts_deliveries=self.connection.transport.driver_type == "amqp",
        )
        return self._reception.receive

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """What kombu itself could not unpack, such as a compression that it does not know."""
        # The text of the error may hold the message.
        reason = f"message: can't be unpacked ({type(exc).__name__})"
        if self._reception:
            self._reception.bury(message, "MalformedMessage", reason)
