"""`device-status incident …`: open, watch and steer a bulk change."""

from __future__ import annotations

from typing import Annotated

import typer

from device_status.cli.incident_input import Input
from device_status.cli.incident_plan import plan
from device_status.cli.incident_progress import goes_on, show, show_list, watch
from device_status.cli.output import EXIT_CODES, AsJson, Exit, confirm, fail, finite, messages
from device_status.command import Status
from device_status.incident import Phase, Progress
from device_status.incidents import Incidents

app = typer.Typer(
    no_args_is_help=True,
    epilog=EXIT_CODES,
    help="Change every device of many users, watch it, prove it. "
    "A device that is not_remembered no longer stands in for a second factor, where the pool lets remembered "
    "devices do so. That signs nobody out (AdminUserGlobalSignOut does), deletes nothing, and can be undone "
    "by the status remembered.",
)

IncidentId = Annotated[str, typer.Argument(help="As INC-42.")]
Timeout = Annotated[
    float | None, typer.Option(min=0, callback=finite, help="Seconds; default: as long as it takes.")
]


@app.command("open", epilog=EXIT_CODES)
def open_incident(
    incident_id: IncidentId,
    user_pool_id: Annotated[str, typer.Option(help="As eu-west-1_Ab12Cd34E; names the Region.")],
    users: Annotated[
        str | None, typer.Option(help="File with one username a line, no header; `-` is standard input.")
    ] = None,
    all_users: Annotated[bool, typer.Option("--all-users", help="Every user of the pool.")] = False,
    device_file: Annotated[
        str | None,
        typer.Option(help="Devices instead: CSV or JSON lines with username and device_key; `-` too."),
    ] = None,
    status: Annotated[Status, typer.Option(help="What the devices shall become.")] = Status.NOT_REMEMBERED,
    reason: Annotated[str | None, typer.Option(help="For the report.")] = None,
    requested_by: Annotated[str | None, typer.Option(help="For the report.")] = None,
    urgent: Annotated[bool, typer.Option("--urgent", help="Before everything else.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and change nothing.")] = False,
    count_devices: Annotated[
        bool, typer.Option("--count-devices", help="With --dry-run: let the workers count the devices.")
    ] = False,
    watch_it: Annotated[bool, typer.Option("--watch", help="Stay until it is over.")] = False,
    as_json: AsJson = False,
) -> None:
    """Order one status for every device of many users; the workers list the devices and change them.

    The same incident opened again goes on where it was and repeats nothing.

    Example: device-status incident open INC-42 --user-pool-id eu-west-1_Ab12Cd34E --users users.txt
    --reason "stolen laptops" --requested-by ada@example.com --urgent --watch
    """
    if sum([users is not None, all_users, device_file is not None]) != 1:
        fail(Exit.USAGE, "give one of --users FILE, --all-users, --device-file FILE")
    incidents, given = Incidents(), Input(user_pool_id, status)
    with given.errors():
        names = () if users is None else given.users(users)
        devices = () if device_file is None else given.devices(device_file)
        if dry_run:
            plan(incidents, user_pool_id, given, names, devices, all_users, count_devices, as_json)
        else:
            progress = incidents.open(
                incident_id,
                user_pool_id=user_pool_id,
                users=names,
                devices=devices,
                all_users=all_users,
                status=status,
                reason=reason,
                requested_by=requested_by,
                urgent=urgent,
                refused=lambda: given.tally.refused,
                on_added=given.count,
            )
            given.show()
    if not dry_run:
        _finish(incidents, progress, watch_it, as_json)
    given.exit_by()


@app.command("status", epilog=EXIT_CODES)
def show_status(
    incident_id: Annotated[str | None, typer.Argument(help="Default: the one that is not over.")] = None,
    watch_it: Annotated[bool, typer.Option("--watch", help="Stay until it is over.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far an incident has come."""
    incidents = Incidents()
    if incident_id is None:
        running = [progress for progress in incidents.list() if not progress.is_over]
        if len(running) != 1:
            many = "more than one incident is" if running else "no incident is"
            fail(Exit.USAGE, f"{many} under way; name one (see `incident list`)")
        incident_id = running[0].incident_id
    _finish(incidents, incidents.progress(incident_id), watch_it, as_json)


@app.command("list", epilog=EXIT_CODES)
def list_incidents(as_json: AsJson = False) -> None:
    """List the incidents of the retention, newest first."""
    show_list(list(Incidents().list()), as_json)


@app.command(epilog=EXIT_CODES)
def wait(incident_id: IncidentId, timeout: Timeout = None, as_json: AsJson = False) -> None:
    """Wait until it is over.

    Exit code 0 where everything came to what was ordered, 1 where not everything did, 5 where the time was
    over before.
    """
    incidents = Incidents()
    with goes_on(incident_id):
        progress = incidents.wait(incident_id, timeout=timeout)
    show(progress, incidents.settings, as_json)
    exit_by(progress)


@app.command(epilog=EXIT_CODES)
def pause(incident_id: IncidentId, as_json: AsJson = False) -> None:
    """Begin nothing more of it until it is resumed; what is under way is finished."""
    incidents = Incidents()
    show(incidents.pause(incident_id), incidents.settings, as_json)


@app.command(epilog=EXIT_CODES)
def resume(incident_id: IncidentId, as_json: AsJson = False) -> None:
    """Go on with what was paused."""
    incidents = Incidents()
    show(incidents.resume(incident_id), incidents.settings, as_json)


@app.command(epilog=EXIT_CODES)
def cancel(
    incident_id: IncidentId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give everything that is not under way the outcome `cancelled`. It can't be taken back."""
    incidents = Incidents()
    if not (yes or incidents.progress(incident_id).is_over):
        confirm(f"Cancel {incident_id} for good?")
    show(incidents.cancel(incident_id), incidents.settings, as_json)


def exit_by(progress: Progress) -> None:
    """End with the code that says how it came out."""
    if not progress.is_over:
        raise typer.Exit(Exit.TIMED_OUT)
    if not progress.all_succeeded:
        raise typer.Exit(Exit.NOT_ALL)


def _finish(incidents: Incidents, progress: Progress, watch_it: bool, as_json: bool) -> None:
    if watch_it:
        with goes_on(progress.incident_id):
            progress = watch(incidents, progress.incident_id)
    show(progress, incidents.settings, as_json)
    if progress.phase is Phase.PAUSED:
        messages.print(f"device-status incident resume {progress.incident_id} goes on with it")
    if watch_it:
        exit_by(progress)
