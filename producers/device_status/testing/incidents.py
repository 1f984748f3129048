"""Incidents that need no server."""

from __future__ import annotations

import builtins
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from device_status.command import Lane, Status
from device_status.incident import Phase, Progress
from device_status.incidents import Incidents, OnAdded
from device_status.ledger import Ledger
from device_status.outcomes import State
from device_status.publisher import Publisher
from device_status.settings import Settings, load_settings
from device_status.testing.commands import CommandsInMemory
from device_status.testing.failures import Failure, Failures
from device_status.testing.incident_state import IncidentInMemory, Step, VerificationStep
from device_status.testing.producer import NOWHERE

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Opened:
    """A call of `open` that succeeded."""

    incident_id: str
    user_pool_id: str
    users: tuple[str, ...]
    devices: tuple[tuple[str, str], ...]
    all_users: bool
    status: Status
    reason: str | None
    requested_by: str | None
    urgent: bool


class FakeIncidents(Incidents):
    """`Incidents` whose ledger and broker are in memory; a test sees what was opened and plays what follows.

    All that is not asked of a server is the real code: its checks, errors and arithmetic. No time passes:
    `wait` takes the steps that a test has played, and then returns as though its time were over.

    Parameters:
        settings: default: from the environment, with a server that does not exist.
        memory: default: a new one; `FakeProducer` may share it.

    Example:
        >>> incidents = FakeIncidents()
        >>> incidents.finish("INC-42", dead_lettered=1)
        >>> respond_to_theft("INC-42", ["ada", "grace"], incidents)
        >>> assert incidents.opened[0].users == ("ada", "grace")
    """

    def __init__(self, settings: Settings | None = None, *, memory: CommandsInMemory | None = None) -> None:
        self.settings = settings or load_settings(broker_url=NOWHERE, ledger_url=NOWHERE)
        self.memory = memory or CommandsInMemory(Failures())
        # It has the methods that are called for devices that are given; a test compares their signatures.
        self.ledger = cast("Ledger", self.memory)
        self._publisher = cast("Publisher", self.memory)
        self._opened: builtins.list[Opened] = []
        self._incidents: dict[str, IncidentInMemory] = {}
        self._steps: dict[str | None, deque[Step]] = {}
        self._verifications: dict[str | None, deque[VerificationStep]] = {}

    @property
    def opened(self) -> builtins.list[Opened]:
        """The calls of `open` that succeeded, in order."""
        return builtins.list(self._opened)

    def play(
        self,
        incident_id: str | None = None,
        *,
        users: int | None = None,
        users_dead_lettered: int = 0,
        users_no_devices: int | None = None,
        devices: int | None = None,
        succeeded: int = 0,
        superseded: int = 0,
        expired: int = 0,
        dead_lettered: int = 0,
        input_error: str | None = None,
        trouble: str | None = None,
    ) -> None:
        """Let this happen next.

        Each look at the incident (`progress`, `wait`, `list`) takes the next step played; `open` takes none.

        Counts are added to those before. More outcomes than devices without one mean that so many devices
        were found with the users whose devices were still to be listed.

        Parameters:
            incident_id: one that is open or will be; default: each that is opened from now on.
            users: how many users the whole pool has (`all_users`).
            users_dead_lettered: users whose devices can't be listed.
            users_no_devices: of the users who wait, how many have no device; default: those who are left if
                each of the others has one.
            devices: devices found with the users who wait, all of whom are listed by that.
            input_error: why the users of the pool can't be listed.
            trouble: as `Progress.trouble`, until the next step.

        Raises:
            ValueError: from the look that takes the step, if there are not so many users or devices.
        """
        outcomes = _outcomes(succeeded, superseded, expired, dead_lettered)
        self._plan(
            incident_id,
            Step(
                devices=devices,
                users_dead_lettered=users_dead_lettered,
                users_no_devices=users_no_devices,
                outcomes=outcomes,
                pool_users=users,
                input_error=input_error,
                trouble=trouble,
            ),
        )

    def finish(
        self,
        incident_id: str | None = None,
        *,
        users: int | None = None,
        users_dead_lettered: int = 0,
        users_no_devices: int | None = None,
        devices: int | None = None,
        succeeded: int = 0,
        superseded: int = 0,
        expired: int = 0,
        dead_lettered: int = 0,
    ) -> None:
        """Let it end in the next step, with these counts; see `play`.

        Without `devices` and `succeeded`, each user who waits has at least one device. What is still open
        succeeds.
        """
        outcomes = _outcomes(succeeded, superseded, expired, dead_lettered)
        self._plan(
            incident_id,
            Step(
                devices=devices,
                users_dead_lettered=users_dead_lettered,
                users_no_devices=users_no_devices,
                outcomes=outcomes,
                pool_users=users,
                is_last=True,
            ),
        )

    def play_verification(
        self,
        incident_id: str | None = None,
        *,
        as_ordered: int | None = None,
        not_as_ordered: int = 0,
        new: int = 0,
        new_not_as_ordered: int = 0,
        gone: int = 0,
        users_failed: int = 0,
    ) -> None:
        """Let the next verification end at the next look after `verify`, with these counts as `Verification`
        has them. `as_ordered`: default: all the other devices.

        Raises:
            ValueError: from that look, if there are not so many users or devices.
        """
        step = VerificationStep(as_ordered, not_as_ordered, new, new_not_as_ordered, gone, users_failed)
        with self.memory.lock:
            known = self._incidents.get(incident_id or "")
            queue = known.verifications if known else self._verifications.setdefault(incident_id, deque())
            queue.append(step)

    def fail(self, error: Failure, *, times: int | None = 1, after: int = 0) -> None:
        """As `FakeProducer.fail`."""
        self.memory.failures.plan(error, times, after)

    def recover(self) -> None:
        """Let calls succeed again."""
        self.memory.failures.clear()

    def clear(self) -> None:
        """Forget everything: incidents, commands, plans and failures."""
        with self.memory.lock:
            for kept in (self._opened, self._incidents, self._steps, self._verifications):
                kept.clear()
            self.memory.clear()
        self.recover()

    def open(
        self,
        incident_id: str,
        *,
        user_pool_id: str,
        users: Iterable[str] = (),
        devices: Iterable[tuple[str, str]] = (),
        all_users: bool = False,
        status: Status | str = Status.NOT_REMEMBERED,
        reason: str | None = None,
        requested_by: str | None = None,
        urgent: bool = False,
        refused: Callable[[], int] = lambda: 0,
        on_added: OnAdded | None = None,
    ) -> Progress:
        """As `Incidents.open`; `opened` has the call."""
        names, pairs = tuple(users), tuple(devices)
        progress = super().open(
            incident_id,
            user_pool_id=user_pool_id,
            users=names,
            devices=pairs,
            all_users=all_users,
            status=status,
            reason=reason,
            requested_by=requested_by,
            urgent=urgent,
            refused=refused,
            on_added=on_added,
        )
        call = Opened(
            incident_id,
            user_pool_id,
            names,
            pairs,
            all_users,
            Status(status),
            reason,
            requested_by,
            urgent,
        )
        self._opened.append(call)
        return progress

    def progress(self, incident_id: str) -> Progress:
        """As `Incidents.progress`; takes the next step that was played."""
        with self.memory.lock:
            known = self._incidents.get(incident_id)
            if known and known.may_step:
                _step(known)
            elif known:
                known.may_step = True
            return super().progress(incident_id)

    def list(self) -> Iterator[Progress]:
        """As `Incidents.list`; takes a step of each."""
        self.memory.failures.check_ledger()
        with self.memory.lock:
            names = [name for name, known in self._incidents.items() if not known.counts_only]
        for name in reversed(names):
            yield self.progress(name)

    def wait(self, incident_id: str, *, timeout: float | None = None) -> Progress:
        """As `Incidents.wait`, but no time passes: all steps that were played are taken.

        Raises:
            AssertionError: there is no `timeout`, and the incident would never end.
        """
        progress = self.progress(incident_id)
        while progress.phase is Phase.RUNNING and self._incidents[incident_id].steps:
            progress = self.progress(incident_id)
        if not progress.is_over and timeout is None:
            raise AssertionError(
                f"{incident_id} would never end: let the test call finish({incident_id!r}) first"
            )
        return progress

    def wait_for_verification(self, incident_id: str, *, timeout: float | None = None) -> Progress:
        """As `Incidents.wait_for_verification`, but no time passes.

        Raises:
            AssertionError: there is no `timeout`, and the verification would never end.
        """
        progress = self.progress(incident_id)
        under_way = progress.verification is not None and progress.verification.ended_at is None
        if under_way and timeout is None:
            raise AssertionError(
                f"the verification of {incident_id} would never end: let the test call "
                f"play_verification({incident_id!r}) first"
            )
        return progress

    def _plan(self, incident_id: str | None, step: Step) -> None:
        with self.memory.lock:
            known = self._incidents.get(incident_id or "")
            queue = known.steps if known else self._steps.setdefault(incident_id, deque())
            queue.append(step)

    def _enter(
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
        self.memory.failures.check_ledger()
        with self.memory.lock:
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
                opened = self._incidents[incident_id] = IncidentInMemory(
                    incident_id,
                    user_pool_id,
                    status,
                    lane,
                    reason,
                    requested_by,
                    counts_only,
                    self.memory,
                    _planned(self._steps, incident_id),
                    _planned(self._verifications, incident_id),
                )
            incident = known or opened
            incident.is_sealed = False
            if all_users and (not incident.all_users or incident.input_error):
                incident.all_users, incident.input_error = "wanted", None
                incident.reopen()
            return ["continued" if known else "opened"]

    def _enter_users(self, incident_id: str, names: Sequence[str], *, given: bool) -> int:
        self.memory.failures.check_ledger()
        with self.memory.lock:
            known = self._incidents.get(incident_id)
            if known is None or known.state == "cancelled":
                return -1
            return known.add_users(names, given=given)

    def _seal(self, incident_id: str, refused: int) -> None:
        self.memory.failures.check_ledger()
        with self.memory.lock:
            known = self._incidents[incident_id]
            known.refused = refused
            if known.all_users != "wanted":
                known.is_sealed = True
                if known.open:
                    known.reopen()
                known.end_if_done()
            known.may_step = known.counts_only

    def _read(self, incident_id: str) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
        self.memory.failures.check_ledger()
        with self.memory.lock:
            known = self._incidents.get(incident_id)
            return (known.fields(), {}, dict(known.verification)) if known else ({}, {}, {})

    def _trouble(self, user_pool_id: str) -> str | None:
        with self.memory.lock:
            known = self._incidents.values()
            return next(
                (each.trouble for each in known if each.user_pool_id == user_pool_id and each.trouble), None
            )

    def _set_state(self, incident_id: str, state: str) -> Sequence[str]:
        self.memory.failures.check_ledger()
        with self.memory.lock:
            known = self._incidents.get(incident_id)
            if known is None:
                return ["unknown"]
            if known.ended_at is not None or known.state == "cancelled":
                return ["ended", known.state]
            known.state, known.may_step = state, False
            if state == "cancelled":
                known.cancel()
            return ["changed"]

    def _begin_verification(self, incident_id: str) -> Sequence[str]:
        self.memory.failures.check_ledger()
        with self.memory.lock:
            known = self._incidents.get(incident_id)
            if known is None:
                return ["unknown"]
            if known.ended_at is None:
                return ["running"]
            known.begin_verification()
            return ["started", ""]

    def _verify_users(self, incident_id: str, run: str) -> None:
        """`_begin_verification` has named them all."""


def _planned(plans: dict[str | None, deque[T]], incident_id: str) -> deque[T]:
    """What a test has planned for an incident before it is opened."""
    return plans.pop(incident_id) if incident_id in plans else deque(plans.get(None, ()))


def _step(incident: IncidentInMemory) -> None:
    under_way = incident.verification and "ended_at" not in incident.verification
    if under_way and incident.verifications:
        incident.verify(incident.verifications.popleft())
    elif incident.steps and incident.ended_at is None and incident.state == "running":
        incident.take(incident.steps.popleft())


def _outcomes(succeeded: int, superseded: int, expired: int, dead_lettered: int) -> dict[State, int]:
    counts = {
        State.SUCCEEDED: succeeded,
        State.SUPERSEDED: superseded,
        State.EXPIRED: expired,
        State.DEAD_LETTERED: dead_lettered,
    }
    return {state: count for state, count in counts.items() if count}
