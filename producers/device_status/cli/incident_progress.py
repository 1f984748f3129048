"""Shows how far incidents have come: once, live, or as a list."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from device_status.cli.output import messages, print_fields, print_json, print_table
from device_status.incident import Phase, Progress
from device_status.incidents import Incidents
from device_status.settings import Settings

_POLL: Final = 0.5
_LINE_EVERY: Final = 10.0
"""Seconds between two lines where it is no terminal."""
_PATIENCE: Final = 15.0
"""Seconds without any progress after which somebody should look at the workers."""
_COUNTS: Final = (
    "refused",
    "users",
    "users_open",
    "users_expanded",
    "users_no_devices",
    "users_dead_lettered",
    "users_cancelled",
    "devices",
    "open",
    "succeeded",
    "superseded",
    "expired",
    "dead_lettered",
    "cancelled",
)


def show(progress: Progress, settings: Settings, as_json: bool) -> None:
    """The present state."""
    if as_json:
        print_json(progress.to_dict() | {"seconds_left": progress.seconds_left(_quota(progress, settings))})
        return
    counts = {name: value for name in _COUNTS if (value := getattr(progress, name))}
    print_fields(
        {
            "incident": progress.incident_id,
            "phase": progress.phase,
            "status ordered": progress.status,
            "user pool": progress.user_pool_id,
            "reason": progress.reason,
            "requested by": progress.requested_by,
            "opened at": progress.opened_at.isoformat(timespec="seconds"),
            "ended at": progress.ended_at and progress.ended_at.isoformat(timespec="seconds"),
            **counts,
            "rate": _rate(progress, settings),
            "time left": _time_left(progress, settings),
            "trouble": _trouble(progress),
            "webhook": progress.webhook,
            "verified": _verified(progress),
        }
    )


def show_list(found: list[Progress], as_json: bool) -> None:
    """One line an incident."""
    if as_json:
        print_json([progress.to_dict() for progress in found])
        return
    print_table(
        [
            "incident",
            "phase",
            "opened at",
            "users",
            "devices",
            "open",
            "succeeded",
            "dead-lettered",
            "verified",
        ],
        [
            (
                each.incident_id,
                each.phase,
                each.opened_at.isoformat(timespec="seconds"),
                each.users,
                each.devices,
                each.open,
                each.succeeded,
                each.dead_lettered + each.users_dead_lettered,
                _verified(each),
            )
            for each in found
        ],
    )


def watch(incidents: Incidents, incident_id: str) -> Progress:
    """Show it live on standard error until it is over."""
    progress = incidents.progress(incident_id)
    next_line_at = moved_at = time.monotonic()
    with Live(console=messages, auto_refresh=False, transient=True) as live:
        while not progress.is_over:
            stalled = time.monotonic() - moved_at > _PATIENCE
            if messages.is_terminal:
                live.update(_live(progress, incidents.settings, stalled), refresh=True)
            elif time.monotonic() >= next_line_at:
                messages.print(_line(progress, incidents.settings))
                next_line_at += _LINE_EVERY
            time.sleep(_POLL)
            before, progress = progress, incidents.progress(incident_id)
            if (before.open, before.users_open, before.devices) != (
                progress.open,
                progress.users_open,
                progress.devices,
            ):
                moved_at = time.monotonic()
    return progress


def watch_verification(incidents: Incidents, incident_id: str, timeout: float | None) -> Progress:
    """Show it live on standard error until it has ended, or `timeout` seconds have passed."""
    give_up_at = math.inf if timeout is None else time.monotonic() + timeout
    with Live(console=messages, auto_refresh=False, transient=True) as live:
        while True:
            left = max(0.0, give_up_at - time.monotonic())
            progress = incidents.wait_for_verification(incident_id, timeout=min(_POLL, left))
            found = progress.verification
            if found is None or found.ended_at or left == 0:
                return progress
            if messages.is_terminal:
                bars = Table.grid(padding=(0, 2))
                _add_bar(bars, "users listed", found.users - found.users_open, found.users)
                live.update(Group(f"{incident_id}: verification", bars), refresh=True)


@contextmanager
def goes_on(incident_id: str) -> Iterator[None]:
    """Whoever interrupts this has stopped nothing but his own waiting, and is told."""
    try:
        yield
    except KeyboardInterrupt:
        look = f"device-status incident status {incident_id}"
        messages.print(f"only the waiting has stopped: `{look}` shows how it goes on")
        raise


def _live(progress: Progress, settings: Settings, stalled: bool) -> Group:
    bars = Table.grid(padding=(0, 2))
    listed = progress.users - progress.users_open
    done = progress.devices - progress.open
    _add_bar(bars, "users listed", listed, progress.users)
    _add_bar(bars, "devices done", done, progress.devices)
    note = messages.render_str("")
    if trouble := _trouble(progress):
        note = messages.render_str(trouble, style="bold red")
    elif stalled and progress.phase == "running":
        idle = "nothing moves: is a worker running? (device-status worker)"
        note = messages.render_str(idle, style="yellow")
    return Group(f"{progress.incident_id}: {progress.phase}", bars, _line(progress, settings), note)


def _add_bar(bars: Table, name: str, done: int, total: int) -> None:
    bars.add_row(name, ProgressBar(max(1, total), done, 40), f"{done}/{total}")


def _line(progress: Progress, settings: Settings) -> str:
    parts = [
        f"users {progress.users - progress.users_open}/{progress.users}",
        f"devices {progress.devices - progress.open}/{progress.devices}",
        f"succeeded {progress.succeeded}",
        f"dead-lettered {progress.dead_lettered + progress.users_dead_lettered}",
        _rate(progress, settings) or "",
        (left := _time_left(progress, settings)) and f"left: {left}",
        _trouble(progress) or "",
    ]
    return ", ".join(part for part in parts if part)


def _verified(progress: Progress) -> str | None:
    verification = progress.verification
    if verification is None:
        return None
    if verification.ended_at is None:
        return "under way"
    return "as ordered" if verification.is_as_ordered else "NOT as ordered"


def _quota(progress: Progress, settings: Settings) -> float:
    return settings.target(progress.user_pool_id).quotas.update


def _rate(progress: Progress, settings: Settings) -> str | None:
    return None if progress.is_over else f"{progress.rate:.1f}/s of {_quota(progress, settings):g}/s"


def _time_left(progress: Progress, settings: Settings) -> str | None:
    seconds = progress.seconds_left(_quota(progress, settings))
    return None if seconds is None else str(timedelta(seconds=round(seconds)))


def _trouble(progress: Progress) -> str | None:
    if progress.trouble:
        return f"requests are paused: {progress.trouble}; mend the workers' credentials or permission"
    if progress.input_error:
        return (
            f"the pool's users can't be listed: {progress.input_error}; the same `incident open` tries again"
        )
    if not (progress.is_input_complete or progress.is_listing_pool):
        if progress.phase in (Phase.CANCELLING, Phase.CANCELLED):
            return "it was cancelled before all its users were known: the rest were not changed, nor verified"
        return "its input is not complete; if nobody is adding to it, give the same `incident open` again"
    return None
