"""kombu's Redis transport, made to survive messages that it can't read, and whatever a Redis answers.

kombu takes a message off Redis and parses it in one private method; an error there stops the worker, or
makes it reconnect forever, and the message is gone. The override below reads the reply itself, so a test
holds kombu's method to what it relies on, and pyproject.toml bounds kombu's version.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from queue import Empty
from typing import Any, ClassVar, Final

import kombu.transport
import redis
from kombu import compression
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual

from device_status.errors import DeviceStatusError
from device_status.following import following
from device_status.scripts import source
from device_status.server_states import explain
from device_status_worker.popped import Popped
from device_status_worker.seldom import Seldom

logger = logging.getLogger(__name__)

HUNG_FOR: Final = 5.0
"""Seconds for which no message is acknowledged after one acknowledgement got no answer in time: the others
would wait for as long, one after the other."""

GIVES_BACK_FOR: Final = 8.0
"""Seconds for which a worker that ends tries to give a message back: with a call to AWS before it, and one to
a Redis that hangs after it, less than it has (last_resort.py)."""
_AGAIN: Final = 0.5

BuryEnvelope = Callable[[bytes, str], bool]
"""Takes a raw message and its queue; True where it was no message and is on record now."""

popped = Popped()
"""Of this process; it outlives the connection that it came by."""
_unanswered = Seldom(logger)


class _Message(virtual.Message):  # type: ignore[misc]
    """A message that comes again if its end does not reach Redis; the ledger makes that harmless."""

    def ack_log_error(self, logger: Any, errors: tuple[type[Exception], ...], multiple: bool = False) -> None:
        """As kombu's, but one line for all of them and no traceback."""
        self._end(self.ack, errors)

    def reject_log_error(
        self, logger: Any, errors: tuple[type[Exception], ...], requeue: bool = False
    ) -> None:
        """As `ack_log_error`."""
        self._end(lambda: self.reject(requeue=requeue), errors)

    def _end(self, end: Callable[[], None], errors: tuple[type[Exception], ...]) -> None:
        # The second attempt is for a connection that was closed while it was idle.
        for _ in range(2):
            if time.monotonic() < self.channel.hung_until:
                return
            try:
                end()
            except errors as error:
                _unanswered.error(f"a message could not be acknowledged and comes again: {explain(error)}")
                if isinstance(error, redis.TimeoutError):
                    self.channel.hung_until = time.monotonic() + HUNG_FOR
            else:
                return


class _QoS(kombu_redis.QoS):  # type: ignore[misc]
    """Registers what is delivered in a script, which a full Redis does not refuse."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Put a message on record as delivered and not acknowledged."""
        place = message.delivery_info["exchange"], message.delivery_info["routing_key"]
        record = json.dumps([message._raw, *place])
        take = source("device_status_worker", "message_take")
        with self.channel.conn_or_acquire() as client:
            client.eval(take, 2, self.unacked_index_key, self.unacked_key, delivery_tag, time.time(), record)
        popped.is_safe()
        virtual.QoS.append(self, message, delivery_tag)

    def restore_by_tag(self, tag: str | bytes, client: Any = None, leftmost: bool = False) -> None:
        """Put a delivered message back in its queue, in a script as well.

        kombu's transaction begins anew whenever its connection is lost, and one to a server that refuses to
        write is dropped each time (following.py): it would never end.
        """
        with self.channel.conn_or_acquire(client) as redis_client:
            record = redis_client.hget(self.unacked_key, tag)
            message, queue = _as_redelivered(record) if record else ("", "")
            restore = source("device_status_worker", "message_restore")
            keys = self.unacked_index_key, self.unacked_key, queue
            redis_client.eval(restore, len(keys), *keys, tag, message, "LPUSH" if leftmost else "RPUSH")

    def restore_visible(self, *arguments: Any, **options: Any) -> None:
        """As kombu's, which calls it as it connects and every few seconds."""
        popped.give_back(self.channel)
        super().restore_visible(*arguments, **options)


def _as_redelivered(record: bytes) -> tuple[str, str]:
    """A message on record as delivered, as it is when it comes again, and its queue."""
    message, _, queue = json.loads(record)
    with suppress(KeyError):
        message["headers"]["redelivered"] = True
        message["properties"]["delivery_info"]["redelivered"] = True
    return json.dumps(message), queue


