"""Puts commands on the broker's queues as Celery messages (protocol 2), with kombu alone.

A service that publishes needs neither Celery nor its settings, and a Celery application of its own
stays untouched: the connections here belong to this publisher.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import amqp
import kombu
import redis
from amqp.exceptions import AMQPError, MessageNacked
from kombu.exceptions import ConnectionLimitExceeded, KombuError, OperationalError

from device_status.broker import connection_to
from device_status.command import Lane
from device_status.errors import DeviceStatusError
from device_status.rabbitmq import Alarms, Blocked
from device_status.server_states import explain, state_of
from device_status.urls import without_password

APPLY: Final = "device_status.apply"
APPLY_MANY: Final = "device_status.apply_many"
MARK: Final = "device_status.mark"
MOST_COMMANDS_A_MESSAGE: Final = 50
"""One Celery message costs as much processor time as one AWS call, so commands travel together."""
MOST_BYTES_A_MESSAGE: Final = 128 * 1024
"""Half of what a worker accepts, since the envelope and base64 come on top."""
MESSAGES_A_BATCH: Final = 20
"""Messages sent in one round trip, where the transport can."""

MAX_CALL: Final = 10.0
"""Seconds that a call may take on the broker, with all that it waits for."""

_CONNECTIONS: Final = 8
_QUICK: Final = 1.0
_BROKER_ERRORS: Final = (OperationalError, KombuError, OSError, redis.RedisError, AMQPError, MessageNacked)
"""Of every transport: kombu lets through what its libraries raise."""


class BrokerUnavailableError(DeviceStatusError):
    """The broker can't be reached or did not confirm in time; the text holds no password."""

    retryable = True


class Publisher:
    """Publish from any thread, and after a fork: each process has connections of its own."""

    def __init__(self, broker_url: str) -> None:
        self._broker_url = broker_url
        self._is_rabbitmq = broker_url.startswith("amqp")
        self._lock = threading.Lock()
        self._pool: Any = None
        self._pid = 0
        self._inherited: list[Any] = []
        self._alarms = Alarms()

    def publish(self, commands: Sequence[str], lane: Lane) -> None:
        """Publish commands, given as JSON texts: one alone as `apply`, more in chunks as `apply_many`.

        Raises:
            BrokerUnavailableError: some or all of them may not have been published.
        """
        self._send([(_message(chunk), lane) for chunk in chunked(commands)])

    def publish_mark(self, lane: Lane, mark: int) -> None:
        """Publish a mark: see lua/watermark.lua.

        Raises:
            BrokerUnavailableError: it may not have been published.
        """
        self._send([((MARK, json.dumps({"lane": lane, "mark": mark})), lane)])

    def publish_raw(self, body: bytes | str, properties: dict[str, Any], queue_name: str) -> None:
        """Publish a message that is complete, on RabbitMQ, to a queue that exists.

        Parameters:
            properties: as `amqp.Message` takes them.

        Raises:
            BrokerUnavailableError: it may not have been published.
        """
        with self._channel(time.monotonic() + MAX_CALL) as channel:
            channel.basic_publish(amqp.Message(body, **properties), routing_key=queue_name, mandatory=True)

    def ping(self) -> None:
        """Reach the broker.

        Raises:
            BrokerUnavailableError: with the reason.
        """
        with self._channel(time.monotonic() + MAX_CALL):
            pass

    def close(self) -> None:
        """Close the connections that no call is using; the next call connects again."""
        with self._lock:
            # None, or of the parent: a child must not close what it shares.
            is_own = self._pid == os.getpid()
        if is_own:
            self._close_idle()

    def _send(self, messages: Sequence[tuple[tuple[str, str], Lane]]) -> None:
        began_at = time.monotonic()
        try:
            self._send_once(messages, began_at + MAX_CALL)
        except BrokerUnavailableError as error:
            if time.monotonic() - began_at > _QUICK or isinstance(error.__cause__, Blocked):
                raise
            # A connection that died while it was idle fails at once; a second message does no harm.
            self._send_once(messages, began_at + MAX_CALL)

    def _send_once(self, messages: Sequence[tuple[tuple[str, str], Lane]], deadline: float) -> None:
        with self._channel(deadline) as channel:
            producer = kombu.Producer(channel)
            with producer.batch(MESSAGES_A_BATCH):
                for (task, keyword_arguments), lane in messages:
                    self._limit_waits(channel.connection, deadline)
                    _publish_task(producer, task, keyword_arguments, queue(lane, self._broker_url))

    @contextmanager
    def _channel(self, deadline: float) -> Iterator[Any]:
        blocked = None
        try:
            with self._connections().acquire(block=True, timeout=_left(deadline)) as connection:
                try:
                    self._connect(connection, deadline)
                    yield connection.default_channel
                except Blocked as error:
                    # Kept, for the next call to see whether the alarm is over.
                    blocked = error
                except BaseException:
                    # Without a farewell, which a server that hangs would let us wait for.
                    connection.collect()
                    # A connection that failed is not put back: leaving this block with an error replaces it.
                    raise
        except Exception as error:
            # What is not the protocol, or has no address, makes the libraries raise whatever comes.
            if (state := state_of(error)) and state.elsewhere:
                # What else was connected to a server that can't serve leads there as well.
                self._close_idle()
            raise self._unavailable(error) from error
        if blocked:
            raise self._unavailable(blocked) from blocked

    def _connect(self, connection: Any, deadline: float) -> None:
        if connection.connected and self._alarms.was_blocked(connection.connection):
            connection.close()
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=_left(deadline) / 2)
        if self._is_rabbitmq:
            self._alarms.watch(connection.connection)
        self._limit_waits(connection.connection, deadline)

    def _limit_waits(self, connection: Any, deadline: float) -> None:
        # py-amqp waits for each answer as long as its socket does; Redis's transport has timeouts of its own.
        if self._is_rabbitmq:
            if time.monotonic() > deadline:
                raise TimeoutError
            connection.transport.sock.settimeout(_left(deadline))

    def _unavailable(self, error: Exception) -> BrokerUnavailableError:
        # Of other errors the text may hold anything.
        why = explain(error) if isinstance(error, _BROKER_ERRORS) else type(error).__name__
        return BrokerUnavailableError(
            f"the broker {without_password(self._broker_url)} did not take the message ({why})"
        )

    def _close_idle(self) -> None:
        """Connect anew from here on."""
        pool, idle = self._connections(), []
        with suppress(ConnectionLimitExceeded):
            while True:
                idle.append(pool.acquire())
        deadline = time.monotonic() + _QUICK
        for connection in idle:
            if self._is_rabbitmq and connection.connected:
                # It is waited for, and may hang.
                connection.connection.transport.sock.settimeout(_left(deadline))
            pool.replace(connection)
            connection.release()

    def _connections(self) -> Any:
        with self._lock:
            if self._pid != os.getpid():
                # A child must neither use nor close the sockets that it shares with its parent.
                self._inherited.append(self._pool)
                self._pool = connection_to(self._broker_url).Pool(_CONNECTIONS)
                self._pid = os.getpid()
            return self._pool


