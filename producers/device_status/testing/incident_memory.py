"""The incidents of a ledger in memory, and what a test has planned for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, TypeVar

from device_status.command import Lane, Status
from device_status.incident_ledger import Fields
from device_status.targets import Target
from device_status.testing.commands import CommandsInMemory
from device_status.testing.incident_state import IncidentInMemory, Step, VerificationStep

T = TypeVar("T")
_EACH: Final = None
"""In place of an id: each incident that is opened from now on."""


class IncidentsInMemory:
    """Stands in for `IncidentLedger`. Safe to share among threads."""

    def __init__(self, commands: CommandsInMemory) -> None:
        self._commands = commands
        self._failures = commands.failures
        self._lock = commands.lock
        self._incidents: dict[str, IncidentInMemory] = {}
        self._steps: dict[str | None, deque[Step]] = {}
        self._verifications: dict[str | None, deque[VerificationStep]] = {}

    def clear(self) -> None:
        """Forget every incident and plan."""
        with self._lock:
            for kept in (self._incidents, self._steps, self._verifications):
                kept.clear()

    def plan(self, incident_id: str | None, step: Step) -> None:
        """Add a step; without an id: to each incident that is opened from now on."""
        with self._lock:
            known = self._incidents.get(incident_id or "")
            (known.steps if known else self._steps.setdefault(incident_id, deque())).append(step)

    def plan_verification(self, incident_id: str | None, step: VerificationStep) -> None:
        """Add what the next verification shows."""
        with self._lock:
            known = self._incidents.get(incident_id or "")
            (known.verifications if known else self._verifications.setdefault(incident_id, deque())).append(
                step
            )

    def has_step(self, incident_id: str) -> bool:
        """Whether there is one left."""
        with self._lock:
            return bool(self._incidents[incident_id].steps)

    def take_step(self, incident_id: str) -> None:
        """Somebody looks at the incident: the next step happens. An unknown incident has none."""
        with self._lock:
            known = self._incidents.get(incident_id)
            if known is None:
                return
            if not known.may_step:
                known.may_step = True
            elif known.is_verifying and known.verifications:
                known.verify(known.verifications.popleft())
            elif known.steps and known.ended_at is None and known.state == "running":
                known.take(known.steps.popleft())

    def enter(
        self,
        incident_id: str,
        user_pool_id: str,
        status: Status,
        lane: Lane,
        reason: str,
        requested_by: str,
        *,
        all_users: bool,
        counts_only: bool,
    ) -> Sequence[str]:
        """As `IncidentLedger.enter`; so for the others."""
        self._failures.check_ledger()
        with self._lock:
            known = self._incidents.get(incident_id)
            if known and known.user_pool_id != user_pool_id:
                return ["differs", "user_pool_id", known.user_pool_id]
            if known and known.status is not status:
                return ["differs", "status", known.status]
            if known and known.state == "cancelled":
                return ["cancelled"]
            if known:
                known.reason = known.reason or reason
                known.requested_by = known.requested_by or requested_by
                known.lane = Lane.URGENT if lane is Lane.URGENT else known.lane
            else:
                self._incidents[incident_id] = IncidentInMemory(
                    incident_id,
                    user_pool_id,
                    status,
                    lane,
                    reason,
                    requested_by,
                    counts_only,
                    self._commands,
                    _planned(self._steps, incident_id),
                    _planned(self._verifications, incident_id),
                )
            self._incidents[incident_id].take_input(all_users=all_users)
            return ["continued" if known else "opened"]

    def enter_users(self, incident_id: str, names: Sequence[str], *, given: bool) -> int:
        """Add users."""
        self._failures.check_ledger()
        with self._lock:
            known = self._incidents.get(incident_id)
            if known is None or known.state == "cancelled":
                return -1
            return known.add_users(names, given=given)

    def seal(self, incident_id: str, refused: int) -> None:
        """The input is complete."""
        self._failures.check_ledger()
        with self._lock:
            self._incidents[incident_id].seal(refused)

    def read(self, incident_id: str) -> tuple[Fields, Fields, Fields]:
        """Fields, timeline, verification."""
        self._failures.check_ledger()
        with self._lock:
            known = self._incidents.get(incident_id)
            return (known.fields(), {}, dict(known.verification)) if known else ({}, {}, {})

    def trouble(self, target: Target) -> str | None:
        """Why a gate before the target is paused."""
        with self._lock:
            return next(
                (
                    each.trouble
                    for each in self._incidents.values()
                    if each.trouble and each.region == target.region
                ),
                None,
            )

    def ids(self) -> Sequence[str]:
        """Newest first."""
        self._failures.check_ledger()
        with self._lock:
            return [name for name, known in reversed(self._incidents.items()) if not known.counts_only]

    def leave_out(self, incident_id: str) -> None:
        """Nothing is forgotten here but by `clear`."""

    def set_state(self, incident_id: str, state: str) -> Sequence[str]:
        """Pause, resume or cancel."""
        self._failures.check_ledger()
        with self._lock:
            known = self._incidents.get(incident_id)
            if known is None:
                return ["unknown"]
            if known.ended_at is not None or known.state == "cancelled":
                return ["ended", known.state]
            known.state, known.may_step = state, False
            if state == "cancelled":
                known.cancel()
            return ["changed"]

    def start_verification(self, incident_id: str) -> Sequence[str]:
        """Let its users be listed again."""
        self._failures.check_ledger()
        with self._lock:
            known = self._incidents.get(incident_id)
            if known is None:
                return ["unknown"]
            if known.ended_at is None:
                return ["running"]
            known.begin_verification()
            return ["started", ""]


def _planned(plans: dict[str | None, deque[T]], incident_id: str) -> deque[T]:
    """What a test has planned for an incident before it is opened."""
    return plans.pop(incident_id) if incident_id in plans else deque(plans.get(_EACH, ()))
