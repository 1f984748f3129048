"""Valid commands, to vary."""

from __future__ import annotations

from typing import Any

from device_status import DeviceStatusCommand, parse_command

POOL = "eu-west-1_Ab12Cd34E"
# Nothing else in a command or in an error text looks like these, so a leak can be seen.
USERNAME = "ada.lovelace@secret.example"
DEVICE_KEY = "eu-west-1_5ec2e7de-71ce-4000-8000-0123456789ab"


def wire_object(**overrides: Any) -> dict[str, Any]:
    """The smallest valid command as JSON; an override of `...` takes the field away."""
    fields = {
        "user_pool_id": POOL,
        "username": USERNAME,
        "device_key": DEVICE_KEY,
        "status": "not_remembered",
        **overrides,
    }
    return {name: value for name, value in fields.items() if value is not ...}


def make_command(**overrides: Any) -> DeviceStatusCommand:
    """A valid command, for one and the same device unless `device_key=device(n)` says another."""
    return parse_command(wire_object(**overrides))


def device(number: int) -> str:
    """The device key of device `number`."""
    return f"eu-west-1_00000000-0000-4000-8000-{number:012x}"
