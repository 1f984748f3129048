"""What RabbitMQ says of its own state, what to do about it, and how a publisher notices its alarms.

The codes are those of AMQP 0-9-1 and of RabbitMQ's extensions, the texts those of RabbitMQ 3.10's sources
(`rabbit_channel`, `rabbit_reader`, `rabbit_amqqueue`). docs/operating.md has the same table for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakSet

from amqp import exceptions


class Blocked(exceptions.Blocked):  # type: ignore[misc]
    """RabbitMQ has an alarm and reads nothing more from a connection that published."""


@dataclass(frozen=True, slots=True)
class _State:
    raised_as: type[Exception] | tuple[type[Exception], ...]
    text: str
    """A part of the error's text; empty: of any."""
    what_to_do: str


_GRANT: Final = "grant the user its permissions; docs/operating.md, RabbitMQ, has the list"
_REDECLARE: Final = (
    "something else declared this queue, in another way: stop that, let the queue run empty, and delete it "
    "with `rabbitmqctl delete_queue`; it is then declared again, as a quorum queue"
)
_NACKED: Final = (
    "the queue did not take the message: look at policies that limit it, and whether most of its nodes run"
)
_STRANGE: Final = (
    exceptions.FrameError,
    exceptions.FrameSyntaxError,
    exceptions.UnexpectedFrame,
    exceptions.InvalidCommand,
    exceptions.ChannelNotOpen,
    exceptions.AMQPNotImplementedError,
)

_STATES: Final = (
    _State(Blocked, "", "wait, and free memory or disk there: `rabbitmqctl status` lists its alarms"),
    _State(exceptions.AccessRefused, "Login was refused", "correct user and password, in the URL or there"),
    _State(exceptions.AccessRefused, "", _GRANT),
    _State(exceptions.PreconditionFailed, "inequivalent arg", _REDECLARE),
    _State(exceptions.PreconditionFailed, "acknowledgement", "it is delivered again; nothing is lost"),
    _State(exceptions.PreconditionFailed, "larger than", "raise RabbitMQ's max_message_size to 256 KiB"),
    _State(exceptions.NotAllowed, "not found", "add the virtual host that ends the URL, or correct the URL"),
    _State(exceptions.NotAllowed, "limit", "raise the limit of connections or queues there, or end some"),
    _State(exceptions.NotAllowed, "", _GRANT),
    _State(exceptions.NotFound, "", "bring back the node that holds the queue"),
    _State(exceptions.ResourceLocked, "", "end the program that declared this queue as exclusive"),
    _State(exceptions.ConsumerCancelled, "", "somebody deleted the queue, or it moved; it is declared again"),
    _State(exceptions.ConnectionForced, "", "RabbitMQ stops, or an operator closed the connection: wait"),
    _State(exceptions.MessageNacked, "", _NACKED),
    _State(
        exceptions.ChannelError, "NO_ROUTE", "the queue was deleted; the next connection declares it again"
    ),
    _State((exceptions.ResourceError, exceptions.InternalError), "", "look at RabbitMQ's log"),
    _State(_STRANGE, "", "something else than RabbitMQ answers, or cuts in: check host and port"),
)
"""The first that fits counts."""


def is_its(error: BaseException) -> bool:
    """Whether RabbitMQ said it, or py-amqp of it."""
    return isinstance(error, (exceptions.AMQPError, exceptions.MessageNacked))


def said(error: BaseException) -> str:
    """What was said, in one line without passwords."""
    if isinstance(error, exceptions.MessageNacked):
        return "a negative confirm"
    text = " ".join(str(getattr(error, "reply_text", None) or "").split())
    return text or type(error).__name__


def what_to_do(error: BaseException) -> str | None:
    """What helps, if that is known."""
    text = said(error)
    for state in _STATES:
        if isinstance(error, state.raised_as) and state.text in text:
            return state.what_to_do
    return None


class Alarms:
    """Which connections of a publisher RabbitMQ has blocked, because of an alarm.

    It can't be asked: it says so once a connection publishes, and then neither confirms nor answers, not even
    to a close. A connection that is closed all the same stays on the server until the alarm is over. So a
    blocked one is kept, and not used.
    """

    def __init__(self) -> None:
        self._blocked: WeakSet[Any] = WeakSet()

    def watch(self, connection: Any) -> None:
        """From now on whoever waits for this connection of py-amqp meets `Blocked` when it is blocked."""

        def blocked(_: str) -> None:
            self._blocked.add(connection)
            raise Blocked("RabbitMQ has an alarm, of memory or disk, and takes no messages")

        connection.on_blocked = blocked
        connection.on_unblocked = lambda: self._blocked.discard(connection)

    def was_blocked(self, connection: Any) -> bool:
        """Whether a connection was blocked and no longer is: late confirms may still come on its channels.

        Raises:
            Blocked: it still is.
        """
        if connection not in self._blocked:
            return False
        try:
            while True:
                connection.drain_events(timeout=0)
        except TimeoutError:
            pass
        if connection in self._blocked:
            raise Blocked("RabbitMQ has an alarm, of memory or disk, and takes no messages")
        return True
