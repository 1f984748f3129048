"""kombu's Redis transport, made to survive messages that it can't read.

kombu takes a message off Redis and parses it in one private method; an error there stops the worker, or
makes it reconnect for ever, and the message is gone. The override below reads the reply itself, so a test
holds kombu's method to what it relies on, and pyproject.toml bounds kombu's version.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from queue import Empty
from typing import Any, ClassVar

import kombu.transport
import redis
from kombu import compression
from kombu.transport import redis as kombu_redis

from device_status.errors import DeviceStatusError

BuryEnvelope = Callable[[bytes, str], bool]
"""Takes a raw message and its queue; True where it was no message and is on record now."""


class CheckedChannel(kombu_redis.Channel):  # type: ignore[misc]
    """A channel that shows each raw message to `bury_envelope` before kombu parses it."""

    bury_envelope: ClassVar[BuryEnvelope]

    def _brpop_read(self, **options: Any) -> bool:
        try:
            try:
                reply = self.client.parse_response(self.client.connection, "BRPOP", **options)
            except self.connection_errors:
                self.client.connection.disconnect()
                raise
            if not reply:
                raise Empty
            key, raw = reply
            queue = key.decode().rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            if self._is_message(key, raw, queue):
                message = json.loads(raw)
                # Where it really came from, whatever it says: there it goes back if its worker dies.
                message["properties"]["delivery_info"] = {"exchange": "", "routing_key": queue}
                # Where a number should stand, Infinity would make kombu delete the message when it goes back.
                message["properties"]["priority"] = 0
                self.connection._deliver(message, queue)
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def _is_message(self, key: bytes, raw: bytes, queue: str) -> bool:
        try:
            return not type(self).bury_envelope(raw, queue)
        except DeviceStatusError as error:
            # Back to where it was, at the end that is read next; Celery reconnects and reads it again.
            with self.conn_or_acquire() as client:
                client.rpush(key, raw)
            raise redis.ConnectionError("the ledger is away") from error


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


class Transport(kombu_redis.Transport):  # type: ignore[misc]
    """redis:// and rediss:// with the checked channel."""

    Channel = CheckedChannel


class SentinelTransport(kombu_redis.SentinelTransport):  # type: ignore[misc]
    """sentinel:// with the checked channel."""

    class Channel(CheckedChannel, kombu_redis.SentinelChannel):  # type: ignore[misc]
        """Finds the primary through the sentinels."""