class CheckedChannel(kombu_redis.Channel):  # type: ignore[misc]
    """A channel that shows each raw message to `bury_envelope` before kombu parses it."""

    Message = _Message
    QoS = _QoS
    connection_class = following(kombu_redis.Channel.connection_class)
    connection_class_ssl = following(kombu_redis.Channel.connection_class_ssl)
    bury_envelope: ClassVar[BuryEnvelope]
    hung_until = 0.0
    """On the monotonic clock; see `HUNG_FOR`."""

    def _brpop_start(self, timeout: float | None = None) -> None:
        popped.give_back(self)
        super()._brpop_start(timeout)

    def _brpop_read(self, **options: Any) -> bool:
        try:
            try:
                reply = self.client.parse_response(self.client.connection, "BRPOP", **options)
            except self.connection_errors:
                self.client.connection.disconnect()
                raise
            if not reply:
                raise Empty
            self._take(reply)
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def _take(self, reply: Any) -> None:
        match reply:
            case [bytes() as key, bytes() as raw]:
                popped.hold(key, raw)
            case _:
                self.client.connection.disconnect()
                raise redis.ConnectionError("its answer to BRPOP is not one of Redis")
        queue = key.decode().rsplit(self.sep, 1)[0]
        self._queue_cycle.rotate(queue)
        if self._is_message(raw, queue):
            message = json.loads(raw)
            # Where it really came from, whatever it says: there it goes back if its worker dies.
            properties = message["properties"]
            properties["delivery_info"] = {"exchange": "", "routing_key": queue}
            # Where a number should stand, Infinity would make kombu delete the message when it goes back.
            properties["priority"] = 0
            # kombu keeps what is not acknowledged by its tag, and some senders (celery-ts) give all the same.
            properties.setdefault("sent_tag", properties["delivery_tag"])
            properties["delivery_tag"] = str(uuid.uuid4())
            self.connection._deliver(message, queue)
        popped.is_safe()

    def _is_message(self, raw: bytes, queue: str) -> bool:
        try:
            return not type(self).bury_envelope(raw, queue)
        except DeviceStatusError as error:
            popped.give_back(self)
            # Celery reconnects and reads it again.
            raise redis.ConnectionError(str(error)) from error


def give_back(connection: Any, seconds: float = GIVES_BACK_FOR) -> None:
    """Before this process ends: give back what it popped and could not register, as soon as Redis takes it.

    Parameters:
        connection: kombu's, to the broker; it is not used itself.
        seconds: after which it is given up.
    """
    give_up_at = time.monotonic() + seconds
    while popped.is_held:
        try:
            with connection.clone() as new:
                popped.give_back(new.default_channel)
        except Exception as error:
            if time.monotonic() < give_up_at:
                time.sleep(_AGAIN)
                continue
            # The message holds personal data, so it is not shown.
            logger.error(  # noqa: TRY400
                "one message could not be given back to the broker (%s); commands of device-status's own "
                "producers are published again, those of others must be sent again",
                explain(error),
            )
            return


def install(bury_envelope: BuryEnvelope) -> None:
    """In this process, make redis://, rediss:// and sentinel:// use the checked channel, and let kombu unpack
    nothing that is compressed.
    """
    CheckedChannel.bury_envelope = staticmethod(bury_envelope)
    # kombu unpacks a message before anything can look at its size, and a kilobyte may become a gigabyte.
    compression._decoders.clear()
    aliases = {"redis": "Transport", "rediss": "Transport", "sentinel": "SentinelTransport"}
    for alias, name in aliases.items():
        kombu.transport.TRANSPORT_ALIASES[alias] = f"{__name__}:{name}"


class _WaitsForRedis:
    """Whatever Redis answers, and whatever redis-py makes of it, is an error after which Celery connects
    again. kombu leaves out what a server refuses, and Celery ends the worker for that.
    """

    connection_errors = (*kombu_redis.Transport.connection_errors, redis.RedisError)


class Transport(_WaitsForRedis, kombu_redis.Transport):  # type: ignore[misc]
    """redis:// and rediss:// with the checked channel."""

    Channel = CheckedChannel


class SentinelTransport(_WaitsForRedis, kombu_redis.SentinelTransport):  # type: ignore[misc]
    """sentinel:// with the checked channel."""

    class Channel(CheckedChannel, kombu_redis.SentinelChannel):  # type: ignore[misc]
        """Finds the primary through the sentinels."""

        connection_class = following(kombu_redis.SentinelChannel.connection_class)
        connection_class_ssl = following(kombu_redis.SentinelChannel.connection_class_ssl)
