"""Takes the messages of one connection: hands Celery those that it can run, buries the others, and lets none
come back so often that RabbitMQ drops it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from device_status.errors import DeviceStatusError
from device_status.publisher import BrokerUnavailableError
from device_status_worker import process
from device_status_worker.delivery_limit import comes_often, publish_copy
from device_status_worker.errands import Errands
from device_status_worker.intake import message_problem, plain_headers

burials = Errands("burials", process.stop)
renewals = Errands("renewals", process.stop)


class Reception:
    """Of one connection.

    Parameters:
        hand_over: takes a message that Celery can run.
        call_soon: calls a function in the thread that the connection belongs to.
        counts_deliveries: whether the broker is RabbitMQ.
    """

    def __init__(
        self,
        hand_over: Callable[[Any], Any],
        call_soon: Callable[..., Any],
        *,
        counts_deliveries: bool,
    ) -> None:
        self._hand_over = hand_over
        self._call_soon = call_soon
        self._counts_deliveries = counts_deliveries
        self._is_open = True

    def close(self) -> None:
        """The connection is lost: the broker delivers again what was not acknowledged."""
        self._is_open = False

    def receive(self, message: Any) -> None:
        """Take a message as kombu delivers it."""
        if self._counts_deliveries:
            # On Redis the transport's messages see to it themselves.
            _acknowledge_quietly(message)
        if self._counts_deliveries and comes_often(message):
            self._renew(message)
        else:
            self._take(message)

    def bury(self, message: Any, code: str, reason: str) -> None:
        """Put a message on record that is no command, however long that takes, and acknowledge it then."""
        body = message.body
        raw = body if isinstance(body, bytes) else str(body).encode("utf-8", "backslashreplace")
        queue = str((message.delivery_info or {}).get("routing_key", ""))
        # What was sent to a ledger that hangs may be done there later, and the broker may deliver again what
        # it did not hear of: each time must make the same dead letter.
        place = _name_of(message)

        def errand() -> bool:
            if self._is_open:
                try:
                    process.intake().bury(code, reason, raw, queue, place)
                except DeviceStatusError:
                    return False
                self._soon(_quiet(message.ack))
            return True

        burials.add(errand)

    def _take(self, message: Any) -> None:
        problem = message_problem(
            message.headers, message.content_type, message.content_encoding, message.body
        )
        if problem is None:
            message.headers = plain_headers(message.headers)
            self._hand_over(message)
        else:
            self.bury(message, *problem)

    def _renew(self, message: Any) -> None:
        def errand() -> bool:
            if self._is_open:
                try:
                    publish_copy(message, process.publisher())
                except BrokerUnavailableError:
                    # As it is, then: it need not wait for the end of an alarm.
                    self._soon(self._take, message)
                else:
                    self._soon(_quiet(message.ack))
            return True

        renewals.add(errand)

    def _soon(self, action: Callable[..., Any], *arguments: Any) -> None:
        def act() -> None:
            if self._is_open:
                action(*arguments)

        self._call_soon(act)


def _name_of(message: Any) -> str:
    """The same each time that a message is delivered, or a copy of it.

    On Redis its sender's tag travels with it. RabbitMQ only counts deliveries, so there two messages that are
    alike in everything have one name.
    """
    if tag := message.properties.get("sent_tag"):
        return str(tag)
    properties = {**message.properties, "application_headers": None}
    # RabbitMQ's own headers, such as the count of deliveries, change, and with them the order of all.
    given = message.headers if isinstance(message.headers, dict) else {}
    headers = {name: value for name, value in given.items() if not str(name).startswith("x-")}
    content = json.dumps([properties, headers], sort_keys=True, default=repr)
    return hashlib.sha256(content.encode()).hexdigest()


def _acknowledge_quietly(message: Any) -> None:
    """Celery logs a traceback for each message whose connection was lost meanwhile; they come again."""

    def ack_log_error(_logger: Any, _errors: Any, multiple: bool = False) -> None:
        _quiet(message.ack)(multiple=multiple)

    def reject_log_error(_logger: Any, _errors: Any, requeue: bool = False) -> None:
        _quiet(message.reject)(requeue=requeue)

    message.ack_log_error, message.reject_log_error = ack_log_error, reject_log_error


def _quiet(action: Callable[..., None]) -> Callable[..., None]:
    def act(**options: Any) -> None:
        # py-amqp raises whatever comes on a lost connection, and whoever reads from it meets that as well.
        with suppress(Exception):
            action(**options)

    return act
