"""Every error that the public API raises; catch `DeviceStatusError` to catch them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from datetime import datetime

    from device_status.outcomes import State
    from device_status.producer import EnqueueReport


class DeviceStatusError(Exception):
    """Base of all errors of this package.

    Attributes:
        retryable: whether the same call, with the same command, may succeed later. It then has no second
            effect.
    """

    retryable: ClassVar[bool] = False


class SettingsError(DeviceStatusError):
    """A DEVICE_STATUS_* variable can't be used; the text names it and says what it must be."""


class InvalidCommandError(DeviceStatusError, ValueError):
    """A command breaks the contract; the text names each field, the value's problem and the rule.

    The text never holds the values of `username` and `device_key`: it may be logged.
    """


class IdempotencyConflictError(DeviceStatusError):
    """The idempotency key belongs to another command, with other content; this one was not accepted.

    Attributes:
        command_id: of the command that has the key.
        state: of that command.
        issued_at: of that command; None if another version of this package wrote it.
    """

    def __init__(self, text: str, command_id: str, state: State, issued_at: datetime | None) -> None:
        super().__init__(text)
        self.command_id = command_id
        self.state = state
        self.issued_at = issued_at


class LedgerUnavailableError(DeviceStatusError):
    """The ledger did not answer in time, or did not confirm in time what DEVICE_STATUS_DURABILITY asks for.

    The change may have been made. Repeating the call with the same command has no second effect.
    """

    retryable = True


class PublishError(DeviceStatusError):
    """The ledger holds the command but the broker did not confirm the message.

    Repeating the call with the same command (or idempotency key) has no second effect. If it is
    never repeated, the sweeper publishes the command once the broker answers again.

    Attributes:
        command_ids: the commands whose message is in doubt.
        report: what `enqueue_many` had done before, None for `enqueue`.
    """

    retryable = True

    def __init__(self, text: str, command_ids: list[str], report: EnqueueReport | None = None) -> None:
        super().__init__(text)
        self.command_ids = command_ids
        self.report = report


class NotRedrivableError(DeviceStatusError):
    """This dead letter would end the same way again; the text says what to do instead."""


class UnknownDeadLetterError(DeviceStatusError, KeyError):
    """There is no such dead letter, or not any longer."""

    # KeyError's own would put it in quotation marks.
    __str__ = Exception.__str__


class IncidentError(DeviceStatusError):
    """An incident is not as this call needs it: unknown, over, or opened for something else."""
