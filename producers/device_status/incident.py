"""What the ledger knows of an incident: its progress, and how to read it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from device_status.command import DeviceStatusCommand, Lane, Status, device_hash, parse_command
from device_status.ledger import PREFIX, from_ms
from device_status.verification import Verification, read_verification

BUCKET: Final = 10
"""Seconds that one entry of the timeline stands for (prelude_incident.lua)."""
_RATE_OVER: Final = 3
"""Whole entries of the timeline that the present rate is read from."""


class Phase(StrEnum):
    """Where an incident stands."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Progress:
    """An incident and how far it has come; every count is exact at one moment."""

    incident_id: str
    user_pool_id: str
    status: Status
    lane: Lane
    reason: str | None
    requested_by: str | None
    phase: Phase
    opened_at: datetime
    ended_at: datetime | None
    is_input_complete: bool
    """Whether all users or devices were told; if not, the same `open` again goes on."""
    is_listing_pool: bool
    """Whether workers are still reading the pool's users."""
    input_error: str | None
    """Why the users of the pool could not be listed."""
    refused: int
    """Lines of the latest input that name no possible user or device; nothing was done about them."""
    users: int
    users_open: int
    """Users whose devices are still to be listed."""
    users_expanded: int
    users_no_devices: int
    users_dead_lettered: int
    users_cancelled: int
    devices: int
    open: int
    """Commands without an outcome."""
    succeeded: int
    superseded: int
    expired: int
    dead_lettered: int
    cancelled: int
    rate: float
    """Devices a second that got their outcome, over the last half minute."""
    trouble: str | None
    """Why no request is sent just now, as `AccessDeniedException`, where the gate is paused."""
    webhook: str | None
    """`delivered` or `failed`, once it is known."""
    verification: Verification | None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self.ended_at is not None

    @property
    def all_succeeded(self) -> bool:
        """Whether it is over, knew all whom it was to be about, at least one, and brought each user and
        device to what was ordered, or to something newer.
        """
        return self.phase is Phase.ENDED and not (
            self.users == 0
            or not self.is_input_complete
            or self.users_dead_lettered
            or self.users_cancelled
            or self.dead_lettered
            or self.expired
            or self.cancelled
            or self.input_error is not None
        )

    def seconds_left(self, quota: float) -> float | None:
        """An estimate, at the present rate or where there is none yet at the quota; None where there can be
        none: it is over or paused, or no user was listed yet.

        Users still to be listed count as the average of those listed.
        """
        listed = self.users_expanded + self.users_no_devices
        if self.is_over or self.phase is Phase.PAUSED or (self.users_open and not listed):
            return None
        expected = self.open + (self.users_open * self.devices / listed if listed else 0)
        return expected / (self.rate or quota)

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        fields = {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asdict(self).items()
        }
        if self.verification:
            fields["verification"] = {
                name: value.isoformat() if isinstance(value, datetime) else value
                for name, value in asdict(self.verification).items()
            } | {"is_as_ordered": self.verification.is_as_ordered}
        return fields | {"is_over": self.is_over, "all_succeeded": self.all_succeeded}


def incident_key(incident_id: str, part: str = "") -> str:
    """Redis key of an incident, or of a part of what is kept of it."""
    return f"{PREFIX}incident:{incident_id}{part and ':'}{part}"


def command_id(incident_id: str, user_pool_id: str, username: str, device_key: str) -> str:
    """The id, and idempotency key, of an incident's command for a device: the same whenever it is asked."""
    return f"incident:{incident_id}:{device_hash(user_pool_id, username, device_key)[:32]}"


def make_command(
    incident_id: str,
    user_pool_id: str,
    username: str,
    device_key: str,
    *,
    status: Status,
    issued_at: datetime,
) -> DeviceStatusCommand:
    """An incident's command for one device.

    Raises:
        InvalidCommandError: the device breaks the contract.
    """
    name = command_id(incident_id, user_pool_id, username, device_key)
    return parse_command(
        {
            "command_id": name,
            "user_pool_id": user_pool_id,
            "username": username,
            "device_key": device_key,
            "status": status,
            "issued_at": issued_at,
            "incident_id": incident_id,
        }
    )


def read_progress(
    fields: Mapping[str, str],
    timeline: Mapping[str, str],
    verification: Mapping[str, str],
    trouble: str | None,
) -> Progress:
    """From what the ledger holds."""

    def count(name: str) -> int:
        return int(fields.get(name, 0))

    opened_at = from_ms(fields["opened_at"])
    ended_at = from_ms(fields["ended_at"]) if "ended_at" in fields else None
    cancelled = fields["state"] == "cancelled"
    is_input_complete = fields["sealed"] == "1" and "input_cut" not in fields
    return Progress(
        incident_id=fields["id"],
        user_pool_id=fields["user_pool_id"],
        status=Status(fields["status"]),
        lane=Lane(fields["lane"]),
        reason=fields["reason"] or None,
        requested_by=fields["requested_by"] or None,
        phase=(Phase.CANCELLED if cancelled else Phase.ENDED)
        if ended_at
        else (Phase.CANCELLING if cancelled else Phase(fields["state"])),
        opened_at=opened_at,
        ended_at=ended_at,
        is_input_complete=is_input_complete,
        is_listing_pool=fields.get("all_users") == "wanted",
        input_error=fields.get("all_users_error"),
        refused=count("refused"),
        users=count("users"),
        users_open=count("users_open"),
        users_expanded=count("users_expanded"),
        users_no_devices=count("users_no_devices"),
        users_dead_lettered=count("users_dead_lettered"),
        users_cancelled=count("users_cancelled"),
        devices=count("devices"),
        open=count("open"),
        succeeded=count("succeeded"),
        superseded=count("superseded"),
        expired=count("expired"),
        dead_lettered=count("dead_lettered"),
        cancelled=count("cancelled"),
        rate=_rate(timeline, opened_at.timestamp()),
        trouble=trouble if ended_at is None else None,
        webhook=fields.get("webhook"),
        verification=read_verification(
            verification, knew_all=is_input_complete and "all_users_error" not in fields
        )
        if verification
        else None,
    )


def latest_buckets() -> list[str]:
    """Names of the timeline's entries that the present rate is read from."""
    now = int(time.time()) // BUCKET * BUCKET
    return [str(now - BUCKET * number) for number in range(_RATE_OVER + 1)]


def _rate(timeline: Mapping[str, str], opened_at: float) -> float:
    newest, *rest = latest_buckets()
    # The newest entry is still growing, the incident may have been opened in the middle of one, and before
    # the first devices there is none.
    spans = [(int(newest), time.time()), *((int(at), int(at) + BUCKET) for at in rest if at in timeline)]
    seconds = sum(max(0.0, end - max(begin, opened_at)) for begin, end in spans)
    return sum(int(count) for count in timeline.values()) / max(1.0, seconds)
