"""What can become of a command: the states of the ledger, and what a claim may find."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from device_status.command import DeviceStatusCommand, Lane


class State(StrEnum):
    """Where a command stands. The last five are outcomes: nothing follows them but a redrive by hand."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    RETRY_WAIT = "retry_wait"
    SUCCEEDED = "succeeded"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"
    DEAD_LETTERED = "dead_lettered"
    CANCELLED = "cancelled"

    @property
    def is_outcome(self) -> bool:
        """Whether the command has come to its end."""
        return self not in (State.QUEUED, State.CLAIMED, State.RETRY_WAIT)


@dataclass(frozen=True, slots=True)
class Claimed:
    """The command and its device are leased to `owner`."""

    command: DeviceStatusCommand
    owner: str
    attempts: int
    """Attempts that count, made before this one."""
    age: float
    """Seconds since the first of them; 0 where there was none."""
    ends_at: float
    """When the lease is over, on this process's monotonic clock; no request may leave after it."""

    def lasts(self, seconds: float) -> bool:
        """Whether the lease still holds for so long."""
        return time.monotonic() + seconds < self.ends_at


@dataclass(frozen=True, slots=True)
class Done:
    """The command has this outcome, from now or from before."""

    outcome: State
    error_code: str = ""


@dataclass(frozen=True, slots=True)
class Busy:
    """A live owner has the command: leave it."""


@dataclass(frozen=True, slots=True)
class DeviceBusy:
    """The device is leased to another command; this one is in `retry_wait`."""


@dataclass(frozen=True, slots=True)
class Held:
    """The command's incident is paused; it goes on when the incident is resumed."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another command holds the idempotency key; this one is a dead letter now."""


@dataclass(frozen=True, slots=True)
class Reserved:
    """Its id or key is of the form that only incidents and repairs use; it is a dead letter now."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The command is in `retry_wait`: the sweeper publishes it again when it is due."""

    error_code: str
    due_in: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The claim was over before it was settled: somebody else decides the command's outcome."""


@dataclass(frozen=True, slots=True)
class Repair:
    """A command that the ledger made itself."""

    command: str = field(repr=False)
    """As JSON; its entry is written."""
    lane: Lane


ClaimResult = Claimed | Done | Busy | DeviceBusy | Held | Waiting | Conflict | Reserved
Handled = Done | Busy | DeviceBusy | Held | Waiting | Conflict | Reserved | Lost
Entered = State | Conflict | Reserved | None
"""What entering a command finds: None where it is new, its state where the same command is known already."""


@dataclass(frozen=True, slots=True)
class Record:
    """What the ledger knows of one command."""

    command_id: str
    state: State
    lane: Lane
    attempts: int
    entered_at: datetime
    finished_at: datetime | None
    error_code: str | None
    error_message: str | None = field(repr=False)
    request_id: str | None
    command: DeviceStatusCommand | None
    """None where the ledger holds no valid command."""

    @property
    def outcome(self) -> State | None:
        """The state, once it is an outcome."""
        return self.state if self.state.is_outcome else None

    def to_dict(self) -> dict[str, Any]:
        """For `--json` and reports; holds the username."""
        return {
            "command_id": self.command_id,
            "state": self.state.value,
            "outcome": self.state.value if self.outcome else None,
            "lane": self.lane.value,
            "attempts": self.attempts,
            "entered_at": self.entered_at.isoformat(),
            "finished_at": self.finished_at.isoformat() if self.finished_at else None,
            "error_code": self.error_code,
            "error_message": self.error_message,
            "request_id": self.request_id,
            "command": self.command.to_wire() if self.command else None,
        }
