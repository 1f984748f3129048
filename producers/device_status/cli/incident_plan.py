"""`incident open --dry-run`: what an incident would do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer

from device_status.cli.incident_input import Input
from device_status.cli.incident_progress import watch
from device_status.cli.output import Exit, fail, messages, print_fields, print_json
from device_status.incidents import Incidents


def plan(
    incidents: Incidents,
    user_pool_id: str,
    given: Input,
    users: Iterable[str],
    devices: Iterable[tuple[str, str]],
    all_users: bool,
    count_devices: bool,
    as_json: bool,
) -> None:
    """What an incident would do, and how long that takes at the quota."""
    quotas = incidents.settings.target(user_pool_id).quotas
    names, known = set(users), set(devices)
    given.count(len(names) + len(known), given.taken - len(names) - len(known))
    given.show()
    found: dict[str, Any] = {"users": None if all_users else len(names or {name for name, _ in known})}
    count: int | None = len(known) if known else None
    if count_devices and not known:
        plan_id = incidents.count(user_pool_id=user_pool_id, users=names, all_users=all_users)
        counted = watch(incidents, plan_id)
        if counted.input_error:
            fail(Exit.UNAVAILABLE, f"the pool's users can't be listed: {counted.input_error}")
        count = counted.devices
        found |= {
            "users": counted.users,
            "users without devices": counted.users_no_devices,
            "users that can't be listed": counted.users_dead_lettered,
        }
    found |= {"devices": count, "update requests": count}
    found["list requests, at least"] = 0 if known else found["users"]
    if found["users"] is not None:
        listing = 0 if known else found["users"] / quotas.read
        found["seconds at the quota"] = round(max(listing, (count or 0) / quotas.update))
    if as_json:
        print_json({name.replace(" ", "_").replace(",", ""): value for name, value in found.items()})
    else:
        print_fields(found)
    if unlisted := found.get("users that can't be listed"):
        messages.print(f"{unlisted} of the users can't be listed: unknown to the pool, or no such pool")
        raise typer.Exit(Exit.NOT_ALL)
    if count is None:
        messages.print("the devices are not counted; --count-devices lets the workers list them")
