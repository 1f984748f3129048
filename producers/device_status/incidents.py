"""Incidents: bulk changes with a name, progress, report and verification."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from device_status.command import Lane, Status
from device_status.errors import IncidentError
from device_status.incident import (
    Progress,
    incident_key,
    latest_buckets,
    make_command,
    read_progress,
)
from device_status.incident_rules import check_id, check_pool, check_user, may_be_id, unknown
from device_status.ledger import AHEAD_MS, PREFIX, Ledger, from_ms, gate_key, own_ms
from device_status.producer import Life, enter_and_publish_or_tell
from device_status.publisher import Publisher
from device_status.scripts import ledger_errors
from device_status.settings import Settings, load_settings

_PAGE: Final = 1000
_WALK: Final = 500
_POLL: Final = 0.5

OnAdded = Callable[[int, int], None]
"""Takes how many users or devices were new to an incident, and how many it knew."""


class Incidents:
    """Open, watch and steer incidents. Safe to share among threads.

    Parameters:
        settings: default: from the environment.

    Example:
        >>> incidents = Incidents()
        >>> incidents.open("INC-42", user_pool_id="eu-west-1_Ab12Cd34E", users=["ada", "grace"])
        >>> incidents.wait("INC-42", timeout=3600).all_succeeded
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or load_settings()
        self.ledger = Ledger.of(self.settings)
        self._publisher = Publisher(self.settings.broker_url)

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
        """Order one status for every device of many users; workers list the devices and change them.

        The same incident opened again continues it: what it knows already is not done again. A `reason`,
        a `requested_by` or `urgent` that was left out the first time is taken then; what is listed from then
        on is urgent.

        Parameters:
            incident_id: 1 to 64 letters, digits, `.`, `_` and `-`.
            users: usernames; read once, in constant memory.
            devices: (username, device key) where the devices are known; they are not listed.
            all_users: every user of the pool; workers list them.
            urgent: before everything else.
            refused: asked at the end, how many users or devices the caller left out because they break the
                contract; the report tells it.
            on_added: called after each thousand with how many of them were new to the incident, and how many
                it knew already.

        Raises:
            InvalidCommandError: the id, the pool, a username or a device breaks the contract; what
                came before it is entered. The text never holds the value.
            IncidentError: it was cancelled, or opened for another pool or status.
            LedgerUnavailableError, PublishError: the same call again goes on.
        """
        status = Status(status)
        check_pool(user_pool_id, status)
        self._begin(incident_id, user_pool_id, status, urgent, reason, requested_by, all_users=all_users)
        self.add_users(incident_id, user_pool_id, users, on_added)
        self.add_devices(incident_id, devices, on_added)
        self.ledger.scripts.run("incident_seal", [], incident_id, refused())
        return self.progress(incident_id)

    def count(self, *, user_pool_id: str, users: Iterable[str] = (), all_users: bool = False) -> str:
        """Let workers count the devices of users, as a plan for an incident; nothing is changed.

        Returns:
            An id for `progress` and `wait`.
        """
        check_pool(user_pool_id, Status.NOT_REMEMBERED)
        plan_id = f"plan:{time.time_ns():x}"
        status = Status.NOT_REMEMBERED
        self._begin(plan_id, user_pool_id, status, True, None, None, all_users=all_users, counts_only=True)
        self.add_users(plan_id, user_pool_id, users)
        self.ledger.scripts.run("incident_seal", [], plan_id, 0)
        return plan_id

    def progress(self, incident_id: str) -> Progress:
        """How far an incident has come; takes milliseconds at any size.

        Raises:
            IncidentError: there is no such incident, or no longer.
        """
        if not may_be_id(incident_id):
            raise unknown(incident_id)
        buckets = latest_buckets()
        with ledger_errors(), self.ledger.redis.pipeline() as pipe:
            pipe.hgetall(incident_key(incident_id))
            pipe.hmget(incident_key(incident_id, "timeline"), buckets)
            pipe.hgetall(incident_key(incident_id, "verification"))
            fields, counts, verification = pipe.execute()
        if not fields:
            raise unknown(incident_id)
        timeline = {bucket: count for bucket, count in zip(buckets, counts, strict=True) if count}
        return read_progress(fields, timeline, verification, self._trouble(fields["user_pool_id"]))

    def list(self) -> Iterator[Progress]:
        """The incidents of the retention, newest first."""
        with ledger_errors():
            ids = self.ledger.redis.zrange(f"{PREFIX}incidents", 0, -1, desc=True)
        for incident_id in ids:
            try:
                yield self.progress(incident_id)
            except IncidentError:
                with ledger_errors():
                    self.ledger.redis.zrem(f"{PREFIX}incidents", incident_id)

    def wait(self, incident_id: str, *, timeout: float | None = None) -> Progress:
        """Wait until the incident is over, or `timeout` seconds have passed; look at `is_over`."""
        give_up_at = None if timeout is None else time.monotonic() + timeout
        while True:
            progress = self.progress(incident_id)
            if progress.is_over or (give_up_at is not None and time.monotonic() >= give_up_at):
                return progress
            time.sleep(_POLL)

    def pause(self, incident_id: str) -> Progress:
        """Begin nothing more of it, until it is resumed; requests under way are finished.

        Raises:
            IncidentError: there is no such incident, or it is over. So do `resume` and `cancel`.
        """
        return self._change(incident_id, "paused")

    def resume(self, incident_id: str) -> Progress:
        """Go on with what was paused."""
        return self._change(incident_id, "running")

    def cancel(self, incident_id: str) -> Progress:
        """Give everything that is not under way the outcome `cancelled`; this can't be undone."""
        return self._change(incident_id, "cancelled")

    def verify(self, incident_id: str) -> None:
        """Let workers list every user's devices again and compare; `wait_for_verification` waits for it.

        Raises:
            IncidentError: there is no such incident, or it is not over yet.
        """
        match self.ledger.scripts.run("verify_start", [], incident_id):
            case ["started", run]:
                self._verify_users(incident_id, str(run))
            case ["running"]:
                raise IncidentError(f"{incident_id} is not over yet: wait for it, or cancel it, then verify")
            case _:
                raise unknown(incident_id)

    def wait_for_verification(self, incident_id: str, *, timeout: float | None = None) -> Progress:
        """Wait until the verification under way has ended, or `timeout` seconds have passed."""
        give_up_at = None if timeout is None else time.monotonic() + timeout
        while True:
            progress = self.progress(incident_id)
            done = progress.verification is None or progress.verification.ended_at is not None
            if done or (give_up_at is not None and time.monotonic() >= give_up_at):
                return progress
            time.sleep(_POLL)

    def add_users(
        self, incident_id: str, user_pool_id: str, users: Iterable[str], on_added: OnAdded | None = None
    ) -> None:
        """More users; `open` does it."""
        names = iter(users)
        while page := list(islice(names, _PAGE)):
            for name in page:
                check_user(user_pool_id, name)
            new = self._add(incident_id, page, given=False)
            if on_added:
                on_added(new, len(page) - new)

    def add_devices(
        self, incident_id: str, devices: Iterable[tuple[str, str]], on_added: OnAdded | None = None
    ) -> None:
        """Devices that need not be listed; `open` does it."""
        pairs = iter(devices)
        while page := list(islice(pairs, _PAGE)):
            with ledger_errors():
                known = self.ledger.redis.hgetall(incident_key(incident_id))
            if not known:
                raise unknown(incident_id)
            status, opened_at = Status(known["status"]), from_ms(known["opened_at"])
            commands = [
                make_command(
                    incident_id, known["user_pool_id"], name, key, status=status, issued_at=opened_at
                )
                for name, key in page
            ]
            self._add(incident_id, sorted({name for name, _ in page}), given=True)
            life, lane = Life(incident_id, known.get("life", "")), Lane(known["lane"])
            results = enter_and_publish_or_tell(self.ledger, self._publisher, commands, lane, members_of=life)
            if not results:
                raise unknown(incident_id)
            if on_added:
                on_added(results.count(None), len(results) - results.count(None))

    def _begin(
        self,
        incident_id: str,
        user_pool_id: str,
        status: Status,
        urgent: bool,
        reason: str | None,
        requested_by: str | None,
        *,
        all_users: bool,
        counts_only: bool = False,
    ) -> None:
        if not counts_only:
            check_id(incident_id)
        answer = self.ledger.scripts.run(
            "incident_open",
            [incident_key(incident_id)],
            incident_id,
            user_pool_id,
            status,
            Lane.URGENT if urgent else Lane.BULK,
            reason or "",
            requested_by or "",
            self.ledger.retention_ms,
            int(all_users),
            int(counts_only),
            own_ms(),
            AHEAD_MS,
        )
        match answer:
            case ["differs", field, value]:
                raise IncidentError(
                    f"{incident_id} was opened with {field} {value}: give the same, or another incident id"
                )
            case ["cancelled"]:
                raise IncidentError(f"{incident_id} was cancelled: open a new incident under another id")

    def _add(self, incident_id: str, names: Sequence[str], *, given: bool) -> int:
        """How many of them are new to it."""
        new = int(self.ledger.scripts.run("incident_users", [], incident_id, int(given), *names))
        if new < 0:
            raise IncidentError(f"{incident_id} was cancelled meanwhile")
        return new

    def _change(self, incident_id: str, state: str) -> Progress:
        match self.ledger.scripts.run("incident_state", [], incident_id, state):
            case ["unknown"]:
                raise unknown(incident_id)
            case ["ended", old]:
                raise IncidentError(f"{incident_id} {'was cancelled' if old == 'cancelled' else 'is over'}")
        if state != "paused":
            walk(self.ledger, incident_id)
        return self.progress(incident_id)

    def _trouble(self, user_pool_id: str) -> str | None:
        """Why a gate before the pool is paused, or None."""
        target = self.settings.target(user_pool_id)
        with ledger_errors(), self.ledger.redis.pipeline() as pipe:
            pipe.time()
            for category in ("UserResourceUpdate", "UserResourceRead", "UserList"):
                pipe.hmget(gate_key(target, category), "paused_until", "why")
            (seconds, _), *gates = pipe.execute()
        return next((why for until, why in gates if until and int(until) > int(seconds) * 1_000_000), None)

    def _verify_users(self, incident_id: str, run: str) -> None:
        scan = self.ledger.redis.hscan_iter(incident_key(incident_id, "outcomes"), count=_PAGE)
        with ledger_errors():
            names = (name for name, _ in scan)
            while page := list(islice(names, _PAGE)):
                self.ledger.scripts.run("verify_users", [], incident_id, run, 0, *page)
        self.ledger.scripts.run("verify_users", [], incident_id, run, 1)


def walk(ledger: Ledger, incident_id: str) -> None:
    """Let go, or cancel, what waits of an incident that was resumed or cancelled."""
    while ledger.scripts.run("incident_walk", [], incident_id, _WALK, ledger.retention_ms, own_ms()):
        pass