def queue_name(lane: Lane) -> str:
    """The Celery queue of a lane."""
    return f"device-status.{lane}"


def queue(lane: Lane, broker_url: str) -> kombu.Queue:
    """The queue of a lane, as producers and workers declare it alike."""
    arguments = {"x-queue-type": "quorum"} if broker_url.startswith("amqp") else None
    return kombu.Queue(
        queue_name(lane),
        exchange=kombu.Exchange(""),
        routing_key=queue_name(lane),
        queue_arguments=arguments,
        durable=True,
    )


def chunked(commands: Iterable[str]) -> Iterator[list[str]]:
    """Split into what one message may hold."""
    chunk: list[str] = []
    size = 0
    for command in commands:
        length = len(command.encode())
        if chunk and (len(chunk) == MOST_COMMANDS_A_MESSAGE or size + length > MOST_BYTES_A_MESSAGE):
            yield chunk
            chunk, size = [], 0
        chunk.append(command)
        size += length
    if chunk:
        yield chunk


def _left(deadline: float) -> float:
    return max(0.1, deadline - time.monotonic())


def _message(chunk: list[str]) -> tuple[str, str]:
    """Task name and keyword arguments as JSON; the commands are JSON already and are not parsed again."""
    if len(chunk) == 1:
        return APPLY, f'{{"command":{chunk[0]}}}'
    return APPLY_MANY, f'{{"commands":[{",".join(chunk)}]}}'


def _publish_task(producer: Any, task: str, keyword_arguments: str, to: kombu.Queue) -> None:
    task_id = str(uuid.uuid4())
    producer.publish(
        f'[[],{keyword_arguments},{{"callbacks":null,"errbacks":null,"chain":null,"chord":null}}]',
        content_type="application/json",
        content_encoding="utf-8",
        exchange="",
        routing_key=to.name,
        # RabbitMQ drops what goes to a queue that no worker has declared yet. Once a connection, no more; if
        # the queue is deleted after that, the message comes back and is an error.
        declare=[to],
        mandatory=True,
        delivery_mode=2,
        correlation_id=task_id,
        headers={
            "lang": "py",
            "task": task,
            "id": task_id,
            "root_id": task_id,
            "parent_id": None,
            "group": None,
            "retries": 0,
            "eta": None,
            "expires": None,
            "timelimit": [None, None],
            "ignore_result": True,
            # Celery would put the arguments here, and from here into logs: they hold personal data.
            "argsrepr": "()",
            "kwargsrepr": "{}",
        },
    )
