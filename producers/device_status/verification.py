"""What listing every user's devices again, after an incident, has shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from device_status.ledger import from_ms


@dataclass(frozen=True, slots=True)
class Verification:
    """What listing every user's devices again showed."""

    started_at: datetime
    ended_at: datetime | None
    users: int
    users_open: int
    users_failed: int
    """Users whose devices could not be listed."""
    as_ordered: int
    not_as_ordered: int
    """Devices of the incident with another status than was ordered."""
    new: int
    """Devices that appeared after their user's devices were listed for the incident."""
    new_not_as_ordered: int
    gone: int
    """Devices of the incident that the user no longer has."""
    knew_all: bool
    """Whether the incident knew all whom it was to be about: only they were listed again."""

    @property
    def is_as_ordered(self) -> bool:
        """Whether every user of the incident, at least one, was listed, none was left out of it, and no
        device has another status than was ordered.
        """
        return (
            self.ended_at is not None
            and self.knew_all
            and self.users > 0
            and self.users_failed == self.not_as_ordered == self.new_not_as_ordered == 0
        )


def read_verification(fields: Mapping[str, str], *, knew_all: bool) -> Verification:
    """From what the ledger holds."""
    return Verification(
        started_at=from_ms(fields["started_at"]),
        ended_at=from_ms(fields["ended_at"]) if "ended_at" in fields else None,
        users=int(fields["users"]),
        users_open=int(fields["users_open"]),
        users_failed=int(fields["users_failed"]),
        as_ordered=int(fields["as_ordered"]),
        not_as_ordered=int(fields["not_as_ordered"]),
        new=int(fields["new"]),
        new_not_as_ordered=int(fields["new_not_as_ordered"]),
        gone=int(fields.get("gone", 0)),
        knew_all=knew_all,
    )
