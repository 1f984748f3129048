"""Every error that the public API raises; catch `DeviceStatusError` to catch them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from device_status.producer import EnqueueReport


class DeviceStatusError(Exception):
    """Base of all errors of this package."""


class SettingsError(DeviceStatusError):
    """A DEVICE_STATUS_* variable can't be used; the text names it and says what it must be."""


class InvalidCommandError(DeviceStatusError, ValueError):
    """A command breaks the contract; the text names each field, the value's problem and the rule.

    The text never holds the values of `username` and `device_key`: it may be logged.
    """


class LedgerUnavailableError(DeviceStatusError):
    """The ledger did not answer in time, or did not confirm in time what DEVICE_STATUS_DURABILITY asks for.

    The change may have been made. Repeating the call with the same command has no second effect.
    """


class PublishError(DeviceStatusError):
    """The ledger holds the command but the broker did not confirm the message.

    Repeating the call with the same command (or idempotency key) has no second effect. If it is
    never repeated, the sweeper publishes the command once the broker answers again.

    Attributes:
        command_ids: the commands whose message is in doubt.
        report: what `enqueue_many` had done before, None for `enqueue`.
    """

    def __init__(self, text: str, command_ids: list[str], report: EnqueueReport | None = None) -> None:
        super().__init__(text)
        self.command_ids = command_ids
        self.report = report


class IncidentError(DeviceStatusError):
    """An incident is not as this call needs it: unknown, over, or opened for something else."""
