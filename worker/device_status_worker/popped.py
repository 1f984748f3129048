"""The message that BRPOP took off its queue, until Redis has it on record again.

From BRPOP until it is registered as delivered, or back in its queue, a message is in the memory of this
process alone. Nothing more is popped meanwhile, so it is one at most; a process that is killed then loses it.
"""

from __future__ import annotations

from typing import Any

from device_status.scripts import source

_PACKAGE = "device_status_worker"


class Popped:
    """The one message of a process; for the thread that consumes."""

    def __init__(self) -> None:
        self._message: tuple[bytes, bytes] | None = None

    @property
    def is_held(self) -> bool:
        """Whether there is one."""
        return self._message is not None

    def hold(self, key: bytes, raw: bytes) -> None:
        """It was popped off this list of Redis."""
        self._message = key, raw

    def is_safe(self) -> None:
        """It is on record: registered as delivered, or a dead letter."""
        self._message = None

    def give_back(self, channel: Any) -> None:
        """Put it back at the end of its queue that is read next, if there is one.

        Parameters:
            channel: of kombu's Redis transport.

        Raises:
            redis.RedisError: it is kept; try again.
        """
        if self._message is None:
            return
        key, raw = self._message
        with channel.conn_or_acquire() as client:
            client.eval(source(_PACKAGE, "message_return"), 2, key, channel.unacked_index_key, raw)
        self._message = None
