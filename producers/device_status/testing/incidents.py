"""Incidents that need no server."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

from device_status.command import Status, StatusName
from device_status.incident import Phase, Progress
from device_status.incidents import Incidents, OnAdded
from device_status.ledger import Ledger
from device_status.outcomes import State
from device_status.publisher import Publisher
from device_status.settings import Settings, load_settings
from device_status.testing.commands import CommandsInMemory
from device_status.testing.failures import Failure, Failures
from device_status.testing.incident_memory import IncidentsInMemory
from device_status.testing.incident_state import Step, VerificationStep
from device_status.testing.producer import NOWHERE


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
        self._kept = self._in_memory = IncidentsInMemory(self.memory)
        self._opened: builtins.list[Opened] = []

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
        self._in_memory.plan(
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
        self._in_memory.plan(
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
        self._in_memory.plan_verification(incident_id, step)

    def fail(self, error: Failure, *, times: int | None = 1, after: int = 0) -> None:
        """As `FakeProducer.fail`."""
        self.memory.failures.plan(error, times, after)

    def recover(self) -> None:
        """Let calls succeed again."""
        self.memory.failures.clear()

    def clear(self) -> None:
        """Forget everything: incidents, commands, plans and failures."""
        self._in_memory.clear()
        self.memory.clear()
        self._opened.clear()
        self.recover()

    def open(
        self,
        incident_id: str,
        *,
        user_pool_id: str,
        users: Iterable[str] = (),
        devices: Iterable[tuple[str, str]] = (),
        all_users: bool = False,
        status: Status | StatusName = Status.NOT_REMEMBERED,
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
        self._in_memory.take_step(incident_id)
        return super().progress(incident_id)

    def wait(self, incident_id: str, *, timeout: float | None = None) -> Progress:
        """As `Incidents.wait`, but no time passes: all steps that were played are taken.

        Raises:
            AssertionError: there is no `timeout`, and the incident would never end.
        """
        progress = self.progress(incident_id)
        while progress.phase is Phase.RUNNING and self._in_memory.has_step(incident_id):
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


def _outcomes(succeeded: int, superseded: int, expired: int, dead_lettered: int) -> dict[State, int]:
    counts = {
        State.SUCCEEDED: succeeded,
        State.SUPERSEDED: superseded,
        State.EXPIRED: expired,
        State.DEAD_LETTERED: dead_lettered,
    }
    return {state: count for state, count in counts.items() if count}
