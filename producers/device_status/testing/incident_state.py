"""One incident in memory: its counts, and the steps that a test plays.

The rules are those of the scripts in `lua/` whose names begin with incident and verify; the tests run the
same scenarios against both.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from device_status.command import Lane, Status, region_of
from device_status.outcomes import State
from device_status.testing.commands import CommandsInMemory, Entry, Played

OUTCOMES: Final = (State.SUCCEEDED, State.SUPERSEDED, State.EXPIRED, State.DEAD_LETTERED, State.CANCELLED)
_ERROR: Final = "RetriesExhausted"
"""Error code of the dead letters that a test plays by their number."""


@dataclass(frozen=True, slots=True)
class Step:
    """What happens next to an incident. Counts are what is added."""

    devices: int | None = None
    """Found with users who waited; None: as many as the outcomes need."""
    users_dead_lettered: int = 0
    users_no_devices: int | None = None
    """None: those for whom no device is left if each of the others has one."""
    outcomes: Mapping[State, int] = field(default_factory=dict)
    pool_users: int | None = None
    """Users that listing the whole pool found; it is complete then."""
    input_error: str | None = None
    trouble: str | None = None
    is_last: bool = False
    """Whether all that is still open gets its outcome."""


@dataclass(frozen=True, slots=True)
class VerificationStep:
    """What a verification shows."""

    as_ordered: int | None = None
    """None: all the others."""
    not_as_ordered: int = 0
    new: int = 0
    new_not_as_ordered: int = 0
    gone: int = 0
    users_failed: int = 0


@dataclass(slots=True)
class IncidentInMemory:
    """An incident; the caller holds the lock."""

    incident_id: str
    user_pool_id: str
    status: Status
    lane: Lane
    reason: str
    requested_by: str
    counts_only: bool
    commands: CommandsInMemory
    steps: deque[Step]
    verifications: deque[VerificationStep]
    opened_at: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    state: str = "running"
    all_users: str = ""
    input_error: str | None = None
    ended_at: int | None = None
    is_sealed: bool = False
    is_input_cut: bool = False
    refused: int = 0
    users: dict[str, str] = field(default_factory=dict)
    """Outcome of each user's listing; empty: it waits."""
    devices: int = 0
    outcomes: Counter[State] = field(default_factory=Counter)
    trouble: str | None = None
    verification: dict[str, str] = field(default_factory=dict)
    may_step: bool = True
    """Whether the next look takes a step; not the one that ends `open` or a change of state."""

    @property
    def members(self) -> list[Entry]:
        """Its commands that are entered: those of devices that were given."""
        return self.commands.members(self.incident_id)

    @property
    def waiting(self) -> list[str]:
        """Users whose devices are still to be listed."""
        return [name for name, outcome in self.users.items() if not outcome]

    @property
    def open(self) -> int:
        """Devices without an outcome."""
        if self.counts_only:
            return 0
        return self.devices + len(self.members) - self.outcomes.total()

    @property
    def region(self) -> str:
        """The AWS Region of its pool, whose requests may be paused."""
        return region_of(self.user_pool_id)

    @property
    def is_verifying(self) -> bool:
        """Whether a verification is under way."""
        return bool(self.verification) and "ended_at" not in self.verification

    def take_input(self, *, all_users: bool) -> None:
        """It is opened, or opened again: users may follow."""
        self.is_sealed = False
        if all_users and (not self.all_users or self.input_error):
            self.all_users, self.input_error = "wanted", None
            self.reopen()

    def seal(self, refused: int) -> None:
        """The input is complete; of a whole pool once its users are listed."""
        self.refused = refused
        if self.all_users != "wanted":
            self.is_sealed = True
            if self.open:
                self.reopen()
            self.end_if_done()
        self.may_step = self.counts_only

    def add_users(self, names: Sequence[str], *, given: bool) -> int:
        """Add users; says how many are new."""
        new = sum(name not in self.users for name in dict.fromkeys(names))
        for name in names:
            if given:
                self.users.setdefault(name, "given")
            elif self.users.get(name, "given") == "given":
                self.users[name] = ""
                self.reopen()
        return new

    def reopen(self) -> None:
        """There is work again."""
        if self.ended_at is not None:
            self.ended_at, self.verification = None, {}

    def end_if_done(self) -> None:
        """It ends if its input is complete and nothing is without an outcome."""
        if self.is_sealed and not self.waiting and not self.open and self.ended_at is None:
            self.ended_at = time.time_ns() // 1_000_000

    def cancel(self) -> None:
        """Everything that is open is cancelled."""
        self.is_input_cut = self.is_input_cut or not self.is_sealed
        self.is_sealed, self.all_users = True, ""
        for name in self.waiting:
            self.users[name] = "cancelled"
        self._give(State.CANCELLED, self.open)
        self.end_if_done()

    def take(self, step: Step) -> None:
        """Let a step happen.

        Raises:
            ValueError: it gives an outcome to more users or devices than there are.
        """
        self.trouble = step.trouble
        wanted = sum(step.outcomes.values())
        found = max(0, wanted - self.open) if step.devices is None else step.devices
        self._list_pool(step, found)
        waiting = self.waiting
        if step.users_dead_lettered > len(waiting):
            raise ValueError(
                f"{self.incident_id} has only {len(waiting)} users whose devices are to be listed"
            )
        for name in waiting[: step.users_dead_lettered]:
            self.users[name] = "dead_lettered"
        waiting = waiting[step.users_dead_lettered :]
        if step.is_last and step.devices is None and State.SUCCEEDED not in step.outcomes:
            found = max(found, len(waiting))
        if found or step.is_last or step.devices is not None:
            self._find(waiting, found, step.users_no_devices)
        if not self.counts_only:
            self._settle(step, wanted)
        self.end_if_done()

    def begin_verification(self) -> None:
        """List every user's devices again."""
        users = str(len(self.users))
        self.verification = {
            **dict.fromkeys(
                ("users_failed", "as_ordered", "not_as_ordered", "new", "new_not_as_ordered"), "0"
            ),
            "started_at": str(time.time_ns() // 1_000_000),
            "users": users,
            "users_open": users,
        }
        if not self.users:
            self.verification["ended_at"] = self.verification["started_at"]

    def verify(self, step: VerificationStep) -> None:
        """Let the verification under way end.

        Raises:
            ValueError: it speaks of more users or devices than there are.
        """
        devices = self.devices + len(self.members)
        as_ordered = step.as_ordered
        if as_ordered is None:
            as_ordered = devices - step.not_as_ordered - step.gone
        if (
            not 0 <= as_ordered <= devices
            or step.users_failed > len(self.users)
            or step.new_not_as_ordered > step.new
        ):
            raise ValueError(f"{self.incident_id} has only {devices} devices of {len(self.users)} users")
        self.verification |= {
            "users_open": "0",
            "users_failed": str(step.users_failed),
            "as_ordered": str(as_ordered),
            "not_as_ordered": str(step.not_as_ordered),
            "new": str(step.new),
            "new_not_as_ordered": str(step.new_not_as_ordered),
            "gone": str(step.gone),
            "ended_at": str(time.time_ns() // 1_000_000),
        }

    def fields(self) -> dict[str, str]:
        """As the ledger holds them: what `read_progress` takes."""
        optional = {
            "all_users": self.all_users,
            "all_users_error": self.input_error or "",
            "ended_at": str(self.ended_at or ""),
            "input_cut": "1" if self.is_input_cut else "",
        }
        listed = Counter(outcome for outcome in self.users.values() if outcome not in ("", "given"))
        return {
            "id": self.incident_id,
            "user_pool_id": self.user_pool_id,
            "status": self.status.value,
            "lane": self.lane.value,
            "reason": self.reason,
            "requested_by": self.requested_by,
            "state": self.state,
            "opened_at": str(self.opened_at),
            "sealed": str(int(self.is_sealed)),
            "refused": str(self.refused),
            "users": str(len(self.users)),
            "users_open": str(len(self.waiting)),
            "devices": str(self.devices + len(self.members)),
            "open": str(self.open),
            **{f"users_{outcome}": str(count) for outcome, count in listed.items()},
            **{state.value: str(self.outcomes[state]) for state in OUTCOMES},
            **{name: value for name, value in optional.items() if value},
        }

    def _list_pool(self, step: Step, found: int) -> None:
        users = step.pool_users
        if self.all_users == "wanted" and (users is not None or step.input_error or step.is_last):
            # Nobody says who they are; a number tells them apart.
            count = max(found, 1) if users is None and not step.input_error else users or 0
            self.add_users([f"user-{number}" for number in range(1, count + 1)], given=False)
            self.all_users, self.input_error, self.is_sealed = "done", step.input_error, True

    def _find(self, waiting: Sequence[str], found: int, without: int | None) -> None:
        having = min(len(waiting), found) if without is None else len(waiting) - without
        if having < 0 or having > found or (found and not having):
            raise ValueError(
                f"{self.incident_id} has {len(waiting)} users whose devices are to be listed; they can't "
                f"have {found} devices, and {without or 0} of them none"
            )
        self.devices += found
        for number, name in enumerate(waiting):
            self.users[name] = "expanded" if number < having else "no_devices"

    def _settle(self, step: Step, wanted: int) -> None:
        if wanted > self.open:
            raise ValueError(
                f"{self.incident_id} has only {self.open} devices without an outcome, not {wanted}"
            )
        for state, count in step.outcomes.items():
            self._give(state, count)
        if step.is_last:
            self._give(State.SUCCEEDED, self.open)

    def _give(self, state: State, count: int) -> None:
        self.outcomes[state] += count
        error = _ERROR if state is State.DEAD_LETTERED else None
        for entry in [entry for entry in self.members if not entry.state.is_outcome][:count]:
            entry.play(Played(state, error))
